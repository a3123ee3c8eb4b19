//! `tests/checklist.md` maps each line of the security checklist to the tests that would fail without it. Those tests
//! exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The rows of all tables: what is to be shown, and by what.
fn rows(text: &str) -> Vec<(String, String)> {
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let rows = cells.filter(|(line, _)| !line.starts_with("line") && !line.starts_with("---"));
    rows.map(|(line, shown)| (line.to_owned(), shown.to_owned())).collect()
}

/// The names in backticks that are paths of tests.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).filter(|name| name.contains("::")).collect()
}

/// The files in which a test of this path can be: an integration test, or a unit test in a module or beside it.
pub(crate) fn places(modules: &[&str]) -> Vec<PathBuf> {
    let file =
        |folder: &str, modules: &[&str]| Path::new(ROOT).join(folder).join(modules.join("/")).with_extension("rs");
    let mut places = vec![file("tests/it", modules), file("src", modules)];
    if let [module @ .., "tests"] = modules {
        places.push(file("src", module));
    }
    places
}

/// Whether a source has a test of this name: marked as one, or run for both databases by a macro.
pub(crate) fn is_tested(source: &str, test: &str) -> bool {
    let Some(at) = source.find(&format!("fn {test}(")) else { return false };
    let before = &source[..at];
    // What stands between the item before and this one.
    let marks = &before[before.rfind("}\n").unwrap_or(0)..];
    let is_marked = marks.contains("#[test]") || marks.contains("#[tokio::test");
    is_marked || (source.contains("on_both!(") && source.contains(&format!("\n    {test},\n")))
}

#[test]
fn each_line_of_the_checklist_names_tests_that_exist() {
    let checklist = fs::read_to_string(Path::new(ROOT).join("tests/checklist.md")).unwrap();
    let rows = rows(&checklist);
    assert!(rows.len() > 40, "{} lines", rows.len());
    let mut missing = Vec::new();
    for (line, shown) in &rows {
        let names = names(shown);
        if names.is_empty() {
            assert!(shown.starts_with("not built"), "{line}: neither a test nor a reason: {shown}");
        }
        for name in names {
            let modules: Vec<&str> = name.split("::").collect();
            let (test, modules) = modules.split_last().unwrap();
            let exists = places(modules)
                .iter()
                .any(|place| fs::read_to_string(place).is_ok_and(|source| is_tested(&source, test)));
            if !exists {
                missing.push(name.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
