//! Many runs, many clients, and something dying all the time.

use std::time::{Duration, Instant};

use gantry_api_types::run::Status;
use gantry_tests::cluster::{Addresses, Plan};
use gantry_tests::faults::{Allowed, Load, Row, fake_run, is_long, random};
use rand::RngExt as _;

use crate::deployment::{Deployment, reaches};

/// Issue: 3 producers, 4 workers, 32 clients, 5,000 runs (500 in the short form), and every few seconds a process is killed.
#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_run_ends_once_while_processes_are_killed_all_the_time() {
    let (seed, mut random) = random("chaos");
    let runs = if is_long() { 5000 } else { 500 };
    let mut deployment = Deployment::start(Plan::over(Addresses::private()).of(3, 4)).await;
    let clients = vec![deployment.cluster.client()];
    // Some seventy runs a second: what is measured is how long accepting takes, not how long a queue of requests gets, and
    // there is time for many kills.
    let pause = Duration::from_millis(400);
    let mut load = Load::start(clients, 32, &deployment.effects, (5, 100), pause, Some(runs));
    let (mut kills, began) = (0, Instant::now());
    loop {
        let pause = Duration::from_millis(random.random_range(1000..3000));
        let finished = tokio::time::timeout(pause, load.finished()).await.is_ok();
        let victim = random.random_range(0..7);
        if victim < 3 {
            deployment.cluster.kill_producer(victim).unwrap();
            deployment.fault();
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1000))).await;
            deployment.cluster.start_producer(victim).unwrap();
        } else {
            deployment.cluster.workers[victim - 3].kill().unwrap();
            deployment.fault();
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1000))).await;
            deployment.cluster.workers[victim - 3].start(false).unwrap();
        }
        kills += 1;
        if finished {
            break;
        }
    }
    let (promised, mut latencies) = load.stop().await;
    let rate = runs as f64 / began.elapsed().as_secs_f64();
    let checked = deployment.check(&promised, Allowed::Lost).await;
    assert_eq!(checked.accepted as u64, runs);
    latencies.sort_unstable();
    let p99 = latencies[latencies.len() * 99 / 100];
    let note = format!("{runs} runs, {rate:.0}/s, p99 of accept {} ms", p99.as_millis());
    Row::new("3 producers, 4 workers, 32 clients, random kills", kills, seed).note(note).report(&checked);
    assert!(!is_long() || p99 < Duration::from_millis(250), "p99 of accept: {p99:?}");
}

/// One organization's crowd does not keep another one waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_beside_a_crowd_of_another_organization_starts_within_seconds() {
    let (seed, _) = random("crowd");
    let crowd: u64 = if is_long() { 10_000 } else { 1000 };
    let deployment = Deployment::start(Plan::over(Addresses::private()).of(2, 1).patient()).await;
    let other = deployment.cluster.another_organization().await.unwrap();
    let clients = vec![deployment.cluster.client()];
    let mut load = Load::start(clients, 16, &deployment.effects, (1, 20), Duration::ZERO, Some(crowd));
    load.finished().await;
    let waiting =
        deployment.cluster.client().queue().await.unwrap().pools.iter().map(|p| p.backlog).sum::<u64>();
    let began = Instant::now();
    let (request, _) = fake_run(1, Duration::from_millis(1), &deployment.effects);
    let request = gantry_api_types::request::CreateRun { command: Some(vec!["true".into()]), ..request };
    let run = other.create_run(&request, None).await.unwrap().id.parse().unwrap();
    reaches(&other, run, Status::Passed).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "it waited {took:?} behind {waiting} others");
    let memory = deployment.cluster.producers[0].process.memory().unwrap() >> 20;
    assert!(memory < 300, "the producer needs {memory} MiB");
    let (promised, _) = load.stop().await;
    let checked = deployment.check(&promised, Allowed::Nothing).await;
    let note =
        format!("behind {waiting} waiting runs it took {} ms; producer {memory} MiB", took.as_millis());
    Row::new("a crowd of one organization, one run of another", 1, seed).note(note).report(&checked);
}
