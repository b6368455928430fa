//! The store is down: nothing is promised. Redis is down: nothing is noticed.

use std::time::{Duration, Instant};

use gantry_api_types::run::Status;
use gantry_tests::cluster::{Addresses, Plan};
use gantry_tests::eventually;
use gantry_tests::faults::{Allowed, Row, is_long, random, rounds};
use gantry_tests::servers::{Mongo, Redis};
use rand::RngExt as _;
use tokio::task::block_in_place;

use crate::deployment::{Deployment, reaches};

fn outage() -> Duration {
    Duration::from_secs(if is_long() { 30 } else { 8 })
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_down_nothing_is_promised_and_then_all_recovers() {
    let rounds = rounds(1, 10);
    let (seed, mut random) = random("store down");
    let mut mongo = Mongo::start().unwrap();
    let addresses = Addresses { mongo: mongo.uri(), ..Addresses::private() };
    let mut deployment = Deployment::start(Plan::over(addresses).of(2, 2)).await;
    let load = deployment.load();
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1500))).await;
        // Gone, or there and silent.
        let frozen = round % 2 == 1;
        if frozen {
            block_in_place(|| mongo.freeze()).unwrap()
        } else {
            block_in_place(|| mongo.kill()).unwrap()
        }
        let down = Instant::now();
        let (request, _) = gantry_tests::faults::fake_run(0, Duration::from_millis(1), &deployment.effects);
        let mut refused = 0;
        while down.elapsed() < outage() {
            for i in 0..2 {
                let error = match deployment.cluster.client_of(i).create_run(&request, None).await {
                    Ok(run) => panic!("a run was promised without a store: {run:?}"),
                    Err(error) => error,
                };
                let status = error.status().map(|status| status.as_u16());
                assert_eq!(status, Some(503), "{error}");
                assert!(error.retry_after().is_some(), "503 without Retry-After");
                refused += 1;
            }
            let health = deployment.cluster.client_of(0).health().await.unwrap();
            let named = health.dependencies.iter().any(|dependency| !dependency.up);
            assert!(
                named || down.elapsed() < Duration::from_secs(10),
                "nobody says what is down: {health:?}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(refused >= 2, "{refused}");
        if frozen {
            block_in_place(|| mongo.thaw()).unwrap()
        } else {
            block_in_place(|| mongo.restart()).unwrap()
        }
        deployment.fault();
        deployment.cluster.workers_online(2).await;
    }
    let (promised, _) = load.stop().await;
    let checked = deployment.check(&promised, Allowed::Lost).await;
    Row::new(&format!("store down for {} s", outage().as_secs()), rounds, seed).report(&checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_everything_goes_on_and_live_views_still_move() {
    let rounds = rounds(1, 10);
    let (seed, mut random) = random("Redis down");
    let mut redis = Redis::start().unwrap();
    let addresses = Addresses { redis: Some(redis.uri()), ..Addresses::private() };
    let mut deployment = Deployment::start(Plan::over(addresses).of(2, 2).patient()).await;
    let load = deployment.load();
    let mut extra = Vec::new();
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1500))).await;
        let frozen = round % 2 == 1;
        if frozen {
            block_in_place(|| redis.freeze()).unwrap()
        } else {
            block_in_place(|| redis.kill()).unwrap()
        }
        let accepted = load.accepted();
        // Whichever producer it is followed at, the run is seen to begin and to end.
        let (run, promise) = deployment.submit(1000 + u64::from(round), Duration::from_secs(1)).await;
        extra.push((run.to_string(), promise.clone()));
        for i in 0..2 {
            let log = crate::followers::follow_to_the_end(deployment.cluster.client_of(i), run).await;
            assert_eq!(log.stdout, promise.log.as_bytes());
        }
        reaches(&deployment.cluster.client(), run, Status::Passed).await;
        eventually("runs accepted without Redis", || async {
            (load.accepted() > accepted + 10).then_some(())
        })
        .await;
        if frozen {
            block_in_place(|| redis.thaw()).unwrap()
        } else {
            block_in_place(|| redis.restart()).unwrap()
        }
        deployment.fault();
    }
    assert_eq!(load.refused(), 0, "Redis is convenience: nobody may notice");
    let mut promised = load.stop().await.0;
    promised.extend(extra);
    let checked = deployment.check(&promised, Allowed::Nothing).await;
    Row::new("Redis down", rounds, seed).report(&checked);
}
