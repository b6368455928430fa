//! Producers are killed between any two of their steps, and asked the same thing twice at once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use gantry_tests::cluster::{Addresses, Plan};
use gantry_tests::faults::{Allowed, Row, fake_run, random, rounds};
use rand::RngExt as _;

use crate::deployment::Deployment;

/// Between insert and publish, between claim and answer, and everywhere else.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_producer_costs_no_run() {
    let rounds = rounds(2, 1);
    let (seed, mut random) = random("kill -9 producer");
    let mut deployment = Deployment::start(Plan::over(Addresses::private()).of(2, 2)).await;
    let load = deployment.load();
    for _ in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.random_range(50..1500))).await;
        let i = random.random_range(0..2);
        deployment.cluster.kill_producer(i).unwrap();
        deployment.fault();
        // Now and then both are away.
        if random.random_range(0..4) == 0 {
            deployment.cluster.kill_producer(1 - i).unwrap();
            tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
            deployment.cluster.start_producer(1 - i).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..500))).await;
        deployment.cluster.start_producer(i).unwrap();
    }
    let (promised, _) = load.stop().await;
    let checked = deployment.check(&promised, Allowed::Lost).await;
    Row::new("kill -9 a producer at random moments", rounds, seed).report(&checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_posts_with_one_key_are_one_run() {
    let rounds = rounds(3, 1);
    let (seed, _) = random("idempotency key");
    let deployment = Deployment::start(Plan::over(Addresses::private()).of(2, 1).patient()).await;
    let clients = [deployment.cluster.client_of(0), deployment.cluster.client_of(1)];
    let mut promised = std::collections::BTreeMap::new();
    for round in 0..rounds {
        let (request, promise) = fake_run(u64::from(round), Duration::from_millis(1), &deployment.effects);
        let key = format!("one-{round}");
        let posts = futures::stream::iter(0..50).map(|i| {
            let (client, request, key) = (clients[i % 2].clone(), request.clone(), key.clone());
            async move {
                loop {
                    match client.create_run(&request, Some(&key)).await {
                        Ok(run) => return run.id,
                        // The first one is still being answered.
                        Err(error) => assert_eq!(error.status().map(|s| s.as_u16()), Some(409), "{error}"),
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        });
        let ids: BTreeSet<String> = posts.buffer_unordered(50).collect().await;
        assert_eq!(ids.len(), 1, "one key, several runs");
        promised.extend(ids.into_iter().map(|id| (id, promise.clone())));
    }
    let checked = deployment.check(&promised, Allowed::Nothing).await;
    Row::new("50 parallel posts with one Idempotency-Key to two producers", rounds, seed).report(&checked);
}
