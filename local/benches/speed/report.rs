//! What was measured: one table, and the same as JSON.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::Failure;

/// Which figures to measure: all, or those whose names hold one of these texts.
pub(crate) struct Choice(Vec<String>);

/// One number and what it is held against, measured in the same run.
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    reference: Option<(String, f64)>,
    target: Option<Target>,
}

/// What the ratio of a figure to its reference should be or, where it has none, the figure itself.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// The figures so far, and what stood in the way of others.
pub(crate) struct Report {
    pub(crate) machine: Vec<(&'static str, String)>,
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Choice {
    pub(crate) fn new(texts: Vec<String>) -> Self {
        Self(texts)
    }

    pub(crate) fn takes(&self, figure: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|text| figure.contains(text.as_str()))
    }
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            reference: None,
            target: None,
        }
    }

    /// A time, in milliseconds.
    pub(crate) fn time(name: impl Into<String>, time: Duration) -> Self {
        Self::new(name, milliseconds(time), "ms")
    }

    pub(crate) fn against(mut self, what: impl Into<String>, value: f64) -> Self {
        self.reference = Some((what.into(), value));
        self
    }

    pub(crate) fn aims(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.reference.as_ref().map(|(_, value)| self.value / value)
    }

    fn is_met(&self) -> Option<bool> {
        let judged = self.ratio().unwrap_or(self.value);
        self.target.map(|target| match target {
            Target::AtMost(most) => judged <= most,
            Target::AtLeast(least) => judged >= least,
        })
    }

    fn row(&self) -> [String; 6] {
        let shown = |value: f64| match value {
            value if value >= 1000.0 => format!("{value:.0}"),
            value if value >= 10.0 => format!("{value:.1}"),
            value => format!("{value:.3}"),
        };
        let reference = self.reference.as_ref();
        [
            self.name.clone(),
            format!("{} {}", shown(self.value), self.unit),
            reference.map_or_else(String::new, |(what, value)| {
                format!("{what}: {}", shown(*value))
            }),
            self.ratio()
                .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            self.target.map_or_else(String::new, |target| match target {
                Target::AtMost(most) => format!("≤ {most}"),
                Target::AtLeast(least) => format!("≥ {least}"),
            }),
            self.is_met().map_or_else(String::new, |is_met| {
                if is_met { "yes" } else { "NO" }.to_owned()
            }),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "figure": self.name,
            "value": self.value,
            "unit": self.unit,
            "compared_with": self.reference.as_ref().map(|(what, _)| what),
            "reference": self.reference.as_ref().map(|(_, value)| value),
            "ratio": self.ratio(),
            "target": self.target.map(|target| match target {
                Target::AtMost(most) => json!({ "at_most": most }),
                Target::AtLeast(least) => json!({ "at_least": least }),
            }),
            "is_met": self.is_met(),
        })
    }
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            machine: vec![("processor", processor()), ("cores", cores())],
            figures: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a figure, and says so: the whole takes minutes.
    pub(crate) fn add(&mut self, figure: Figure) {
        let row = figure.row();
        eprintln!("{}", row.join("  "));
        self.figures.push(figure);
    }

    /// Says what could not be measured, or what else must be known of the figures.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        eprintln!("{note}");
        self.notes.push(note);
    }

    /// A table in Markdown, its columns aligned.
    pub(crate) fn table(&self) -> String {
        let mut rows =
            vec![["figure", "value", "compared with", "ratio", "target", "met"].map(str::to_owned)];
        rows.extend(self.figures.iter().map(Figure::row));
        let mut widths = [0; 6];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut table = String::new();
        for (name, value) in &self.machine {
            let _ = writeln!(table, "{name}: {value}");
        }
        let _ = writeln!(table);
        for (number, row) in rows.iter().enumerate() {
            for (width, cell) in widths.iter().zip(row) {
                let _ = write!(table, "| {cell:<width$} ");
            }
            let _ = writeln!(table, "|");
            if number == 0 {
                for width in widths {
                    let _ = write!(table, "| {} ", "-".repeat(width));
                }
                let _ = writeln!(table, "|");
            }
        }
        for note in &self.notes {
            let _ = writeln!(table, "\n{note}");
        }
        table
    }

    /// Writes the figures into a file of the target folder, and says which.
    pub(crate) fn write(&self, target: &Path) -> Result<PathBuf, Failure> {
        let machine: serde_json::Map<_, _> = self
            .machine
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let figures: Vec<_> = self.figures.iter().map(Figure::json).collect();
        let all = json!({ "machine": machine, "figures": figures, "notes": self.notes });
        let path = target.join("speed.json");
        fs::write(&path, format!("{all:#}\n"))?;
        Ok(path)
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The median of times, which are some.
pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn processor() -> String {
    let described = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    described
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(
            || std::env::consts::ARCH.to_owned(),
            |(_, name)| name.to_owned(),
        )
}

fn cores() -> String {
    std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string())
}
