//! The network between a worker and the rest breaks in every way networks do.

use std::net::ToSocketAddrs as _;
use std::time::Duration;

use gantry_tests::cluster::{Addresses, LEASE, Plan, endpoint, through};
use gantry_tests::faults::{Allowed, Row, random, rounds};
use gantry_tests::proxy::{Proxy, Way};
use rand::RngExt as _;

use crate::deployment::Deployment;

#[derive(Debug, Clone, Copy)]
enum Break {
    Cut,
    HalfOpen,
    /// Requests arrive and answers don't.
    NoAnswers,
    /// Nothing arrives, and answers to what arrived before do.
    NoRequests,
}

const BREAKS: [Break; 4] = [Break::Cut, Break::HalfOpen, Break::NoAnswers, Break::NoRequests];

fn broken(proxy: &Proxy, how: Break) {
    match how {
        Break::Cut => proxy.cut(),
        Break::HalfOpen => proxy.stall(Way::Both),
        Break::NoAnswers => proxy.stall(Way::ToClient),
        Break::NoRequests => proxy.stall(Way::ToServer),
    }
}

/// Longer than a lease, so that runs move; now and then shorter, so that they must not.
async fn break_in_every_way(
    deployment: &mut Deployment,
    proxy: &Proxy,
    rounds: u32,
    random: &mut rand::rngs::SmallRng,
) {
    for _ in 0..rounds {
        for how in BREAKS {
            tokio::time::sleep(Duration::from_millis(random.random_range(200..800))).await;
            broken(proxy, how);
            let long = random.random_range(0..3) > 0;
            tokio::time::sleep(if long { LEASE + LEASE / 2 } else { LEASE / 3 }).await;
            proxy.pass();
            deployment.fault();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_from_the_producers_fences_itself() {
    let rounds = rounds(1, 10);
    let (seed, mut random) = random("partition worker/producer");
    let mut deployment = Deployment::start(Plan::over(Addresses::private()).of(2, 1)).await;
    let proxy = Proxy::start(deployment.cluster.back.address()).unwrap();
    let url = format!("http://{}", proxy.address());
    deployment.cluster.add_worker(&[("GANTRY_PRODUCER_URL", url)]).unwrap();
    deployment.cluster.workers_online(2).await;
    let load = deployment.load();
    break_in_every_way(&mut deployment, &proxy, rounds, &mut random).await;
    let (promised, _) = load.stop().await;
    let checked = deployment.check(&promised, Allowed::Lost).await;
    Row::new("partition worker ↔ producer: cut, half-open, one-way", rounds * 4, seed).report(&checked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_from_the_broker_finishes_what_it_has() {
    let rounds = rounds(1, 10);
    let (seed, mut random) = random("partition worker/broker");
    let addresses = Addresses::private();
    let broker = endpoint(&addresses.amqp).unwrap().to_socket_addrs().unwrap().next().unwrap();
    let proxy = Proxy::start(broker).unwrap();
    // Heartbeats of the protocol notice a peer that is gone.
    let uri = format!("{}?heartbeat=1", through(&addresses.amqp, proxy.address()).unwrap());
    let mut deployment = Deployment::start(Plan::over(addresses).of(2, 1).patient()).await;
    deployment.cluster.add_worker(&[("GANTRY_QUEUE", uri)]).unwrap();
    deployment.cluster.workers_online(2).await;
    let load = deployment.load();
    break_in_every_way(&mut deployment, &proxy, rounds, &mut random).await;
    let (promised, _) = load.stop().await;
    let checked = deployment.check(&promised, Allowed::Nothing).await;
    Row::new("partition worker ↔ broker: cut, half-open, one-way", rounds * 4, seed).report(&checked);
}
