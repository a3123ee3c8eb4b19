//! The copy of the tree in which rules are broken, and its builds and runs.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use kickout::clock::Clock;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

use crate::{
    Failure,
    support::mutants::{Catcher, Patch, Suite},
};

/// How long a test may take. The slowest take a third of it on a busy machine.
const TEST: Duration = Duration::from_mins(3);

/// How long a part of the proof may take.
const PART: Duration = Duration::from_mins(15);

/// Between two looks whether a run is over.
const LOOK: Duration = Duration::from_millis(50);

/// How much of what a run has panicked with is kept, in characters.
const WORDS: usize = 240;

/// What starts the servers of the tests.
const SERVERS: [&str; 2] = ["tests/it/support/postgres.rs", "tests/it/support/redis.rs"];

/// How much time one has to clean up that is told to end.
const MERCY: Duration = Duration::from_secs(10);

/// The workshop.
#[derive(Debug)]
pub(super) struct Workshop {
    root: PathBuf,
    /// The copy.
    tree: PathBuf,
    /// What its builds write.
    target: PathBuf,
    /// What its runs say.
    logs: PathBuf,
    pub(super) clock: Clock,
}

/// A run.
pub(super) struct Run {
    pub(super) ended: Ended,
    pub(super) took: Duration,
}

/// How it has ended.
#[derive(Debug)]
pub(super) enum Ended {
    Passed,
    /// In its words.
    Failed(String),
    OutOfTime,
}

/// A line of what cargo says of a build.
#[derive(Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    target: Target,
    profile: Profile,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Suite {
    /// How cargo is asked for it.
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::It => &["test", "--test", "it"],
            Self::Lib => &["test", "--lib"],
            Self::Loom => &["test", "--test", "loom"],
            Self::Model => &["test", "--test", "model"],
            Self::Proof => &["bench", "--profile", "dev", "--bench", "proof"],
        }
    }

    /// The name and the kind of what is built.
    const fn target(self) -> (&'static str, &'static str) {
        match self {
            Self::It => ("it", "test"),
            Self::Lib => ("kickout", "lib"),
            Self::Loom => ("loom", "test"),
            Self::Model => ("model", "test"),
            Self::Proof => ("proof", "bench"),
        }
    }
}

impl Workshop {
    /// Copies the tree, as it is now.
    pub(super) fn open(clock: Clock) -> Result<Self, Failure> {
        let root = std::env::current_dir()?;
        let folder = root.join("target/mutants");
        let (tree, target, logs) = (folder.join("tree"), folder.join("target"), folder.join("logs"));
        for folder in [&tree, &target, &logs] {
            fs::create_dir_all(folder)?;
        }
        let workshop = Self { root, tree, target, logs, clock };
        workshop.restore()?;
        Ok(workshop)
    }

    /// Makes the copy what the tree is. Files that are the same stay untouched, so that nothing is built twice.
    pub(super) fn restore(&self) -> Result<(), Failure> {
        let listed = Command::new("git")
            .current_dir(&self.root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()?;
        if !listed.status.success() {
            return Err(format!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr)).into());
        }
        let listed = String::from_utf8(listed.stdout)?;
        let files: BTreeSet<&Path> =
            listed.split_terminator('\0').map(Path::new).filter(|file| self.root.join(file).is_file()).collect();
        for file in &files {
            let (from, to) = (self.root.join(file), self.tree.join(file));
            if fs::read(&to).ok() == Some(fs::read(&from)?) {
                continue;
            }
            fs::create_dir_all(to.parent().unwrap_or(&self.tree))?;
            fs::copy(from, to)?;
        }
        for file in walk(&self.tree)? {
            if !files.contains(file.strip_prefix(&self.tree)?) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    /// Breaks the rule in the copy.
    pub(super) fn apply(&self, patch: &Patch) -> Result<Result<(), String>, Failure> {
        let applied = Command::new("git")
            .current_dir(&self.tree)
            // Or it would take the copy for a folder of the repository around it.
            .env("GIT_CEILING_DIRECTORIES", self.tree.parent().unwrap_or(&self.tree))
            .args(["apply", "--whitespace=nowarn"])
            .arg(self.root.join(&patch.file))
            .output()?;
        Ok(if applied.status.success() { Ok(()) } else { Err(first_line(&String::from_utf8_lossy(&applied.stderr))) })
    }

    /// Builds a suite of the copy. Gives the program, or what the compiler says.
    pub(super) fn build(&self, suite: Suite) -> Result<Result<PathBuf, String>, Failure> {
        let (subcommand, rest) = suite.arguments().split_first().ok_or("cargo is asked for something")?;
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // What the cargo that has started this one says of this package is not true of the copy.
        for (name, _) in std::env::vars_os() {
            let is_of_package = |prefix: &&str| name.to_string_lossy().starts_with(prefix);
            if ["CARGO_PKG", "CARGO_MANIFEST", "CARGO_BIN", "CARGO_CRATE"].iter().any(is_of_package) {
                cargo.env_remove(name);
            }
        }
        let built = cargo
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CARGO_INCREMENTAL", "1")
            // Panics name their lines without; linking takes half the time.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .args([subcommand, "--locked", "--no-run", "--message-format=json-render-diagnostics"])
            .args(rest)
            .output()?;
        if !built.status.success() {
            let said = String::from_utf8_lossy(&built.stderr).into_owned();
            let error = said.lines().find(|line| line.starts_with("error")).unwrap_or("it does not build").to_owned();
            return Ok(Err(error));
        }
        let (name, kind) = suite.target();
        let said = String::from_utf8_lossy(&built.stdout);
        let program = said.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok()).find_map(|built| {
            let is_it = built.target.name == name && built.target.kind.iter().any(|other| other == kind);
            built.executable.filter(|_| is_it && (built.profile.test || suite == Suite::Proof))
        });
        Ok(program.ok_or_else(|| format!("cargo has built no {name}")))
    }

    /// Runs a check of the copy, whose program is built. What it says is kept under `name`. Where a server of its own did
    /// not start, or did not answer, it is run once more: that may be somebody else's port.
    pub(super) fn check(&self, catcher: &Catcher, program: &Path, name: &str) -> Result<Run, Failure> {
        let run = self.run(catcher, program, name)?;
        let is_server = |says: &String| SERVERS.iter().any(|file| says.starts_with(file));
        if matches!(&run.ended, Ended::Failed(says) if is_server(says)) {
            return self.run(catcher, program, name);
        }
        Ok(run)
    }

    fn run(&self, catcher: &Catcher, program: &Path, name: &str) -> Result<Run, Failure> {
        let log = self.logs.join(format!("{name}.txt"));
        let file = fs::File::create(&log)?;
        let mut command = Command::new(program);
        let is_part = catcher.suite == Suite::Proof;
        if is_part {
            command.args(catcher.words.split_whitespace());
        } else {
            command.args(["--exact", &catcher.words]);
        }
        command
            .env("RUST_BACKTRACE", "0")
            .current_dir(&self.tree)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        // A group of its own, which can be ended with all that it has started.
        let mut child = command.process_group(0).spawn()?;
        let began = self.clock.boottime();
        let limit = if is_part { PART } else { TEST };
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if self.clock.boottime().since(began) > limit {
                self.end(&mut child)?;
                break None;
            }
            thread::sleep(LOOK);
        };
        let took = self.clock.boottime().since(began);
        let said = fs::read_to_string(&log)?;
        if !is_part && !said.contains("\nrunning 1 test\n") {
            return Err(format!("{catcher}: not one test").into());
        }
        let ended = match status {
            None => Ended::OutOfTime,
            Some(status) if status.success() => Ended::Passed,
            // A run of the nemesis that fails without a broken promise has come to no verdict.
            Some(_) if is_part => broken(&said).map_or(Ended::Passed, Ended::Failed),
            Some(_) => Ended::Failed(words(&said)),
        };
        Ok(Run { ended, took })
    }

    /// Ends a run that does not end by itself. The servers that it has started stop when they are told to, or when the
    /// pipe from it closes; nodes that were made to stand still have to go on for that.
    fn end(&self, child: &mut Child) -> Result<(), Failure> {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("a child has an id")?;
        for signal in [Signal::TERM, Signal::CONT] {
            // It may have ended just now.
            let _ = kill_process_group(group, signal);
        }
        let told = self.clock.boottime();
        while child.try_wait()?.is_none() {
            if self.clock.boottime().since(told) > MERCY {
                child.kill()?;
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// All files of a folder.
fn walk(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { files.extend(walk(&entry.path())?) } else { files.push(entry.path()) }
    }
    Ok(files)
}

/// Which promises a run of the nemesis has seen broken, if it has.
fn broken(said: &str) -> Option<String> {
    let mut lines = said.lines().skip_while(|line| !line.ends_with("BROKEN"));
    let episode = lines.next()?;
    let counts = lines.map(|line| line.trim_start_matches("… ")).take_while(|line| line.ends_with(" times"));
    let counts: Vec<&str> = counts.collect();
    Some(format!("{}: {}", episode.trim_start_matches("… "), counts.join(", ")))
}

/// What a run that has failed says: what it has panicked with; else its last line.
fn words(said: &str) -> String {
    let mut lines = BufReader::new(said.as_bytes()).lines().map_while(Result::ok);
    if let Some(place) = lines.find(|line| line.contains(" panicked at ")) {
        let place = place.rsplit_once(" panicked at ").map_or("", |(_, place)| place.trim_end_matches(':')).to_owned();
        let mut message: Vec<String> = lines.take(3).collect();
        message.retain(|line| !line.starts_with("note:") && !line.is_empty() && !line.starts_with("stack backtrace"));
        let message = message.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        return format!("{place}: {}", message.chars().take(WORDS).collect::<String>());
    }
    first_line(said.trim_end().rsplit_once('\n').map_or(said, |(_, last)| last))
}

fn first_line(said: &str) -> String {
    said.lines().next().unwrap_or_default().to_owned()
}
