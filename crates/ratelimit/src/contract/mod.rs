//! What every limiter must do, written once: `contract!(name: start)` runs all of it against what `start` gives.

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use gantry_domain::id::{KeyId, OrganizationId};

use crate::{Decision, Limit, LimitKey, Limiter};

/// A limiter and its time.
#[async_trait]
pub(crate) trait Subject {
    fn limiter(&self) -> &dyn Limiter;

    /// Returns when the limiter's clock has gone on by this much, or a little more where it is a real one.
    async fn pass(&self, time: Duration);
}

macro_rules! contract {
    ($backend:ident: $start:path) => {
        mod $backend {
            $crate::contract::contract!(@tests $start;
                a_burst_passes_and_no_more,
                a_refused_request_costs_nothing_and_says_when_to_come_again,
                requests_come_back_at_the_steady_rate,
                a_long_rest_earns_one_burst_only,
                the_whole_burst_is_there_at_reset,
                subjects_do_not_share,
                a_request_may_cost_more_than_one,
                more_than_the_burst_is_never_allowed,
                concurrent_requests_are_counted_once_each,
                a_changed_limit_counts_at_once,
            );
        }
    };
    (@tests $start:path; $($behaviour:ident,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            $crate::contract::$behaviour(&$start().await).await;
        }
    )*};
}
pub(crate) use contract;

/// `burst` at once, then one in each `interval`.
pub(crate) fn limit(burst: u32, interval: Duration) -> Limit {
    Limit { burst: NonZeroU32::new(burst).unwrap(), count: NonZeroU32::MIN, per: interval }
}

/// So long that nothing comes back while a test runs.
const NEVER: Duration = Duration::from_secs(3600);

fn somebody() -> LimitKey {
    LimitKey::Organization(OrganizationId::new())
}

async fn check(subject: &impl Subject, key: &LimitKey, limit: Limit) -> Decision {
    subject.limiter().check(key, limit, NonZeroU32::MIN).await
}

pub(crate) async fn a_burst_passes_and_no_more(subject: &impl Subject) {
    let (key, limit) = (somebody(), limit(5, NEVER));
    for remaining in (0..5).rev() {
        let decision = check(subject, &key, limit).await;
        assert!(decision.allowed);
        assert_eq!(
            (decision.limit, decision.remaining, decision.retry_after),
            (5, remaining, Duration::ZERO)
        );
    }
    for _ in 0..3 {
        let decision = check(subject, &key, limit).await;
        assert_eq!((decision.allowed, decision.limit, decision.remaining), (false, 5, 0));
    }
}

pub(crate) async fn a_refused_request_costs_nothing_and_says_when_to_come_again(subject: &impl Subject) {
    let (key, limit) = (somebody(), limit(1, Duration::from_millis(400)));
    assert!(check(subject, &key, limit).await.allowed);
    let mut refused = check(subject, &key, limit).await;
    for _ in 0..20 {
        assert!(!refused.allowed);
        assert!(refused.retry_after > Duration::ZERO && refused.retry_after <= Duration::from_millis(400));
        refused = check(subject, &key, limit).await;
    }
    subject.pass(refused.retry_after).await;
    assert!(check(subject, &key, limit).await.allowed);
}

pub(crate) async fn requests_come_back_at_the_steady_rate(subject: &impl Subject) {
    let interval = Duration::from_millis(500);
    let (key, limit) = (somebody(), limit(3, interval));
    while check(subject, &key, limit).await.allowed {}
    subject.pass(interval).await;
    assert!(check(subject, &key, limit).await.allowed);
    assert!(!check(subject, &key, limit).await.allowed, "one interval brings one request");
    subject.pass(interval * 2).await;
    assert!(check(subject, &key, limit).await.allowed);
    assert!(check(subject, &key, limit).await.allowed);
}

pub(crate) async fn a_long_rest_earns_one_burst_only(subject: &impl Subject) {
    let interval = Duration::from_millis(200);
    let (key, limit) = (somebody(), limit(2, interval));
    assert!(check(subject, &key, limit).await.allowed);
    subject.pass(interval * 10).await;
    let decision = check(subject, &key, limit).await;
    assert_eq!((decision.allowed, decision.remaining), (true, 1));
}

pub(crate) async fn the_whole_burst_is_there_at_reset(subject: &impl Subject) {
    let (key, limit) = (somebody(), limit(3, Duration::from_millis(100)));
    check(subject, &key, limit).await;
    let reset = check(subject, &key, limit).await.reset;
    assert!(reset > Duration::from_millis(100) && reset <= Duration::from_millis(200), "{reset:?}");
    subject.pass(reset).await;
    assert_eq!(check(subject, &key, limit).await.remaining, 2);
}

pub(crate) async fn subjects_do_not_share(subject: &impl Subject) {
    let limit = limit(1, NEVER);
    let (organization, other) = (OrganizationId::new(), OrganizationId::new());
    let (key, another) = (KeyId::new(), KeyId::new());
    for subject_key in [
        LimitKey::Organization(organization),
        LimitKey::Organization(other),
        LimitKey::ApiKey(organization, key),
        LimitKey::ApiKey(organization, another),
        LimitKey::ApiKey(other, key),
    ] {
        assert!(check(subject, &subject_key, limit).await.allowed, "{subject_key}");
        assert!(!check(subject, &subject_key, limit).await.allowed, "{subject_key}");
    }
}

pub(crate) async fn a_request_may_cost_more_than_one(subject: &impl Subject) {
    let (key, limit, three) = (somebody(), limit(7, NEVER), NonZeroU32::new(3).unwrap());
    let mut remaining = Vec::new();
    for _ in 0..3 {
        let decision = subject.limiter().check(&key, limit, three).await;
        remaining.push((decision.allowed, decision.remaining));
    }
    assert_eq!(remaining, [(true, 4), (true, 1), (false, 1)]);
    assert!(check(subject, &key, limit).await.allowed, "what is left goes to who needs less");
}

pub(crate) async fn more_than_the_burst_is_never_allowed(subject: &impl Subject) {
    let (key, limit) = (somebody(), limit(2, NEVER));
    let decision = subject.limiter().check(&key, limit, NonZeroU32::new(3).unwrap()).await;
    assert_eq!((decision.allowed, decision.remaining), (false, 2));
    assert!(check(subject, &key, limit).await.allowed);
}

pub(crate) async fn concurrent_requests_are_counted_once_each(subject: &impl Subject) {
    let (key, limit) = (somebody(), limit(50, NEVER));
    let decisions = join_all((0..200).map(|_| check(subject, &key, limit))).await;
    assert_eq!(decisions.iter().filter(|decision| decision.allowed).count(), 50);
}

pub(crate) async fn a_changed_limit_counts_at_once(subject: &impl Subject) {
    let key = somebody();
    while check(subject, &key, limit(100, NEVER)).await.allowed {}
    let stricter = limit(2, Duration::from_millis(200));
    assert!(!check(subject, &key, stricter).await.allowed);
    subject.pass(Duration::from_millis(400)).await;
    assert!(
        check(subject, &key, stricter).await.allowed,
        "debts of a larger limit are not owed to a smaller one"
    );
}
