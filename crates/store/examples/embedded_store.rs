//! What the embedded store costs: `cargo run --release -p gantry-store --features contract --example embedded_store --
//! [life|logs|pending|million]`. Prints rates, percentiles and the writer's CPU time; compare only with runs on the same
//! machine, beside the durable write printed first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measuring tool"
)]

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use gantry_domain::attempt::Observation;
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::log::{LogChunk, LogStream, Segment};
use gantry_domain::run::{AttemptReport, Claimed, Lease, LeaseToken, Run, RunState, RunStatus};
use gantry_domain::spec::Pool;
use gantry_store::contract::fixtures::{T0, at, new_run, run_with, token};
use gantry_store::sqlite::{self, SqliteOptions};
use gantry_store::{Accepted, Durability, ListFilter, LogKey, Stores, Transition};

#[tokio::main]
async fn main() {
    let directory = tempfile::Builder::new().prefix("gantry-store-").tempdir_in(".").unwrap();
    println!("durable write   p50 {:?}", durable_write(directory.path()));
    let sqlite = sqlite::open(SqliteOptions::new(directory.path().join("gantry.db"))).unwrap();
    let stores = sqlite.stores();
    let wanted = std::env::args().nth(1);
    let wants = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    if wants("life") {
        for clients in [1, 32, 128] {
            lives(&stores, clients, Duration::from_secs(4)).await;
        }
    }
    if wants("logs") {
        logs(&stores).await;
    }
    if wants("pending") {
        pending(&stores).await;
    }
    if wants("million") {
        million(&stores).await;
    }
    sqlite.close().await;
}

fn durable_write(directory: &Path) -> Duration {
    let mut file = std::fs::File::create(directory.join("floor")).unwrap();
    let mut times: Vec<_> = (0..100)
        .map(|_| {
            let begun = Instant::now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[50]
}

fn percentiles(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{name:<32} p50 {:>9.3?}  p99 {:>9.3?}  max {:>9.3?}", at(0.5), at(0.99), at(1.0));
}

/// CPU time of this process's threads whose name begins with `name`.
fn cpu(name: &str) -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        let Some((head, tail)) = stat.rsplit_once(')') else { continue };
        if head.split_once('(').is_some_and(|(_, thread)| thread.starts_with(name)) {
            let fields: Vec<_> = tail.split_whitespace().collect();
            ticks += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    Duration::from_millis(ticks * 10)
}

/// Bytes this process has sent to the disk.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}

/// Whole lives of runs: accept, dispatch, claim, start, finish, with a read before each, as the producer does it.
async fn lives(stores: &Stores, clients: usize, time: Duration) {
    let organization = OrganizationId::new();
    let (before_all, before_writer, before_readers) = (cpu(""), cpu("store-writer"), cpu("store-reader"));
    let (begun, before_written) = (Instant::now(), written());
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let stores = stores.clone();
            tokio::spawn(async move {
                let mut accepts = Vec::new();
                while begun.elapsed() < time {
                    let asked = Instant::now();
                    let Accepted::Created(run) = stores.runs.accept(new_run(organization)).await.unwrap()
                    else {
                        panic!("not new")
                    };
                    accepts.push(asked.elapsed());
                    life(&stores, run).await;
                }
                accepts
            })
        })
        .collect();
    let mut accepts = Vec::new();
    for task in tasks {
        accepts.extend(task.await.unwrap());
    }
    let (runs, seconds) = (accepts.len(), begun.elapsed().as_secs_f64());
    let per_write = |spent: Duration| spent / (runs as u32 * 5);
    println!(
        "{clients} clients: {:.0} runs/s; {} KB written per run; CPU per write: writer {:?}, readers {:?}, all {:?}",
        runs as f64 / seconds,
        (written() - before_written) / 1000 / runs as u64,
        per_write(cpu("store-writer") - before_writer),
        per_write(cpu("store-reader") - before_readers),
        per_write(cpu("") - before_all),
    );
    percentiles("  accept", accepts);
}

async fn life(stores: &Stores, run: Run) {
    let next = run.dispatch(gantry_domain::id::DispatchId::new(), vec![], T0).unwrap();
    change(stores, next, Durability::Relaxed).await;
    let run = stores.runs.find(run.id).await.unwrap().unwrap();
    let RunState::Queued { dispatch } = run.state else { panic!("not queued") };
    let lease = Lease {
        worker: gantry_domain::id::WorkerId::from_u128(1),
        dispatch,
        claim: gantry_domain::id::ClaimId::new(),
        token: LeaseToken::from_bits(7),
        expires_at: at(45),
        started: false,
    };
    let Claimed::Granted(next) = run.claim(lease, T0).unwrap() else { panic!("not granted") };
    change(stores, next, Durability::Relaxed).await;
    let run = stores.runs.find(run.id).await.unwrap().unwrap();
    change(stores, run.start(&token(&run), T0).unwrap().unwrap(), Durability::Synced).await;
    let run = stores.runs.find(run.id).await.unwrap().unwrap();
    let observation = Observation::Exited { code: 0, oom_killed: false };
    let (next, _) = run.finish(&token(&run), &observation, AttemptReport::default(), at(1)).unwrap();
    change(stores, next, Durability::Synced).await;
    stores.runs.get(run.organization, run.id).await.unwrap().unwrap();
}

async fn change(stores: &Stores, next: Run, durability: Durability) {
    assert_eq!(stores.runs.transition(&next, durability).await.unwrap(), Transition::Updated);
}

async fn logs(stores: &Stores) {
    let mut text = Vec::new();
    let mut seed = 1_u32;
    while text.len() < 256 * 1024 - 100 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        writeln!(
            text,
            "2026-01-01T00:00:00Z INFO test_{:04} request {seed:08x} took {} ms",
            seed >> 20,
            seed % 977
        )
        .unwrap();
    }
    let text = bytes::Bytes::from(text);
    let begun = Instant::now();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (stores, text) = (stores.clone(), text.clone());
            tokio::spawn(async move {
                let key = LogKey { organization: OrganizationId::new(), run: RunId::new(), attempt: 1 };
                for i in 0..200 {
                    let segment = Segment { stream: LogStream::Stdout, time: T0, length: text.len() as u32 };
                    let chunk = LogChunk::new(i * text.len() as u64, vec![segment], text.clone()).unwrap();
                    stores.logs.append(key, &chunk).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("logs: {:.0} MB/s", (800 * text.len()) as f64 / 1e6 / begun.elapsed().as_secs_f64());
}

async fn pending(stores: &Stores) {
    for (organizations, each) in [(1, 1_000), (1, 100_000), (1_000, 100)] {
        let pool: Pool = format!("pool-{organizations}-{each}").parse().unwrap();
        for _ in 0..organizations {
            let new = run_with(OrganizationId::new(), |run| run.spec.pool = pool.clone());
            let Accepted::Created(model) = stores.runs.accept(new).await.unwrap() else { panic!("not new") };
            let runs = (1..each).map(|i| Run { id: RunId::new(), number: i + 1, ..model.clone() });
            stores.runs.import(runs.collect()).await.unwrap();
        }
        let (mut picks, mut depths) = (Vec::new(), Vec::new());
        for _ in 0..40 {
            let begun = Instant::now();
            let picked = stores.dispatch.ready(&pool, 16).await.unwrap();
            picks.push(begun.elapsed());
            for run in picked {
                let next = run.dispatch(gantry_domain::id::DispatchId::new(), vec![], T0).unwrap();
                change(stores, next, Durability::Relaxed).await;
            }
            let begun = Instant::now();
            stores.dispatch.depths().await.unwrap();
            depths.push(begun.elapsed());
        }
        percentiles(&format!("ready(16) of {organizations} x {each}"), picks);
        percentiles("  depths", depths);
    }
}

async fn million(stores: &Stores) {
    let organization = OrganizationId::new();
    let begun = Instant::now();
    for part in 0..200_u64 {
        let runs = (0..5_000_u64).map(|i| {
            let n = part * 5_000 + i;
            let new = run_with(organization, |run| {
                run.spec.project = Some(format!("project-{}", n % 20));
                run.spec.environment = Some(["prod", "staging"][n as usize % 2].into());
                run.spec.group = Some(format!("group-{}", n / 500));
                run.created_at = at(n * 60);
            });
            let verdict = gantry_domain::run::Verdict::Passed;
            let reason =
                gantry_domain::reason::Reason::new(gantry_domain::reason::ReasonCode::Completed, "Done.");
            Run {
                number: n + 1,
                version: 5,
                finished_at: Some(new.created_at),
                state: RunState::Finished { verdict, reason },
                ..Run::accepted(new.id, organization, new.spec, new.trigger, new.created_at)
            }
        });
        stores.runs.import(runs.collect()).await.unwrap();
    }
    println!("import: {:.0} runs/s", 1e6 / begun.elapsed().as_secs_f64());
    let all = ListFilter::default;
    let lists = [
        ("newest", all()),
        ("status", all().status(RunStatus::Passed)),
        (
            "three statuses",
            all().status(RunStatus::Passed).status(RunStatus::Failed).status(RunStatus::Pending),
        ),
        ("project", ListFilter { projects: vec!["project-7".into()], ..all() }),
        ("group", ListFilter { groups: vec!["group-1000".into()], ..all() }),
        ("created before", ListFilter { created_before: Some(at(60 * 400_000)), ..all() }),
        (
            "project and environment",
            ListFilter { projects: vec!["project-6".into()], environments: vec!["prod".into()], ..all() },
        ),
        ("text that is nowhere", ListFilter { text: Some("nowhere".into()), ..all() }),
    ];
    for (name, filter) in lists {
        let (mut times, mut after) = (Vec::new(), None);
        for _ in 0..60 {
            let begun = Instant::now();
            let page = stores.runs.list(organization, &filter, after, 50).await.unwrap();
            times.push(begun.elapsed());
            after = page.next;
        }
        percentiles(&format!("list: {name}"), times);
    }
    let mut times = Vec::new();
    for _ in 0..60 {
        let begun = Instant::now();
        stores.runs.groups(organization, Some("group-1"), 50).await.unwrap();
        times.push(begun.elapsed());
    }
    percentiles("groups", times);
}
