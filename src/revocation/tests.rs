//! Unit tests that look at several files at once, and those of files that `tests/loom` compiles too: there they would
//! run outside a model.

mod checks;
mod filter;
mod set;
