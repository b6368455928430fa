//! What only this backend promises, against a real server.

use std::time::Instant;

use gantry_domain::id::OrganizationId;
use gantry_domain::time::{ManualClock, SystemClock, Timestamp};

use super::wire::{Weather, Wire};
use super::*;
use crate::contract::{Subject, limit};

/// Long enough for a loaded machine; only a failing test waits it out.
const LIMIT: Duration = Duration::from_secs(30);
const ONE: NonZeroU32 = NonZeroU32::MIN;

fn uri() -> String {
    std::env::var("GANTRY_TEST_REDIS").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned())
}

/// Where the tests' Redis listens, for a wire to it.
fn address() -> String {
    let client = Client::open(uri()).unwrap();
    client.get_connection_info().addr().to_string()
}

fn options(uri: String) -> RedisLimiterOptions {
    let prefix = format!("gantry-test-{:x}", rand::random::<u128>());
    RedisLimiterOptions { prefix, ..RedisLimiterOptions::new(uri) }
}

async fn connected(options: &RedisLimiterOptions) -> RedisLimiter {
    let limiter = RedisLimiter::connect(options, Arc::new(SystemClock)).unwrap();
    let answered = timeout(Duration::from_secs(10), limiter.until_connected()).await;
    answered.expect("no Redis answers: `scripts/services start redis`, or name one in GANTRY_TEST_REDIS");
    limiter
}

/// One that waits for a loaded machine rather than decide on its own.
async fn patient(options: &RedisLimiterOptions) -> RedisLimiter {
    let mut limiter = connected(options).await;
    limiter.patience = Duration::from_secs(1);
    limiter
}

/// Fails rather than fall back: a contract that the local limiter fulfilled would show nothing.
struct Shared(RedisLimiter);

#[async_trait]
impl Limiter for Shared {
    async fn check(&self, key: &LimitKey, limit: Limit, cost: NonZeroU32) -> Decision {
        let decision = self.0.check(key, limit, cost).await;
        assert!(!self.0.is_degraded(), "Redis did not decide");
        decision
    }
}

struct Remote(Shared);

#[async_trait]
impl Subject for Remote {
    fn limiter(&self) -> &dyn Limiter {
        &self.0
    }

    async fn pass(&self, time: Duration) {
        // Redis's clock counts what passes between its readings.
        tokio::time::sleep(time + Duration::from_millis(2)).await;
    }
}

async fn start() -> Remote {
    Remote(Shared(patient(&options(uri())).await))
}

crate::contract::contract!(redis: super::start);

fn somebody() -> LimitKey {
    LimitKey::Organization(OrganizationId::new())
}

fn hours(burst: u32) -> Limit {
    limit(burst, Duration::from_secs(3600))
}

#[tokio::test]
async fn a_uri_that_can_never_work_is_refused() {
    let refused = RedisLimiter::connect(&options("http://localhost".to_owned()), Arc::new(SystemClock));
    assert!(refused.is_err());
    assert!(!format!("{:?}", options("redis://user:sesame@localhost".to_owned())).contains("sesame"));
}

#[tokio::test]
async fn replicas_share_a_limit_and_installations_do_not() {
    let options = options(uri());
    let (here, there) = (patient(&options).await, patient(&options).await);
    let stranger = patient(&self::options(uri())).await;
    let key = somebody();
    for _ in 0..2 {
        assert!(here.check(&key, hours(4), ONE).await.allowed);
        assert!(there.check(&key, hours(4), ONE).await.allowed);
    }
    assert!(!here.check(&key, hours(4), ONE).await.allowed);
    assert!(!there.check(&key, hours(4), ONE).await.allowed);
    assert!(stranger.check(&key, hours(4), ONE).await.allowed);
    assert!(!here.is_degraded() && !there.is_degraded());
}

#[tokio::test]
async fn keys_go_when_they_say_nothing_any_more() {
    let options = options(uri());
    let limiter = patient(&options).await;
    let key = somebody();
    limiter.check(&key, limit(2, Duration::from_millis(300)), ONE).await;
    let mut connection = limiter.link.connection().unwrap().redis;
    let name = format!("{}:limit:{key}", options.prefix);
    let lifetime: i64 = ::redis::cmd("PTTL").arg(&name).query_async(&mut connection).await.unwrap();
    assert!((1..=300).contains(&lifetime), "{lifetime}");
}

/// A restarted Redis knows no scripts.
#[tokio::test]
async fn a_forgotten_script_is_loaded_again() {
    let limiter = patient(&options(uri())).await;
    let key = somebody();
    assert!(limiter.check(&key, hours(2), ONE).await.allowed);
    let mut connection = limiter.link.connection().unwrap().redis;
    let _: () = ::redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.unwrap();
    assert!(limiter.check(&key, hours(2), ONE).await.allowed);
    assert!(!limiter.check(&key, hours(2), ONE).await.allowed);
    assert!(!limiter.is_degraded());
}

#[tokio::test]
async fn without_redis_each_replica_lets_its_share_through_and_never_waits() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let clock = ManualClock::at(Timestamp::from_millis(1_000_000));
    let three = NonZeroU32::new(3).unwrap();
    let options = RedisLimiterOptions { replicas: three, ..options(format!("redis://{nobody}")) };
    let limiter = RedisLimiter::connect(&options, Arc::new(clock.clone())).unwrap();
    let key = somebody();
    let minute = limit(12, Duration::from_secs(60));
    for remaining in (0..4).rev() {
        let decision = limiter.check(&key, minute, ONE).await;
        assert_eq!((decision.allowed, decision.limit, decision.remaining), (true, 12, remaining));
    }
    clock.advance(Duration::from_secs(60));
    assert!(!limiter.check(&key, minute, ONE).await.allowed, "a third of the rate");
    clock.advance(Duration::from_secs(120));
    assert!(limiter.check(&key, minute, ONE).await.allowed);
    let begun = Instant::now();
    for _ in 0..1_000 {
        limiter.check(&key, minute, ONE).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_request_that_costs_more_than_a_share_is_still_possible() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = RedisLimiterOptions {
        replicas: NonZeroU32::new(10).unwrap(),
        ..options(format!("redis://{nobody}"))
    };
    let limiter = RedisLimiter::connect(&options, Arc::new(SystemClock)).unwrap();
    let key = somebody();
    assert!(limiter.check(&key, hours(20), NonZeroU32::new(15).unwrap()).await.allowed);
    assert!(!limiter.check(&key, hours(20), ONE).await.allowed);
    assert!(!limiter.check(&somebody(), hours(20), NonZeroU32::new(21).unwrap()).await.allowed);
}

/// Silent is worse than dead: each call could cost its whole time.
#[tokio::test]
async fn a_silent_redis_costs_one_wait_and_is_used_again_when_it_speaks() {
    let wire = Wire::to(address()).await;
    let limiter = connected(&options(wire.uri())).await;
    for _ in 0..2 {
        wire.becomes(Weather::Silent);
        let key = somebody();
        let begun = Instant::now();
        let mut allowed = 0;
        for _ in 0..1_000 {
            allowed += u32::from(limiter.check(&key, hours(5), ONE).await.allowed);
        }
        assert_eq!(allowed, 5, "not open");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        assert!(limiter.is_degraded());
        wire.becomes(Weather::Fine);
        timeout(LIMIT, limiter.until_connected()).await.expect("never used again");
        assert!(limiter.check(&somebody(), hours(5), ONE).await.allowed);
    }
}

#[tokio::test]
async fn a_cut_connection_is_replaced() {
    let wire = Wire::to(address()).await;
    let limiter = connected(&options(wire.uri())).await;
    wire.becomes(Weather::Cut);
    let key = somebody();
    let mut allowed = 0;
    for _ in 0..100 {
        allowed += u32::from(limiter.check(&key, hours(5), ONE).await.allowed);
    }
    // One request may have counted before its answer was cut off.
    assert!((4..=5).contains(&allowed), "{allowed}");
    assert!(limiter.is_degraded());
    wire.becomes(Weather::Fine);
    timeout(LIMIT, limiter.until_connected()).await.expect("never used again");
}
