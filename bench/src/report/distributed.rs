//! The rows of distributed mode, and the table of peers.

use crate::peers::Peer;
use crate::report::table::{Row, at_least, at_most, with_range};
use crate::samples::Series;

/// What Gantry itself is called beside its peers.
pub const GANTRY: &str = "Gantry, distributed";

pub const YARDSTICKS: [&str; 15] = [
    "fdatasync ms",
    "http round trip ms",
    "store write ms",
    "store write after a pause ms",
    "each of a run's store writes after a pause ms",
    "store writes per s, 32 tasks",
    "confirmed publish ms",
    "confirmed publishes per s, 100 in flight",
    "redis round trip ms",
    "durable writes per run",
    "store commands per run",
    "durable writes per run, loaded",
    "store commands per run, loaded",
    "documents written per run, 32 clients",
    "documents written per run, 128 clients",
];

/// Calls over HTTP that a run makes one after the other: submission, claim, start and end.
const HTTP_CALLS: f64 = 4.0;

pub fn rows(series: &Series) -> Vec<Row> {
    let of = |name: &str| series.median(name).unwrap_or(f64::NAN);
    let (write, http) = (of("store write after a pause ms"), of("http round trip ms"));
    let own = |what: &str| format!("{GANTRY}: {what}");
    let sum = of("durable writes per run") * of("each of a run's store writes after a pause ms")
        + of("confirmed publish ms")
        + HTTP_CALLS * http
        + of("redis round trip ms");
    let possible = |clients: u32| {
        of("store writes per s, 32 tasks") / of(&format!("documents written per run, {clients} clients"))
    };
    let best = best_peer(series);
    let mut rows = vec![
        at_most(
            "accept, p50, idle",
            "cluster accept p50 ms",
            "ms",
            2.0 * (write + http),
            "2 × (store write + round trip)",
            Some("store write after a pause ms"),
        ),
        at_most(
            "accept, p99, 32 clients",
            &own("accept loaded p99 ms"),
            "ms",
            10.0 * of(&own("accept loaded p50 ms")),
            "10 × p50 under the same load",
            Some("store write ms"),
        ),
        at_most(
            "submit → result stored, p50, idle",
            "cluster stored p50 ms",
            "ms",
            1.5 * sum,
            "1.5 × the sum of its yardsticks",
            Some("store write after a pause ms"),
        ),
        at_least(
            "no-op runs, 32 clients",
            &own("jobs per s, 32 clients"),
            "/s",
            0.7 * possible(32),
            "0.7 × store writes/s ÷ durable writes per run under that load",
            Some("store writes per s, 32 tasks"),
        ),
        at_least(
            "no-op runs, 128 clients",
            "cluster runs per s, 128 clients",
            "/s",
            0.7 * possible(128),
            "0.7 × store writes/s ÷ durable writes per run under that load",
            Some("store writes per s, 32 tasks"),
        ),
    ];
    if let Some((peer, rate)) = best {
        let basis = format!("{}, the fastest of Celery and BullMQ at equal durability", peer.name());
        rows.push(at_least(
            "no-op runs, 32 clients, beside peers",
            &own("jobs per s, 32 clients"),
            "/s",
            rate,
            &basis,
            None,
        ));
    }
    rows.extend([
        at_most("cancel reaches the container, p99", "cluster cancel p99 ms", "ms", 1000.0, "", None),
        at_most(
            "run of a killed worker starts elsewhere",
            "cluster restart s",
            "s",
            of("cluster lease s") + 10.0,
            "lease + 10 s",
            Some("cluster lease s"),
        ),
        at_most(
            "1,000 followers on one producer, 1,000 lines/s, p99",
            "cluster followers p99 ms",
            "ms",
            500.0,
            "",
            None,
        ),
        at_most("idle: processor, producer", "producer idle cpu percent", "% core", 0.5, "", None),
        at_most("idle: memory, producer", "producer idle MiB", "MiB", 40.0, "", None),
        at_most("idle: processor, worker", "worker idle cpu percent", "% core", 0.5, "", None),
        at_most("idle: memory, worker", "worker idle MiB", "MiB", 40.0, "", None),
    ]);
    rows
}

/// The faster of those that the budget names, if any was measured.
fn best_peer(series: &Series) -> Option<(Peer, f64)> {
    [Peer::Celery, Peer::BullMqAlways]
        .into_iter()
        .filter_map(|peer| Some((peer, series.median(&format!("{}: jobs per s, 32 clients", peer.name()))?)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Gantry and its peers, the same work in the same run; `None` when no peer was measured.
pub fn peers(series: &Series) -> Option<String> {
    let gantry = (
        GANTRY,
        "run: store, majority write; message: quorum queue, confirmed; result: store, majority write",
    );
    let mut systems = vec![gantry];
    systems.extend(Peer::ALL.map(|peer| (peer.name(), peer.durability())));
    let lines: Vec<String> = systems
        .into_iter()
        .filter_map(|(system, durability)| {
            let figure = |name: &str| with_range(series, &format!("{system}: {name}"), "");
            Some(format!(
                "| {system} | {} | {} | {} | {} | {} | {durability} |",
                figure("jobs per s, 32 clients")?,
                figure("result alone p50 ms")?,
                figure("result alone p99 ms")?,
                figure("result of 32 p50 ms")?,
                figure("result of 32 p99 ms")?,
            ))
        })
        .collect();
    let head = "| system | jobs/s, 32 clients | alone: p50 ms | p99 ms | 32 clients: p50 ms | p99 ms | on disk before an answer |\n\
        | --- | --- | --- | --- | --- | --- | --- |";
    (!lines.is_empty()).then(|| format!("{head}\n{}", lines.join("\n")))
}
