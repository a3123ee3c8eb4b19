//! What the suites are written with.
//!
//! [`app::TestApp`] and [`process::Process`] are the service, in this process or as the real program. Both give a
//! [`client::Net`], through which [`client::User`]s and their [`client::Device`]s speak to it. [`raw`] says what no
//! well-behaved client says.

pub(crate) mod answer;
pub(crate) mod app;
pub(crate) mod client;
pub(crate) mod logs;
#[expect(dead_code, reason = "no suite starts the program yet")]
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod wait;
