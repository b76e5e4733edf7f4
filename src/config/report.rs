//! What is wrong with a configuration: where, what, and what to do.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::decode::Fault;
use super::tree::Place;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
    /// What to do, where that is not plain from the message.
    pub advice: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: &Place, message: impl Into<String>) -> Self {
        Self { place: place.clone(), message: message.into(), advice: None }
    }

    /// The same with what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let advice = nearest(&fault.message).map(|name| format!("did you mean `{name}`?"));
        Self { place: fault.place.unwrap_or_default(), message: fault.message, advice }
    }
}

/// The known name that an unknown one was probably meant to be, read from a
/// message of the form "unknown … `name`, expected … `known` …".
fn nearest(message: &str) -> Option<&str> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let name = quoted.next()?.to_lowercase();
    let (distance, known) = quoted
        .map(|known| (distance(&name, &known.to_lowercase()), known))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= 2).then_some(known)
}

/// How many letters have to be inserted, removed or replaced.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

/// A file as it was read, for pointing into it.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// Its path, if it has one.
    pub path: Option<PathBuf>,
    /// Its text.
    pub text: Arc<str>,
}

/// A configuration that cannot be used: every problem found, in order of place.
#[derive(Clone, Debug)]
pub struct ConfigError {
    documents: Vec<Document>,
    problems: Vec<Problem>,
}

impl ConfigError {
    /// An error of these problems, which must not be none, in these documents.
    pub fn new(documents: Vec<Document>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| match problem.place {
            Place::File { document, line, column } => (document, line, column),
            Place::Environment(_) => (usize::MAX - 1, 0, 0),
            Place::Unknown => (usize::MAX, 0, 0),
        });
        Self { documents, problems }
    }

    /// All that is wrong.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn write(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &problem.place {
            Place::File { document, line, column } => {
                let name = self.name(*document);
                write!(f, "{name}:{line}:{column}: {}", problem.message)?;
                self.write_snippet(*document, *line, *column, f)?;
            }
            Place::Environment(name) => {
                write!(f, "environment variable {name}: {}", problem.message)?;
            }
            Place::Unknown => write!(f, "{}: {}", self.name(0), problem.message)?,
        }
        match &problem.advice {
            Some(advice) => write!(f, "\n  help: {advice}"),
            None => Ok(()),
        }
    }

    fn name(&self, document: usize) -> String {
        let path = self.documents.get(document).and_then(|document| document.path.as_ref());
        path.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string())
    }

    fn write_snippet(
        &self,
        document: usize,
        line: u64,
        column: u64,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let Some(document) = self.documents.get(document) else { return Ok(()) };
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(text) = document.text.lines().nth(index) else { return Ok(()) };
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let before = usize::try_from(column.saturating_sub(1)).unwrap_or(0);
        // Tabs stay tabs, so that the mark stands below what it means.
        let indent: String =
            text.chars().take(before).map(|c| if c == '\t' { c } else { ' ' }).collect();
        write!(f, "\n {margin} |\n {number} | {text}\n {margin} | {indent}^")
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            self.write(problem, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_line_and_what_to_do() {
        let document =
            Document { path: Some("m.yaml".into()), text: "a: 1\nxds: { adress: x }\n".into() };
        let at = Place::File { document: 0, line: 2, column: 8 };
        let problems = vec![
            Problem::new(&Place::Environment("MAINSTEM_X".into()), "not a number"),
            Problem::new(&at, "unknown field `adress`").advise("write `address`"),
        ];
        assert_eq!(
            ConfigError::new(vec![document], problems).to_string(),
            "m.yaml:2:8: unknown field `adress`
   |
 2 | xds: { adress: x }
   |        ^
  help: write `address`
environment variable MAINSTEM_X: not a number"
        );
    }
}
