//! Many runs at once while calls fail, answers get lost, runs are cancelled and leases taken away at random moments.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use gantry_api_types::worker::Observation;
use gantry_domain::id::RunId;
use gantry_domain::log::LogStream;
use gantry_executor::fake::FakeExecutor;
use gantry_queue::ControlMessage;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use support::producer::{Call, Fault, Work};
use support::{World, config};

const RUNS: u64 = 300;

/// Prints its number, some noise with a secret in it, and ends with its number.
fn work(rng: &mut StdRng, number: u64) -> Work {
    let mut words = vec![format!("fake:out=run {number} begins\\n")];
    for _ in 0..rng.random_range(0..4) {
        words.push(match rng.random_range(0..4) {
            0 => "fake:out=a hunter22 b\\n".to_owned(),
            1 => format!("fake:sleep={}", rng.random_range(0..20_000)),
            2 => format!("fake:fill={}", rng.random_range(0..600_000)),
            _ => "fake:write=reports/a=1".to_owned(),
        });
    }
    words.push(format!("fake:out=\\nrun {number} ends\\n"));
    words.push(format!("fake:exit={}", number % 100));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Work { masked: vec!["hunter22".to_owned()], ..Work::new(&words) }
}

async fn disturb(world: &World, rng: &mut StdRng, runs: &[RunId], told_to_end: &mut HashSet<RunId>) {
    let run = runs[rng.random_range(0..runs.len())];
    let calls = [
        Call::Claim,
        Call::Starting,
        Call::Logs,
        Call::Analyzing,
        Call::Artifacts,
        Call::Finish,
        Call::Heartbeat,
    ];
    let call = calls[rng.random_range(0..calls.len())];
    match rng.random_range(0..8) {
        0..=2 => world.producer.fault(call, Fault::Unreachable),
        3..=4 => world.producer.fault(call, Fault::LostReply),
        5 => {
            told_to_end.insert(run);
            world.producer.cancel(run);
            world.queue.broadcast(ControlMessage::Cancel { run, attempt: 1 }).await.unwrap();
        }
        6 if world.producer.finish_of(run).is_none() => {
            told_to_end.insert(run);
            world.producer.take_lease(run);
        }
        _ => {}
    }
    tokio::time::sleep(Duration::from_millis(rng.random_range(0..500))).await;
}

#[tokio::test(start_paused = true)]
async fn every_run_has_one_end_a_whole_log_and_leaves_nothing() {
    for seed in 0..3 {
        let mut rng = StdRng::seed_from_u64(seed);
        let world = World::with(config(8), FakeExecutor::new());
        let (mut runs, mut told_to_end) = (Vec::new(), HashSet::new());
        for number in 0..RUNS {
            runs.push(world.submit(work(&mut rng, number)).await);
            disturb(&world, &mut rng, &runs, &mut told_to_end).await;
        }
        for (number, run) in runs.iter().enumerate() {
            if told_to_end.contains(run) {
                continue;
            }
            let end = world.ended(*run).await;
            let code = i64::try_from(number % 100).unwrap();
            assert_eq!(
                end.observed,
                Observation::Exited { code, oom_killed: false },
                "seed {seed}, run {number}"
            );
            let output = world.producer.stream_of(*run, LogStream::Stdout);
            assert!(output.starts_with(&format!("run {number} begins\n")), "seed {seed}, run {number}");
            assert!(output.ends_with(&format!("\nrun {number} ends\n")), "seed {seed}, run {number}");
            assert!(!output.contains("hunter22"), "seed {seed}, run {number}");
            assert_eq!(end.log_end, world.producer.log_of(*run).len() as u64);
            assert_eq!(end.warnings, [], "seed {seed}, run {number}");
        }
        assert!(told_to_end.len() < runs.len() / 2, "most runs are to end by themselves");
        world.still_works().await;
        for run in runs {
            assert!(world.producer.grants_of(run) <= 1);
        }
        assert!(world.shut_down().await.is_clean());
    }
}
