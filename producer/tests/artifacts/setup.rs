//! A producer with everything real but the network, and runs that a worker holds.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use gantry_blobs::{Blobs, ObjectBlobs};
use gantry_bus::LocalBus;
use gantry_domain::id::{ClaimId, DispatchId, RunId, WorkerId};
use gantry_domain::identity::PasswordHash;
use gantry_domain::run::{Claimed, Lease, LeaseToken, Run};
use gantry_domain::time::{Clock as _, SystemClock};
use gantry_producer::Producer;
use gantry_producer::config::{LimitConfig, ProducerConfig};
use gantry_producer::services::{credentials, founding};
use gantry_producer::state::Parts;
use gantry_queue::EmbeddedQueue;
use gantry_ratelimit::LocalLimiter;
use gantry_service_kit::shutdown::Shutdown;
use gantry_store::sqlite::{self, SqliteOptions};
use gantry_store::{Durability, Stores, Transition};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

pub const WORKER_TOKEN: &str = "the worker token";
const MAX_ANSWER: usize = 256 << 20;

pub struct Setup {
    public: Router,
    pub worker: Router,
    pub stores: Stores,
    key: String,
    directory: TempDir,
}

/// A run that is being executed, and the right to write to it.
#[derive(Clone)]
pub struct Held {
    pub id: RunId,
    pub token: LeaseToken,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

async fn answer(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, MAX_ANSWER).await.unwrap().to_vec();
    Answer { status: parts.status, headers: parts.headers, bytes }
}

impl Setup {
    pub async fn new() -> Self {
        Self::with(LimitConfig::default()).await
    }

    pub async fn with(limits: LimitConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Arc::new(ObjectBlobs::directory(directory.path().join("blobs")).unwrap());
        Self::over(directory, limits, blobs).await
    }

    pub async fn over(directory: TempDir, limits: LimitConfig, blobs: Arc<dyn Blobs>) -> Self {
        let stores = sqlite::open(SqliteOptions::new(directory.path().join("gantry.db"))).unwrap().stores();
        let (now, key) = (SystemClock.now(), credentials::new_api_key());
        let (email, password) = ("admin@localhost".parse().unwrap(), PasswordHash::from_phc("none"));
        let first = founding::begin("default", email, password, &key, now);
        assert!(stores.auth.bootstrap(&first).await.unwrap());
        let parts = Parts {
            stores: stores.clone(),
            blobs,
            queue: Arc::new(EmbeddedQueue::new()),
            bus: Arc::new(LocalBus::new()),
            limiter: Arc::new(LocalLimiter::new(Arc::new(SystemClock))),
            clock: Arc::new(SystemClock),
        };
        let config = ProducerConfig { limits, ..ProducerConfig::default() };
        let producer = Producer::new(config, parts, WORKER_TOKEN, None, Shutdown::new()).await.unwrap();
        Self { public: producer.public_router(), worker: producer.worker_router(), stores, key, directory }
    }

    /// The same producer as somebody of another organization finds it.
    pub async fn as_stranger(&mut self) {
        let (now, key) = (SystemClock.now(), credentials::new_api_key());
        let email = format!("{}@example.com", &key[7..]).parse().unwrap();
        let other = founding::begin("another", email, PasswordHash::from_phc("none"), &key, now);
        assert!(self.stores.users.add(&other.user).await.unwrap());
        self.stores.organizations.found(&other.organization).await.unwrap();
        self.stores.keys.add(&other.key).await.unwrap();
        self.key = key;
    }

    /// Accepts a run and claims it.
    pub async fn running(&self) -> Held {
        let body = json!({"image": "busybox", "command": ["true"]}).to_string();
        let request = Request::post("/api/v1/runs")
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        let created = answer(&self.public, request.body(Body::from(body)).unwrap()).await;
        assert_eq!(created.status, StatusCode::ACCEPTED, "{}", created.text());
        let id = created.json()["id"].as_str().unwrap().parse().unwrap();
        Held { id, token: self.claim(id).await }
    }

    /// What dispatching and a worker's claim do to a pending run.
    pub async fn claim(&self, id: RunId) -> LeaseToken {
        let now = SystemClock.now();
        let run = self.run(id).await;
        let dispatch = DispatchId::new();
        let queued = run.dispatch(dispatch, Vec::new(), now).unwrap();
        self.store(&queued).await;
        let token = LeaseToken::from_bits(id.as_u128() ^ u128::from(run.attempt()));
        let lease = Lease {
            worker: WorkerId::new(),
            dispatch,
            claim: ClaimId::new(),
            token: token.clone(),
            expires_at: now + std::time::Duration::from_secs(600),
            started: true,
        };
        let Claimed::Granted(running) = queued.claim(lease, now).unwrap() else { panic!("not granted") };
        self.store(&running).await;
        token
    }

    pub async fn store(&self, run: &Run) {
        assert_eq!(self.stores.runs.transition(run, Durability::Relaxed).await.unwrap(), Transition::Updated);
    }

    pub async fn run(&self, id: RunId) -> Run {
        self.stores.runs.find(id).await.unwrap().unwrap()
    }

    /// Ends the attempt by its lease.
    pub async fn lose(&self, id: RunId) {
        let (next, _) = self.run(id).await.lose(0, SystemClock.now()).unwrap();
        self.store(&next).await;
    }

    pub async fn upload(&self, held: &Held, body: impl Into<Body>) -> Answer {
        let request = Request::put(format!("/worker/v1/runs/{}/artifacts", held.id))
            .header("authorization", format!("Bearer {WORKER_TOKEN}"))
            .header("gantry-lease", held.token.as_str());
        answer(&self.worker, request.body(body.into()).unwrap()).await
    }

    /// Reports the attempt's end and answers where the run stands then.
    pub async fn finish(&self, held: &Held, code: i64) -> String {
        let body = json!({
            "observed": {"kind": "exited", "code": code, "oom_killed": false}, "log_end": 0, "log_truncated": false,
            "prepare_ms": 1, "execute_ms": 1, "collect_ms": 1, "warnings": [],
        });
        let request = Request::post(format!("/worker/v1/runs/{}/finish", held.id))
            .header("authorization", format!("Bearer {WORKER_TOKEN}"))
            .header("content-type", "application/json")
            .header("gantry-lease", held.token.as_str());
        let finished = answer(&self.worker, request.body(Body::from(body.to_string())).unwrap()).await;
        assert_eq!(finished.status, StatusCode::OK, "{}", finished.text());
        finished.json()["status"].as_str().unwrap().to_owned()
    }

    /// `GET` below the run.
    pub async fn get(&self, held: &Held, below: &str) -> Answer {
        self.get_with(held, below, &[]).await
    }

    pub async fn get_with(&self, held: &Held, below: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(format!("/api/v1/runs/{}{below}", held.id))
            .header("authorization", format!("Bearer {}", self.key));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(&self.public, request.body(Body::empty()).unwrap()).await
    }

    pub async fn json(&self, held: &Held, below: &str) -> Value {
        let found = self.get(held, below).await;
        assert_eq!(found.status, StatusCode::OK, "{}", found.text());
        found.json()
    }

    /// Every file that blobs are kept in, unfinished ones included.
    pub fn blob_files(&self) -> Vec<PathBuf> {
        let (mut found, mut to_visit) = (Vec::new(), vec![self.directory.path().join("blobs")]);
        while let Some(directory) = to_visit.pop() {
            for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    to_visit.push(entry.path());
                } else {
                    found.push(entry.path());
                }
            }
        }
        found
    }
}
