//! The chart of the documentation: Gantry beside its peers, as an SVG that reads on light and dark pages.

use std::fmt::Write as _;

use crate::peers::Peer;
use crate::report::distributed::GANTRY;
use crate::report::table::number;
use crate::samples::{Series, quantile};

const WIDTH: f64 = 760.0;
const LABELS: f64 = 210.0;
const NUMBERS: f64 = 150.0;
const ROW: f64 = 26.0;
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.own{fill:#0a7d5a}\
    .peer{fill:#8c96a3}.less{fill:#c9cfd6}.range{stroke:#24292f}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.range{stroke:#e6edf3}.own{fill:#2fbf8f}.less{fill:#4b535d}}";

/// `None` when no peer was measured.
pub fn svg(series: &Series) -> Option<String> {
    let mut systems = vec![(GANTRY, "own")];
    for peer in Peer::ALL {
        systems.push((peer.name(), if peer.equally_durable() { "peer" } else { "less" }));
    }
    let mut drawing = String::new();
    let mut top = 10.0;
    let mut bars = 0;
    for (title, figure, unit) in [
        ("No-op jobs per second, 32 clients (more is better)", "jobs per s, 32 clients", "/s"),
        ("Submission to stored result, idle system, p50 (less is better)", "result alone p50 ms", " ms"),
        ("Submission to stored result, 32 clients, p50 (less is better)", "result of 32 p50 ms", " ms"),
    ] {
        let values: Vec<(&str, &str, Bar)> = systems
            .iter()
            .filter_map(|(system, class)| {
                Some((*system, *class, Bar::of(series, &format!("{system}: {figure}"))?))
            })
            .collect();
        bars = bars.max(values.len());
        let longest = values.iter().map(|(_, _, bar)| bar.high).fold(0.0, f64::max);
        let _ = write!(drawing, r#"<text class="title" x="0" y="{:.0}">{title}</text>"#, top + 14.0);
        top += ROW;
        for (system, class, bar) in values {
            bar.draw(&mut drawing, system, class, unit, top, longest);
            top += ROW;
        }
        top += 14.0;
    }
    (bars > 1).then(|| {
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0} {top:.0}" role="img" aria-label="Gantry and its peers"><style>{STYLE}</style>{drawing}</svg>{}"#,
            "\n"
        )
    })
}

/// A median with its range.
struct Bar {
    median: f64,
    low: f64,
    high: f64,
}

impl Bar {
    fn of(series: &Series, name: &str) -> Option<Self> {
        let values = series.values(name);
        let of = |q| quantile(values, q);
        Some(Self { median: of(0.5)?, low: of(0.0)?, high: of(1.0)? })
    }

    fn draw(&self, to: &mut String, system: &str, class: &str, unit: &str, top: f64, longest: f64) {
        let scale = (WIDTH - LABELS - NUMBERS) / longest;
        let (middle, length) = (top + ROW / 2.0, self.median * scale);
        let (low, high) = (LABELS + self.low * scale, LABELS + self.high * scale);
        let number = number(self.median);
        let _ = write!(
            to,
            r#"<text x="{:.0}" y="{:.0}" text-anchor="end">{system}</text><rect class="{class}" x="{LABELS:.0}" y="{:.0}" width="{length:.1}" height="16" rx="2"/><line class="range" x1="{low:.1}" x2="{high:.1}" y1="{middle:.0}" y2="{middle:.0}"/><text x="{:.1}" y="{:.0}">{number}{unit}</text>"#,
            LABELS - 8.0,
            middle + 5.0,
            middle - 8.0,
            high.max(LABELS + length) + 8.0,
            middle + 5.0,
        );
    }
}
