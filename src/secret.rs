//! Randomness, keyed digests, and files that only their owner may read.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{constant_time, digest, hmac, rand};
use zeroize::Zeroizing;

/// Random bytes from the system's generator.
///
/// # Panics
/// If the operating system has no randomness to give: nothing can be issued safely then.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system's random generator works");
    bytes
}

/// SHA-256 of some bytes (FIPS 180-4).
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Whether two byte strings are equal, in a time that depends on their lengths only.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// What went wrong with a file that holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may read the file.
    #[error("{path} can be read by others (mode {mode:03o}). Run: chmod 600 {path}", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file's content is not what was written there.
    #[error("{path} is damaged: {problem}. Restore it from a backup, or remove it to make a new one: {loss}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// What removing the file costs.
        loss: &'static str,
    },
}

impl SecretFileError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// Writes a file that only its owner may read, so that after a crash there is the whole new file or none.
///
/// # Errors
/// [`SecretFileError::Io`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), SecretFileError> {
    let fail = || SecretFileError::io(path);
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let draft = directory.join(name);
    // A draft of an earlier crash may be in the way; it was never used.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail()(error)),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(fail())?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail())?;
    fs::rename(&draft, path).map_err(fail())?;
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(fail())
}

/// Reads a file that only its owner may read; `None` if there is none.
///
/// # Errors
/// [`SecretFileError::Io`], or [`SecretFileError::Exposed`] if group or others have any permission on it.
pub fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, SecretFileError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SecretFileError::io(path)(error)),
    };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Exposed { path: path.to_owned(), mode });
    }
    fs::read(path).map(|bytes| Some(Zeroizing::new(bytes))).map_err(SecretFileError::io(path))
}

/// The server's own key. CSRF tokens and refresh tokens are made with keys derived from it, so that the database
/// alone forges neither.
#[derive(Clone)]
pub struct ServerSecret(Zeroizing<[u8; 32]>);

impl fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerSecret(…)")
    }
}

impl ServerSecret {
    /// A secret from 32 bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads the secret from a file, or makes one and writes it there.
    ///
    /// # Errors
    /// [`SecretFileError`].
    pub fn load_or_create(path: &Path) -> Result<Self, SecretFileError> {
        let Some(bytes) = read_private(path)? else {
            let secret = Self::new(random());
            write_private(path, secret.0.as_slice())?;
            return Ok(secret);
        };
        let bytes = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| SecretFileError::Damaged {
            path: path.to_owned(),
            problem: "it does not hold 32 bytes",
            loss: "every refresh token and CSRF token dies with it",
        })?;
        Ok(Self::new(bytes))
    }

    /// A key for one purpose: HMAC-SHA-256 of the purpose's name under the secret (a KDF in the sense of
    /// NIST SP 800-108 with one block).
    #[must_use]
    pub fn derive(&self, purpose: &str) -> MacKey {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice());
        MacKey(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, purpose.as_bytes()).as_ref()))
    }
}

/// A key for HMAC-SHA-256 (RFC 2104).
#[derive(Clone)]
pub struct MacKey(hmac::Key);

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(…)")
    }
}

impl MacKey {
    /// The MAC of several parts, in order. The parts must have fixed lengths, since nothing is put between them.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }

    /// Whether `mac` is the MAC of the parts, compared in constant time.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], mac: &[u8]) -> bool {
        equal(&self.sign(parts), mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_private_stays_the_same_and_says_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.secret");
        let first = ServerSecret::load_or_create(&path).unwrap();
        let again = ServerSecret::load_or_create(&path).unwrap();
        assert_eq!(first.0, again.0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{first:?}").contains(char::is_numeric));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = ServerSecret::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");

        fs::remove_file(&path).unwrap();
        write_private(&path, b"short").unwrap();
        assert!(matches!(ServerSecret::load_or_create(&path), Err(SecretFileError::Damaged { .. })));
    }

    #[test]
    fn derived_keys_differ_by_purpose() {
        let secret = ServerSecret::new([7; 32]);
        let mac = secret.derive("a").sign(&[b"x"]);
        assert!(secret.derive("a").verify(&[b"x"], &mac));
        assert!(!secret.derive("b").verify(&[b"x"], &mac));
        assert!(!secret.derive("a").verify(&[b"y"], &mac));
    }
}
