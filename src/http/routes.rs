//! The handlers, by subject. Each extracts, calls one use case, and maps the result.

pub mod account;
pub mod login;
pub mod logout;
pub mod management;
pub mod receipts;
pub mod verify;
