//! TODO of whoever builds it.
