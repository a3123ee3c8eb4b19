//! Logging: one line per event to standard error, readable for people or JSON for machines.
//!
//! Metrics are in [`metrics`]. Standard output is left to the answers of commands.

pub mod family;
pub mod metrics;

use std::{
    env,
    io::{self, IsTerminal},
};

use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    filter::ParseError,
    fmt::MakeWriter,
    util::{SubscriberInitExt, TryInitError},
};

/// How a log line is written. Every line has the time in RFC 3339, UTC, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// [`Text`](Self::Text) if standard error is a terminal, [`Json`](Self::Json) otherwise.
    #[default]
    Auto,
    /// Time, level, message, then the fields as `name=value`.
    Text,
    /// One JSON object per line: `timestamp`, `level`, `target`, `message` and the fields side by side.
    /// A field of one of those four names would be there twice.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is not one; the operator wrote it.
    #[error("the log filter {filter:?} is not understood: {source}. Expected a list like info,kickout=debug")]
    Filter {
        /// The filter as it was written.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// This process already logs somewhere; the program called [`init`] twice.
    #[error("logging is already set up: {0}")]
    AlreadySet(#[from] TryInitError),
}

/// Sends the events of this process to standard error. Once per process, before anything that logs.
///
/// `filter` is a list of levels, by module where needed: `info` or `info,kickout::revocation=debug`. A word that is
/// no level names a module, so a misspelled level alone shows nothing.
///
/// # Errors
/// [`InitError`].
pub fn init(format: LogFormat, filter: &str) -> Result<(), InitError> {
    let filter = parse(filter)?;
    let is_terminal = io::stderr().is_terminal();
    // Colours are for a terminal whose owner wants them (https://no-color.org).
    let has_colour = is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if is_json(format, is_terminal) {
        json(filter, io::stderr).try_init()?;
    } else {
        text(filter, has_colour, io::stderr).try_init()?;
    }
    Ok(())
}

fn parse(filter: &str) -> Result<EnvFilter, InitError> {
    EnvFilter::builder().parse(filter).map_err(|source| InitError::Filter { filter: filter.to_owned(), source })
}

const fn is_json(format: LogFormat, is_terminal: bool) -> bool {
    match format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    }
}

fn text<W>(filter: EnvFilter, has_colour: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(has_colour)
        .with_target(false)
        .compact()
        .finish()
}

fn json<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .json()
        .flatten_event(true)
        // The innermost span has the request's id; the list of all spans would repeat it.
        .with_span_list(false)
        .finish()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A writer whose text can be read afterwards.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn writer(&self) -> impl Fn() -> Self + Send + Sync + 'static {
            let page = self.clone();
            move || page.clone()
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn log_something() {
        tracing::info!(node.state = "live", seq = 42, "renewed");
        tracing::debug!("too fine");
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top_and_a_utc_time() {
        let page = Page::default();
        tracing::subscriber::with_default(json(parse("info").unwrap(), page.writer()), log_something);
        let line: serde_json::Value = serde_json::from_str(&page.text()).expect("one line of JSON");
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["message"], "renewed");
        assert_eq!(line["node.state"], "live");
        assert_eq!(line["seq"], 42);
        let time = line["timestamp"].as_str().unwrap();
        time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339).expect("RFC 3339");
        assert!(time.ends_with('Z'), "{time}");
    }

    #[test]
    fn a_text_line_is_level_message_fields_without_colours_in_a_pipe() {
        let page = Page::default();
        tracing::subscriber::with_default(text(parse("info").unwrap(), false, page.writer()), log_something);
        let text = page.text();
        assert!(text.ends_with("INFO renewed node.state=\"live\" seq=42\n"), "{text:?}");
        assert_eq!(text.lines().count(), 1, "the filter drops what is too fine");
    }

    #[test]
    fn auto_is_text_in_a_terminal_only() {
        assert!(!is_json(LogFormat::Auto, true));
        assert!(is_json(LogFormat::Auto, false));
        assert!(is_json(LogFormat::Json, true));
        assert!(!is_json(LogFormat::Text, false));
    }

    #[test]
    fn a_bad_filter_is_shown_to_the_operator() {
        let error = init(LogFormat::Text, "kickout=loud").unwrap_err();
        assert!(matches!(error, InitError::Filter { .. }));
        assert!(error.to_string().contains("kickout=loud"), "{error}");
    }
}
