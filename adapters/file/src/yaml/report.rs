//! Flaws as their author reads them: file, line, column, the line itself.

use std::fmt::Write;

use super::{Flaw, Place};

/// How much of a long line is shown.
const WIDTH: usize = 100;

/// A file's name and text, to show places in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    /// The file's name as the registry knows it.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

impl Source<'_> {
    /// `name:line:column: field: message`, and below it the line with a mark.
    pub(crate) fn show(&self, flaw: &Flaw) -> String {
        let field = flaw.field.to_string();
        let separator = if field.is_empty() { "" } else { ": " };
        let Place { line, column } = flaw.place;
        let mut shown =
            format!("{}:{line}:{column}: {field}{separator}{}", self.name, flaw.message);
        if let Some((text, mark)) = self.line(flaw.place) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            write!(shown, "\n{margin} |\n{number} | {text}\n{margin} | {mark}^")
                .expect("writing to a string");
        }
        shown
    }

    /// Several flaws, one below the other.
    pub(crate) fn show_all(&self, flaws: &[Flaw]) -> String {
        let all: Vec<String> = flaws.iter().map(|flaw| self.show(flaw)).collect();
        all.join("\n")
    }

    /// The part of the line around the column, and what stands before the mark.
    fn line(&self, place: Place) -> Option<(String, String)> {
        let index = usize::try_from(place.line).ok()?.checked_sub(1)?;
        let line = self.text.lines().nth(index)?;
        let column = usize::try_from(place.column).ok()?.saturating_sub(1);
        let begin = column.saturating_sub(WIDTH - 20);
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let text: String = line.chars().skip(begin).take(WIDTH).map(visible).collect();
        let mark = " ".repeat((column - begin).min(text.chars().count()));
        (!text.trim().is_empty()).then_some((text.trim_end().to_owned(), mark))
    }
}
