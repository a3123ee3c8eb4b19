//! The command line of a benchmark: its options, its exit code, and the results that it reads and writes.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

use clap::Parser;
use serde::{Serialize, de::DeserializeOwned};

use crate::Failure;

/// What the command line asks for. `cargo test` hands on options of its own test runner, which mean nothing here;
/// without `--bench` they are let pass, and the smoke form is run.
pub(crate) fn options<T: Parser>(name: &str) -> T {
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    match T::try_parse() {
        Ok(options) => options,
        Err(error) if is_bench || !error.use_stderr() => error.exit(),
        Err(_) => T::parse_from([name, "--smoke"]),
    }
}

/// Says how it ended.
pub(crate) fn exit(ended: Result<(), Failure>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error changes nothing about the exit code.
            let _ = writeln!(io::stderr(), "failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The results in a file.
pub(crate) fn read<T: DeserializeOwned>(file: &Path) -> Result<T, Failure> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Keeps results in a file, whose folder is made if there is none.
pub(crate) fn write(file: &Path, report: &impl Serialize) -> Result<(), Failure> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(file, serde_json::to_string_pretty(report)? + "\n")?)
}

/// Prints to standard output.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stdout().lock(), "{}", text.trim_end())?)
}

/// Tells of a step on standard error.
pub(crate) fn tell(step: &str) -> Result<(), Failure> {
    Ok(writeln!(io::stderr(), "… {step}")?)
}
