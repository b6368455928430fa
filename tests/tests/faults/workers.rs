//! Workers are killed, frozen, told to stop, crashed by their own runs, and told the wrong time.

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_api_types::run::{ReasonCode, Status};
use gantry_tests::cluster::{Addresses, LEASE, Plan};
use gantry_tests::eventually;
use gantry_tests::faults::{Allowed, Row, random, rounds};
use rand::RngExt as _;

use crate::deployment::{Deployment, ended, reaches};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_costs_no_run() {
    let rounds = rounds(2, 1);
    let (seed, mut random) = random("kill -9 worker");
    let mut deployment = Deployment::start(Plan::over(Addresses::private()).of(2, 3)).await;
    let load = deployment.load();
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.random_range(50..1500))).await;
        let i = random.random_range(0..3);
        deployment.cluster.workers[i].kill().unwrap();
        deployment.fault();
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1000))).await;
        deployment.cluster.workers[i].start(false).unwrap();
    }
    let (promised, _) = load.stop().await;
    let checked = deployment.check(&promised, Allowed::Lost).await;
    Row::new("kill -9 a worker at random moments", rounds, seed).report(&checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_worker_is_replaced_and_its_late_writes_are_refused() {
    let rounds = rounds(1, 1);
    let (seed, mut random) = random("SIGSTOP worker");
    let mut deployment = Deployment::start(Plan::over(Addresses::private()).of(2, 2)).await;
    let load = deployment.load();
    let mut promised = BTreeMap::new();
    for _ in 0..rounds {
        // Not over before its worker is frozen.
        let (held, promise) = deployment.submit(1, LEASE).await;
        promised.insert(held.to_string(), promise);
        let run = reaches(&deployment.cluster.client(), held, Status::Running).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        let i = holder(&deployment, &run.worker.unwrap()).await;
        deployment.cluster.workers[i].freeze().unwrap();
        deployment.fault();
        tokio::time::sleep(2 * LEASE).await;
        deployment.cluster.workers[i].thaw().unwrap();
    }
    promised.extend(load.stop().await.0);
    let checked = deployment.check(&promised, Allowed::Lost).await;
    assert!(checked.attempts > checked.accepted, "no lease was lost: the fault did not happen");
    Row::new("SIGSTOP a worker for two leases", rounds, seed).report(&checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_finishes_or_hands_back() {
    let rounds = rounds(1, 1);
    let (seed, mut random) = random("SIGTERM worker");
    let plan = Plan::over(Addresses::private()).of(2, 2).workers_with("GANTRY_DRAIN_GRACE", "1s").patient();
    let mut deployment = Deployment::start(plan).await;
    let load = deployment.load();
    let mut promised = BTreeMap::new();
    for round in 0..rounds {
        // Longer than the grace: this one is handed back, wherever it runs.
        let (long, promise) = deployment.submit(1, Duration::from_secs(3)).await;
        promised.insert(long.to_string(), promise);
        let run = reaches(&deployment.cluster.client(), long, Status::Running).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..300))).await;
        let i = if round % 2 == 0 {
            holder(&deployment, &run.worker.unwrap()).await
        } else {
            random.random_range(0..2)
        };
        let worker = &mut deployment.cluster.workers[i];
        worker.terminate().unwrap();
        deployment.faults.push(std::time::SystemTime::now());
        let status = tokio::task::block_in_place(|| worker.wait(Duration::from_secs(30))).unwrap();
        assert!(status.success(), "it ended with {status}: {}", worker.log());
        worker.start(false).unwrap();
    }
    promised.extend(load.stop().await.0);
    let checked = deployment.check(&promised, Allowed::Nothing).await;
    Row::new("SIGTERM a worker mid-run", rounds, seed).report(&checked);
}

/// Which of our processes this worker is.
async fn holder(deployment: &Deployment, id: &str) -> usize {
    let workers = deployment.cluster.client().workers().await.unwrap().items;
    let name = &workers.iter().find(|worker| worker.id == id).expect("the run's worker").name;
    deployment.cluster.workers.iter().position(|worker| worker.name() == name).expect("its process")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_kills_its_workers_is_given_up_and_the_fleet_lives() {
    let (seed, _) = random("poison run");
    let mut deployment = Deployment::start(Plan::over(Addresses::private()).of(1, 2)).await;
    let client = deployment.cluster.client();
    let (request, _) = gantry_tests::faults::fake_run(1, Duration::from_secs(600), &deployment.effects);
    let request = gantry_api_types::request::CreateRun { retries: None, ..request };
    let poison = client.create_run(&request, None).await.unwrap().id.parse().unwrap();
    for attempt in 1..=3 {
        let worker = eventually("the next attempt", || async {
            let run = client.get_run(poison).await.ok()?;
            (run.status == Status::Running && run.attempt == attempt).then_some(run.worker?)
        })
        .await;
        let i = holder(&deployment, &worker).await;
        deployment.cluster.workers[i].kill().unwrap();
        deployment.fault();
        deployment.cluster.workers[i].start(false).unwrap();
    }
    let run = ended(&client, poison).await;
    assert_eq!((run.status, run.reason.unwrap().code, run.attempt), (Status::Error, ReasonCode::Lost, 3));
    // Nobody is held up by it.
    let (next, promise) = deployment.submit(2, Duration::from_millis(10)).await;
    reaches(&client, next, Status::Passed).await;
    assert_eq!(promise.log, "begin 2\nend 2\n");
    deployment.cluster.broker_is_empty().await;
    Row::new("a poison run that crashes its workers", 3, seed).ended_lost(1).all_ended(2, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_clocks_take_no_lease_away_and_leave_none() {
    let (seed, _) = random("clock");
    let mut deployment = Deployment::start(
        Plan::over(Addresses::private())
            .of(2, 0)
            .producers_with("GANTRY_LEASES_LEASE", "6s")
            .producers_with("GANTRY_LEASES_FENCE", "5s"),
    )
    .await;
    for (i, shift) in ["+10m", "-10m"].into_iter().enumerate() {
        let another_time = [
            ("LD_PRELOAD", faketime()),
            ("FAKETIME", shift.to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        deployment.cluster.kill_producer(i).unwrap();
        for (variable, value) in &another_time {
            deployment.cluster.producers[i].process.set(variable, value);
        }
        deployment.cluster.start_producer(i).unwrap();
        deployment.cluster.add_worker(&another_time).unwrap();
    }
    deployment.cluster.workers_online(2).await;
    let load = deployment.load();
    let (long, promise) = deployment.submit(1, 6 * LEASE).await;
    reaches(&deployment.cluster.client(), long, Status::Passed).await;
    let mut promised = load.stop().await.0;
    promised.insert(long.to_string(), promise);
    let checked = deployment.check(&promised, Allowed::Nothing).await;
    assert_eq!(checked.attempts, checked.accepted, "a lease was taken away");
    Row::new("the clocks of producers and workers ±10 min", 1, seed).report(&checked);
}

/// Debian's library that tells a program another time.
fn faketime() -> String {
    let found = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .map(|target| format!("/usr/lib/{target}/faketime/libfaketimeMT.so.1"))
        .into_iter()
        .find(|path| std::path::Path::new(path).exists());
    found.expect("libfaketime is missing: apt-get install faketime (scripts/faults does)")
}
