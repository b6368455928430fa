//! A table: what was measured, the budget, the yardstick and the ratio to it.

use crate::samples::{Series, quantile};

/// A budget: at most or at least this.
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

pub struct Row {
    title: &'static str,
    name: String,
    unit: &'static str,
    bound: Bound,
    /// What the budget was computed from.
    basis: String,
    /// The floor it is compared with.
    yardstick: Option<&'static str>,
}

pub fn at_most(
    title: &'static str,
    name: &str,
    unit: &'static str,
    bound: f64,
    basis: &str,
    yardstick: Option<&'static str>,
) -> Row {
    Row {
        title,
        name: name.to_owned(),
        unit,
        bound: Bound::AtMost(bound),
        basis: basis.to_owned(),
        yardstick,
    }
}

pub fn at_least(
    title: &'static str,
    name: &str,
    unit: &'static str,
    bound: f64,
    basis: &str,
    yardstick: Option<&'static str>,
) -> Row {
    Row {
        title,
        name: name.to_owned(),
        unit,
        bound: Bound::AtLeast(bound),
        basis: basis.to_owned(),
        yardstick,
    }
}

/// The rows of what was measured; `None` when none was.
pub fn budgets(rows: &[Row], series: &Series) -> Option<String> {
    let lines: Vec<String> = rows.iter().filter_map(|row| row.line(series)).collect();
    if lines.is_empty() {
        return None;
    }
    let head = "| what | measured (range) | budget | met | yardstick | ratio |\n| --- | --- | --- | --- | --- | --- |";
    Some(format!("{head}\n{}", lines.join("\n")))
}

impl Row {
    fn line(&self, series: &Series) -> Option<String> {
        let median = series.median(&self.name)?;
        let (sign, bound, met) = match self.bound {
            Bound::AtMost(bound) => ("≤", bound, median <= bound),
            Bound::AtLeast(bound) => ("≥", bound, median >= bound),
        };
        let basis = if self.basis.is_empty() { String::new() } else { format!(" ({})", self.basis) };
        let floor = self.yardstick.and_then(|name| Some((name, series.median(name)?)));
        let (yardstick, ratio) = match floor {
            Some((name, value)) => (format!("{name}: {}", number(value)), format!("{:.2}", median / value)),
            None => (String::new(), String::new()),
        };
        let (title, unit) = (self.title, self.unit);
        let measured = with_range(series, &self.name, unit)?;
        let met = if met { "yes" } else { "NO" };
        Some(format!(
            "| {title} | {measured} | {sign} {} {unit}{basis} | {met} | {yardstick} | {ratio} |",
            number(bound)
        ))
    }
}

/// Medians and ranges of those that were measured, as a list.
pub fn yardsticks(names: &[&str], series: &Series) -> String {
    let lines = names.iter().filter_map(|name| Some(format!("- {name}: {}", with_range(series, name, "")?)));
    format!("Yardsticks (medians, ranges):\n\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Median, unit and range of a figure.
pub fn with_range(series: &Series, name: &str, unit: &str) -> Option<String> {
    let values = series.values(name);
    let median = number(quantile(values, 0.5)?);
    let space = if unit.is_empty() { "" } else { " " };
    let (low, high) = (number(quantile(values, 0.0)?), number(quantile(values, 1.0)?));
    Some(format!("{median}{space}{unit} ({low}–{high})"))
}

/// Three digits, more or less.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
