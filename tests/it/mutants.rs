//! `tests/mutants/` holds rules broken on purpose, as patches; `cargo bench --bench proof -- mutants` builds each and runs
//! what must notice. That takes long. Here: each still applies, to code that ships, and names tests that exist.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use super::{
    checklist::{ROOT, is_tested, places},
    support::mutants::{Catcher, Patch, Suite, patches},
};

/// What must be among them: every reading that the protocol warns of, and what else one could get wrong.
const REQUIRED: [&str; 33] = [
    // The readings of the rules that break the promise of a receipt.
    "number-before-lock",
    "c-before-commit",
    "nodes-before-commit",
    "already-without-wait",
    "publish-below-head",
    "first-lease-from-load",
    "coarse-clock",
    "filter-before-lease",
    "expel-without-beat",
    "expel-too-soon",
    // Each other part of the rules, given up.
    "acknowledge-before-apply",
    "no-self-fencing",
    "valid-until-from-reply",
    "push-only-feed",
    "clock-stops-in-suspend",
    "unequal-holds",
    "applied-jumps-a-hole",
    "node-id-reused",
    "unknown-kind-skipped",
    "backwards-history",
    "renewal-shortens-the-lease",
    "stop-leaves-the-lease",
    "settled-not-asked",
    "settles-too-early",
    "rebuild-does-not-catch-up",
    "leaves-before-the-last-check",
    // The writer, sessions and looks.
    "check-jti-only",
    "entry-life-is-exp",
    "entry-life-from-lowered-access-ttl",
    "redis-miss-trusted",
    "false-positive-without-touched",
    "refresh-not-conditional",
    "generation-reread-at-refresh",
];

fn all() -> Vec<Patch> {
    patches(&Path::new(ROOT).join("tests/mutants")).unwrap()
}

#[test]
fn each_mutant_still_applies_and_changes_code_that_ships() {
    let mut stale = Vec::new();
    for patch in all() {
        assert!(!patch.files.is_empty(), "{}: it changes nothing", patch.name);
        for file in &patch.files {
            assert!(
                file.starts_with("src/") || file.starts_with("migrations/"),
                "{}: {file} does not ship",
                patch.name
            );
        }
        let applies = Command::new("git").current_dir(ROOT).args(["apply", "--check"]).arg(&patch.file).output();
        let applies = applies.expect("git(1)");
        if !applies.status.success() {
            stale.push(format!("{}: {}", patch.name, String::from_utf8_lossy(&applies.stderr)));
        }
    }
    assert!(stale.is_empty(), "the code has moved on; make these again: {stale:#?}");
}

#[test]
fn each_mutant_says_what_it_breaks_and_names_tests_that_exist() {
    for patch in all() {
        let name = &patch.name;
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        let rule = patch.rule.trim_end_matches(" †");
        let numbered = |kind: char, most: u32| {
            rule.strip_prefix(kind).and_then(|n| n.parse().ok()).is_some_and(|n: u32| (1..=most).contains(&n))
        };
        assert!(numbered('R', 12) || numbered('P', 6) || rule.starts_with("design §"), "{name}: no rule: {rule}");
        assert!(patch.breaks.ends_with('.') && !patch.breaks.contains('|'), "{name}: {}", patch.breaks);
        assert!(!patch.catchers.is_empty(), "{name}: nothing catches it");
        for catcher in &patch.catchers {
            assert!(exists(catcher), "{name}: there is no {catcher}");
        }
        assert!(!patch.may_hang || patch.catchers.len() == 1, "{name}: which of them hangs?");
        if let Some(model) = &patch.model {
            assert!(is_modelled(model), "{name}: the model has no {model}");
        }
    }
}

#[test]
fn every_reading_that_the_protocol_warns_of_is_among_them() {
    let names: BTreeSet<String> = all().into_iter().map(|patch| patch.name).collect();
    let missing: Vec<&str> = REQUIRED.into_iter().filter(|name| !names.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Whether the sources have what is to catch a mutant.
fn exists(catcher: &Catcher) -> bool {
    let modules: Vec<&str> = catcher.words.split("::").collect();
    let (&test, modules) = modules.split_last().unwrap();
    let places = match catcher.suite {
        Suite::Proof => return true,
        Suite::It | Suite::Lib => {
            places(modules.strip_suffix(&["postgres"]).or(modules.strip_suffix(&["sqlite"])).unwrap_or(modules))
        }
        Suite::Loom => vec![Path::new(ROOT).join("tests/loom").join(modules.join("/")).with_extension("rs")],
        Suite::Model => return is_modelled(&catcher.words),
    };
    places.iter().any(|place| fs::read_to_string(place).is_ok_and(|source| is_tested(&source, test)))
}

/// Whether the model has a test of this path. Those of misreadings are made by a macro. Of a tree without the model
/// nothing is asked.
fn is_modelled(test: &str) -> bool {
    let folder = Path::new(ROOT).join("tests/model");
    if !folder.is_dir() {
        return true;
    }
    let (module, name) = test.rsplit_once("::").unwrap_or(("main", test));
    let file = folder.join(module).with_extension("rs");
    fs::read_to_string(file).is_ok_and(|source| is_tested(&source, name) || source.contains(&format!("\n    {name}: ")))
}
