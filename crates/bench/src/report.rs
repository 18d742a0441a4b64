//! What was found, for people and for programs.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;

/// Between these two lines of a document the tables stand.
const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// What one benchmark found.
pub struct Outcome {
    /// To be read.
    pub tables: Vec<Table>,
    /// What was aimed at.
    pub goals: Vec<Goal>,
    /// Every figure.
    pub raw: serde_json::Value,
}

/// A table, which reads the same on a terminal and in a document.
pub struct Table {
    title: String,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Table {
    /// Without rows.
    pub fn new(title: &str, header: impl IntoIterator<Item = String>) -> Self {
        Self {
            title: title.to_owned(),
            header: header.into_iter().collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// A sentence below it.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// As Markdown, with its columns in line.
    pub fn markdown(&self) -> String {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = self.rows.iter().chain([&self.header]).filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
            })
            .collect();
        let line = |cells: &[String]| {
            let mut line = String::from("|");
            for (n, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
                // Writing to a string cannot fail.
                let _ = if n == 0 { write!(line, " {cell}{pad} |") } else { write!(line, " {pad}{cell} |") };
            }
            line
        };
        let rule: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(n, width)| if n == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width - 1)) })
            .collect();
        let mut lines = vec![format!("### {}", self.title), String::new(), line(&self.header), line(&rule)];
        lines.extend(self.rows.iter().map(|row| line(row)));
        for note in &self.notes {
            lines.extend([String::new(), note.clone()]);
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// A figure that was aimed at.
pub struct Goal {
    what: String,
    aim: String,
    measured: String,
    met: bool,
    /// The lowest and the highest of the rounds, where it is made of rounds.
    rounds: String,
    decimals: usize,
}

impl Goal {
    /// Met when it is not below.
    pub fn at_least(what: &str, measured: f64, aim: f64, decimals: usize, unit: &str) -> Self {
        Self::new(what, "at least", measured, aim, decimals, unit, measured >= aim)
    }

    /// Met when it is below.
    pub fn below(what: &str, measured: f64, aim: f64, decimals: usize, unit: &str) -> Self {
        Self::new(what, "below", measured, aim, decimals, unit, measured < aim)
    }

    /// Met when nothing was counted.
    pub fn none(what: &str, measured: u64) -> Self {
        let (aim, measured, met) = ("none".to_owned(), measured.to_string(), measured == 0);
        Self { what: what.to_owned(), aim, measured, met, rounds: String::new(), decimals: 0 }
    }

    fn new(what: &str, how: &str, measured: f64, aim: f64, decimals: usize, unit: &str, met: bool) -> Self {
        Self {
            what: what.to_owned(),
            aim: format!("{how} {}{unit}", fixed(aim, decimals)),
            measured: format!("{}{unit}", fixed(measured, decimals)),
            met,
            rounds: String::new(),
            decimals,
        }
    }

    /// Shows how far apart the rounds are.
    pub fn over(mut self, rounds: &[f64]) -> Self {
        let figures = || rounds.iter().copied().filter(|figure| figure.is_finite());
        let (low, high) =
            (figures().fold(f64::INFINITY, f64::min), figures().fold(f64::NEG_INFINITY, f64::max));
        self.rounds = format!("{} to {}", fixed(low, self.decimals), fixed(high, self.decimals));
        self
    }
}

/// The goals as a table.
pub fn goals(goals: &[&Goal]) -> Table {
    let mut table = Table::new("Goals", ["goal", "aim", "measured", "rounds", ""].map(str::to_owned));
    for goal in goals {
        let verdict = if goal.met { "met" } else { "**falls short**" };
        table.row(vec![
            goal.what.clone(),
            goal.aim.clone(),
            goal.measured.clone(),
            goal.rounds.clone(),
            verdict.to_owned(),
        ]);
    }
    table
}

/// A number with so many decimals, in groups of three digits.
pub fn fixed(figure: f64, decimals: usize) -> String {
    if !figure.is_finite() {
        return "–".to_owned();
    }
    let text = format!("{figure:.decimals$}");
    let (whole, rest) = match text.split_once('.') {
        Some((whole, rest)) => (whole, format!(".{rest}")),
        None => (text.as_str(), String::new()),
    };
    let digits = whole.len();
    let grouped: String = whole
        .char_indices()
        .flat_map(|(n, digit)| {
            let comma = (n > 0 && (digits - n).is_multiple_of(3) && digits > 4).then_some(',');
            comma.into_iter().chain([digit])
        })
        .collect();
    format!("{grouped}{rest}")
}

/// Puts the text between the marks of a document.
pub fn put_into(document: &Path, text: &str) -> anyhow::Result<()> {
    let before =
        std::fs::read_to_string(document).with_context(|| format!("cannot read `{}`", document.display()))?;
    let parts = before.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    let (head, tail) =
        parts.with_context(|| format!("`{}` has no `{BEGIN}` and `{END}`", document.display()))?;
    let after = format!("{head}{BEGIN}\n\n{}\n\n{END}{tail}", text.trim());
    std::fs::write(document, after).with_context(|| format!("cannot write `{}`", document.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let cases = [(0.5, 2, "0.50"), (1234.0, 0, "1234"), (12345.6, 1, "12,345.6"), (1e6, 0, "1,000,000")];
        for (figure, decimals, text) in cases {
            assert_eq!(fixed(figure, decimals), text);
        }
        assert_eq!(fixed(f64::NAN, 1), "–");
    }

    #[test]
    fn a_table_is_in_line() {
        let mut table = Table::new("T", ["path", "µs"].map(str::to_owned));
        table.row(vec!["a".to_owned(), "12345".to_owned()]);
        assert_eq!(table.markdown(), "### T\n\n| path |    µs |\n| ---- | ----: |\n| a    | 12345 |\n");
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("doc.md");
        std::fs::write(&file, format!("head\n{BEGIN}\nold\n{END}\ntail\n")).unwrap();
        put_into(&file, "new\n").unwrap();
        let after = std::fs::read_to_string(&file).unwrap();
        assert_eq!(after, format!("head\n{BEGIN}\n\nnew\n\n{END}\ntail\n"));
        std::fs::write(&file, "no marks").unwrap();
        assert!(put_into(&file, "new").is_err());
    }
}
