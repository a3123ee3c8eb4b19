//! Unit tests of files that `tests/loom` compiles too: there they would run outside a model.

mod filter;
mod set;
