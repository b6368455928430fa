//! What only this backend promises, against real servers.

use std::time::{Duration, Instant};

use futures::{FutureExt as _, StreamExt as _};
use gantry_domain::event::Change;
use gantry_domain::id::{OrganizationId, RunId};
use tokio::time::timeout;

use super::test_server::{Server, Weather, Wire};
use super::*;

/// Long enough for a loaded machine; only a failing test waits it out.
const LIMIT: Duration = Duration::from_secs(30);

type Subscriber = BoxStream<'static, Heard>;

/// A replica on the Redis that all tests share, alone under `prefix`.
async fn shared(prefix: &str) -> RedisBus {
    let uri = std::env::var("GANTRY_TEST_REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let bus = RedisBus::connect(&RedisOptions { uri: uri.clone(), prefix: prefix.to_owned() }).unwrap();
    let connected = timeout(Duration::from_secs(10), bus.until_connected()).await;
    connected.expect("no Redis answers: `scripts/services start redis`, or name one in GANTRY_TEST_REDIS");
    bus
}

fn own_prefix() -> String {
    format!("gantry-test-{:x}", rand::random::<u128>())
}

async fn alone() -> (Arc<dyn Bus>, ()) {
    (Arc::new(shared(&own_prefix()).await), ())
}

/// Two replicas as one bus: what the first publishes is heard at the second.
struct Pair {
    here: RedisBus,
    there: RedisBus,
}

#[async_trait]
impl Bus for Pair {
    fn publish(&self, event: Event) {
        self.here.publish(event);
    }

    async fn subscribe(&self, topic: Topic) -> BoxStream<'static, Heard> {
        self.there.subscribe(topic).await
    }
}

async fn pair() -> (Arc<dyn Bus>, ()) {
    let prefix = own_prefix();
    (Arc::new(Pair { here: shared(&prefix).await, there: shared(&prefix).await }), ())
}

crate::contract::contract!(redis_in_one_replica: super::alone);
crate::contract::contract!(redis_between_replicas: super::pair);

fn options(uri: String) -> RedisOptions {
    RedisOptions { uri, prefix: "test".to_owned() }
}

async fn connected(uri: String) -> RedisBus {
    let bus = RedisBus::connect(&options(uri)).unwrap();
    timeout(LIMIT, bus.until_connected()).await.expect("never connected");
    bus
}

async fn until_degraded(bus: &RedisBus) {
    let mut connected = bus.connected.clone();
    let lost = timeout(LIMIT, connected.wait_for(|connected| !connected)).await;
    lost.expect("the loss went unnoticed").unwrap();
}

fn log(organization: OrganizationId, run: RunId, end: u64) -> Event {
    Event { organization, run, change: Change::Log { attempt: 1, end }, version: None }
}

async fn heard(subscriber: &mut Subscriber) -> Heard {
    timeout(LIMIT, subscriber.next()).await.expect("nothing was heard").expect("the bus is alive")
}

async fn hears_a_gap(subscriber: &mut Subscriber) {
    assert_eq!(heard(subscriber).await, Heard::Gap);
}

/// Gaps may come before it.
async fn hears_at_last(subscriber: &mut Subscriber, event: &Event) {
    loop {
        match heard(subscriber).await {
            Heard::Gap => {}
            other => return assert_eq!(other, Heard::Event(event.clone())),
        }
    }
}

#[tokio::test]
async fn options_that_can_never_work_are_refused() {
    let refused = |options| RedisBus::connect(&options).err();
    assert!(matches!(refused(options("http://localhost".to_owned())), Some(BadRedisOptions::Uri(_))));
    for prefix in ["", "a*", "a b", "a[b]"] {
        let options = RedisOptions { prefix: prefix.to_owned(), ..options("redis://localhost".to_owned()) };
        assert_eq!(refused(options), Some(BadRedisOptions::Prefix));
    }
}

#[test]
fn a_password_is_not_printed() {
    let options = options("redis://user:sesame@localhost".to_owned());
    assert!(!format!("{options:?}").contains("sesame"));
}

#[tokio::test]
async fn without_redis_local_events_are_heard_at_once_and_gaps_go_on() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bus = RedisBus::connect(&options(format!("redis://{nobody}"))).unwrap();
    assert!(bus.is_degraded());
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut subscriber = bus.subscribe(Topic::Run(organization, run)).await;
    bus.publish(log(organization, run, 1));
    assert_eq!(subscriber.next().now_or_never(), Some(Some(Heard::Event(log(organization, run, 1)))));
    let begun = Instant::now();
    for _ in 0..3 {
        hears_a_gap(&mut subscriber).await;
    }
    assert!(begun.elapsed() > Duration::from_millis(1900), "gaps are a second apart");
    bus.close().await;
}

#[tokio::test]
async fn publishing_never_waits_and_keeps_a_bounded_number() {
    let server = Server::start().await;
    let wire = Wire::to(server.address()).await;
    let bus = connected(wire.uri()).await;
    wire.becomes(Weather::Silent);
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let begun = Instant::now();
    for end in 0..100_000 {
        bus.publish(log(organization, run, end));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn nobody_hears_an_event_twice() {
    let prefix = own_prefix();
    let (here, there) = (shared(&prefix).await, shared(&prefix).await);
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let topic = Topic::Run(organization, run);
    let (mut at_here, mut at_there) = (here.subscribe(topic).await, there.subscribe(topic).await);
    for end in 1..=100 {
        let (one, other) = (log(organization, run, end), log(organization, run, 1000 + end));
        here.publish(one.clone());
        assert_eq!(heard(&mut at_here).await, Heard::Event(one.clone()));
        assert_eq!(heard(&mut at_there).await, Heard::Event(one));
        there.publish(other.clone());
        assert_eq!(heard(&mut at_there).await, Heard::Event(other.clone()));
        assert_eq!(heard(&mut at_here).await, Heard::Event(other));
    }
}

#[tokio::test]
async fn installations_with_other_prefixes_hear_nothing() {
    let (one, other) = (own_prefix(), own_prefix());
    let (here, stranger, there) = (shared(&one).await, shared(&other).await, shared(&one).await);
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut subscriber = there.subscribe(Topic::Run(organization, run)).await;
    stranger.publish(log(organization, run, 1));
    stranger.close().await;
    here.publish(log(organization, run, 2));
    assert_eq!(heard(&mut subscriber).await, Heard::Event(log(organization, run, 2)));
}

#[tokio::test]
async fn a_killed_server_is_a_gap_and_events_go_on_when_it_is_back() {
    let mut server = Server::start().await;
    let (here, there) = (connected(server.uri()).await, connected(server.uri()).await);
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut subscriber = there.subscribe(Topic::Run(organization, run)).await;
    here.publish(log(organization, run, 1));
    assert_eq!(heard(&mut subscriber).await, Heard::Event(log(organization, run, 1)));
    for round in 1..=3 {
        server.kill();
        hears_a_gap(&mut subscriber).await;
        until_degraded(&here).await;
        until_degraded(&there).await;
        here.publish(log(organization, run, 10 * round));
        hears_a_gap(&mut subscriber).await;
        server.start_again().await;
        timeout(LIMIT, async { tokio::join!(here.until_connected(), there.until_connected()) })
            .await
            .unwrap();
        here.publish(log(organization, run, 10 * round + 1));
        hears_at_last(&mut subscriber, &log(organization, run, 10 * round + 1)).await;
        assert!(!there.is_degraded());
    }
}

#[tokio::test]
async fn a_silent_server_is_noticed_and_left() {
    let server = Server::start().await;
    let wire = Wire::to(server.address()).await;
    let (here, there) = (connected(server.uri()).await, connected(wire.uri()).await);
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut subscriber = there.subscribe(Topic::Organization(organization)).await;
    wire.becomes(Weather::Silent);
    here.publish(log(organization, run, 1));
    hears_a_gap(&mut subscriber).await;
    until_degraded(&there).await;
    wire.becomes(Weather::Fine);
    timeout(LIMIT, there.until_connected()).await.unwrap();
    here.publish(log(organization, run, 2));
    hears_at_last(&mut subscriber, &log(organization, run, 2)).await;
}

#[tokio::test]
async fn a_slow_server_delays_events_and_nothing_else() {
    let server = Server::start().await;
    let wire = Wire::to(server.address()).await;
    let (here, there) = (connected(wire.uri()).await, connected(server.uri()).await);
    wire.becomes(Weather::Slow(Duration::from_millis(200)));
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let topic = Topic::Run(organization, run);
    let (mut at_here, mut at_there) = (here.subscribe(topic).await, there.subscribe(topic).await);
    for end in 1..=20 {
        here.publish(log(organization, run, end));
        let event = at_here.next().now_or_never();
        assert_eq!(event, Some(Some(Heard::Event(log(organization, run, end)))), "local events do not wait");
        assert_eq!(heard(&mut at_there).await, Heard::Event(log(organization, run, end)));
    }
    assert!(!here.is_degraded(), "late is not lost");
}

#[tokio::test]
async fn a_replica_that_is_cut_off_alone_is_missed_by_the_others() {
    let server = Server::start().await;
    let wire = Wire::to(server.address()).await;
    let (here, there) = (connected(wire.uri()).await, connected(server.uri()).await);
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut subscriber = there.subscribe(Topic::Run(organization, run)).await;
    here.publish(log(organization, run, 1));
    hears_at_last(&mut subscriber, &log(organization, run, 1)).await;
    wire.becomes(Weather::Silent);
    hears_a_gap(&mut subscriber).await;
    hears_a_gap(&mut subscriber).await;
    assert!(!there.is_degraded());
    until_degraded(&here).await;
    here.publish(log(organization, run, 2));
    wire.becomes(Weather::Fine);
    timeout(LIMIT, here.until_connected()).await.unwrap();
    here.publish(log(organization, run, 3));
    hears_at_last(&mut subscriber, &log(organization, run, 3)).await;
}

#[tokio::test]
async fn what_was_published_before_the_end_is_still_sent() {
    let prefix = own_prefix();
    let (here, there) = (shared(&prefix).await, shared(&prefix).await);
    let (organization, run) = (OrganizationId::new(), RunId::new());
    let mut subscriber = there.subscribe(Topic::Run(organization, run)).await;
    for end in 1..=1000 {
        here.publish(log(organization, run, end));
    }
    here.close().await;
    // A subscriber may fall behind by a backlog; the last one counts.
    loop {
        if heard(&mut subscriber).await == Heard::Event(log(organization, run, 1000)) {
            return;
        }
    }
}

#[tokio::test]
async fn streams_end_with_the_bus() {
    let bus = shared(&own_prefix()).await;
    let mut subscriber = bus.subscribe(Topic::Organization(OrganizationId::new())).await;
    drop(bus);
    assert_eq!(timeout(LIMIT, subscriber.next()).await, Ok(None));
}

/// A client without a TLS provider, or with two of them, would panic here.
#[tokio::test]
async fn rediss_speaks_tls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("rediss://{}", listener.local_addr().unwrap());
    let _bus = RedisBus::connect(&options(uri)).unwrap();
    let (mut connection, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let mut first = [0; 2];
    let read = tokio::io::AsyncReadExt::read_exact(&mut connection, &mut first);
    timeout(LIMIT, read).await.unwrap().unwrap();
    assert_eq!(first, [0x16, 0x03], "the hello of a TLS client");
}
