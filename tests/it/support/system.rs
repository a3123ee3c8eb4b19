//! What starting a server asks of the system. The benchmarks start theirs with this, too.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

/// `nobody`, as every Linux has it: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// A program that runs as `nobody` where this process is root, and as this process's user elsewhere.
pub(crate) fn as_nobody(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
    command
}

/// Gives a folder to whom such a program runs as.
pub(crate) fn give_to_nobody(folder: &Path) -> std::io::Result<()> {
    if is_root() { chown(folder, Some(NOBODY), Some(NOBODY)) } else { Ok(()) }
}

/// A program of the newest version of PostgreSQL on this machine.
pub(crate) fn postgres(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name))))
        .filter(|(_, path)| fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o111 != 0))
        .collect();
    versions.sort();
    Some(versions.pop()?.1)
}

/// Whether a PostgreSQL that runs on this data folder lets clients in: the last line of this file says so then.
pub(crate) fn is_postgres_ready(data: &Path) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    text.lines().nth(7).is_some_and(|line| line.trim() == "ready")
}
