//! What every backend must do, written once: `contract!(name: start)` runs all of it against what `start` gives, a bus
//! and whatever must live as long as it does.
//!
//! That something is *not* heard is shown by hearing what was published after it.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use gantry_domain::event::{Change, Event};
use gantry_domain::id::{OrganizationId, RunId};

use crate::{Bus, Heard, Topic};

macro_rules! contract {
    ($backend:ident: $start:path) => {
        mod $backend {
            $crate::contract::contract!(@tests $start;
                a_subscriber_hears_everything_after_subscribing_in_order,
                a_subscriber_hears_only_what_comes_later,
                every_subscriber_of_a_topic_hears_its_events,
                a_follower_of_a_run_hears_no_other_run,
                a_follower_of_an_organization_hears_all_its_runs_and_no_other_organization,
                every_kind_of_change_arrives_as_it_was,
                a_slow_subscriber_hears_a_gap_and_goes_on,
                nobody_needs_to_listen,
            );
        }
    };
    (@tests $start:path; $($behaviour:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            let (bus, _alive) = $start().await;
            $crate::contract::$behaviour(bus).await;
        }
    )*};
}
pub(crate) use contract;

/// Long enough for a loaded machine; only a failing test waits it out.
const LIMIT: Duration = Duration::from_secs(30);

type Subscriber = BoxStream<'static, Heard>;

async fn heard(subscriber: &mut Subscriber) -> Heard {
    let next = tokio::time::timeout(LIMIT, subscriber.next()).await;
    next.expect("nothing was heard").expect("the bus is alive")
}

async fn hears(subscriber: &mut Subscriber, expected: &Event) {
    assert_eq!(heard(subscriber).await, Heard::Event(expected.clone()));
}

/// The log of a run reached `end`: events that can be told apart.
fn log(organization: OrganizationId, run: RunId, end: u64) -> Event {
    Event { organization, run, change: Change::Log { attempt: 1, end }, version: None }
}

pub(crate) async fn a_subscriber_hears_everything_after_subscribing_in_order(bus: Arc<dyn Bus>) {
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut of_run = bus.subscribe(Topic::Run(organization, run)).await;
    let mut of_organization = bus.subscribe(Topic::Organization(organization)).await;
    for round in 0..10 {
        let events: Vec<_> = (0..50).map(|end| log(organization, run, round * 50 + end)).collect();
        events.iter().for_each(|event| bus.publish(event.clone()));
        for event in &events {
            hears(&mut of_run, event).await;
            hears(&mut of_organization, event).await;
        }
    }
}

pub(crate) async fn a_subscriber_hears_only_what_comes_later(bus: Arc<dyn Bus>) {
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut early = bus.subscribe(Topic::Run(organization, run)).await;
    bus.publish(log(organization, run, 1));
    hears(&mut early, &log(organization, run, 1)).await;
    let mut late = bus.subscribe(Topic::Run(organization, run)).await;
    bus.publish(log(organization, run, 2));
    hears(&mut late, &log(organization, run, 2)).await;
}

pub(crate) async fn every_subscriber_of_a_topic_hears_its_events(bus: Arc<dyn Bus>) {
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut subscribers = Vec::new();
    for _ in 0..5 {
        subscribers.push(bus.subscribe(Topic::Run(organization, run)).await);
    }
    drop(subscribers.pop());
    bus.publish(log(organization, run, 1));
    for subscriber in &mut subscribers {
        hears(subscriber, &log(organization, run, 1)).await;
    }
}

pub(crate) async fn a_follower_of_a_run_hears_no_other_run(bus: Arc<dyn Bus>) {
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut follower = bus.subscribe(Topic::Run(organization, run)).await;
    bus.publish(log(organization, RunId::new(), 1));
    bus.publish(log(OrganizationId::new(), run, 2));
    bus.publish(log(organization, run, 3));
    hears(&mut follower, &log(organization, run, 3)).await;
}

pub(crate) async fn a_follower_of_an_organization_hears_all_its_runs_and_no_other_organization(
    bus: Arc<dyn Bus>,
) {
    let organization = OrganizationId::new();
    let mut follower = bus.subscribe(Topic::Organization(organization)).await;
    for end in 0..5 {
        let run = RunId::new();
        bus.publish(log(OrganizationId::new(), run, end));
        bus.publish(log(organization, run, end));
        hears(&mut follower, &log(organization, run, end)).await;
    }
}

pub(crate) async fn every_kind_of_change_arrives_as_it_was(bus: Arc<dyn Bus>) {
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut follower = bus.subscribe(Topic::Run(organization, run)).await;
    for change in [Change::Run, Change::Log { attempt: 3, end: u64::MAX >> 1 }, Change::Deleted] {
        let event = Event { organization, run, change, version: Some(7) };
        bus.publish(event.clone());
        hears(&mut follower, &event).await;
    }
}

/// However much is missed, what remains is in order, is told apart by gaps, and new events come again.
pub(crate) async fn a_slow_subscriber_hears_a_gap_and_goes_on(bus: Arc<dyn Bus>) {
    const COUNT: u64 = 50_000;
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut slow = bus.subscribe(Topic::Run(organization, run)).await;
    for end in 1..=COUNT {
        bus.publish(log(organization, run, end));
    }
    let (mut last, mut gaps, mut missing) = (0, 0, false);
    while last < COUNT {
        let next = tokio::time::timeout(Duration::from_secs(2), slow.next()).await;
        match next.map(|heard| heard.expect("the bus is alive")) {
            Err(_) if missing => break, // The newest were missed, too.
            Err(_) => panic!("silence after {last} without a gap"),
            Ok(Heard::Gap) => (gaps, missing) = (gaps + 1, true),
            Ok(Heard::Event(Event { change: Change::Log { end, .. }, .. })) => {
                assert!(end == last + 1 || (missing && end > last), "{end} after {last} without a gap");
                (last, missing) = (end, false);
            }
            Ok(Heard::Event(other)) => panic!("nobody published {other:?}"),
        }
    }
    assert!(gaps > 0, "a bus that keeps {COUNT} events for a slow subscriber is not bounded");
    bus.publish(log(organization, run, COUNT + 1));
    hears(&mut slow, &log(organization, run, COUNT + 1)).await;
}

/// What was published before a subscription may still be on its way, and heard; nothing later is held up by it.
pub(crate) async fn nobody_needs_to_listen(bus: Arc<dyn Bus>) {
    let (organization, run) = (OrganizationId::new(), RunId::new());
    bus.publish(log(organization, run, 1));
    drop(bus.subscribe(Topic::Run(organization, run)).await);
    bus.publish(log(organization, run, 2));
    let mut follower = bus.subscribe(Topic::Run(organization, run)).await;
    bus.publish(log(organization, run, 3));
    let mut next = heard(&mut follower).await;
    for end in 1..=2 {
        if next == Heard::Event(log(organization, run, end)) {
            next = heard(&mut follower).await;
        }
    }
    assert_eq!(next, Heard::Event(log(organization, run, 3)));
}
