//! How the public listener is set up: TLS, and what browsers are told because of it.

use std::{io, sync::Arc};

use http::HeaderValue;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Mutex,
};

use super::App;
use crate::{
    clock::Clock,
    config,
    http::tls::{Files, Tls},
    lifecycle::{Policy, Tasks},
    telemetry::metrics::Metrics,
};

pub use crate::http::tls::PairError;

/// Reads the certificate and its key, if TLS is configured.
///
/// # Errors
/// [`PairError`].
pub fn tls(http: &config::Http, clock: &Clock, metrics: &Metrics) -> Result<Option<Tls>, PairError> {
    if !http.has_tls() {
        return Ok(None);
    }
    let files = Files { certificate: http.tls_certificate.clone(), key: http.tls_key.clone() };
    Tls::open(files, clock.clone(), metrics.clone()).map(Some)
}

impl App {
    pub(super) fn tls(&self) -> Result<Option<Tls>, PairError> {
        tls(&self.config.http, &self.clock, &self.metrics)
    }
}

/// Looks for a new certificate for as long as the service runs. From its return on SIGHUP asks for a look, and ends the
/// process no more.
pub(super) fn watch(tls: &Tls, tasks: &Tasks) -> io::Result<()> {
    let hangup = Arc::new(Mutex::new(signal(SignalKind::hangup())?));
    let (tls, stop) = (tls.clone(), tasks.shutdown().soft().clone());
    tasks.supervise("certificate", Policy::Restart, move || {
        let (tls, stop, hangup) = (tls.clone(), stop.clone(), Arc::clone(&hangup));
        async move { tls.watch(&stop, &hangup).await }
    });
    Ok(())
}

/// For this host alone: what else is under its name is somebody else's to decide.
pub(super) fn hsts(http: &config::Http) -> Option<HeaderValue> {
    let seconds = http.hsts.duration().as_secs();
    (seconds > 0).then(|| HeaderValue::from_str(&format!("max-age={seconds}")).ok()).flatten()
}

pub(super) fn clear_site_data(cookies: &config::Cookies) -> Option<HeaderValue> {
    let mut names: Vec<_> = cookies.clear_site_data.iter().map(|data| format!("\"{}\"", data.name())).collect();
    names.dedup();
    (!names.is_empty()).then(|| HeaderValue::from_str(&names.join(", ")).ok()).flatten()
}
