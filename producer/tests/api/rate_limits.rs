//! Rate limits: who asks too much too fast waits, and nobody else does.

use std::num::NonZeroU32;

use axum::body::Body;
use axum::http::{Method, Request};
use gantry_domain::identity::OrganizationLimits;
use gantry_producer::config::RateLimitConfig;
use gantry_ratelimit::Limit;
use serde_json::{Value, json};

use crate::installation::{Answer, Installation, answer, spec};
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
    let installation =
        limited(RateLimitConfig { organization: per_minute(6, 3), key: None, ..RateLimitConfig::default() })
            .await;
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
async fn a_request_counts_once_whatever_it_does() {
    let installation = limited(RateLimitConfig {
        organization: per_minute(8, 8),
        key: per_minute(60, 50),
        ..RateLimitConfig::default()
    })
    .await;
    let id = installation.accept(spec()).await;
    let run = format!("/api/v1/runs/{id}");
    for (path, remaining) in [(run.as_str(), "6"), ("/api/v1/runs", "5"), (&format!("{run}/attempts"), "4")] {
        assert_eq!(left(&installation.get(path).await.expect(200))[..2], ["8", remaining], "{path}");
    }
    let cancelled = installation.post(&format!("{run}/cancel"), Value::Null).await.expect(202);
    assert_eq!(left(&cancelled)[..2], ["8", "3"], "the nearest limit");
    let again = installation.post(&format!("{run}/rerun"), json!({})).await.expect(202);
    assert_eq!(left(&again)[..2], ["8", "2"]);
    let deleted = installation.delete(&run).await;
    assert_eq!(left(&deleted)[..2], ["8", "1"]);
    let wrong = installation.post_runs("{", &[]).await.expect(400);
    assert_eq!(
        left(&wrong)[..2],
        ["8", "0"],
        "what is wrong with a request is found out after it was let in"
    );
    installation.delete(&run).await.refused(429, "rate_limited");
    installation.get(&run).await.refused(429, "rate_limited");
    for open in ["/health/live", "/metrics", "/api/openapi.json"] {
        assert_ne!(installation.get(open).await.status, 429, "{open}");
    }
}

#[tokio::test]
async fn runs_that_are_created_are_counted_once_more() {
    let installation = limited(RateLimitConfig {
        organization: per_minute(100, 100),
        run_creation: per_minute(2, 2),
        ..RateLimitConfig::default()
    })
    .await;
    let id = installation.accept(spec()).await;
    installation.post("/api/v1/runs", json!({"image": 7})).await.refused(422, "validation_failed");
    let again = installation.post(&format!("/api/v1/runs/{id}/rerun"), json!({})).await.expect(202);
    assert_eq!(left(&again)[..2], ["2", "0"], "the nearest limit");
    let refused = installation.post("/api/v1/runs", spec()).await.refused(429, "rate_limited");
    assert_eq!((left(&refused)[1], refused.header("retry-after")), ("0", "30"));
    let read = installation.get(&format!("/api/v1/runs/{id}")).await.expect(200);
    assert_eq!(left(&read)[..2], ["100", "95"]);
}

#[tokio::test]
async fn an_organization_may_have_limits_of_its_own() {
    let installation = limited(RateLimitConfig {
        organization: per_minute(2, 2),
        run_creation: per_minute(1, 1),
        ..RateLimitConfig::default()
    })
    .await;
    let own = OrganizationLimits {
        api_per_minute: Some(10),
        run_creations_per_minute: Some(3),
        ..OrganizationLimits::default()
    };
    installation.limit(own).await;
    let stranger = installation.stranger().await;
    for _ in 0..3 {
        post(&installation, &installation.key).await.expect(202);
    }
    let refused = post(&installation, &installation.key).await.refused(429, "rate_limited");
    assert_eq!(left(&refused)[0], "3");
    let read = installation.get("/api/v1/runs").await.expect(200);
    assert_eq!(left(&read)[..2], ["10", "5"]);
    post(&installation, &stranger).await.expect(202);
    post(&installation, &stranger).await.refused(429, "rate_limited");
}

/// By the real clock: that limit asks nobody else for the time.
#[tokio::test]
async fn one_address_cannot_flood_a_replica_and_probes_always_pass() {
    let installation = Installation::with_config(|config| {
        config.rate_limits.address = per_minute(1, 5);
        config.http.trusted_proxies = 1;
    })
    .await;
    let from = async |address: &str, path: &str| {
        let request = Request::get(path).header("x-forwarded-for", address).body(Body::empty()).unwrap();
        answer(&installation.public, request).await
    };
    for _ in 0..5 {
        from("2001:db8::1", "/api/v1/runs").await.refused(401, "unauthorized");
    }
    let refused = from("2001:db8::2", "/api/v1/runs").await.refused(429, "rate_limited");
    problem(&refused);
    assert_eq!(left(&refused), ["5", "0", "300"]);
    assert!((1..=60).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    from("6.6.6.6, 2001:db8::3", "/nowhere").await.refused(429, "rate_limited");
    from("2001:db8:0:1::1", "/api/v1/runs").await.refused(401, "unauthorized");
    for probe in ["/health/live", "/health/ready", "/metrics"] {
        assert_ne!(from("2001:db8::1", probe).await.status, 429, "{probe}");
    }
}

#[tokio::test]
async fn a_key_and_its_organization_have_limits_of_their_own() {
    let installation = limited(RateLimitConfig {
        organization: per_minute(5, 5),
        key: per_minute(3, 3),
        ..RateLimitConfig::default()
    })
    .await;
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
    let installation =
        limited(RateLimitConfig { organization: per_minute(1, 1), key: None, ..RateLimitConfig::default() })
            .await;
    for _ in 0..5 {
        let refused = post(&installation, "gantry_nobody").await.refused(401, "unauthorized");
        assert_eq!(left(&refused), ["", "", ""]);
    }
    post(&installation, &installation.key).await.expect(202);
}

#[tokio::test]
async fn workers_are_not_limited() {
    let installation = limited(RateLimitConfig {
        organization: per_minute(2, 2),
        key: per_minute(2, 2),
        ..RateLimitConfig::default()
    })
    .await;
    let worker = FakeWorker::register(&installation, 5).await;
    let held = worker.running(spec()).await;
    for _ in 0..20 {
        worker.call(Method::GET, "/worker/v1/hello", None, Value::Null).await.expect(200);
    }
    worker.finish(&held, crate::worker::exited(0)).await.expect(200);
}
