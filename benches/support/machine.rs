//! On what a run was made.

use std::{collections::BTreeMap, fs, process::Command};

use kickout::clock::Clock;
use serde::{Deserialize, Serialize};

/// The crates whose code is on the measured paths.
const CRATES: [&str; 18] = [
    "arc-swap",
    "argon2",
    "aws-lc-rs",
    "bloomfilter",
    "deadpool-redis",
    "fastbloom",
    "foldhash",
    "fred",
    "jsonwebtoken",
    "kickout",
    "libsqlite3-sys",
    "quick_cache",
    "redis",
    "siphasher",
    "sqlx",
    "tokio",
    "tower-sessions",
    "tower-sessions-redis-store",
];

/// Machine, code and moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) l2_cache: String,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) is_optimised: bool,
    pub(crate) load_average: String,
    pub(crate) crates: BTreeMap<String, String>,
}

impl Machine {
    pub(crate) fn look(clock: &Clock) -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(": ").nth(1));
        Self {
            commit: commit(),
            date: clock.wall().to_string(),
            cpu: model.unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            l2_cache: line_of("/sys/devices/system/cpu/cpu0/cache/index2/size"),
            kernel: line_of("/proc/sys/kernel/osrelease"),
            rustc: output("rustc", &["--version"]),
            is_optimised: !cfg!(debug_assertions),
            load_average: line_of("/proc/loadavg"),
            crates: crates(),
        }
    }
}

/// The commit, from `KICKOUT_COMMIT` or from git, with a mark if the measured code is not what was committed.
fn commit() -> String {
    if let Ok(commit) = std::env::var("KICKOUT_COMMIT") {
        return commit;
    }
    let measured = ["status", "--porcelain", "--", "src", "benches/*.rs", "benches/support", "Cargo.lock"];
    let commit = output("git", &["rev-parse", "HEAD"]);
    if output("git", &measured).is_empty() { commit } else { commit + " with changes" }
}

fn crates() -> BTreeMap<String, String> {
    let lock: toml::Table = toml::from_str(include_str!("../../Cargo.lock")).unwrap_or_default();
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let text = |package: &toml::Value, member| Some(package.get(member)?.as_str()?.to_owned());
    packages
        .filter_map(|package| Some((text(package, "name")?, text(package, "version")?)))
        .filter(|(name, _)| CRATES.contains(&name.as_str()))
        .collect()
}

fn line_of(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
