//! The data folder: one process at a time works in it, and leaves word there of how commands reach it.
//!
//! The lock is on the file `lock`, held by the open file itself, so that it ends with the process however that ends.
//! The file is never deleted: two processes could then hold locks on two files of one name.
//!
//! `run.json` says where the running server takes commands. It is believed only while the lock is held, and whoever
//! takes the lock removes what an earlier process has left, so a command is not sent to an address that somebody else
//! listens on by now.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::secret::{self, SecretFileError};

const LOCK: &str = "lock";
const ANNOUNCEMENT: &str = "run.json";
const PROBE: &str = "probe";

/// Why a data folder cannot be worked in. All of it is for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no such folder, and it cannot be made.
    #[error(
        "the data folder {path} cannot be made: {source}. Make it for the user that kickout runs as, or set data_dir \
         (KICKOUT__DATA_DIR) to a folder that this user may make",
        path = path.display()
    )]
    Make {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Files in it cannot be written.
    #[error(
        "the data folder {path} cannot be written to: {source}. Run kickout as the user who owns it, see to it that \
         the disk is neither full nor read-only, or set data_dir (KICKOUT__DATA_DIR) to another folder",
        path = path.display()
    )]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system has no locks.
    #[error(
        "the data folder {path} cannot be locked: {source}. Set data_dir (KICKOUT__DATA_DIR) to a folder on a local \
         disk",
        path = path.display()
    )]
    Lock {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process works in it.
    #[error(
        "another kickout process works in the data folder {path}. Stop it first, or set data_dir (KICKOUT__DATA_DIR) \
         to a folder of its own for this one",
        path = path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The announcement of the running server.
    #[error(transparent)]
    Announcement(#[from] SecretFileError),
}

/// How commands reach the server that works in a data folder.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The server's process.
    pub pid: u32,
    /// Where it takes commands.
    pub management: SocketAddr,
    /// The bearer token that it takes them with.
    pub token: String,
}

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcement")
            .field("pid", &self.pid)
            .field("management", &self.management)
            .field("token", &"…")
            .finish()
    }
}

/// A data folder that this process alone works in, until the value is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    mode: u32,
    /// Holds the lock while it is open.
    lock: File,
}

impl DataFolder {
    /// Takes a folder for this process. It is made, with its parents and for its owner only, if there is none.
    ///
    /// # Errors
    /// [`FolderError`]; [`FolderError::InUse`] if another process works in it.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let make = |source| FolderError::Make { path: path.to_owned(), source };
        let unwritable = |source| FolderError::Unwritable { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(make)?;
        let path = fs::canonicalize(path).map_err(make)?;
        let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(path.join(LOCK));
        let lock = lock.map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(FolderError::Lock { path, source }),
        }
        // The lock file may have been there already, so only a new file tells whether more can be written.
        let probe = path.join(PROBE);
        fs::write(&probe, b"kickout").and_then(|()| fs::remove_file(&probe)).map_err(unwritable)?;
        let mode = fs::metadata(&path).map_err(unwritable)?.permissions().mode() & 0o777;
        let folder = Self { path, mode, lock };
        folder.withdraw().map_err(unwritable)?;
        Ok(folder)
    }

    /// What tells this folder's lock from that of any copy: its file's device and number.
    ///
    /// # Errors
    /// [`io::Error`].
    pub fn lock_id(&self) -> io::Result<String> {
        let metadata = self.lock.metadata()?;
        Ok(format!("{}:{}", metadata.dev(), metadata.ino()))
    }

    /// The folder, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is allowed about the folder and should not be, with what to do.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (self.mode & 0o077 != 0).then(|| {
            let path = self.path.display();
            format!("The data folder {path} is open to others (mode {:03o}). Run: chmod 700 {path}", self.mode)
        })
    }

    /// Leaves word of where this process takes commands, until the value is dropped.
    ///
    /// # Errors
    /// [`FolderError::Announcement`].
    pub fn announce(&self, announcement: &Announcement) -> Result<(), FolderError> {
        let file = self.path.join(ANNOUNCEMENT);
        let json = serde_json::to_vec(announcement)
            .map_err(|error| SecretFileError::Io { path: file.clone(), source: error.into() })?;
        Ok(secret::write_private(&file, &json)?)
    }

    fn withdraw(&self) -> io::Result<()> {
        match fs::remove_file(self.path.join(ANNOUNCEMENT)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for DataFolder {
    /// The word is taken back before the lock goes.
    fn drop(&mut self) {
        if let Err(error) = self.withdraw() {
            // Harmless: the next process that takes the lock removes it.
            tracing::warn!(folder = %self.path.display(), %error, "run.json could not be removed");
        }
    }
}

/// How commands reach the process that works in a folder, if it has left word; with an address to connect to, also if
/// it listens on all of them.
///
/// # Errors
/// [`FolderError::Announcement`].
pub fn announced(path: &Path) -> Result<Option<Announcement>, FolderError> {
    let file = path.join(ANNOUNCEMENT);
    let bytes = match secret::read_private(&file) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        // Removed between two looks at it.
        Err(SecretFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let announcement: Announcement = serde_json::from_slice(&bytes).map_err(|_| SecretFileError::Damaged {
        path: file,
        problem: "it is not what a server writes there",
        loss: "commands reach the server again after its next start",
    })?;
    Ok(Some(Announcement { management: connectable(announcement.management), ..announcement }))
}

/// The address at which this machine reaches a listener: a loopback one if it listens on all.
#[must_use]
pub fn connectable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn announcement(management: &str) -> Announcement {
        Announcement { pid: 7, management: management.parse().unwrap(), token: "hunter2hunter2hunter2".to_owned() }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_is_made_for_its_owner_and_taken_by_one_at_a_time() {
        let root = TempDir::new().unwrap();
        let path = root.path().join("a/b");
        let first = DataFolder::open(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(LOCK)), 0o600);
        assert_eq!(first.warning(), None);
        let error = DataFolder::open(&path).unwrap_err();
        assert!(matches!(error, FolderError::InUse { .. }), "{error}");
        assert!(error.to_string().contains("Stop it first"), "{error}");
        drop(first);
        assert!(path.join(LOCK).exists(), "the lock file stays");
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn an_announcement_is_private_and_goes_with_the_folder() {
        let root = TempDir::new().unwrap();
        let file = root.path().join(ANNOUNCEMENT);
        let folder = DataFolder::open(root.path()).unwrap();
        assert_eq!(announced(root.path()).unwrap(), None);
        folder.announce(&announcement("127.0.0.1:9100")).unwrap();
        assert_eq!(mode(&file), 0o600);
        assert_eq!(announced(root.path()).unwrap(), Some(announcement("127.0.0.1:9100")));
        drop(folder);
        assert!(!file.exists());

        let folder = DataFolder::open(root.path()).unwrap();
        folder.announce(&announcement("127.0.0.1:9100")).unwrap();
        fs::remove_file(&file).unwrap();
        drop(folder);
    }

    #[test]
    fn what_a_killed_process_left_is_gone_once_another_takes_the_folder() {
        let root = TempDir::new().unwrap();
        fs::write(root.path().join(ANNOUNCEMENT), b"{").unwrap();
        let _folder = DataFolder::open(root.path()).unwrap();
        assert_eq!(announced(root.path()).unwrap(), None);
    }

    #[test]
    fn an_announcement_of_all_addresses_gives_one_to_connect_to() {
        let root = TempDir::new().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        for (listens, connects) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.7:1", "10.0.0.7:1"), ("[::1]:1", "[::1]:1")]
        {
            folder.announce(&announcement(listens)).unwrap();
            let found = announced(root.path()).unwrap().unwrap();
            assert_eq!(found.management, connects.parse().unwrap());
        }
    }

    #[test]
    fn a_damaged_or_exposed_announcement_is_an_error_that_shows_no_token() {
        let root = TempDir::new().unwrap();
        let file = root.path().join(ANNOUNCEMENT);
        secret::write_private(&file, b"{\"token\": \"hunter2\"").unwrap();
        let error = announced(root.path()).unwrap_err().to_string();
        assert!(error.contains("damaged") && !error.contains("hunter2"), "{error}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(announced(root.path()).unwrap_err().to_string().contains("chmod 600"));
        assert!(!format!("{:?}", announcement("127.0.0.1:1")).contains("hunter2"));
    }

    #[test]
    fn a_folder_that_cannot_be_is_an_error_that_says_what_to_do() {
        let root = TempDir::new().unwrap();
        let file = root.path().join("file");
        fs::write(&file, b"").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = DataFolder::open(&path).unwrap_err();
            assert!(matches!(error, FolderError::Make { .. }), "{error}");
            assert!(error.to_string().contains("KICKOUT__DATA_DIR"), "{error}");
        }
        // A folder where the lock belongs stands for a folder that cannot be written to, which root would never see.
        fs::create_dir_all(root.path().join("data").join(LOCK)).unwrap();
        let error = DataFolder::open(&root.path().join("data")).unwrap_err();
        assert!(matches!(error, FolderError::Unwritable { .. }), "{error}");
    }

    #[test]
    fn a_folder_that_others_can_enter_is_warned_of() {
        let root = TempDir::new().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let warning = DataFolder::open(root.path()).unwrap().warning().unwrap();
        assert!(warning.contains("mode 755") && warning.contains("chmod 700"), "{warning}");
    }
}
