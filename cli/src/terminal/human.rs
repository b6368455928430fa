//! Numbers with their units.

use std::time::Duration;

use gantry_domain::time::Timestamp;

/// `320 ms`, `5.1 s`, `2 min 5 s`, `1 h 3 min`.
pub fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis} ms");
    }
    // Rounded first, so that 59.96 s is not 60.0 s.
    let tenths = (millis + 50) / 100;
    if tenths < 600 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = (millis + 500) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, seconds % 60) {
        (0, 0, 0) => format!("{minutes} min"),
        (0, 0, rest) => format!("{minutes} min {rest} s"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// In whole seconds: for what still counts on.
pub fn seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => duration(Duration::from_secs(seconds)),
    }
}

pub fn millis(ms: u64) -> String {
    duration(Duration::from_millis(ms))
}

/// `812 B`, `18.2 kB`, `1.5 MB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1 file`, `2 files`.
pub fn count(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// How long ago, roughly: `just now`, `12 min ago`, `3 d ago`.
pub fn ago(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(time).as_secs();
    match seconds {
        0..5 => "just now".to_owned(),
        5..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// `2026-01-31 08:15:00 UTC (12 min ago)`.
pub fn time(time: Timestamp, now: Timestamp) -> String {
    let exact = time.to_string();
    let exact = exact.split('.').next().unwrap_or(&exact).replace('T', " ");
    format!("{exact} UTC ({})", ago(time, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_use_the_unit_that_fits() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (5120, "5.1 s"),
            (59_940, "59.9 s"),
            (59_960, "1 min"),
            (125_000, "2 min 5 s"),
            (3_780_000, "1 h 3 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(millis(ms), text);
        }
    }

    #[test]
    fn bytes_use_the_unit_that_fits() {
        for (count, text) in
            [(0, "0 B"), (999, "999 B"), (18_231, "18.2 kB"), (999_999, "1.0 MB"), (u64::MAX, "18446.7 PB")]
        {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn a_time_is_exact_and_relative() {
        let then: Timestamp = "2026-01-31T08:15:00.250Z".parse().unwrap();
        let now = then + Duration::from_secs(725);
        assert_eq!(time(then, now), "2026-01-31 08:15:00 UTC (12 min ago)");
        assert_eq!(ago(now, then), "just now");
    }
}
