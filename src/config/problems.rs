//! What is wrong with a configuration, and where.

use std::{fmt, path::PathBuf};

use figment::value::Value;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nobody set it.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable, by name.
    Environment(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(&printable(&path.to_string_lossy())),
            Self::Environment(name) => f.write_str(&printable(name)),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key, as `tokens.access_ttl`; `None` if a whole file or variable is at fault.
    pub key: Option<String>,
    /// Where its value comes from.
    pub place: Place,
    /// What is wrong. A secret's value is never in it.
    pub wrong: String,
    /// What to do, as a sentence without its full stop.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{} ({})", printable(key), self.place)?,
            None => self.place.fmt(f)?,
        }
        write!(f, ": {}. {}.", self.wrong, self.remedy)
    }
}

/// Everything that is wrong with a configuration, at once. Prints one problem per line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// The problems, in the order in which they were found.
    #[must_use]
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any problem is about this key.
    pub(super) fn concern(&self, key: &str) -> bool {
        self.0.iter().any(|problem| problem.key.as_deref() == Some(key))
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            write!(f, "{line_break}{problem}")?;
        }
        Ok(())
    }
}

/// A value as messages show it: in one line, cut where it gets long.
pub(super) fn shown(value: &Value) -> String {
    // Enough to recognise a value; a message stays readable if somebody pasted a page of text.
    const CHARS: usize = 60;
    match value {
        Value::String(_, text) if text.chars().count() > CHARS => {
            format!("{:?}…", text.chars().take(CHARS).collect::<String>())
        }
        Value::String(_, text) => format!("{text:?}"),
        Value::Bool(_, flag) => flag.to_string(),
        Value::Array(..) => "a list".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        _ => whole(value).map_or_else(
            || value.to_f64().map_or_else(|| "the value".to_owned(), |number| number.to_string()),
            |number| number.to_string(),
        ),
    }
}

/// A whole number of whatever size and sign.
pub(super) fn whole(value: &Value) -> Option<i128> {
    value.to_i128().or_else(|| value.to_u128().and_then(|number| number.try_into().ok()))
}

/// A name that somebody else chose, without the control characters that could rewrite a terminal's lines.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
