//! Numbers by name: one per round, or many of one round boiled down.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One number per round and name, and what has to be known beside them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Series {
    figures: BTreeMap<String, Vec<f64>>,
    #[serde(default)]
    notes: BTreeMap<String, String>,
}

impl Series {
    /// A figure that could not be measured is left out.
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        if value.is_finite() {
            self.figures.entry(name.into()).or_default().push(value);
        }
    }

    /// What a reader has to know about the figures, such as a server's version.
    pub fn note(&mut self, what: &str, note: String) {
        self.notes.insert(what.to_owned(), note);
    }

    pub fn values(&self, name: &str) -> &[f64] {
        self.figures.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The median over rounds; `None` when it was not measured.
    pub fn median(&self, name: &str) -> Option<f64> {
        quantile(self.values(name), 0.5)
    }

    pub fn notes(&self) -> &BTreeMap<String, String> {
        &self.notes
    }
}

/// Of unsorted values; `q` from 0 to 1.
pub fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * q).round() as usize).copied()
}

pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
