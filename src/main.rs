//! The `kickout` program: see `kickout --help`.

use std::{io::Write, process::ExitCode, time::Duration};

use clap::Parser;
use kickout::cli::Cli;

/// What still runs on a thread of its own when all is done, such as the hash of a password nobody waits for, is not
/// waited for longer than this.
const LAST_THREADS: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli.run());
            runtime.shutdown_timeout(LAST_THREADS);
            code
        }
        Err(error) => {
            // Nobody is left to tell if this cannot be written.
            let _ = writeln!(std::io::stderr(), "kickout: the system gives no threads or no timers: {error}");
            ExitCode::FAILURE
        }
    }
}
