//! What the suites are written with.
//!
//! [`app::TestApp`] and [`process::Process`] are the service, in this process or as the real program. Both give a
//! [`client::Net`], through which [`client::User`]s and their [`client::Device`]s speak to it. [`raw`] says what no
//! well-behaved client says, and [`operator`] does what an operator does. [`browser::Browser`] is a real
//! one, and its pages come from a [`site::Site`].

pub(crate) mod answer;
pub(crate) mod app;
pub(crate) mod browser;
pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod ledger;
pub(crate) mod logs;
pub(crate) mod member;
pub(crate) mod mutants;
pub(crate) mod operator;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod site;
pub(crate) mod system;
pub(crate) mod tls;
pub(crate) mod wait;
