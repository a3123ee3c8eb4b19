//! The report: Markdown and one HTML file, of nothing but the results.

use std::{fs, path::Path};

use serde_json::Value;

use super::{
    super::command::read,
    advice,
    document::{Block, heading, markdown, text},
    facts_table, html, losses, old,
    plots::plots,
    results::{Results, SCHEMA},
    table,
};
use crate::Failure;

pub(crate) use super::check::{readable, self_check};

/// The title of both.
const TITLE: &str = "Strategies to take a credential back, compared";

/// The results in a file.
pub(crate) fn load(file: &Path) -> Result<Results, Failure> {
    read(file).and_then(formed).map_err(|error| format!("{}: {error}", file.display()).into())
}

/// The results in a text.
pub(crate) fn parse(json: &str) -> Result<Results, Failure> {
    formed(serde_json::from_str(json)?)
}

/// Those of another form are refused before anything is read out of them.
fn formed(results: Value) -> Result<Results, Failure> {
    match results.get("schema").and_then(Value::as_u64) {
        Some(form) if form == u64::from(SCHEMA) => Ok(serde_json::from_value(results)?),
        Some(form) => Err(format!("these results are of form {form}, and this version reads form {SCHEMA}").into()),
        None => Err("these are no results of strategies: they name no form".into()),
    }
}

/// Writes `strategies.md` and `strategies.html` into a folder; what to print.
pub(crate) fn write(results: &Results, to: &Path) -> Result<String, Failure> {
    let (words, page) = (as_markdown(results), as_html(results)?);
    fs::create_dir_all(to)?;
    let (words_in, page_in) = (to.join("strategies.md"), to.join("strategies.html"));
    fs::write(&words_in, words)?;
    fs::write(&page_in, page)?;
    Ok(format!("{}\nThe whole report: {}, {}", old::short_table(results), words_in.display(), page_in.display()))
}

/// The report as Markdown.
pub(crate) fn as_markdown(results: &Results) -> String {
    markdown(&blocks(results))
}

/// The report as one page.
pub(crate) fn as_html(results: &Results) -> Result<String, Failure> {
    html::page(TITLE, &blocks(results))
}

fn blocks(results: &Results) -> Vec<Block> {
    let mut all = vec![Block::Heading(1, TITLE.to_owned())];
    all.extend(table::head(results));
    all.extend(old::table(results));
    all.extend(advice::section(results));
    all.extend(losses::sections(results));
    let plots = plots(results);
    all.push(heading("Plots"));
    if plots.is_empty() {
        all.push(text("Nothing of this run can be plotted."));
    }
    all.extend(plots.into_iter().map(Block::Plot));
    all.extend(table::base_tables(results));
    all.extend(table::axis_tables(results));
    all.extend(facts_table::tables(results));
    all.extend(table::sweep_table(results));
    all.extend(table::configurations(results));
    all
}
