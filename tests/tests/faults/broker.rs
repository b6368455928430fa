//! The broker dies, forgets, disconnects, repeats itself and delivers late.

use std::time::{Duration, Instant};

use gantry_api_types::run::Status;
use gantry_domain::id::DispatchId;
use gantry_domain::spec::Pool;
use gantry_queue::{Queue as _, RunMessage};
use gantry_tests::cluster::{Addresses, Plan};
use gantry_tests::faults::{Allowed, Row, random, rounds};
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
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(load.accepted() > accepted, "nothing was accepted without the broker");
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

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_and_stale_messages_start_nothing_twice() {
    let rounds = rounds(1, 10);
    let (seed, mut random) = random("duplicates");
    let deployment = Deployment::start(Plan::over(Addresses::private()).of(2, 2)).await;
    let client = deployment.cluster.client();
    let queue = deployment.cluster.queue().await.unwrap();
    let mut promised = std::collections::BTreeMap::new();
    let mut number = 0;
    for _ in 0..rounds {
        // Every message of these runs is seen by a tap, and comes a hundred times more, in any order.
        let mut runs = Vec::new();
        for _ in 0..10 {
            let (run, promise) = deployment.submit(number, Duration::from_millis(300)).await;
            number += 1;
            promised.insert(run.to_string(), promise);
            runs.push(run);
        }
        let mut messages: Vec<RunMessage> = Vec::new();
        for run in &runs {
            for _ in 0..10 {
                // A dispatch that never was: refused, whatever state the run is in.
                let dispatch = DispatchId::new();
                messages.push(RunMessage { run: *run, dispatch, trace: Default::default() });
            }
        }
        for _ in 0..10 {
            // A run that never was.
            let (run, dispatch) = (gantry_domain::id::RunId::new(), DispatchId::new());
            messages.push(RunMessage { run, dispatch, trace: Default::default() });
        }
        while !messages.is_empty() {
            let message = messages.swap_remove(random.random_range(0..messages.len()));
            queue.publish(&Pool::default(), message).await.unwrap();
        }
        for run in &runs {
            reaches(&client, *run, Status::Passed).await;
        }
    }
    let checked = deployment.check(&promised, Allowed::Nothing).await;
    assert_eq!(checked.attempts, checked.accepted, "a message that was not its own started an attempt");
    queue.close().await;
    Row::new("stale and invented messages, reordered", rounds, seed).report(&checked);
}
