//! What a report is made of, before it is Markdown or HTML.

use std::fmt::Write as _;

use super::chart::Chart;

/// A piece of a report. Its texts may have `**bold**`, `*slanted*` and `` `code` ``, and nothing else of Markdown.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    /// 1 is the title.
    Heading(u8, String),
    Text(String),
    List(Vec<String>),
    Table(Table),
    /// Markdown shows the table of its numbers.
    Plot(Chart),
}

/// A table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// A column's head, and on which side its cells are.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) head: String,
    pub(crate) is_figure: bool,
}

impl Table {
    /// A table without rows; a head that begins with `#` is one of figures.
    pub(crate) fn new<S: AsRef<str>>(heads: impl IntoIterator<Item = S>) -> Self {
        let column = |head: S| {
            let figures = head.as_ref().strip_prefix('#');
            Column { head: figures.unwrap_or(head.as_ref()).to_owned(), is_figure: figures.is_some() }
        };
        Self { columns: heads.into_iter().map(column).collect(), rows: Vec::new() }
    }

    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }
}

/// A heading below the title.
pub(crate) fn heading(text: &str) -> Block {
    Block::Heading(2, text.to_owned())
}

/// A paragraph.
pub(crate) fn text(text: impl AsRef<str>) -> Block {
    Block::Text(text.as_ref().trim_end().to_owned())
}

/// A cell for what may be missing.
pub(crate) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "–".to_owned(), |text| text.to_string())
}

/// The report as Markdown.
pub(crate) fn markdown(blocks: &[Block]) -> String {
    let mut text = String::new();
    for block in blocks {
        // Writing into a string does not fail.
        let _ = piece(&mut text, block);
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn piece(text: &mut String, block: &Block) -> std::fmt::Result {
    match block {
        Block::Heading(level, title) => writeln!(text, "{} {title}\n", "#".repeat(usize::from(*level))),
        Block::Text(words) => writeln!(text, "{words}\n"),
        Block::List(items) => {
            items.iter().try_for_each(|item| writeln!(text, "- {item}"))?;
            writeln!(text)
        }
        Block::Table(rows) => table(text, rows),
        Block::Plot(chart) => {
            writeln!(text, "### {}\n\n{}; {}.\n", chart.title, chart.y, chart.note)?;
            table(text, &chart.numbers())
        }
    }
}

fn table(text: &mut String, table: &Table) -> std::fmt::Result {
    let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
    writeln!(text, "{}", line(table.columns.iter().map(|column| cell(&column.head)).collect()))?;
    let rule = table.columns.iter().map(|column| if column.is_figure { "---:|" } else { "---|" });
    writeln!(text, "|{}", rule.collect::<String>())?;
    for row in &table.rows {
        writeln!(text, "{}", line(row.iter().map(|text| cell(text)).collect()))?;
    }
    writeln!(text)
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
