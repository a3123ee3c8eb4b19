//! Randomness, keyed digests, encryption, and files that only their owner may read.

use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time, digest, hmac, rand,
};
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
    /// The file is encrypted, and cannot be opened.
    #[error(
        "{path} cannot be decrypted: tokens.key_encryption_key is not set, or not the key that the file was encrypted \
         under, or the file was changed. Set the key it was encrypted under, or restore the file from a backup",
        path = path.display()
    )]
    Sealed {
        /// The file.
        path: PathBuf,
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
    /// Whether all that is missing is room on the disk.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }

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

/// The text is not a key of 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hexadecimal digits")]
pub struct SealKeyError;

/// Encrypts and authenticates under a configured key: AES-256-GCM (NIST SP 800-38D) under a key that is derived for one
/// purpose, with a random nonce for each text and the text's name as associated data. So a sealed text is good under its
/// own name only. A few thousand texts are ever sealed under one key, so random nonces do not meet.
pub struct Seal(LessSafeKey);

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

/// The form of a sealed text: this byte, the nonce, the ciphertext with its tag.
const SEAL_VERSION: u8 = 1;

impl Seal {
    /// A seal for one purpose, under a key of 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`SealKeyError`].
    pub fn new(key: &str, purpose: &str) -> Result<Self, SealKeyError> {
        let digits: Option<Vec<u8>> = key.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
        let digits = Zeroizing::new(digits.filter(|digits| digits.len() == 64).ok_or(SealKeyError)?);
        let mut bytes = Zeroizing::new([0_u8; 32]);
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        let derived = Zeroizing::new(ServerSecret::new(*bytes).derive(purpose).sign(&[b"AES-256-GCM"]));
        UnboundKey::new(&AES_256_GCM, derived.as_slice())
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| SealKeyError)
    }

    /// The sealed form of a text under its name.
    ///
    /// # Panics
    /// If a text is longer than 64 GiB, which AES-GCM cannot take.
    #[must_use]
    pub fn close(&self, name: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random();
        let mut sealed = [&[SEAL_VERSION], nonce.as_slice()].concat();
        // Room for all of it: a buffer that grows leaves a copy behind that is not wiped.
        let mut body = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(nonce, Aad::from(name), &mut *body).expect("texts are short");
        sealed.extend_from_slice(&body);
        sealed
    }

    /// The text that was sealed under this name; `None` if it was not, or was changed.
    #[must_use]
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (&version, rest) = sealed.split_first()?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().filter(|_| version == SEAL_VERSION)?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.0.open_in_place(nonce, Aad::from(name), &mut body).ok()?;
        Some(Zeroizing::new(plain.to_vec()))
    }
}

/// What an encrypted file begins with. No secret in clear does: one is JSON, the other 32 random bytes.
const SEALED_FILE: &[u8] = b"kickout sealed file\n";

/// How files that hold secrets are kept: for their owner alone, and encrypted under the configured key if there is one.
#[derive(Debug, Clone, Default)]
pub struct SecretFiles(Option<Arc<Seal>>);

impl SecretFiles {
    /// Files in clear.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// Files under a key of 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`SealKeyError`].
    pub fn under(key: &str) -> Result<Self, SealKeyError> {
        Ok(Self(Some(Arc::new(Seal::new(key, "data folder, version 1")?))))
    }

    /// Writes a file.
    ///
    /// # Errors
    /// [`SecretFileError::Io`].
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), SecretFileError> {
        match &self.0 {
            Some(seal) => write_private(path, &[SEALED_FILE, &seal.close(&name(path), bytes)].concat()),
            None => write_private(path, bytes),
        }
    }

    /// Reads a file; `None` if there is none. One that is in clear and should not be is written again, encrypted.
    ///
    /// # Errors
    /// [`SecretFileError`].
    pub fn read(&self, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, SecretFileError> {
        let Some(bytes) = read_private(path)? else { return Ok(None) };
        let Some(sealed) = bytes.strip_prefix(SEALED_FILE) else {
            if self.0.is_some() {
                self.write(path, &bytes)?;
            }
            return Ok(Some(bytes));
        };
        let opened = self.0.as_ref().and_then(|seal| seal.open(&name(path), sealed));
        opened.map(Some).ok_or_else(|| SecretFileError::Sealed { path: path.to_owned() })
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
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
    pub fn load_or_create(path: &Path, files: &SecretFiles) -> Result<Self, SecretFileError> {
        let Some(bytes) = files.read(path)? else {
            let secret = Self::new(random());
            files.write(path, secret.0.as_slice())?;
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
        let first = ServerSecret::load_or_create(&path, &SecretFiles::plain()).unwrap();
        let again = ServerSecret::load_or_create(&path, &SecretFiles::plain()).unwrap();
        assert_eq!(first.0, again.0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{first:?}").contains(char::is_numeric));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = ServerSecret::load_or_create(&path, &SecretFiles::plain()).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");

        fs::remove_file(&path).unwrap();
        write_private(&path, b"short").unwrap();
        assert!(matches!(
            ServerSecret::load_or_create(&path, &SecretFiles::plain()),
            Err(SecretFileError::Damaged { .. })
        ));
    }

    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
    const OTHER: &str = "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn a_file_in_clear_is_read_and_encrypted_and_opens_under_its_key_and_name_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.secret");
        let secret = ServerSecret::load_or_create(&path, &SecretFiles::plain()).unwrap();
        let sealed = SecretFiles::under(KEY).unwrap();
        for _ in 0..2 {
            assert_eq!(ServerSecret::load_or_create(&path, &sealed).unwrap().0, secret.0);
            let bytes = fs::read(&path).unwrap();
            assert!(bytes.starts_with(SEALED_FILE));
            assert!(!bytes.windows(8).any(|part| part == &secret.0[..8]));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        for other in [SecretFiles::plain(), SecretFiles::under(OTHER).unwrap()] {
            let error = ServerSecret::load_or_create(&path, &other).unwrap_err();
            assert!(matches!(error, SecretFileError::Sealed { .. }), "{error}");
            assert!(error.to_string().contains("tokens.key_encryption_key"), "{error}");
        }
        let moved = folder.path().join("another.secret");
        fs::copy(&path, &moved).unwrap();
        assert!(matches!(sealed.read(&moved), Err(SecretFileError::Sealed { .. })));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(matches!(sealed.read(&path), Err(SecretFileError::Sealed { .. })));
        for key in ["", "00", &KEY[1..], &format!("{KEY}0"), &KEY.replace('0', "g")] {
            assert_eq!(SecretFiles::under(key).unwrap_err(), SealKeyError, "{key}");
        }
    }

    #[test]
    fn a_seal_for_another_purpose_opens_nothing() {
        let seal = Seal::new(KEY, "one").unwrap();
        let sealed = seal.close("name", b"text");
        assert_eq!(seal.open("name", &sealed).unwrap().as_slice(), b"text");
        assert_ne!(sealed, seal.close("name", b"text"), "another nonce");
        assert!(seal.open("another", &sealed).is_none());
        assert!(Seal::new(KEY, "another").unwrap().open("name", &sealed).is_none());
        assert!(seal.open("name", &[]).is_none() && seal.open("name", &sealed[..12]).is_none());
        assert_eq!(format!("{seal:?}"), "Seal(…)");
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
