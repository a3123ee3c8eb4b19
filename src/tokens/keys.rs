//! The key ring: private keys in a folder, and which of them signs or verifies at a given time.
//!
//! ```text
//!  generate        its signs_from         its successor's signs_from
//!     ├── published ────┼────── signing ────────────┼──── verifying ────┤ retired, until pruned
//!                                                   └─ max_access_ttl + leeway + SKEW ─┘
//! ```
//!
//! A key is in the JWKS and verifies from the moment it exists, and signs later: by then every node and every cached
//! JWKS knows it. It goes on verifying until its last token is dead. When a key stops signing is told by its successor
//! alone, so nothing has to be written at that moment.
//!
//! A key that was revoked ([`RevokedKeys`]) is retired at that moment, whatever its times say: it verifies nothing, is in
//! no list for others, and signs nothing as long as there is any other. Its file is removed soon after, and one that comes
//! back is never taken up.
//!
//! Each key is one file, `<kid>.json`, that only its owner may read, encrypted if a key for that is configured. The folder
//! is the truth and one process owns it; [`KeyRing::reload`] takes up files that were put there or removed. Readers never
//! wait: the ring is replaced as one value.
//!
//! # Rotation
//!
//! A key is due when the newest one has signed, or will have, for the configured time by when its successor would sign.
//! Keys are for one algorithm each. When another one is configured a key for it is made at the next start and takes over
//! after its lead, like any successor; those of the old one verify until their last token is dead.

mod key;

use std::{
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use self::key::{Algorithm, SigningKey, VerifyingKey};
pub use crate::ids::{KeyId, ParseKeyIdError};
use crate::{
    clock::{SKEW, Timestamp},
    revoked_keys::RevokedKeys,
    secret::{SecretFileError, SecretFiles},
};

/// The most keys in a ring. A rotation needs two, three if it is rotated again at once; the JWKS stays below 8 KiB
/// (16 × 200 bytes, of RSA 16 × 480), and a look-up is a walk over at most this many.
pub const MAX_KEYS: usize = 16;

/// What went wrong with the keys. All of it is for the operator to mend.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A key file, or the folder, could not be read or written, or is damaged.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// Others than the owner may add and remove keys.
    #[error("{path} can be changed by others (mode {mode:03o}). Run: chmod 700 {path}", path = path.display())]
    Shared {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no room for another key.
    #[error("{path} has {MAX_KEYS} keys or more, and more are not kept. Prune the retired ones, or remove their files",
        path = path.display())]
    Full {
        /// The folder.
        path: PathBuf,
    },
    /// The cryptographic library made no key.
    #[error("the cryptographic library could not make a key")]
    Generate,
}

/// A key file: its name, and what is in it.
pub type KeyFileBytes = (String, Zeroizing<Vec<u8>>);

/// How keys are kept.
#[derive(Debug, Clone)]
pub struct KeySettings {
    /// The folder of the key files. It is made if there is none; its parent must exist.
    pub folder: PathBuf,
    /// What new keys are for.
    pub algorithm: Algorithm,
    /// The longest that any token lives, over all nodes.
    pub max_access_ttl: Duration,
    /// How long after `exp` a token is still accepted.
    pub leeway: Duration,
    /// How the files are kept.
    pub files: SecretFiles,
    /// The keys that were taken back.
    pub revoked: RevokedKeys,
}

impl KeySettings {
    /// With files in clear, and no key taken back.
    #[must_use]
    pub fn new(folder: PathBuf, algorithm: Algorithm, max_access_ttl: Duration, leeway: Duration) -> Self {
        let (files, revoked) = (SecretFiles::plain(), RevokedKeys::default());
        Self { folder, algorithm, max_access_ttl, leeway, files, revoked }
    }
}

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// It verifies, and will sign.
    Published,
    /// It signs.
    Signing,
    /// Its successor signs; its last tokens still live.
    Verifying,
    /// Nothing it signed is accepted: its last token is dead, or it was revoked.
    Retired,
}

/// What may be told about a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its id.
    pub kid: KeyId,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// When it was made, in milliseconds since 1970.
    pub created_at: Timestamp,
    /// When it signs first, in milliseconds since 1970.
    pub signs_from: Timestamp,
    /// Where it is in its life.
    pub state: KeyState,
    /// When it stops verifying, in milliseconds since 1970; `None` while it has no successor.
    pub verifies_until: Option<Timestamp>,
}

#[derive(Debug)]
struct Key {
    created_at: Timestamp,
    signs_from: Timestamp,
    signing: SigningKey,
}

impl Key {
    const fn kid(&self) -> KeyId {
        self.signing.verifying().kid()
    }
}

/// Names one key of a ring as it was read: not a key of this id, but that very value. What is read again, from the same
/// file too, is another one.
///
/// It keeps no private key in memory: once the ring has dropped the key, all that is left is an address that nothing else
/// can have.
#[derive(Clone)]
pub struct KeyMark(Weak<Key>);

#[cfg(test)]
impl KeyMark {
    /// Whether the key is in memory.
    pub(super) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl fmt::Debug for KeyMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMark(…)")
    }
}

/// The keys as they are at one moment. Never empty.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "it is a list of keys, and what is known of all of them")]
pub struct Keys {
    /// In the order in which they sign. A key's successor is the next one.
    keys: Vec<Arc<Key>>,
    /// How long a key verifies after its successor has taken over.
    overlap: Duration,
    revoked: RevokedKeys,
}

impl Keys {
    fn new(mut keys: Vec<Arc<Key>>, overlap: Duration, revoked: RevokedKeys) -> Self {
        // Two keys of the same instant need an order too, and the same one on every node.
        keys.sort_by_key(|key| (key.signs_from, key.created_at, key.kid()));
        Self { keys, overlap, revoked }
    }

    /// Whether any key is for this algorithm: tokens of others are not looked at any further.
    #[must_use]
    pub fn has(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.signing.verifying().algorithm() == algorithm)
    }

    /// Whether a key was taken back, in the ring or not.
    #[must_use]
    pub fn is_revoked(&self, kid: KeyId) -> bool {
        self.revoked.contains(kid)
    }

    /// The key that signs at `now`: the one with the latest `signs_from` that is not after it.
    ///
    /// If all are still to come, the first: then its predecessor was removed, and every verifier has it already. If all
    /// are revoked, any: this node has not heard of the key that took over, and will in a moment; what it signs until then
    /// is refused, and its clients refresh.
    #[must_use]
    pub fn signing(&self, now: Timestamp) -> &SigningKey {
        &self.keys[self.signing_index(now)].signing
    }

    /// The key of this id, if it verifies at `now`.
    #[must_use]
    pub fn verifying(&self, kid: KeyId, now: Timestamp) -> Option<&VerifyingKey> {
        let index = self.position(kid)?;
        (self.state(index, now) != KeyState::Retired).then(|| self.keys[index].signing.verifying())
    }

    /// What names the key of this id as it is now, if there is one.
    #[must_use]
    pub fn mark(&self, kid: KeyId) -> Option<KeyMark> {
        self.position(kid).map(|index| KeyMark(Arc::downgrade(&self.keys[index])))
    }

    /// Whether a key that was in the ring is in it still, that very value, and verifies at `now`.
    #[must_use]
    pub fn verifies_still(&self, mark: &KeyMark, now: Timestamp) -> bool {
        let index = self.keys.iter().position(|key| Arc::as_ptr(key) == mark.0.as_ptr());
        index.is_some_and(|index| self.state(index, now) != KeyState::Retired)
    }

    /// All keys, in the order in which they sign.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<KeyInfo> {
        let info = |(index, key): (usize, &Arc<Key>)| KeyInfo {
            kid: key.kid(),
            algorithm: key.signing.verifying().algorithm(),
            created_at: key.created_at,
            signs_from: key.signs_from,
            state: self.state(index, now),
            verifies_until: self.verifies_until(index),
        };
        self.keys.iter().enumerate().map(info).collect()
    }

    /// The keys that verify at `now`, as a JWK set (RFC 7517 §5). Public members only.
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> serde_json::Value {
        let live = self.keys.iter().enumerate().filter(|&(index, _)| self.state(index, now) != KeyState::Retired);
        let keys: Vec<_> = live.filter_map(|(_, key)| key.signing.verifying().jwk()).collect();
        serde_json::json!({ "keys": keys })
    }

    fn position(&self, kid: KeyId) -> Option<usize> {
        self.keys.iter().position(|key| key.kid() == kid)
    }

    fn signing_index(&self, now: Timestamp) -> usize {
        let is_good = |key: &Arc<Key>| !self.is_revoked(key.kid());
        let signs = self.keys.iter().rposition(|key| key.signs_from <= now && is_good(key));
        signs.or_else(|| self.keys.iter().position(is_good)).unwrap_or(0)
    }

    fn verifies_until(&self, index: usize) -> Option<Timestamp> {
        self.keys.get(index + 1).map(|successor| successor.signs_from + self.overlap)
    }

    fn state(&self, index: usize, now: Timestamp) -> KeyState {
        if self.is_revoked(self.keys[index].kid()) {
            return KeyState::Retired;
        }
        let signing = self.signing_index(now);
        if index == signing {
            KeyState::Signing
        } else if index > signing {
            KeyState::Published
        } else if self.verifies_until(index).is_some_and(|until| now < until) {
            KeyState::Verifying
        } else {
            KeyState::Retired
        }
    }
}

/// The keys of one folder, read by many threads and changed rarely.
#[derive(Debug)]
pub struct KeyRing {
    settings: KeySettings,
    keys: ArcSwap<Keys>,
    /// Held by whoever changes the folder and the ring. Readers do not know it.
    writer: Mutex<()>,
}

impl KeyRing {
    /// Reads the keys of a folder. If it has none, makes one that signs at once.
    ///
    /// # Errors
    /// [`KeyError`]. A damaged file is an error and not skipped: without its key, good tokens would be refused.
    pub fn open(settings: KeySettings, now: Timestamp) -> Result<Self, KeyError> {
        prepare_folder(&settings.folder)?;
        let overlap = overlap(settings.max_access_ttl, settings.leeway);
        let keys = Keys::new(read_or_create(&settings, now)?, overlap, settings.revoked.clone());
        Ok(Self { settings, keys: ArcSwap::from_pointee(keys), writer: Mutex::new(()) })
    }

    /// The keys as they are now. Takes no lock; to be dropped soon, not kept.
    #[must_use]
    pub fn read(&self) -> Guard<Arc<Keys>> {
        self.keys.load()
    }

    /// [`Keys::list`] of the keys as they are now.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<KeyInfo> {
        self.read().list(now)
    }

    /// [`Keys::jwks`] of the keys as they are now.
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> serde_json::Value {
        self.read().jwks(now)
    }

    /// Makes a key that is published at once and signs from `now + lead`.
    ///
    /// `lead` should be longer than it takes until every node has the key and every cached JWKS was fetched again.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::Full`] if there are [`MAX_KEYS`] already.
    pub fn generate(&self, now: Timestamp, lead: Duration) -> Result<KeyInfo, KeyError> {
        let file = self.draw(now, lead)?;
        self.add(&file, now)
    }

    /// Makes a key and takes it up nowhere: a file that others are to have first.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn draw(&self, now: Timestamp, lead: Duration) -> Result<KeyFileBytes, KeyError> {
        draw(self.settings.algorithm, now, now + lead).map(|(_, file)| file)
    }

    /// Takes up a key that was just made.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::Full`] if there are [`MAX_KEYS`] already.
    ///
    /// # Panics
    /// Never: a ring has the key that was just added to it.
    pub fn add(&self, (name, bytes): &KeyFileBytes, now: Timestamp) -> Result<KeyInfo, KeyError> {
        let _writer = self.writer();
        let path = self.settings.folder.join(name);
        let mut keys = read_folder(&self.settings)?;
        if keys.len() >= MAX_KEYS {
            return Err(KeyError::Full { path: self.settings.folder.clone() });
        }
        let key = parse(bytes, &path).map_err(|problem| damaged(&path, problem))?;
        let kid = key.kid();
        self.settings.files.write(&path, bytes)?;
        keys.push(Arc::new(key));
        let keys = self.keys_of(keys);
        let info = keys.list(now).into_iter().find(|info| info.kid == kid).expect("the key was added above");
        self.keys.store(Arc::new(keys));
        Ok(info)
    }

    /// What new keys are for.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.settings.algorithm
    }

    /// The key that will have signed last, of all that are good.
    #[must_use]
    pub fn newest(&self, now: Timestamp) -> Option<KeyInfo> {
        let keys = self.read();
        keys.list(now).into_iter().rev().find(|info| !keys.is_revoked(info.kid))
    }

    /// Whether a successor is due that signs after `lead`, if keys sign for `every` so long.
    #[must_use]
    pub fn is_due(&self, now: Timestamp, lead: Duration, every: Duration) -> bool {
        self.newest(now).is_none_or(|newest| now + lead >= newest.signs_from + every)
    }

    /// The keys that were taken back.
    #[must_use]
    pub const fn revoked(&self) -> &RevokedKeys {
        &self.settings.revoked
    }

    /// Removes the files of keys that were revoked, and says which. If none is left, makes one that signs at once.
    ///
    /// # Errors
    /// [`KeyError`]; the next call goes on.
    pub fn remove_revoked(&self, now: Timestamp) -> Result<Vec<KeyId>, KeyError> {
        let current = self.keys.load_full();
        let revoked: Vec<KeyId> =
            current.keys.iter().map(|key| key.kid()).filter(|kid| current.is_revoked(*kid)).collect();
        if !revoked.is_empty() {
            self.reload(now)?;
        }
        Ok(revoked)
    }

    /// Deletes the keys that have been retired for `keep` or longer, with their files, and says which.
    ///
    /// # Errors
    /// [`KeyError::File`]; the ring is as before then, and the next call goes on.
    pub fn prune(&self, now: Timestamp, keep: Duration) -> Result<Vec<KeyId>, KeyError> {
        let _writer = self.writer();
        let current = self.keys.load_full();
        let is_old = |index: &usize| current.verifies_until(*index).is_some_and(|until| until + keep <= now);
        // Keys retire in the order in which they signed, and the last one never does.
        let count = (0..current.keys.len()).take_while(is_old).count();
        let (old, kept) = current.keys.split_at(count);
        if old.is_empty() {
            return Ok(Vec::new());
        }
        for key in old {
            remove(&path_of(&self.settings.folder, key.kid()))?;
        }
        sync(&self.settings.folder)?;
        self.keys.store(Arc::new(self.keys_of(kept.to_vec())));
        Ok(old.iter().map(|key| key.kid()).collect())
    }

    /// Reads the folder again: takes up keys that were put there, and drops at once those whose files were removed.
    ///
    /// # Errors
    /// [`KeyError`]; the ring is as before then.
    pub fn reload(&self, now: Timestamp) -> Result<(), KeyError> {
        let _writer = self.writer();
        let keys = read_or_create(&self.settings, now)?;
        self.keys.store(Arc::new(self.keys_of(keys)));
        Ok(())
    }

    /// The key files by name and in clear, as another node should have them. No secrets are among them: they are for one
    /// node.
    ///
    /// # Errors
    /// [`KeyError::File`].
    pub fn files(&self) -> Result<Vec<KeyFileBytes>, KeyError> {
        let mut files = Vec::new();
        for key in self.read().keys.iter().filter(|key| key.signing.verifying().algorithm().is_public()) {
            let path = path_of(&self.settings.folder, key.kid());
            if let Some(bytes) = self.settings.files.read(&path)? {
                files.push((format!("{}.json", key.kid()), bytes));
            }
        }
        Ok(files)
    }

    /// Makes the folder hold just these files, and takes them up: the folder is a mirror of what nodes share. Files are
    /// never changed, so a name that is there already is right.
    ///
    /// # Errors
    /// [`KeyError`]; the ring is as before then.
    pub fn mirror(&self, files: &[KeyFileBytes], now: Timestamp) -> Result<(), KeyError> {
        let writer = self.writer();
        let folder = &self.settings.folder;
        let current = self.keys.load_full();
        let has = |kid: KeyId| current.keys.iter().any(|key| key.kid() == kid);
        let mut wanted = Vec::new();
        for (name, bytes) in files {
            let path = folder.join(name);
            let damaged =
                |problem| SecretFileError::Damaged { path: path.clone(), problem, loss: "no key is taken from it" };
            // A name that is a key's id leads nowhere but into this folder.
            let stem = name.strip_suffix(".json").and_then(|stem| stem.parse::<KeyId>().ok());
            let kid = stem.ok_or_else(|| damaged("its name is not its kid"))?;
            if !has(kid) {
                parse(bytes, &path).map_err(damaged)?;
                self.settings.files.write(&path, bytes)?;
            }
            wanted.push(kid);
        }
        let strangers: Vec<_> = current.keys.iter().map(|key| key.kid()).filter(|kid| !wanted.contains(kid)).collect();
        let is_same = strangers.is_empty() && wanted.iter().all(|&kid| has(kid));
        if is_same || wanted.is_empty() {
            return Ok(());
        }
        for kid in strangers {
            remove(&path_of(folder, kid))?;
        }
        sync(folder)?;
        drop(writer);
        self.reload(now)
    }

    /// Tells the ring that the longest life of a token has changed. Superseded keys then verify for longer or shorter.
    pub fn set_max_access_ttl(&self, max_access_ttl: Duration) {
        let _writer = self.writer();
        let overlap = overlap(max_access_ttl, self.settings.leeway);
        let Keys { keys, revoked, .. } = &**self.read();
        self.keys.store(Arc::new(Keys { keys: keys.clone(), overlap, revoked: revoked.clone() }));
    }

    fn keys_of(&self, keys: Vec<Arc<Key>>) -> Keys {
        Keys::new(keys, self.read().overlap, self.settings.revoked.clone())
    }

    fn writer(&self) -> MutexGuard<'_, ()> {
        // A writer that panicked left the old ring in place.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a key verifies after its successor has taken over: its last token was issued just before that.
fn overlap(max_access_ttl: Duration, leeway: Duration) -> Duration {
    max_access_ttl.saturating_add(leeway).saturating_add(SKEW)
}

/// A key file.
#[derive(Serialize, Deserialize)]
struct KeyFile<'a> {
    kid: KeyId,
    alg: &'a str,
    created_at: Timestamp,
    signs_from: Timestamp,
    /// PKCS#8 in base64url; for HS256 the secret itself.
    private: &'a str,
}

fn path_of(folder: &Path, kid: KeyId) -> PathBuf {
    folder.join(format!("{kid}.json"))
}

fn prepare_folder(folder: &Path) -> Result<(), KeyError> {
    let fail = || SecretFileError::io(folder);
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => sync(folder.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(fail()(error).into()),
    }
    let mode = fs::metadata(folder).map_err(fail())?.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(KeyError::Shared { path: folder.to_owned(), mode });
    }
    Ok(())
}

fn read_or_create(settings: &KeySettings, now: Timestamp) -> Result<Vec<Arc<Key>>, KeyError> {
    let mut keys = read_folder(settings)?;
    if keys.is_empty() {
        let (key, (name, bytes)) = draw(settings.algorithm, now, now)?;
        settings.files.write(&settings.folder.join(name), &bytes)?;
        keys.push(Arc::new(key));
    }
    Ok(keys)
}

/// The keys in the folder. Files of keys that were revoked are removed: whoever has put them back must not keep them. So
/// are drafts of key files: whoever reads the folder is the only one who could be writing one, and a crash or a full disk
/// leaves each under another name, with a private key in it.
fn read_folder(settings: &KeySettings) -> Result<Vec<Arc<Key>>, KeyError> {
    let folder = settings.folder.as_path();
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder).map_err(SecretFileError::io(folder))? {
        let path = entry.map_err(SecretFileError::io(folder))?.path();
        if is_draft(&path) {
            // Its key never signed.
            remove(&path)?;
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if stem.is_some_and(|kid| settings.revoked.contains(kid)) {
            remove(&path)?;
            sync(folder)?;
            continue;
        }
        // `None`: removed since the folder was listed.
        let Some(bytes) = settings.files.read(&path)? else { continue };
        let key = parse(&bytes, &path).map_err(|problem| damaged(&path, problem))?;
        if keys.len() >= MAX_KEYS {
            return Err(KeyError::Full { path: folder.to_owned() });
        }
        keys.push(Arc::new(key));
    }
    Ok(keys)
}

/// Whether this is what [`secret::write_private`](crate::secret::write_private) calls a key file before it is whole.
fn is_draft(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_suffix(".json.new")).is_some_and(|stem| stem.parse::<KeyId>().is_ok())
}

fn damaged(path: &Path, problem: &'static str) -> SecretFileError {
    SecretFileError::Damaged { path: path.to_owned(), problem, loss: "tokens signed by it are refused then" }
}

/// The key in a file, or what is wrong with the file.
fn parse(bytes: &[u8], path: &Path) -> Result<Key, &'static str> {
    let file: KeyFile<'_> = serde_json::from_slice(bytes)
        .map_err(|_| "it is not JSON with the members kid, alg, created_at, signs_from and private")?;
    let algorithm = Algorithm::from_name(file.alg).ok_or("its alg is not known to this version")?;
    let private = URL_SAFE_NO_PAD.decode(file.private).map(Zeroizing::new);
    let signing = SigningKey::from_private(algorithm, &private.map_err(|_| "its private is not base64url")?)?;
    if signing.verifying().kid() != file.kid {
        return Err("its kid is not the thumbprint of its key");
    }
    if path.file_stem().is_none_or(|stem| stem != file.kid.to_string().as_str()) {
        return Err("its name is not its kid");
    }
    Ok(Key { created_at: file.created_at, signs_from: file.signs_from, signing })
}

/// A new key, and the file that it is kept in.
fn draw(algorithm: Algorithm, created_at: Timestamp, signs_from: Timestamp) -> Result<(Key, KeyFileBytes), KeyError> {
    let private = algorithm.generate().map_err(|_| KeyError::Generate)?;
    let signing = SigningKey::from_private(algorithm, &private).map_err(|_| KeyError::Generate)?;
    let key = Key { created_at, signs_from, signing };
    let private = Zeroizing::new(URL_SAFE_NO_PAD.encode(&private));
    let file = KeyFile { kid: key.kid(), alg: algorithm.name(), created_at, signs_from, private: &private };
    // Room for all of it, since a buffer that grows leaves a copy behind that is not wiped.
    let mut json = Zeroizing::new(Vec::with_capacity(private.len() + 256));
    serde_json::to_writer(&mut *json, &file).expect("strings and integers are written as JSON");
    let name = format!("{}.json", key.kid());
    Ok((key, (name, json)))
}

fn remove(path: &Path) -> Result<(), SecretFileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SecretFileError::io(path)(error)),
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<(), SecretFileError> {
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(SecretFileError::io(folder))
}

#[cfg(test)]
mod tests;
