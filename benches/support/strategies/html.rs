//! A report as one page that needs nothing else: no script, no font, no file, no network.

use std::fmt::Write as _;

use super::{
    chart::{COLOURS, Chart, GRID, INK, Series, corners, hex},
    document::{Block, Table},
};
use crate::Failure;

const STYLE: &str = "
:root { color-scheme: light dark; --page: #fcfcfa; --ink: #1d1d1b; --soft: #5c5c57; --line: #d9d9d3; --head: #f1f1ec; }
@media (prefers-color-scheme: dark) {
  :root { --page: #191918; --ink: #ececE6; --soft: #a9a9a2; --line: #3b3b38; --head: #242422; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); } h3 { margin-bottom: .3rem; }
p, ul { max-width: 46rem; }
code { font-size: .92em; } td code { white-space: nowrap; }
.scroll { overflow-x: auto; margin: .8rem 0 1.2rem; overflow-wrap: normal; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { background: var(--head); vertical-align: bottom; }
.figure { text-align: right; white-space: nowrap; }
th.figure { white-space: normal; }
figure { margin: 1.5rem 0 2.5rem; } figcaption h3 { margin: 0; } figcaption p { margin: .2rem 0; color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .4rem 0; padding: 0; list-style: none; font-size: .9rem; }
.legend svg { width: 1.1rem; height: 1.1rem; vertical-align: -.2rem; margin-right: .3rem; }
.plot svg { display: block; width: 100%; min-width: 34rem; max-width: 45rem; height: auto; }
";

/// The page.
pub(crate) fn page(title: &str, blocks: &[Block]) -> Result<String, Failure> {
    let mut body = String::new();
    for block in blocks {
        piece(&mut body, block)?;
    }
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>{STYLE}{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escaped(title),
        dark()
    ))
}

/// The drawings have the colours of the light theme in them.
fn dark() -> String {
    let mut rules = String::from("@media (prefers-color-scheme: dark) {\n");
    for (light, dark) in COLOURS.into_iter().chain([INK, GRID]) {
        let light = hex(light);
        // Writing into a string does not fail.
        let _ = writeln!(
            rules,
            "  svg [fill=\"{light}\"] {{ fill: {dark}; }} svg [stroke=\"{light}\"] {{ stroke: {dark}; }}"
        );
    }
    rules + "}\n"
}

fn piece(html: &mut String, block: &Block) -> Result<(), Failure> {
    match block {
        Block::Heading(level, title) => writeln!(html, "<h{level}>{}</h{level}>", inline(title))?,
        Block::Text(words) => writeln!(html, "<p>{}</p>", inline(words))?,
        Block::List(items) => {
            html.push_str("<ul>\n");
            items.iter().try_for_each(|item| writeln!(html, "<li>{}</li>", inline(item)))?;
            html.push_str("</ul>\n");
        }
        Block::Table(rows) => table(html, rows)?,
        Block::Plot(chart) => plot(html, chart)?,
    }
    Ok(())
}

fn table(html: &mut String, table: &Table) -> Result<(), Failure> {
    let class = |column: usize| {
        let is_figure = table.columns.get(column).is_some_and(|column| column.is_figure);
        if is_figure { " class=\"figure\"" } else { "" }
    };
    // Wide tables scroll, also for those who have no pointer.
    write!(html, "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>")?;
    for (i, column) in table.columns.iter().enumerate() {
        write!(html, "<th scope=\"col\"{}>{}</th>", class(i), head(&column.head))?;
    }
    writeln!(html, "</tr></thead>\n<tbody>")?;
    for row in &table.rows {
        let cells = row.iter().enumerate().map(|(i, cell)| format!("<td{}>{}</td>", class(i), inline(cell)));
        writeln!(html, "<tr>{}</tr>", cells.collect::<String>())?;
    }
    Ok(writeln!(html, "</tbody>\n</table></div>")?)
}

/// A number is not broken over lines, as words are.
fn head(text: &str) -> String {
    let is_number = text.chars().all(|c| c.is_ascii_digit() || c == ' ');
    if is_number { text.replace(' ', "&nbsp;") } else { inline(text) }
}

fn plot(html: &mut String, chart: &Chart) -> Result<(), Failure> {
    let svg = chart.svg()?;
    let named = format!("<svg role=\"img\" aria-label=\"{}\" ", escaped(&chart.words()));
    let svg = svg.replacen("<svg ", &named, 1);
    let legend: String = chart.series.iter().map(key).collect();
    writeln!(
        html,
        "<figure id=\"{}\">\n<figcaption><h3>{}</h3><p>{}; {}.</p></figcaption>\n<ul class=\"legend\">{legend}</ul>\n\
         <div class=\"scroll plot\" tabindex=\"0\">{svg}</div>",
        chart.id,
        inline(&chart.title),
        inline(chart.y),
        inline(&chart.note)
    )?;
    table(html, &chart.numbers())?;
    Ok(writeln!(html, "</figure>")?)
}

/// One line of a legend.
fn key(series: &Series) -> String {
    let colour = hex(COLOURS[series.place()].0);
    let paint = if series.is_hollow {
        format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"")
    } else {
        format!("fill=\"{colour}\"")
    };
    let corners: Vec<String> = corners(series.place()).iter().map(|(x, y)| format!("{x},{y}")).collect();
    let shape = if corners.is_empty() {
        format!("<circle r=\"5\" {paint}/>")
    } else {
        format!("<polygon points=\"{}\" {paint}/>", corners.join(" "))
    };
    format!("<li><svg viewBox=\"-8 -8 16 16\" aria-hidden=\"true\">{shape}</svg>{}</li>", escaped(&series.name))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The few marks that texts may have; one that is not closed stays as it is.
fn inline(text: &str) -> String {
    let text = escaped(text);
    let part = |(i, part): (usize, &str)| match i % 2 {
        0 => marked(&marked(part, "**", "strong"), "*", "em"),
        _ => ["<code>", part, "</code>"].concat(),
    };
    text.split('`').enumerate().map(part).collect()
}

fn marked(text: &str, mark: &str, tag: &str) -> String {
    let last = text.matches(mark).count();
    let part = |(i, part): (usize, &str)| match (i % 2, i == last) {
        (0, _) => part.to_owned(),
        (_, true) => [mark, part].concat(),
        (_, false) => format!("<{tag}>{part}</{tag}>"),
    };
    text.split(mark).enumerate().map(part).collect()
}
