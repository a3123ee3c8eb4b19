//! The patches of `tests/mutants/`: one rule broken in each, and what must notice.
//!
//! A patch begins with lines of its own, which `git apply` leaves aside:
//!
//! ```text
//! Breaks: R3 †. The nodes are read before the commit.
//! Caught by: it leases::a_node_that_renews_between_a_commit_and_its_wait_is_waited_for
//! Model: nodes_before_the_commit
//! ```
//!
//! `Caught by` may be there several times; each of them has to fail. `Hangs: yes` says that running out of time is a
//! catch, too. `Model`, if it is there, names the test of `tests/model` that shows the same break.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Patch {
    /// The file's name without its end.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    /// The rule that it breaks, as `protocol.md` numbers it.
    pub(crate) rule: String,
    /// What it does wrong, in one sentence.
    pub(crate) breaks: String,
    /// What must notice, each of them.
    pub(crate) catchers: Vec<Catcher>,
    /// The test of the model that shows the same.
    pub(crate) model: Option<String>,
    /// Whether a run that does not end has noticed, too.
    pub(crate) may_hang: bool,
    /// The files that it changes.
    pub(crate) files: Vec<String>,
}

/// What must notice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Catcher {
    pub(crate) suite: Suite,
    /// The test's path, or the arguments.
    pub(crate) words: String,
}

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Suite {
    /// The integration tests.
    It,
    /// The unit tests.
    Lib,
    /// The orders of publication.
    Loom,
    /// The model of the protocol.
    Model,
    /// A part of the benchmark `proof`.
    Proof,
}

impl FromStr for Catcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, rest) = text.split_once(' ').ok_or_else(|| format!("{text}: a suite, and what of it"))?;
        let suite = match first {
            "it" => Suite::It,
            "lib" => Suite::Lib,
            "loom" => Suite::Loom,
            "model" => Suite::Model,
            "nemesis" | "crash" | "soak" => return Ok(Self { suite: Suite::Proof, words: text.to_owned() }),
            other => return Err(format!("{other}: no such suite")),
        };
        Ok(Self { suite, words: rest.to_owned() })
    }
}

impl std::fmt::Display for Catcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let suite = match self.suite {
            Suite::It => "it ",
            Suite::Lib => "lib ",
            Suite::Loom => "loom ",
            Suite::Model => "model ",
            Suite::Proof => "",
        };
        write!(f, "{suite}{}", self.words)
    }
}

impl Patch {
    /// Reads one.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let text = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
        let (head, diff) = text.split_once("\ndiff --git ").ok_or_else(|| format!("{name}: no diff"))?;
        let values = |key: &str| {
            let key = format!("{key}: ");
            head.lines().filter_map(move |line| line.strip_prefix(&key).map(str::to_owned)).collect::<Vec<_>>()
        };
        let one = |key: &str| match <[String; 1]>::try_from(values(key)) {
            Ok([value]) => Ok(value),
            Err(values) => Err(format!("{name}: {} lines \"{key}: …\", not one", values.len())),
        };
        let said = one("Breaks")?;
        let (rule, breaks) = said.split_once(". ").ok_or_else(|| format!("{name}: a rule, and a sentence"))?;
        let catchers: Result<Vec<Catcher>, String> = values("Caught by").iter().map(|text| text.parse()).collect();
        let files = diff.lines().filter_map(|line| line.strip_prefix("+++ b/").map(str::to_owned)).collect();
        Ok(Self {
            rule: rule.to_owned(),
            breaks: breaks.to_owned(),
            catchers: catchers.map_err(|problem| format!("{name}: {problem}"))?,
            model: values("Model").pop(),
            may_hang: values("Hangs").pop().is_some_and(|word| word == "yes"),
            file: file.to_owned(),
            name,
            files,
        })
    }
}

/// All of them, by name.
pub(crate) fn patches(folder: &Path) -> Result<Vec<Patch>, String> {
    let read = || -> io::Result<Vec<PathBuf>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    let mut files = read().map_err(|error| format!("{}: {error}", folder.display()))?;
    files.sort();
    let strange = files.iter().find(|file| file.extension().is_none_or(|end| end != "patch"));
    match strange {
        Some(file) => Err(format!("{}: no patch", file.display())),
        None => files.iter().map(|file| Patch::read(file)).collect(),
    }
}
