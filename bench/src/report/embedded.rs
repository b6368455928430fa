//! The rows of embedded mode, and of what is the same in both modes: `gantry up` on one machine.

use crate::report::table::{Row, at_least, at_most};
use crate::samples::Series;

/// Yardsticks that are listed below the table.
pub const YARDSTICKS: [&str; 11] = [
    "fdatasync ms",
    "durable write ms",
    "http round trip ms",
    "bare loop 1 ms",
    "bare loop 2 ms",
    "bare loop 4 ms",
    "bare loop without network ms",
    "bare attach MB per s",
    "accept p99 quiet ms",
    "passwords judged per s",
    "sign-ins turned away per s",
];

pub fn rows(series: &Series) -> Vec<Row> {
    let durable = series.median("durable write ms").unwrap_or(f64::NAN);
    let loaded_accept = series.median("accept p50 loaded ms").unwrap_or(f64::NAN);
    let bare = |name: &str| series.median(name).unwrap_or(f64::NAN);
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
        at_most(
            "accept, p99, during 100 sign-ins/s",
            "accept p99 in a storm ms",
            "ms",
            2.0 * series.median("accept p99 quiet ms").unwrap_or(f64::NAN),
            "2 × quiet, both at 50 submissions/s",
            Some("accept p99 quiet ms"),
        ),
        at_least("no-op runs, 32 clients", "runs per s, 32 clients", "/s", 1000.0, "", None),
        at_least("no-op runs, 128 clients", "runs per s, 128 clients", "/s", 2000.0, "", None),
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
            "",
            Some("bare attach MB per s"),
        ),
        at_least("log of a process stored and followed", "process log MB per s", "MB/s", 40.0, "", None),
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
