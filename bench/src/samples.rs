//! Numbers by name: one per round, or many of one round boiled down.

use std::collections::BTreeMap;
use std::time::Duration;

/// One number per round and name.
#[derive(Debug, Default)]
pub struct Series(BTreeMap<String, Vec<f64>>);

impl Series {
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    pub fn values(&self, name: &str) -> &[f64] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The median over rounds; `None` when it was not measured.
    pub fn median(&self, name: &str) -> Option<f64> {
        quantile(self.values(name), 0.5)
    }

    pub fn all(&self) -> &BTreeMap<String, Vec<f64>> {
        &self.0
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
