//! The layers over the defaults: a TOML file and the environment. Names are checked here, values later.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::{
    problems::{Place, Problem, Problems},
    rules::{RULES, Rule, is_secret},
};

/// What the name of an environment variable begins with.
pub(super) const PREFIX: &str = "KICKOUT__";

/// The largest configuration file, in bytes: a hundred times the default file with all its comments.
const FILE_BYTES: u64 = 1 << 20;

/// The values that one file, or the environment, sets, by dotted key. All keys exist.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    /// The file; `None` for the environment.
    pub path: Option<PathBuf>,
    pub values: BTreeMap<String, Value>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        match &self.path {
            Some(path) => Metadata::from("file", path.as_path()),
            None => Metadata::named("environment"),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for (key, value) in &self.values {
            insert(&mut dict, key, value.clone());
        }
        Ok(Profile::Default.collect(dict))
    }
}

fn insert(dict: &mut Dict, key: &str, value: Value) {
    let Some((section, rest)) = key.split_once('.') else {
        dict.insert(key.to_owned(), value);
        return;
    };
    let section = dict.entry(section.to_owned()).or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, inner) = section {
        insert(inner, rest, value);
    }
}

/// The variable that sets a key: `KICKOUT__HTTP__LISTEN` for `http.listen`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Every name that can be set: the keys, and `<key>_file` for the secrets.
fn names() -> impl Iterator<Item = String> {
    let keys = RULES.iter().map(|(key, _)| (*key).to_owned());
    let files = RULES.iter().filter(|(key, _)| is_secret(key)).map(|(key, _)| format!("{key}_file"));
    keys.chain(files)
}

fn is_name(key: &str) -> bool {
    Rule::of(key).is_some() || key.strip_suffix("_file").is_some_and(is_secret)
}

fn is_section(key: &str) -> bool {
    RULES.iter().any(|(name, _)| name.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

impl Layer {
    /// Reads a TOML file. `None`: nothing is known of its values.
    pub(super) fn read_file(path: &Path, named_by: &str, problems: &mut Problems) -> Option<Self> {
        let mut problem = |wrong: String, remedy: String| {
            problems.push(Problem { key: None, place: Place::File(path.to_owned()), wrong, remedy });
        };
        let text = match read_text(path, FILE_BYTES) {
            Ok(text) => text,
            Err(error) => {
                let remedy = format!("Create the file, make it readable, or correct {named_by}");
                problem(format!("cannot read the configuration file: {error}"), remedy);
                return None;
            }
        };
        let dict = match toml::from_str::<Dict>(&text) {
            Ok(dict) => dict,
            Err(error) => {
                // The error's own text quotes the line, in which a secret may stand.
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let message = error.message().replace('\n', ", ");
                problem(format!("line {line}, column {column}: {message}"), "Correct the TOML there".to_owned());
                return None;
            }
        };
        let mut layer = Self { path: Some(path.to_owned()), values: BTreeMap::new() };
        layer.take(dict, "", &Place::File(path.to_owned()), problems);
        Some(layer)
    }

    /// Takes the known keys of a table; the others are problems.
    fn take(&mut self, dict: Dict, section: &str, place: &Place, problems: &mut Problems) {
        for (name, value) in dict {
            // A quoted name may hold a dot, and is then none of ours.
            let name = if name.contains('.') { format!("{name:?}") } else { name };
            let key = if section.is_empty() { name } else { format!("{section}.{name}") };
            match value {
                value if is_name(&key) => {
                    self.values.insert(key, value);
                }
                Value::Dict(_, inner) if is_section(&key) => self.take(inner, &key, place, problems),
                _ => problems.push(unknown(key, place, str::to_owned)),
            }
        }
    }

    /// Reads the variables that begin with [`PREFIX`], in whatever case, so that none is ignored for its spelling.
    pub(super) fn read_environment(environment: &[(OsString, OsString)], problems: &mut Problems) -> Self {
        let mut layer = Self::default();
        for (name, value) in environment {
            let name = name.to_string_lossy();
            let upper = name.to_ascii_uppercase();
            let Some(path) = upper.strip_prefix(PREFIX) else { continue };
            let key = path.to_ascii_lowercase().replace("__", ".");
            let place = Place::Environment(name.to_string());
            // A dot in a variable's name would otherwise pass for the separator.
            if path.contains('.') || !is_name(&key) {
                problems.push(unknown(key, &place, variable));
            } else if *name != upper {
                let wrong = "the variable's name is not in upper case".to_owned();
                problems.push(Problem { key: Some(key), place, wrong, remedy: format!("Name it {upper}") });
            } else if let Some(value) = value.to_str() {
                let value = coerce(&key, value);
                layer.values.insert(key, value);
            } else {
                let wrong = "the value is not UTF-8".to_owned();
                problems.push(Problem { key: Some(key), place, wrong, remedy: "Write it in UTF-8".to_owned() });
            }
        }
        layer
    }
}

/// A text as the type that its key takes. One that is not of that type stays a text, for the key's rule to refuse.
fn coerce(key: &str, text: &str) -> Value {
    let word = text.trim();
    let typed = match Rule::of(key) {
        Some(Rule::Whole(..)) => word.parse::<i64>().ok().map(Value::from),
        Some(Rule::Fraction(..)) => word.parse::<f64>().ok().map(Value::from),
        Some(Rule::Flag) => word.parse::<bool>().ok().map(Value::from),
        Some(Rule::Origins | Rule::Networks | Rule::Choices(_)) => {
            let items = word.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::from(items.map(str::to_owned).collect::<Vec<_>>()))
        }
        _ => None,
    };
    typed.unwrap_or_else(|| Value::from(text))
}

/// The problem of a key that does not exist, with the nearest that does. `spell` writes a key as this layer does.
fn unknown(key: String, place: &Place, spell: fn(&str) -> String) -> Problem {
    let (wrong, remedy) = if is_section(&key) {
        let example = names().find(|name| name.starts_with(&format!("{key}."))).unwrap_or_default();
        ("this is a section, not a value".to_owned(), format!("Set one of its keys, like {}", spell(&example)))
    } else {
        let remedy = match nearest(&key) {
            Some(name) => format!("The nearest name is {}", spell(&name)),
            None => "Remove it; config/default.toml has every key".to_owned(),
        };
        ("there is no such key".to_owned(), remedy)
    };
    Problem { key: Some(key), place: place.clone(), wrong, remedy }
}

/// The known name that somebody most likely meant: a misspelt one, else the same last word in another section.
fn nearest(key: &str) -> Option<String> {
    let sections = RULES.iter().filter_map(|(key, _)| key.rsplit_once('.').map(|(section, _)| section.to_owned()));
    let distance = |name: &String| strsim::damerau_levenshtein(name, key);
    // One slip in four characters: more, and any short name resembles any other.
    let near = names().chain(sections).min_by_key(distance).filter(|name| distance(name) <= (key.len() / 4).max(1));
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    near.or_else(|| names().find(|name| last(name) == last(key)))
}

/// Variables that look like settings and are none: one underscore where two belong.
pub(super) fn lookalikes(environment: &[(OsString, OsString)]) -> Vec<String> {
    let single = |key: &String| format!("KICKOUT_{}", key.replace('.', "_").to_uppercase());
    let is_set = |name: &String| environment.iter().any(|(set, _)| set == OsStr::new(name));
    names()
        .filter(|key| is_set(&single(key)))
        .map(|key| format!("{} is not read. The variable is {}, with two underscores.", single(&key), variable(&key)))
        .collect()
}

/// Reads a text file of at most `max_bytes`.
pub(super) fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(max_bytes + 1).read_to_string(&mut text)?;
    if text.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {max_bytes} bytes")));
    }
    Ok(text)
}
