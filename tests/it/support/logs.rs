//! Everything that this process logs, in memory.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter, util::SubscriberInitExt};

/// What was logged since [`capture`] was first called, by all tests of the process together: a test looks for what only
/// it can have caused.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<u8>>>);

/// Begins to keep what is logged, down to `debug` for everything and `trace` for the product.
pub(crate) fn capture() -> Logs {
    static LOGS: OnceLock<Logs> = OnceLock::new();
    let make = || {
        let logs = Logs::default();
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("debug,kickout=trace"))
            .with_writer(logs.clone())
            .with_ansi(false)
            .finish()
            .init();
        logs
    };
    LOGS.get_or_init(make).clone()
}

impl Logs {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// The lines that hold a word.
    pub(crate) fn lines_with(&self, word: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(word)).map(str::to_owned).collect()
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
