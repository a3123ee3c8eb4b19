//! Certificates, and clients that speak TLS.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use kickout::{clock::Clock, config::Config};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{answer::Answer, raw};

/// What the service is called in its certificates.
pub(crate) const NAME: &str = "kickout.test";

/// What certificates are for: the service, the hosts of its site, a host of another site, and this machine.
const NAMES: [&str; 4] = [NAME, "*.kickout.test", "evil.test", "localhost"];

/// A certificate that signs itself, and its key.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    der: CertificateDer<'static>,
    /// Its public key, as it is in the certificate.
    spki: Vec<u8>,
}

impl Pair {
    /// The one of this process's browsers, and of all that they speak to.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Pair> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    /// One that is good for longer than anything is warned of.
    pub(crate) fn new() -> Self {
        Self::valid(-1, 90)
    }

    /// One that is valid from so many days from now until so many.
    pub(crate) fn valid(from: i64, until: i64) -> Self {
        let now = OffsetDateTime::from_unix_timestamp(Clock::System.wall().as_secs()).expect("a time");
        let mut params = CertificateParams::new(NAMES.map(str::to_owned)).expect("names");
        (params.not_before, params.not_after) = (now + Duration::days(from), now + Duration::days(until));
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let (certificate, der) = (certificate.pem(), certificate.der().clone());
        Self { certificate, key: key.serialize_pem(), der, spki: key.subject_public_key_info() }
    }

    /// The digest of its public key, as a browser is told of it.
    pub(crate) fn spki(&self) -> String {
        let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, &self.spki);
        STANDARD.encode(digest)
    }

    /// For a server that is not the service.
    pub(crate) fn server(&self) -> ServerConfig {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that the provider has")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)
            .expect("they belong together")
    }
}

/// The two files that a service reads.
#[derive(Debug)]
pub(crate) struct PairFiles(TempDir);

impl PairFiles {
    pub(crate) fn of(pair: &Pair) -> Self {
        let files = Self(tempfile::tempdir().expect("a folder"));
        files.write(pair);
        files
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.path().join("server.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.path().join("server.key")
    }

    /// Writes both, one after the other.
    pub(crate) fn write(&self, pair: &Pair) {
        put(&self.certificate(), &pair.certificate, 0o644);
        put(&self.key(), &pair.key, 0o600);
    }

    /// For a service in this process.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.http.tls_certificate = self.certificate();
        config.http.tls_key = self.key();
    }

    /// For a service of its own, as variables.
    pub(crate) fn settings(&self) -> [(String, String); 2] {
        let path = |path: PathBuf| path.to_str().expect("a plain path").to_owned();
        [
            ("KICKOUT__HTTP__TLS_CERTIFICATE".to_owned(), path(self.certificate())),
            ("KICKOUT__HTTP__TLS_KEY".to_owned(), path(self.key())),
        ]
    }
}

/// Writes a file with these permission bits.
pub(crate) fn put(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("a file of our own");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a file of our own");
}

/// A client that trusts one certificate.
#[derive(Debug, Clone)]
pub(crate) struct TlsClient {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl TlsClient {
    pub(crate) fn new(address: SocketAddr, trusted: &Pair) -> Self {
        Self::speaking(address, trusted, rustls::ALL_VERSIONS, &["http/1.1"])
    }

    /// A client that speaks these versions of TLS, and these protocols over it.
    pub(crate) fn speaking(
        address: SocketAddr,
        trusted: &Pair,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.der.clone()).expect("a certificate");
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions that the library knows")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self { address, config: Arc::new(config) }
    }

    /// A connection whose handshake is done.
    pub(crate) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).expect("a name");
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, start: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let length = body.len().to_string();
        let mut all: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        if !body.is_empty() {
            all.extend([("content-type", b"application/json".as_slice()), ("content-length", length.as_bytes())]);
        }
        let request = raw::request(start, &all, body.as_bytes());
        let stream = self.connect().await.expect("the service speaks TLS");
        raw::over(stream, &request, false).await.expect("an answer")
    }
}
