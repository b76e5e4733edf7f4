//! Figures with their aims.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// Protocol, kind and number of proxies.
    pub of: String,
    pub what: &'static str,
    pub value: f64,
    pub unit: &'static str,
    /// The same of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<f64>,
    /// Against the floor, in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aim: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
}

impl Figure {
    pub fn new(of: &str, what: &'static str, value: f64, unit: &'static str) -> Figure {
        Figure {
            of: of.to_owned(),
            what,
            value,
            unit,
            floor: None,
            ratio: None,
            aim: None,
            holds: None,
        }
    }

    /// Beside the floor's.
    pub fn beside(self, floor: f64) -> Figure {
        Figure { floor: Some(floor), ratio: Some(self.value / floor), ..self }
    }

    /// At most so many times the floor's.
    pub fn within(self, times: f64) -> Figure {
        let holds = self.ratio.map(|ratio| ratio <= times);
        Figure { aim: Some(format!("≤ {times}×")), holds, ..self }
    }

    /// At most this.
    pub fn at_most(self, most: f64) -> Figure {
        let aim = format!("≤ {most} {}", self.unit);
        Figure { aim: Some(aim.trim_end().to_owned()), holds: Some(self.value <= most), ..self }
    }
}

/// Collects figures, and shows each as soon as it is known.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    pub fn add(&mut self, figure: Figure) {
        eprintln!("{}", cells(&figure).join("  "));
        self.figures.push(figure);
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.figures).unwrap()
    }

    /// A Markdown table.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(["of", "figure", "", "unit", "floor", "ratio", "aim", "holds"]);
        table.add_rows(self.figures.iter().map(cells));
        for column in [2, 4, 5] {
            table.column_mut(column).unwrap().set_cell_alignment(CellAlignment::Right);
        }
        table.to_string()
    }
}

fn cells(figure: &Figure) -> [String; 8] {
    let holds = figure.holds.map_or("", |holds| if holds { "yes" } else { "NO" });
    [
        figure.of.clone(),
        figure.what.to_owned(),
        digits(figure.value),
        figure.unit.to_owned(),
        figure.floor.map(digits).unwrap_or_default(),
        figure.ratio.map(|ratio| format!("{ratio:.2}×")).unwrap_or_default(),
        figure.aim.clone().unwrap_or_default(),
        holds.to_owned(),
    ]
}

/// Three digits that count.
fn digits(value: f64) -> String {
    let whole = value.abs().max(1e-9).log10().floor() as i32 + 1;
    format!("{value:.*}", usize::try_from(3 - whole).unwrap_or(0).min(3))
}
