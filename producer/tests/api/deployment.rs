//! What only a deployment of several processes shows: versions side by side, tokens in rotation, replicas that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Method, Request};
use gantry_api_types::worker::{HeartbeatAnswer, LeaseSignal, PROTOCOL_HEADER};
use gantry_domain::id::{ClaimId, KeyId, OrganizationId, UserId, WorkerId};
use gantry_domain::identity::ApiKey;
use gantry_domain::spec::Pool;
use gantry_domain::time::Timestamp;
use gantry_producer::Producer;
use gantry_producer::background::dispatcher::Dispatcher;
use gantry_producer::worker_tokens::WorkerTokens;
use gantry_service_kit::config::Secret;
use gantry_service_kit::shutdown::Shutdown;
use gantry_store::{ApiKeyStore, Changed, Page, Presented, Result as StoreResult, Stores};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::installation::{Answer, Installation, Wish, answer, spec, spec_with};
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
        // Its lease is renewed; and it takes no messages while its claims are refused.
        let beat = strange.heartbeat(1, &[&held]).await;
        assert_eq!((beat.leases.len(), beat.draining), (1, true));
        let listed = installation.get("/api/v1/workers").await.json()["items"][0].clone();
        assert_eq!(listed["status"], "paused");
        assert!(listed["paused"].as_str().unwrap().contains(words), "{listed}");
    }
    assert!(!worker.heartbeat(1, &[&held]).await.draining, "that it drains is nowhere written down");
    assert_eq!(installation.get("/api/v1/workers").await.json()["items"][0]["status"], "online");
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

/// Until the replica sees the fleet as it is in the store; looks are some time apart.
async fn until_it_sees(installation: &Installation, replica: &Producer, window: u64) {
    let app = replica.app();
    let begun = Instant::now();
    loop {
        app.fleet.look(&*installation.stores.workers, installation.now()).await;
        let seen = app.fleet.window(&Pool::default());
        if seen == window {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it sees room for {seen}, not {window}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_replica_that_hears_no_worker_dispatches_for_the_whole_fleet() {
    let installation = Installation::new().await;
    let other = installation.replica().await;
    let worker = FakeWorker::register(&installation, 3).await;
    for _ in 0..5 {
        installation.accept(spec()).await;
    }
    assert_eq!(installation.pass(&Dispatcher(other.app().clone())).await, 3);
    for _ in 0..3 {
        worker.claim_next().await.unwrap();
    }
    installation.advance(1);
    worker.heartbeat(3, &[]).await;
    // As much as one worker gets ahead of its slots.
    until_it_sees(&installation, &other, 1).await;
    installation.advance(1);
    worker.heartbeat(1, &[]).await;
    until_it_sees(&installation, &other, 2).await;
}

#[tokio::test]
async fn what_is_asked_of_a_worker_at_one_replica_counts_at_all() {
    let installation = Installation::new().await;
    let other = installation.replica().await;
    let worker = FakeWorker::register(&installation, 3).await;
    until_it_sees(&installation, &other, 3).await;
    let ask = async |what: &str| {
        installation.post(&format!("/api/v1/workers/{}/{what}", worker.id), Value::Null).await.expect(200)
    };
    ask("drain").await;
    until_it_sees(&installation, &other, 0).await;
    let public = other.public_router();
    let listed = answer(
        &public,
        Request::get("/api/v1/workers")
            .header("authorization", format!("Bearer {}", installation.key))
            .body(Body::empty())
            .unwrap(),
    );
    assert_eq!(listed.await.json()["items"][0]["status"], "draining");
    ask("undrain").await;
    until_it_sees(&installation, &other, 3).await;
    worker.call(Method::POST, "/worker/v1/leave", None, json!({"worker": worker.id})).await.expect(204);
    until_it_sees(&installation, &other, 0).await;
}

#[tokio::test]
async fn an_attempt_goes_on_whichever_replica_its_worker_talks_to() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let (id, protocol) = (worker.id, worker.protocol);
    let held = worker.running(spec()).await;
    let other = installation.replica().await;
    let there = installation.with_workers_at(&other);
    let worker = FakeWorker { installation: &there, id, protocol };
    assert_eq!(worker.heartbeat(1, &[&held]).await.leases, [LeaseSignal::Renewed]);
    worker.state(&held, "starting").await.expect(200);
    worker.log(&held, crate::lifecycle::chunk(0, "one\n")).await.expect(200);
    there.post(&format!("/api/v1/runs/{}/cancel", held.run), Value::Null).await.expect(202);
    assert_eq!(
        worker.heartbeat(1, &[&held]).await.leases,
        [LeaseSignal::Cancel],
        "asked for at the first one"
    );
    let mut done = crate::worker::finish(json!({"kind": "cancelled"}));
    done["log_end"] = json!(4);
    worker.finish(&held, done).await.expect(200);
    assert_eq!(there.status(held.run).await, gantry_api_types::run::Status::Cancelled);
}

#[tokio::test]
async fn a_key_repeated_at_another_replica_makes_no_second_run() {
    let installation = Installation::new().await;
    let routers = [installation.public.clone(), installation.replica().await.public_router()];
    let post = |router: usize| {
        let request = Request::post("/api/v1/runs")
            .header("authorization", format!("Bearer {}", installation.key))
            .header("content-type", "application/json")
            .header("idempotency-key", "the same")
            .body(Body::from(spec().to_string()));
        let router = routers[router].clone();
        async move { answer(&router, request.unwrap()).await }
    };
    let answers = futures::future::join_all((0..20).map(|i| post(i % 2))).await;
    let mut ids: Vec<_> = answers
        .into_iter()
        .filter(|answer| answer.status.as_u16() == 202 || answer.code() != "idempotency_in_flight")
        .map(|answer| answer.expect(202).run().id)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
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

/// A store in which another replica revokes every key at some moment.
struct Revoking {
    keys: Arc<dyn ApiKeyStore>,
    revoked: Arc<AtomicBool>,
}

impl Revoking {
    fn as_it_is(&self, key: ApiKey) -> ApiKey {
        let revoked = self.revoked.load(Ordering::SeqCst);
        ApiKey { revoked_at: revoked.then_some(crate::installation::T0), ..key }
    }
}

#[async_trait]
impl ApiKeyStore for Revoking {
    async fn add(&self, key: &ApiKey) -> StoreResult<()> {
        self.keys.add(key).await
    }

    async fn by_hash(&self, hash: &[u8; 32]) -> StoreResult<Option<ApiKey>> {
        Ok(self.keys.by_hash(hash).await?.map(|key| self.as_it_is(key)))
    }

    async fn look_up(&self, hash: &[u8; 32]) -> StoreResult<Option<Presented<ApiKey>>> {
        let presented = self.keys.look_up(hash).await?;
        Ok(presented.map(|found| Presented { credential: self.as_it_is(found.credential), ..found }))
    }

    async fn get(&self, organization: OrganizationId, id: KeyId) -> StoreResult<Option<ApiKey>> {
        Ok(self.keys.get(organization, id).await?.map(|key| self.as_it_is(key)))
    }

    async fn list(
        &self,
        organization: OrganizationId,
        owner: Option<UserId>,
        after: Option<KeyId>,
        limit: u32,
    ) -> StoreResult<Page<ApiKey, KeyId>> {
        self.keys.list(organization, owner, after, limit).await
    }

    async fn update(&self, next: &ApiKey) -> StoreResult<Changed<ApiKey>> {
        self.keys.update(next).await
    }

    async fn used(&self, id: KeyId, at: Timestamp) -> StoreResult<()> {
        self.keys.used(id, at).await
    }
}

#[tokio::test]
async fn a_revoked_key_ends_within_five_seconds_quiet_streams_included() {
    let revoked = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&revoked);
    let wrap = move |stores: Stores| Stores {
        keys: Arc::new(Revoking { keys: stores.keys, revoked: switch }),
        ..stores
    };
    let installation = Installation::with(Wish { stores: Some(Box::new(wrap)), ..Wish::default() }).await;
    let id = installation.accept(spec()).await;
    let paths = [
        "/api/v1/events".to_owned(),
        format!("/api/v1/runs/{id}/events"),
        format!("/api/v1/runs/{id}/logs?follow=1"),
    ];
    let streams = paths.map(|path| {
        let request = Request::get(path).header("authorization", format!("Bearer {}", installation.key));
        installation.public.clone().oneshot(request.body(Body::empty()).unwrap())
    });
    let streams = futures::future::join_all(streams).await;
    installation.get("/api/v1/runs").await.expect(200);
    revoked.store(true, Ordering::SeqCst);
    let taken_away = Instant::now();
    let ends = streams.into_iter().map(|stream| async {
        let stream = stream.unwrap();
        assert_eq!(stream.status().as_u16(), 200);
        axum::body::to_bytes(stream.into_body(), 1 << 20).await.unwrap()
    });
    let refused = async {
        while installation.get("/api/v1/runs").await.status.as_u16() == 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ended = futures::future::join(futures::future::join_all(ends), refused);
    let (bodies, ()) = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("they end");
    // Five, and some for a busy machine.
    assert!(taken_away.elapsed() < Duration::from_secs(8), "{:?}", taken_away.elapsed());
    for body in bodies {
        assert!(body.ends_with(b"retry: 1000\n\n"), "{}", String::from_utf8_lossy(&body));
    }
}
