//! TLS on the public listener (rustls, with aws-lc-rs): a certificate and its key from two PEM files, and the pair that
//! replaces them while the service runs.
//!
//! TLS 1.2 and 1.3, HTTP/1.1 alone, no client certificates, and no early data, which could be replayed. A new pair is for
//! new connections; those that are open go on. A pair that cannot be used is told once, and the old one stays.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::{
    InconsistentKeys, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use tokio::{signal::unix::Signal, sync::Mutex as AsyncMutex};
use tokio_util::sync::CancellationToken;
use x509_cert::{Certificate, der::Decode};
use zeroize::Zeroizing;

use crate::{
    clock::{Clock, Timestamp},
    secret,
    telemetry::metrics::Metrics,
};

/// The largest file: a chain of certificates takes 4 to 10 KiB.
const FILE_BYTES: u64 = 256 * 1024;

/// Between two looks at the files: two small reads. The second look at broken contents is the one that is told of, so
/// that what is wrong for good is known within ten seconds.
const LOOK: Duration = Duration::from_secs(5);

/// How long before its end a certificate is warned of. Those that are renewed by themselves are renewed earlier.
const WARN_BEFORE: Duration = Duration::from_hours(14 * 24);

/// Between two such warnings.
const WARN_AGAIN: Duration = Duration::from_hours(24);

/// Permissions that a key's file must not give. Its group may read it: services that share a certificate share a group.
const OTHERS: u32 = 0o037;

/// Where the pair is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate and its chain, the certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What is wrong with a pair: all of it, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct PairError(Vec<PairProblem>);

/// One thing that is wrong with a pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairProblem {
    /// A file cannot be read.
    #[error("{name}: {path} cannot be read: {why}. Correct the path, or let the user that runs this read the file", path = path.display())]
    Unreadable {
        /// The key that names it.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The key can be read by everybody, or written by more than its owner.
    #[error("{name}: {path} is open to others (mode {mode:03o}). Run: chmod 600 {path}", name = KEY, path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file holds no PEM of the kind that is asked for.
    #[error("{name}: {path} holds no {what} in PEM form: {why}. {remedy}", path = path.display())]
    Pem {
        /// The key that names it.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The first certificate is none.
    #[error("{name}: the first certificate in {path} is not understood: {why}. Put the certificate of this service first, and its chain after it", name = CERTIFICATE, path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is over.
    #[error("{name}: the certificate in {path} has expired ({since}). Renew it", name = CERTIFICATE, path = path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Since when.
        since: Timestamp,
    },
    /// It has not begun.
    #[error("{name}: the certificate in {path} is not valid before {from}. Set this machine's clock, or use one that is valid now", name = CERTIFICATE, path = path.display())]
    Early {
        /// The file.
        path: PathBuf,
        /// When it begins.
        from: Timestamp,
    },
    /// They are not a pair.
    #[error("{name}: the key in {key} is not the key of the certificate in {certificate}. Use the two that were made together", name = KEY, key = key.display(), certificate = certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// The library takes no such key.
    #[error("{name}: the key in {path} cannot be used: {why}. Use an ECDSA P-256, Ed25519 or RSA key of 2048 bits or more", name = KEY, path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

const CERTIFICATE: &str = "http.tls_certificate";
const KEY: &str = "http.tls_key";

/// What the files hold at one moment.
struct Texts {
    certificate: Result<Vec<u8>, PairProblem>,
    key: Result<Zeroizing<Vec<u8>>, PairProblem>,
}

/// A pair that can be used.
struct Pair {
    config: Arc<ServerConfig>,
    expires: Timestamp,
}

impl Files {
    fn read(&self) -> Texts {
        let unreadable = |name, path: &Path| {
            let path = path.to_owned();
            move |error: io::Error| PairProblem::Unreadable { name, path, why: error.to_string() }
        };
        let certificate = read(&self.certificate).map_err(unreadable(CERTIFICATE, &self.certificate));
        let key = read(&self.key).map_err(unreadable(KEY, &self.key)).and_then(|(text, mode)| {
            let text = Zeroizing::new(text);
            if mode & OTHERS == 0 { Ok(text) } else { Err(PairProblem::Exposed { path: self.key.clone(), mode }) }
        });
        Texts { certificate: certificate.map(|(text, _)| text), key }
    }

    /// Makes a pair of what was read, if everything about it is in order at `now`.
    fn pair(&self, texts: &Texts, now: Timestamp) -> Result<Pair, PairError> {
        let certificate = texts.certificate.as_ref().map_err(|problem| vec![problem.clone()]);
        let certificate = certificate.and_then(|text| self.chain(text, now));
        let key = texts.key.as_ref().map_err(PairProblem::clone).and_then(|text| self.private_key(text));
        match (certificate, key) {
            (Ok((chain, expires)), Ok(key)) => match server(chain, key) {
                Ok(config) => Ok(Pair { config, expires }),
                Err(error) => Err(PairError(vec![self.unpaired(&error)])),
            },
            (Err(mut problems), key) => {
                problems.extend(key.err());
                Err(PairError(problems))
            }
            (Ok(_), Err(problem)) => Err(PairError(vec![problem])),
        }
    }

    /// The certificates, and when the first one expires: that of the service, which clients judge by.
    fn chain(
        &self,
        text: &[u8],
        now: Timestamp,
    ) -> Result<(Vec<CertificateDer<'static>>, Timestamp), Vec<PairProblem>> {
        let path = || self.certificate.clone();
        let missing = |error: pem::Error| {
            vec![PairProblem::Pem {
                name: CERTIFICATE,
                path: path(),
                what: "certificate",
                why: error.to_string(),
                remedy: "It begins with -----BEGIN CERTIFICATE-----",
            }]
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(missing)?;
        let first = chain.first().ok_or(pem::Error::NoItemsFound).map_err(missing)?;
        let first = Certificate::from_der(first)
            .map_err(|error| vec![PairProblem::Certificate { path: path(), why: error.to_string() }])?;
        let validity = first.tbs_certificate().validity();
        let time = |time: x509_cert::time::Time| {
            Timestamp::from_millis(i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX))
        };
        let (from, expires) = (time(validity.not_before), time(validity.not_after));
        if expires <= now {
            return Err(vec![PairProblem::Expired { path: path(), since: expires }]);
        }
        if now < from {
            return Err(vec![PairProblem::Early { path: path(), from }]);
        }
        Ok((chain, expires))
    }

    fn private_key(&self, text: &[u8]) -> Result<PrivateKeyDer<'static>, PairProblem> {
        PrivateKeyDer::from_pem_slice(text).map_err(|error| PairProblem::Pem {
            name: KEY,
            path: self.key.clone(),
            what: "private key",
            why: match error {
                pem::Error::NoItemsFound => "no items found".to_owned(),
                // The library's words quote the line, which may be the key.
                _ => "it is damaged".to_owned(),
            },
            remedy: "It begins with -----BEGIN PRIVATE KEY-----; one that is encrypted is decrypted with: openssl pkey",
        })
    }

    fn unpaired(&self, error: &rustls::Error) -> PairProblem {
        match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                PairProblem::Mismatch { key: self.key.clone(), certificate: self.certificate.clone() }
            }
            rustls::Error::InvalidCertificate(_) => {
                PairProblem::Certificate { path: self.certificate.clone(), why: error.to_string() }
            }
            _ => PairProblem::Key { path: self.key.clone(), why: error.to_string() },
        }
    }
}

impl Texts {
    /// Equal for equal contents. What cannot be read has the contents of the reason.
    fn digest(&self) -> [u8; 32] {
        let digest = |text: Result<&[u8], &PairProblem>| match text {
            Ok(text) => secret::sha256(text),
            Err(problem) => secret::sha256(problem.to_string().as_bytes()),
        };
        let both = [
            digest(self.certificate.as_ref().map(Vec::as_slice)),
            digest(self.key.as_ref().map(|text| text.as_slice())),
        ];
        secret::sha256(&both.concat())
    }
}

/// A file's content and its permission bits.
fn read(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut text = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {FILE_BYTES} bytes")));
    }
    Ok((text, metadata.permissions().mode() & 0o777))
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // A client that offers only others is told so in the handshake.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS with the pair that is in use. Clones share it.
#[derive(Clone)]
pub struct Tls {
    files: Files,
    config: RustlsConfig,
    clock: Clock,
    metrics: Metrics,
    state: Arc<Mutex<State>>,
}

/// What the looks at the files have found.
struct State {
    /// The contents in use.
    used: [u8; 32],
    /// When the certificate in use expires.
    expires: Timestamp,
    /// Contents that could not be used when they were last looked at.
    broken: Option<[u8; 32]>,
    /// Contents that were told of as broken.
    told: Option<[u8; 32]>,
    /// When the end of the certificate in use was last warned of.
    warned: Option<Timestamp>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the pair.
    ///
    /// # Errors
    /// [`PairError`]: everything that is wrong with it at this moment.
    pub fn open(files: Files, clock: Clock, metrics: Metrics) -> Result<Self, PairError> {
        let texts = files.read();
        let Pair { config, expires } = files.pair(&texts, clock.wall())?;
        let state = State { used: texts.digest(), expires, broken: None, told: None, warned: None };
        let config = RustlsConfig::from_config(config);
        let tls = Self { files, config, clock, metrics, state: Arc::new(Mutex::new(state)) };
        tls.show(expires);
        Ok(tls)
    }

    /// Adds TLS to the connections of another acceptor. The handshake has a limit, since nothing else limits a client that
    /// says nothing.
    #[must_use]
    pub fn accept<A>(&self, inner: A, handshake: Duration) -> RustlsAcceptor<A> {
        RustlsAcceptor::new(self.config.clone()).handshake_timeout(handshake).acceptor(inner)
    }

    /// Takes up new contents of the files, now and then and at each `hangup`, until it is stopped. Warns of the
    /// certificate's end.
    ///
    /// # Errors
    /// [`io::Error`] if the files cannot be looked at any more, whatever is in them.
    pub async fn watch(&self, stop: &CancellationToken, hangup: &AsyncMutex<Signal>) -> io::Result<()> {
        let mut hangup = hangup.lock().await;
        self.warn();
        loop {
            let is_asked = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = hangup.recv() => true,
                () = tokio::time::sleep(LOOK) => false,
            };
            let files = self.files.clone();
            // They may be on a disk that does not answer.
            let texts = tokio::task::spawn_blocking(move || files.read()).await.map_err(io::Error::other)?;
            self.look(&texts, is_asked);
            self.warn();
        }
    }

    /// Takes up what was read, if it is new and can be used. What cannot is told of when it was found twice: two files are
    /// not written at one moment. Whoever asks is told at once.
    fn look(&self, texts: &Texts, is_asked: bool) {
        let digest = texts.digest();
        let mut state = self.state();
        if digest == state.used {
            (state.broken, state.told) = (None, None);
            if is_asked {
                tracing::info!("the certificate and its key are what they were");
            }
            return;
        }
        match self.files.pair(texts, self.clock.wall()) {
            Ok(Pair { config, expires }) => {
                self.config.reload_from_config(config);
                *state = State { used: digest, expires, broken: None, told: None, warned: None };
                self.show(expires);
                tracing::info!(%expires, "a new certificate is in use");
            }
            Err(error) => {
                let is_settled = state.broken.replace(digest) == Some(digest);
                if is_asked || is_settled && state.told != Some(digest) {
                    state.told = Some(digest);
                    self.metrics.tls_reload_failures_total.increment(1);
                    tracing::error!(%error, "the new certificate or its key cannot be used; the old ones stay");
                }
            }
        }
    }

    fn warn(&self) {
        let now = self.clock.wall();
        let mut state = self.state();
        if now + WARN_BEFORE < state.expires || state.warned.is_some_and(|warned| now < warned + WARN_AGAIN) {
            return;
        }
        state.warned = Some(now);
        let expires = state.expires;
        if now < expires {
            tracing::warn!(%expires, "the certificate expires soon. Renew it; the new one is taken up by itself");
        } else {
            tracing::error!(%expires, "the certificate has expired: clients refuse it. Renew it");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact for millions of years")]
    fn show(&self, expires: Timestamp) {
        self.metrics.tls_certificate_expiry_timestamp_seconds.set(expires.as_secs() as f64);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever was being written when a holder panicked, the next look puts right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
