//! The table: measured, budget, yardstick and ratio.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::samples::{Series, quantile};

/// Prints progress where it does not mix with the table.
#[expect(clippy::print_stderr, reason = "a bench talks to the person who started it")]
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// A budget: at most or at least this.
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

struct Row {
    title: &'static str,
    name: &'static str,
    unit: &'static str,
    bound: Bound,
    /// What the budget was computed from.
    basis: String,
    /// The floor it is compared with.
    yardstick: Option<&'static str>,
}

/// Collects everything and prints it once.
pub struct Report {
    rounds: u32,
}

#[derive(Serialize)]
struct Document<'a> {
    commit: String,
    unix_time: u64,
    cores: usize,
    rounds: u32,
    figures: &'a BTreeMap<String, Vec<f64>>,
}

impl Report {
    pub fn new(rounds: u32) -> Self {
        Self { rounds }
    }

    #[expect(clippy::print_stdout, reason = "the table is the output")]
    pub fn finish(&self, series: &Series, out: &Path) -> anyhow::Result<()> {
        println!("\n{}\n", table(series));
        let commit = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
        let document = Document {
            commit: commit.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default(),
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            cores: std::thread::available_parallelism()?.get(),
            rounds: self.rounds,
            figures: series.all(),
        };
        std::fs::create_dir_all(out)?;
        let path = out.join(format!("{}.json", document.commit));
        std::fs::write(&path, serde_json::to_vec_pretty(&document)?)?;
        println!("written to {}", path.display());
        Ok(())
    }
}

fn rows(series: &Series) -> Vec<Row> {
    let durable = series.median("durable write ms").unwrap_or(f64::NAN);
    let loaded_accept = series.median("accept p50 loaded ms").unwrap_or(f64::NAN);
    let bare = |name: &str| series.median(name).unwrap_or(f64::NAN);
    let at_most = |title, name, unit, bound, basis: &str, yardstick| Row {
        title,
        name,
        unit,
        bound: Bound::AtMost(bound),
        basis: basis.to_owned(),
        yardstick,
    };
    let at_least = |title, name, unit, bound, yardstick| Row {
        title,
        name,
        unit,
        bound: Bound::AtLeast(bound),
        basis: String::new(),
        yardstick,
    };
    vec![
        at_most(
            "accept, p50, idle",
            "accept p50 ms",
            "ms",
            1.5 * durable + 1.0,
            "1.5 durable writes + 1 ms",
            Some("durable write ms"),
        ),
        at_most(
            "accept, p99, 32 clients",
            "accept p99 loaded ms",
            "ms",
            10.0 * loaded_accept,
            "10 × p50 under the same load",
            Some("durable write ms"),
        ),
        at_most(
            "submit → result stored, p50, idle",
            "submit to stored p50 ms",
            "ms",
            2.0 * durable + 3.0,
            "2 durable writes + 3 ms",
            Some("durable write ms"),
        ),
        at_least("no-op runs, 32 clients", "runs per s, 32 clients", "/s", 1000.0, None),
        at_least("no-op runs, 128 clients", "runs per s, 128 clients", "/s", 2000.0, None),
        at_most(
            "container overhead, 1 at a time",
            "container overhead 1 ms",
            "ms",
            25.0,
            "over the bare loop",
            Some("bare loop 1 ms"),
        ),
        at_most(
            "container overhead, 2 at a time",
            "container overhead 2 ms",
            "ms",
            25.0,
            "over the bare loop",
            Some("bare loop 2 ms"),
        ),
        at_most(
            "container overhead, 4 at a time",
            "container overhead 4 ms",
            "ms",
            25.0,
            "over the bare loop",
            Some("bare loop 4 ms"),
        ),
        at_least(
            "container log stored and followed",
            "log MB per s",
            "MB/s",
            40.0,
            Some("bare attach MB per s"),
        ),
        at_least("log of a process stored and followed", "process log MB per s", "MB/s", 40.0, None),
        at_most("line latency, p99", "line latency p99 ms", "ms", 150.0, "", None),
        at_most("1,000 followers, 1,000 lines/s, p99", "followers p99 ms", "ms", 500.0, "", None),
        at_most(
            "1,000,000 runs: list, p99",
            "stored list p99 ms",
            "ms",
            20.0,
            "",
            Some("http round trip ms"),
        ),
        at_most(
            "1,000,000 runs: by status, p99",
            "stored by status p99 ms",
            "ms",
            20.0,
            "",
            Some("http round trip ms"),
        ),
        at_most(
            "1,000,000 runs: by project, p99",
            "stored by project p99 ms",
            "ms",
            20.0,
            "",
            Some("http round trip ms"),
        ),
        at_most(
            "1,000,000 runs: by group, p99",
            "stored by group p99 ms",
            "ms",
            20.0,
            "",
            Some("http round trip ms"),
        ),
        at_most(
            "1,000,000 runs: detail, p99",
            "stored detail p99 ms",
            "ms",
            20.0,
            "",
            Some("http round trip ms"),
        ),
        at_most(
            "100,000 pending: time per run",
            "pending 100000 ms per run",
            "ms",
            1.2 * bare("pending 1000 ms per run"),
            "1.2 × with 1,000 pending",
            Some("pending 1000 ms per run"),
        ),
        at_most("100,000 pending: memory", "pending 100000 MiB", "MiB", 256.0, "", None),
        at_most("idle: processor", "idle cpu percent", "% core", 0.5, "", None),
        at_most("idle: memory, docker executor", "idle MiB", "MiB", 40.0, "", None),
        at_most("start until ready", "start ms", "ms", 300.0, "", None),
    ]
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn table(series: &Series) -> String {
    let mut lines = vec![
        "| what | measured (range) | budget | met | yardstick | ratio |".to_owned(),
        "| --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for row in rows(series) {
        let values = series.values(row.name);
        let Some(median) = quantile(values, 0.5) else { continue };
        let low = quantile(values, 0.0).unwrap_or(median);
        let high = quantile(values, 1.0).unwrap_or(median);
        let (sign, bound, met) = match row.bound {
            Bound::AtMost(bound) => ("≤", bound, median <= bound),
            Bound::AtLeast(bound) => ("≥", bound, median >= bound),
        };
        let basis = if row.basis.is_empty() { String::new() } else { format!(" ({})", row.basis) };
        let floor = row.yardstick.and_then(|name| Some((name, series.median(name)?)));
        let (yardstick, ratio) = match floor {
            Some((name, value)) => (format!("{name}: {}", number(value)), format!("{:.2}", median / value)),
            None => (String::new(), String::new()),
        };
        let unit = row.unit;
        lines.push(format!(
            "| {} | {} {unit} ({}–{}) | {sign} {} {unit}{basis} | {} | {yardstick} | {ratio} |",
            row.title,
            number(median),
            number(low),
            number(high),
            number(bound),
            if met { "yes" } else { "NO" },
        ));
    }
    lines.push(String::new());
    lines.push("Yardsticks (medians, ranges):".to_owned());
    for name in [
        "fdatasync ms",
        "durable write ms",
        "http round trip ms",
        "bare loop 1 ms",
        "bare loop 2 ms",
        "bare loop 4 ms",
        "bare loop without network ms",
        "bare attach MB per s",
    ] {
        let values = series.values(name);
        if let (Some(median), Some(low), Some(high)) =
            (quantile(values, 0.5), quantile(values, 0.0), quantile(values, 1.0))
        {
            lines.push(format!("- {name}: {} ({}–{})", number(median), number(low), number(high)));
        }
    }
    lines.join("\n")
}
