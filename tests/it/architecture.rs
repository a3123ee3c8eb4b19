//! Dependencies between modules point one way: `http → sessions → {tokens, passwords, users, revocation} → {ids, clock,
//! secret}`, and each foreign crate that shapes a layer stays in it.
//!
//! The sources are read as text: whatever follows `crate::`, in a `use` or in the middle of an expression, is a
//! dependency of the file's top-level module; so is a name of a guarded crate before `::`. Comments, string literals
//! and unit tests do not count, and neither does the other half of the same module.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What each module may use of the others. What is not named here may not exist.
const MAY_USE: [(&str, &[&str]); 26] = [
    // Leaves.
    ("secret", &[]),
    ("clock", &[]),
    ("ids", &["secret"]),
    ("revoked_keys", &["ids"]),
    ("telemetry", &[]),
    ("database", &[]),
    ("cookies", &[]),
    ("csrf", &["ids", "secret"]),
    ("config", &["clock::MAX_LEEWAY", "secret"]),
    ("lifecycle", &["secret"]),
    ("instance", &["config", "secret"]),
    // The domain.
    ("tokens", &["clock", "ids", "revoked_keys", "secret", "telemetry"]),
    ("passwords", &["secret"]),
    ("revocation", &["clock", "database", "ids", "revoked_keys", "secret", "telemetry"]),
    ("limits", &["clock", "ids", "revocation::blocklist", "secret", "telemetry"]),
    ("users", &["clock", "database", "ids", "passwords"]),
    ("vault", &["database", "secret"]),
    ("keystore", &["clock", "ids", "revoked_keys", "secret", "tokens", "vault"]),
    (
        "sessions",
        &[
            "clock",
            "csrf",
            "database",
            "ids",
            "limits",
            "passwords",
            "revocation",
            "secret",
            "telemetry",
            "tokens",
            "users",
        ],
    ),
    // On top.
    (
        "admin",
        &[
            "clock",
            "database",
            "ids",
            "keystore",
            "passwords",
            "revocation",
            "sessions",
            "telemetry",
            "tokens",
            "users",
            "vault",
        ],
    ),
    ("status", &["clock", "ids", "revocation", "sessions", "telemetry"]),
    (
        "http",
        &[
            "admin",
            "clock",
            "config::Accept",
            "cookies",
            "csrf",
            "ids",
            "limits",
            "passwords",
            "revocation",
            "secret",
            "sessions",
            "status",
            "telemetry",
            "tokens",
            "users",
        ],
    ),
    ("app", &["*"]),
    ("cli", &["*"]),
    ("lib", &["*"]),
    ("main", &["*"]),
];

/// Where each crate that shapes a layer may be named: a file's path below `src/` begins with one of these.
const CRATES: [(&str, &[&str]); 13] = [
    ("axum", &["http", "app.rs"]),
    ("axum_server", &["app.rs", "http/listener", "http/scheme.rs", "http/tls.rs"]),
    ("rustls", &["http/tls.rs"]),
    ("x509_cert", &["http/tls.rs"]),
    ("psl", &["config"]),
    ("tower", &["http", "app.rs"]),
    ("tower_http", &["http", "app.rs"]),
    // Metrics label methods and statuses by the crate's plain types.
    ("http", &["http", "app.rs", "app/listening.rs", "telemetry/metrics.rs"]),
    ("hyper_util", &["app.rs"]),
    // The others say statements in the words of `database`.
    ("sqlx", &["database"]),
    ("clap", &["cli", "main.rs"]),
    ("deadpool_redis", &["revocation/blocklist"]),
    ("redis", &["revocation/blocklist"]),
];

/// A file's path below `src/`, and its text.
type Source = (PathBuf, String);

/// Everything in these sources that breaks a rule.
fn violations(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(|(path, text)| violations_in(path, &code(text))).collect()
}

fn violations_in(path: &Path, code: &str) -> Vec<String> {
    let shown = path.display();
    let module = module(path);
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{shown}: no rule says what the module {module} may use")];
    };
    let may = |used: &str| {
        let begins = |rule: &&str| used == *rule || used.strip_prefix(*rule).is_some_and(|rest| rest.starts_with("::"));
        allowed.contains(&"*")
            || used == module
            || used.starts_with(&format!("{module}::"))
            || allowed.iter().any(begins)
    };
    let uses = paths_after(code, &["crate", "kickout"]);
    let own = uses.iter().filter(|used| !may(used)).map(|used| format!("{shown}: {module} uses {used}"));
    let foreign = CRATES.iter().filter(|(name, homes)| {
        let path = path.to_string_lossy();
        let is_home = homes.iter().any(|home| path.starts_with(home));
        // `http` is a module of ours too; the crate is what stands at the start of a path.
        !is_home && !paths_after(code, &[name]).is_empty()
    });
    own.chain(foreign.map(|(name, _)| format!("{shown}: {name} has no place here"))).collect()
}

/// The top-level module that a file belongs to.
fn module(path: &Path) -> String {
    let first = path.iter().next().unwrap_or_default().to_string_lossy();
    first.strip_suffix(".rs").unwrap_or(&first).to_owned()
}

/// The code of a file: no comments, no text of literals, no unit tests.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut chars = text.chars().peekable();
    let mut last = ' ';
    while let Some(char) = chars.next() {
        match char {
            '/' if chars.peek() == Some(&'/') => {
                chars.by_ref().find(|char| *char == '\n');
                code.push('\n');
            }
            '"' => {
                code.push_str("\"\"");
                let is_raw = last == 'r' || last == '#';
                while let Some(char) = chars.next() {
                    match char {
                        '\\' if !is_raw => drop(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            // A character, and not a lifetime.
            '\'' if chars.clone().nth(1) == Some('\'') => {
                chars.nth(1);
            }
            '\'' if chars.peek() == Some(&'\\') => {
                chars.nth(1);
                chars.find(|char| *char == '\'');
            }
            char => code.push(char),
        }
        last = char;
    }
    match code.find("#[cfg(test)]\nmod tests {") {
        Some(tests) => code[..tests].to_owned(),
        None => code,
    }
}

/// The paths that begin with one of these roots, each as far as it names something: `crate::{a::b, c}` gives `a::b`
/// and `c`.
fn paths_after(code: &str, roots: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in roots {
        let start = format!("{root}::");
        for (at, _) in code.match_indices(&start) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || before == '_' || code[..at].ends_with("::") && !code[..at].ends_with(" ::") {
                continue;
            }
            tree(&code[at + start.len()..], "", &mut found);
        }
    }
    found
}

/// Reads one path or one `{…}` of paths. Returns how much of the text it was.
fn tree(text: &str, prefix: &str, found: &mut BTreeSet<String>) -> usize {
    let mut read = text.len() - text.trim_start().len();
    if !text[read..].starts_with('{') {
        let name: String = text[read..].chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect();
        read += name.len();
        let path = if prefix.is_empty() { name } else { format!("{prefix}::{name}") };
        if let Some(rest) = text[read..].strip_prefix("::") {
            return read + 2 + tree(rest, &path, found);
        }
        found.insert(path);
        return read;
    }
    read += 1;
    loop {
        read += text[read..].len()
            - text[read..].trim_start_matches(|char: char| char.is_whitespace() || char == ',').len();
        if text[read..].is_empty() || text[read..].starts_with('}') {
            return (read + 1).min(text.len());
        }
        let length = tree(&text[read..], prefix, found);
        // `as other` and whatever else stands before the next comma.
        let rest = &text[read + length..];
        read += length + rest.find([',', '}']).unwrap_or(rest.len());
        if length == 0 && text[read..].is_empty() {
            return read;
        }
    }
}

fn read_sources(folder: &Path, below: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_sources(&path, below, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(below).expect("below src/").to_owned();
            // Files of unit tests alone.
            if relative.iter().any(|part| part == "tests" || part == "tests.rs") {
                continue;
            }
            sources.push((relative, fs::read_to_string(&path).expect("a source")));
        }
    }
}

#[test]
fn dependencies_point_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    read_sources(&root, &root, &mut sources);
    let modules: BTreeSet<String> = sources.iter().map(|(path, _)| module(path)).collect();
    for name in ["http", "sessions", "revocation", "tokens", "users", "app"] {
        assert!(modules.contains(name), "the sources are read: {modules:?}");
    }
    let found = violations(&sources);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_rules_have_no_circle() {
    let rules: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    for name in rules.keys().filter(|name| !rules[*name].contains(&"*")) {
        let mut reached: Vec<&str> = rules[name].to_vec();
        let mut seen = BTreeSet::new();
        while let Some(next) = reached.pop() {
            let module = next.split("::").next().unwrap_or_default();
            if seen.insert(module) {
                assert_ne!(&module, name, "{name} would depend on itself");
                reached.extend(rules.get(module).unwrap_or_else(|| panic!("{module} has rules")).iter());
            }
        }
    }
}

#[test]
fn a_use_that_breaks_the_rule_is_found() {
    let check = |path: &str, text: &str| violations(&[(path.into(), text.to_owned())]);
    for (path, text) in [
        ("ids.rs", "use crate::clock::Clock;"),
        ("tokens.rs", "use crate::users::User;"),
        ("tokens/keys.rs", "use crate::{\n    clock::Timestamp,\n    sessions::{self, Sessions},\n};"),
        ("tokens/keys.rs", "fn f() { let x = crate::http::Limits::default(); }"),
        ("revocation/sync.rs", "use crate::{ids::Seq, passwords as p};"),
        ("users.rs", "use crate::revocation::ledger::Ledger;"),
        ("users.rs", "use crate::{clock::Timestamp, revocation::{ledger::{Act}}};"),
        ("config/rules.rs", "use crate::clock::{Clock, MAX_LEEWAY};"),
        ("app.rs", "use sqlx::Row;"),
        ("app.rs", "use deadpool_redis::Pool;"),
        ("revocation/checker.rs", "use redis::Value;"),
        ("revocation/ledger.rs", "use sqlx::Row;"),
        ("http/state.rs", "use crate::config::Config;"),
        ("config/load.rs", "use crate::{secret, telemetry};"),
        ("sessions.rs", "use axum::Json;"),
        ("sessions.rs", "fn f() -> ::http::StatusCode { todo!() }"),
        ("sessions.rs", "fn f() -> http::StatusCode { todo!() }"),
        ("status.rs", "use sqlx::Row;"),
        ("revocation/sync.rs", "async fn f() { sqlx::query(\"\"); }"),
        ("sessions/refresh.rs", "use sqlx::Row as _;"),
        ("unheard_of.rs", ""),
        ("secret.rs", "/* not a comment to us */ use crate::ids::Seq;"),
        ("secret.rs", "const A: char = '\"'; use crate::ids::Seq;"),
        ("secret.rs", "const A: &str = \"\\\"\"; use crate::ids::Seq;"),
    ] {
        assert!(!check(path, text).is_empty(), "{path}: {text}");
    }
    for (path, text) in [
        ("ids.rs", "//! See [`crate::http`].\nuse crate::secret;"),
        ("ids.rs", "const A: &str = \"use crate::http;\";"),
        ("ids.rs", "/// [`crate::sessions::Sessions`]\nfn f() {}"),
        ("ids.rs", "#[cfg(test)]\nmod tests {\n    use crate::clock::Clock;\n}"),
        ("config/rules.rs", "use crate::clock::MAX_LEEWAY;"),
        ("http/state.rs", "use crate::{config::Accept, sessions::Sessions};\nuse axum::Json;\nuse http::Method;"),
        ("app.rs", "use crate::http::{self, Limits};"),
        ("sessions.rs", "use std::{fmt, sync::Arc};\nuse self::devices::Devices;\nuse crate::sessions::devices;"),
        ("database/sqlite.rs", "use sqlx::{Row as _, sqlite::SqliteRow};"),
        ("revocation/blocklist/listener.rs", "use deadpool_redis::redis::{Client, cmd};"),
        ("config.rs", "fn f(config: &Config) { config.http; }"),
    ] {
        assert_eq!(check(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
