//! TODO of whoever builds it.

use clap::Args;

use crate::Failure;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds, and no figures.
    #[arg(long)]
    pub(crate) smoke: bool,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let _ = options.smoke;
    Err("not built yet".into())
}
