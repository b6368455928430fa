//! What only this backend promises.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use gantry_domain::event::Change;
use gantry_domain::id::{OrganizationId, RunId};

use super::*;

async fn start() -> (Arc<dyn Bus>, ()) {
    (Arc::new(LocalBus::new()), ())
}

crate::contract::contract!(local: super::start);

fn change(organization: OrganizationId, run: RunId) -> Event {
    Event { organization, run, change: Change::Run, version: None }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn subscribers_that_are_gone_leave_no_trace() {
    let bus = LocalBus::new();
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let first = bus.subscribe(Topic::Run(organization, run)).await;
    let second = bus.subscribe(Topic::Run(organization, run)).await;
    let mut third = bus.subscribe(Topic::Organization(organization)).await;
    assert_eq!(bus.topics(), 2);
    drop(first);
    assert_eq!(bus.topics(), 2, "somebody still listens");
    drop(second);
    assert_eq!(bus.topics(), 1);
    assert!(third.next().now_or_never().is_none());
    drop(third);
    assert_eq!(bus.topics(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coming_and_going_at_the_same_time_leaves_no_trace_and_loses_nothing() {
    let bus = LocalBus::new();
    let topic = Topic::Run(OrganizationId::new(), RunId::new());
    let Topic::Run(organization, run) = topic else { unreachable!() };
    let visitors: Vec<_> = (0..4)
        .map(|_| {
            let bus = bus.clone();
            tokio::spawn(async move {
                for _ in 0..2_000 {
                    let mut visitor = bus.subscribe(topic).await;
                    bus.publish(change(organization, run));
                    let heard = tokio::time::timeout(Duration::from_secs(30), visitor.next()).await;
                    assert!(heard.is_ok(), "the event was lost");
                }
            })
        })
        .collect();
    for visitor in visitors {
        visitor.await.unwrap();
    }
    assert_eq!(bus.topics(), 0);
}

#[tokio::test]
async fn followers_sleep_through_what_other_runs_do() {
    let bus = LocalBus::new();
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut followers = Vec::new();
    for _ in 0..1_000 {
        let mut follower = bus.subscribe(Topic::Run(organization, run)).await;
        assert!(follower.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
        followers.push(follower);
    }
    for _ in 0..1_000 {
        bus.publish(change(organization, RunId::new()));
    }
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
    bus.publish(change(organization, run));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1_000);
}

#[tokio::test]
async fn a_gap_takes_the_place_of_what_was_missed() {
    let bus = LocalBus::with_backlog(4);
    let organization = OrganizationId::new();
    let runs: Vec<RunId> = (0..6).map(|_| RunId::new()).collect();
    let mut slow = bus.subscribe(Topic::Organization(organization)).await;
    runs.iter().for_each(|&run| bus.publish(change(organization, run)));
    assert_eq!(slow.next().await, Some(Heard::Gap));
    for &run in &runs[2..] {
        assert_eq!(slow.next().await, Some(Heard::Event(change(organization, run))));
    }
    assert!(slow.next().now_or_never().is_none());
}

#[tokio::test]
async fn streams_end_with_the_bus() {
    let bus = LocalBus::new();
    let mut follower = bus.subscribe(Topic::Organization(OrganizationId::new())).await;
    drop(bus);
    assert_eq!(follower.next().await, None);
}
