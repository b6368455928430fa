//! Rate limits: who changes too much too fast waits, and nobody else does.

use std::num::NonZeroU32;

use axum::http::Method;
use gantry_producer::config::RateLimitConfig;
use gantry_ratelimit::Limit;
use serde_json::{Value, json};

use crate::installation::{Answer, Installation, spec};
use crate::problem::problem;
use crate::worker::FakeWorker;

fn per_minute(count: u32, burst: u32) -> Option<Limit> {
    Some(Limit::per_minute(NonZeroU32::new(count).unwrap(), NonZeroU32::new(burst).unwrap()))
}

async fn limited(rate_limits: RateLimitConfig) -> Installation {
    Installation::with_config(|config| config.rate_limits = rate_limits).await
}

async fn post(installation: &Installation, key: &str) -> Answer {
    installation.call_as(key, Method::POST, "/api/v1/runs", Some(spec())).await
}

/// Limit, remaining, reset.
fn left(answer: &Answer) -> [&str; 3] {
    ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"].map(|name| answer.header(name))
}

#[tokio::test]
async fn a_burst_passes_then_the_rate_and_every_answer_says_what_is_left() {
    let installation = limited(RateLimitConfig { organization: per_minute(6, 3), key: None }).await;
    let key = &installation.key;
    for remaining in ["2", "1", "0"] {
        let answer = post(&installation, key).await.expect(202);
        assert_eq!(left(&answer)[..2], ["3", remaining]);
    }
    let refused = post(&installation, key).await.refused(429, "rate_limited");
    problem(&refused);
    assert_eq!(left(&refused), ["3", "0", "30"]);
    assert_eq!(refused.header("retry-after"), "10");
    installation.advance(10);
    post(&installation, key).await.expect(202);
    post(&installation, key).await.refused(429, "rate_limited");
    installation.advance(30);
    let answer = post(&installation, key).await.expect(202);
    assert_eq!(left(&answer), ["3", "2", "10"]);
}

#[tokio::test]
async fn nothing_is_limited_unless_it_is_said() {
    let installation = Installation::new().await;
    for _ in 0..300 {
        let answer = post(&installation, &installation.key).await.expect(202);
        assert_eq!(left(&answer), ["", "", ""]);
    }
}

#[tokio::test]
async fn a_request_counts_once_whatever_it_changes_and_reading_does_not() {
    let installation =
        limited(RateLimitConfig { organization: per_minute(5, 5), key: per_minute(60, 50) }).await;
    let id = installation.accept(spec()).await;
    let run = format!("/api/v1/runs/{id}");
    for path in [run.as_str(), "/api/v1/runs", &format!("{run}/attempts")] {
        for _ in 0..10 {
            assert_eq!(left(&installation.get(path).await.expect(200)), ["", "", ""]);
        }
    }
    let cancelled = installation.post(&format!("{run}/cancel"), Value::Null).await.expect(202);
    assert_eq!(left(&cancelled)[..2], ["5", "3"], "the nearest limit");
    let again = installation.post(&format!("{run}/rerun"), json!({})).await.expect(202);
    assert_eq!(left(&again)[..2], ["5", "2"]);
    let deleted = installation.delete(&run).await;
    assert_eq!(left(&deleted)[..2], ["5", "1"]);
    let wrong = installation.post_runs("{", &[]).await.expect(400);
    assert_eq!(
        left(&wrong)[..2],
        ["5", "0"],
        "what is wrong with a request is found out after it was let in"
    );
    installation.delete(&run).await.refused(429, "rate_limited");
    installation.get(&run).await;
}

#[tokio::test]
async fn a_key_and_its_organization_have_limits_of_their_own() {
    let installation =
        limited(RateLimitConfig { organization: per_minute(5, 5), key: per_minute(3, 3) }).await;
    let colleague = gantry_producer::services::credentials::new_api_key();
    let colleague_key = installation.another_key(&colleague);
    installation.stores.keys.add(&colleague_key).await.unwrap();
    let stranger = installation.stranger().await;
    for _ in 0..3 {
        post(&installation, &installation.key).await.expect(202);
    }
    for _ in 0..5 {
        // Refused for the key, so the organization does not pay.
        post(&installation, &installation.key).await.refused(429, "rate_limited");
    }
    for _ in 0..2 {
        post(&installation, &colleague).await.expect(202);
    }
    post(&installation, &colleague).await.refused(429, "rate_limited");
    post(&installation, &stranger).await.expect(202);
}

#[tokio::test]
async fn who_is_nobody_uses_up_nothing() {
    let installation = limited(RateLimitConfig { organization: per_minute(1, 1), key: None }).await;
    for _ in 0..5 {
        let refused = post(&installation, "gantry_nobody").await.refused(401, "unauthorized");
        assert_eq!(left(&refused), ["", "", ""]);
    }
    post(&installation, &installation.key).await.expect(202);
}

#[tokio::test]
async fn workers_are_not_limited() {
    let installation =
        limited(RateLimitConfig { organization: per_minute(2, 2), key: per_minute(2, 2) }).await;
    let worker = FakeWorker::register(&installation, 5).await;
    let held = worker.running(spec()).await;
    for _ in 0..20 {
        worker.call(Method::GET, "/worker/v1/hello", None, Value::Null).await.expect(200);
    }
    worker.finish(&held, crate::worker::exited(0)).await.expect(200);
}
