//! What only a deployment of several processes shows: versions side by side, tokens in rotation, replicas that come and go.

use axum::body::Body;
use axum::http::{Method, Request};
use gantry_api_types::worker::{HeartbeatAnswer, PROTOCOL_HEADER};
use gantry_domain::id::{ClaimId, WorkerId};
use gantry_producer::Producer;
use gantry_producer::worker_tokens::WorkerTokens;
use gantry_service_kit::config::Secret;
use gantry_service_kit::shutdown::Shutdown;
use serde_json::{Value, json};

use crate::installation::{Answer, Installation, answer, spec, spec_with};
use crate::worker::{FakeWorker, exited};

#[tokio::test]
async fn a_worker_of_before_versions_were_told_is_served() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await.of_old();
    let held = worker.running(spec()).await;
    assert_eq!(worker.heartbeat(1, &[&held]).await.leases.len(), 1);
    worker.finish(&held, exited(0)).await.expect(200);
}

#[tokio::test]
async fn a_worker_too_far_away_begins_nothing_and_ends_what_it_has() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 2).await;
    let held = worker.running(spec()).await;
    let id = installation.accept(spec()).await;
    installation.dispatch().await;
    let message = installation.take().await.unwrap();
    for (protocol, words) in
        [("0", "upgrade the worker"), ("99", "upgrade the producers first"), ("x", "no version")]
    {
        let strange = worker.speaking(protocol);
        for path in ["/worker/v1/hello", "/worker/v1/register"] {
            let method = if path.ends_with("hello") { Method::GET } else { Method::POST };
            let refused = strange.call(method, path, None, json!({})).await;
            let refused = refused.refused(503, "unsupported_protocol");
            assert!(refused.text().contains(words), "{}", refused.text());
            assert_eq!(refused.header("retry-after"), "30");
        }
        let claim = strange.try_claim(id, message.dispatch, ClaimId::new()).await;
        claim.refused(503, "unsupported_protocol");
        strange.heartbeat(1, &[&held]).await;
    }
    worker.speaking("99").finish(&held, exited(0)).await.expect(200);
    worker.try_claim(id, message.dispatch, ClaimId::new()).await.expect(200);
}

/// As sent by a later version of the same protocol: with fields that nobody here knows.
#[tokio::test]
async fn fields_of_later_versions_are_ignored() {
    let installation = Installation::new().await;
    let id = WorkerId::new();
    let post = async |path: &str, body: Value| {
        let request = Request::post(path)
            .header("authorization", format!("Bearer {}", crate::installation::WORKER_TOKEN))
            .header("content-type", "application/json")
            .header(PROTOCOL_HEADER, "1");
        answer(&installation.worker_api, request.body(Body::from(body.to_string())).unwrap())
            .await
            .expect(200)
    };
    let registered = post(
        "/worker/v1/register",
        json!({
            "worker": id, "name": "later", "version": "9.9.9", "pool": "default", "executor": "docker", "slots": 1,
            "capabilities": ["snapshots"], "region": {"name": "north"},
        }),
    );
    assert!(registered.await.json()["heartbeat_ms"].is_u64());
    let beat = post(
        "/worker/v1/heartbeat",
        json!({
            "worker": id, "busy": 0, "disk_free_bytes": 1, "disk_total_bytes": 2, "paused": null, "leases": [],
            "load": [0.5, 0.4],
        }),
    );
    let known: HeartbeatAnswer = serde_json::from_slice(&beat.await.bytes).unwrap();
    assert!(!known.unknown);
    assert_eq!(installation.get("/api/v1/workers").await.json()["items"][0]["version"], "9.9.9");
}

/// A worker API with these tokens, and a call to it.
async fn as_holder(
    installation: &Installation,
    tokens: &str,
    token: &str,
    path: &str,
    body: Value,
) -> Answer {
    let tokens = WorkerTokens::parse(&Secret::new(tokens)).unwrap();
    let parts = installation.app().parts.clone();
    let config = installation.app().config.clone();
    let producer = Producer::new(config, parts, tokens, None, Shutdown::new()).await.unwrap();
    let request = Request::post(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    answer(&producer.worker_router(), request.body(Body::from(body.to_string())).unwrap()).await
}

const ANY: &str = "0123456789abcdef0123456789abcdef";
const GPU: &str = "fedcba9876543210fedcba9876543210";

#[tokio::test]
async fn a_token_of_another_pool_is_good_for_nothing() {
    let installation = Installation::new().await;
    let tokens = format!("{ANY},gpu={GPU}");
    let register = |pool: &str| json!({"worker": WorkerId::new(), "name": "w", "version": "0", "pool": pool, "executor": "docker", "slots": 1});
    let path = "/worker/v1/register";
    for (token, pool, status) in
        [(ANY, "default", 200), (ANY, "gpu", 200), (GPU, "gpu", 200), (GPU, "default", 401)]
    {
        as_holder(&installation, &tokens, token, path, register(pool)).await.expect(status);
    }
    as_holder(&installation, &tokens, &ANY.replace('0', "1"), path, register("default")).await.expect(401);

    FakeWorker::register(&installation, 1).await;
    let run = installation.accept(spec()).await;
    installation.dispatch().await;
    let message = installation.take().await.unwrap();
    let claim = json!({"worker": WorkerId::new(), "dispatch": message.dispatch, "claim": ClaimId::new()});
    let path = format!("/worker/v1/runs/{run}/claim");
    as_holder(&installation, &tokens, GPU, &path, claim.clone()).await.refused(409, "stale_attempt");
    as_holder(&installation, &tokens, ANY, &path, claim).await.expect(200);
}

#[tokio::test]
async fn a_replica_about_to_end_is_not_ready_and_still_serves() {
    let installation = Installation::new().await;
    let ready = async || installation.call_as("", Method::GET, "/health/ready", None).await;
    assert_eq!(ready().await.expect(200).json()["status"], "ok");
    installation.producer.retire();
    assert_eq!(ready().await.expect(503).json()["status"], "retiring");
    installation.accept(spec_with(json!({"group": "late"}))).await;
    installation.call_as("", Method::GET, "/health/live", None).await.expect(200);
}
