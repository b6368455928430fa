//! The broker dies, forgets, disconnects, repeats itself and delivers late.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gantry_api_types::run::Status;
use gantry_domain::id::{DispatchId, RunId};
use gantry_domain::spec::Pool;
use gantry_queue::{Queue as _, RunMessage};
use gantry_tests::cluster::{Addresses, Plan};
use gantry_tests::eventually;
use gantry_tests::faults::{Allowed, Row, is_long, random, rounds};
use gantry_tests::servers::RabbitMq;
use rand::RngExt as _;
use tokio::task::block_in_place;

use crate::deployment::{Deployment, reaches};

/// Issue: consumers are back this soon after the broker is.
const BACK: Duration = Duration::from_secs(30);

/// A deployment with a broker of its own.
async fn with_broker() -> (RabbitMq, Deployment) {
    let rabbit = RabbitMq::start().unwrap();
    let addresses = Addresses { amqp: rabbit.uri(), ..Addresses::private() };
    let deployment = Deployment::start(Plan::over(addresses).of(2, 2)).await;
    (rabbit, deployment)
}

/// A run that is submitted now is through within the limit.
async fn works_again(
    deployment: &Deployment,
    number: u64,
) -> (String, gantry_tests::faults::Promise, Duration) {
    let began = Instant::now();
    let (run, promise) = deployment.submit(number, Duration::from_millis(10)).await;
    reaches(&deployment.cluster.client(), run, Status::Passed).await;
    let took = began.elapsed();
    assert!(took < BACK, "a run took {took:?} after the broker came back");
    (run.to_string(), promise, took)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_or_restarted_loses_no_run() {
    let rounds = rounds(2, 10);
    let (seed, mut random) = random("broker kill");
    let (mut rabbit, mut deployment) = with_broker().await;
    let load = deployment.load();
    let mut extra = Vec::new();
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1500))).await;
        if round % 2 == 0 {
            block_in_place(|| rabbit.kill()).unwrap();
        } else {
            block_in_place(|| rabbit.stop()).unwrap();
        }
        // The API goes on accepting: nobody needs the broker for that.
        let accepted = load.accepted();
        tokio::time::sleep(Duration::from_secs(if is_long() { 60 } else { 3 })).await;
        assert!(load.accepted() > accepted, "nothing was accepted without the broker");
        let health = deployment.cluster.client().health().await.unwrap();
        assert!(health.dependencies.iter().any(|part| !part.up), "nobody says what is down: {health:?}");
        block_in_place(|| rabbit.restart()).unwrap();
        deployment.fault();
        let (id, promise, _) = works_again(&deployment, 1000 + u64::from(round)).await;
        extra.push((id, promise));
    }
    let mut promised = load.stop().await.0;
    promised.extend(extra);
    let checked = deployment.check(&promised, Allowed::Lost).await;
    Row::new("kill -9 and restart of the broker under load", rounds, seed).report(&checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_and_closed_connections_cost_no_run() {
    let rounds = rounds(2, 10);
    let (seed, mut random) = random("queue deleted");
    let (rabbit, mut deployment) = with_broker().await;
    let load = deployment.load();
    let mut extra = Vec::new();
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1500))).await;
        if round % 2 == 0 {
            let queue = format!("{}.runs.default", deployment.cluster.names.prefix());
            block_in_place(|| rabbit.ctl(&["delete_queue", &queue])).unwrap();
        } else {
            block_in_place(|| rabbit.ctl(&["close_all_connections", "test"])).unwrap();
        }
        deployment.fault();
        let (id, promise, _) = works_again(&deployment, 1000 + u64::from(round)).await;
        extra.push((id, promise));
    }
    let mut promised = load.stop().await.0;
    promised.extend(extra);
    let checked = deployment.check(&promised, Allowed::Lost).await;
    Row::new("deleted queue, closed connections", rounds, seed).report(&checked);
}

/// The queue is gone, and the broker does not let it be made again: there is nothing that a message could go to.
#[tokio::test(flavor = "multi_thread")]
async fn runs_whose_messages_nothing_takes_stay_pending_and_run_later() {
    let rounds = rounds(1, 10);
    let (seed, mut random) = random("unroutable");
    let (rabbit, mut deployment) = with_broker().await;
    let load = deployment.load();
    let queue = format!("{}.runs.default", deployment.cluster.names.prefix());
    let mut extra = Vec::new();
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1500))).await;
        let cluster = &deployment.cluster;
        block_in_place(|| {
            rabbit.ctl(&["set_permissions", "guest", "^$", ".*", ".*"]).unwrap();
            rabbit.ctl(&["delete_queue", &queue]).unwrap();
            // A channel remembers what it was allowed to do.
            rabbit.ctl(&["close_all_connections", "test"]).unwrap();
        });
        eventually("producers that know that dispatch waits", || async {
            (cluster.counted("gantry_dispatch_waits_for_broker").await.ok()? >= 2.0).then_some(())
        })
        .await;
        let accepted = load.accepted();
        let (run, promise) = deployment.submit(1000 + u64::from(round), Duration::from_millis(10)).await;
        extra.push((run.to_string(), promise));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(load.accepted() > accepted, "nothing was accepted");
        let waiting = cluster.client().get_run(run).await.unwrap();
        assert_eq!((waiting.status, waiting.attempt), (Status::Pending, 0), "{waiting:?}");
        let health = cluster.client().health().await.unwrap();
        assert!(
            health.dependencies.iter().any(|part| !part.up),
            "nobody says that dispatch waits: {health:?}"
        );
        block_in_place(|| rabbit.ctl(&["set_permissions", "guest", ".*", ".*", ".*"])).unwrap();
        deployment.fault();
        let began = Instant::now();
        reaches(&deployment.cluster.client(), run, Status::Passed).await;
        assert!(began.elapsed() < BACK, "it took {:?}", began.elapsed());
    }
    assert_eq!(load.refused(), 0, "accepting needs no broker");
    let mut promised = load.stop().await.0;
    promised.extend(extra);
    let checked = deployment.check(&promised, Allowed::Nothing).await;
    Row::new("messages that no queue takes", rounds, seed).report(&checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_and_stale_messages_start_nothing_twice() {
    let rounds = rounds(1, 10);
    let (seed, mut random) = random("duplicates");
    let deployment = Deployment::start(Plan::over(Addresses::private()).of(2, 1).patient()).await;
    let (client, worker) = (deployment.cluster.client(), &deployment.cluster.workers[0]);
    let queue = deployment.cluster.queue().await.unwrap();
    let mut promised = BTreeMap::new();
    for round in 0..rounds {
        // For the time of a lease (20 s here) it is taken for alive, and its slots for free: runs are queued, and nobody takes them.
        worker.freeze().unwrap();
        let mut runs = Vec::new();
        for i in 0..4 {
            let (run, promise) =
                deployment.submit(u64::from(4 * round + i), Duration::from_millis(300)).await;
            promised.insert(run.to_string(), promise);
            runs.push(run);
        }
        let dispatches = deployment.cluster.dispatches(&runs).await.unwrap();
        let mut messages: Vec<(RunId, DispatchId)> = Vec::new();
        for &(run, dispatch) in &dispatches {
            messages.extend([(run, dispatch); 100]);
            // Dispatches that are not this run's, and a run that never was.
            messages.extend((0..10).map(|_| (run, DispatchId::new())));
            messages.push((RunId::new(), dispatch));
        }
        worker.thaw().unwrap();
        while !messages.is_empty() {
            let (run, dispatch) = messages.swap_remove(random.random_range(0..messages.len()));
            let message = RunMessage { run, dispatch, trace: Default::default() };
            queue.publish(&Pool::default(), message).await.unwrap();
        }
        for run in &runs {
            reaches(&client, *run, Status::Passed).await;
        }
        // What waits there counts: nothing more is dispatched to a worker that stands still with so much before it.
        deployment.cluster.broker_is_empty().await;
    }
    let checked = deployment.check(&promised, Allowed::Nothing).await;
    assert_eq!(checked.attempts, checked.accepted, "a message that was not its own started an attempt");
    queue.close().await;
    Row::new("every message 100 times more, reordered, with stale ones", rounds, seed).report(&checked);
}
