//! A wall clock that can be moved, for one process and its children: libfaketime, preloaded. `CLOCK_MONOTONIC` and
//! `CLOCK_BOOTTIME` stay true.
//!
//! It moves what is read through the C library: all of PostgreSQL, and the wall clock of a node, which is for log lines
//! and for telling operators how far it is off.

use std::{
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// A wall clock. It can be moved while it is used.
#[derive(Debug)]
pub(super) struct Wall {
    file: NamedTempFile,
    library: PathBuf,
}

impl Wall {
    /// One that is right; an error says why there can be none.
    pub(super) fn new() -> Result<Self, String> {
        let library = library().ok_or("libfaketime is missing: apt-get install faketime")?;
        let file = tempfile::Builder::new().prefix("kickout-wall-").tempfile().map_err(|error| error.to_string())?;
        // PostgreSQL runs as somebody else.
        fs::set_permissions(file.path(), Permissions::from_mode(0o644)).map_err(|error| error.to_string())?;
        let mut wall = Self { file, library };
        wall.moves(0).map_err(|error| error.to_string())?;
        Ok(wall)
    }

    /// It is so many seconds from the truth now.
    pub(super) fn moves(&mut self, seconds: i64) -> std::io::Result<()> {
        let file = self.file.as_file_mut();
        // In one write, at the beginning: a reader sees one text or the other. All texts are of one length.
        std::io::Seek::rewind(file)?;
        file.write_all(format!("{seconds:+06}\n").as_bytes())
    }

    /// What a process that goes by it has in its environment.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.path().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// Takes away what the library has made for processes that were killed, as nobody else does.
pub(super) fn sweep() {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix("faketime_shm_").or_else(|| name.strip_prefix("sem.faketime_sem_")));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}
