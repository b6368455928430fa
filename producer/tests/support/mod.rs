//! A producer with everything real but the network: runs get where a test needs them through the routes that workers and
//! callers use.

#![allow(dead_code, reason = "each suite uses its part")]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream, Bytes, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use gantry_api_types::log::{LogEvent, encode_batch};
use gantry_blobs::{Blobs, ObjectBlobs};
use gantry_bus::{Bus, Heard, LocalBus, Topic};
use gantry_domain::event::Event;
use gantry_domain::id::{OrganizationId, RunId, WorkerId};
use gantry_domain::identity::PasswordHash;
use gantry_domain::log::{LogChunk, LogStream, Segment};
use gantry_domain::run::Run;
use gantry_domain::time::{Clock as _, SystemClock, Timestamp};
use gantry_producer::Producer;
use gantry_producer::config::ProducerConfig;
use gantry_producer::services::{credentials, founding};
use gantry_producer::state::Parts;
use gantry_queue::{Consumer, EmbeddedQueue, Queue as _};
use gantry_ratelimit::LocalLimiter;
use gantry_service_kit::shutdown::{Shutdown, TaskGroup};
use gantry_store::Stores;
use gantry_store::sqlite::{self, SqliteOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

const WORKER_TOKEN: &str = "the worker token";
/// Generous: reached only when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Harness {
    pub public: Router,
    pub worker: Router,
    pub stores: Stores,
    pub blobs: Arc<dyn Blobs>,
    pub bus: LocalBus,
    pub organization: OrganizationId,
    pub shutdown: Shutdown,
    pub tasks: TaskGroup,
    key: String,
    worker_id: WorkerId,
    messages: tokio::sync::Mutex<Box<dyn Consumer>>,
    _directory: TempDir,
}

/// An attempt that a worker holds.
#[derive(Debug, Clone)]
pub struct Held {
    pub id: RunId,
    pub attempt: u32,
    pub token: String,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

struct DeafBus;

#[async_trait::async_trait]
impl Bus for DeafBus {
    fn publish(&self, _: Event) {}

    async fn subscribe(&self, _: Topic) -> BoxStream<'static, Heard> {
        futures::stream::pending().boxed()
    }
}

async fn whole(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes =
        tokio::time::timeout(PATIENCE, to_bytes(body, usize::MAX)).await.expect("the answer ends").unwrap();
    Answer { status: parts.status, headers: parts.headers, bytes }
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Harness {
    pub async fn new() -> Self {
        Self::with(|_| ()).await
    }

    pub async fn with(change: impl FnOnce(&mut ProducerConfig)) -> Self {
        let bus = LocalBus::new();
        Self::over(change, Arc::new(bus.clone()), bus).await
    }

    /// With a bus that tells nobody anything: the one of another replica, or one that is down.
    pub async fn deaf() -> Self {
        Self::over(|_| (), Arc::new(DeafBus), LocalBus::new()).await
    }

    async fn over(change: impl FnOnce(&mut ProducerConfig), heard: Arc<dyn Bus>, bus: LocalBus) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let stores = sqlite::open(SqliteOptions::new(directory.path().join("gantry.db"))).unwrap().stores();
        let (now, key) = (SystemClock.now(), credentials::new_api_key());
        let (email, password) = ("admin@localhost".parse().unwrap(), PasswordHash::from_phc("none"));
        let first = founding::begin("default", email, password, &key, now);
        let organization = first.organization.id;
        assert!(stores.auth.bootstrap(&first).await.unwrap());
        let queue = Arc::new(EmbeddedQueue::new());
        let blobs: Arc<dyn Blobs> = Arc::new(ObjectBlobs::in_memory());
        let messages = tokio::sync::Mutex::new(queue.consume(&"default".parse().unwrap()).await.unwrap());
        let parts = Parts {
            stores: stores.clone(),
            blobs: blobs.clone(),
            queue,
            bus: heard,
            limiter: Arc::new(LocalLimiter::new(Arc::new(SystemClock))),
            clock: Arc::new(SystemClock),
        };
        let mut config = ProducerConfig::default();
        change(&mut config);
        let (shutdown, tasks) = (Shutdown::new(), TaskGroup::new());
        let producer = Producer::new(config, parts, WORKER_TOKEN, None, shutdown.clone()).await.unwrap();
        producer.spawn_reconcilers(&tasks);
        let harness = Self {
            public: producer.public_router(),
            worker: producer.worker_router(),
            stores,
            blobs,
            bus,
            organization,
            shutdown,
            tasks,
            key,
            worker_id: WorkerId::new(),
            messages,
            _directory: directory,
        };
        harness.register(1_000).await;
        harness
    }

    async fn register(&self, slots: u32) {
        let body = json!({
            "worker": self.worker_id, "name": "test", "version": "0", "pool": "default", "executor": "fake",
            "slots": slots,
        });
        let answer = self.to_producer("register", None, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }

    /// A key of another organization.
    pub async fn stranger(&self) -> String {
        let (now, key) = (SystemClock.now(), credentials::new_api_key());
        let email = format!("{}@example.com", &key[7..]).parse().unwrap();
        let other = founding::begin("another", email, PasswordHash::from_phc("none"), &key, now);
        assert!(self.stores.users.add(&other.user).await.unwrap());
        self.stores.organizations.found(&other.organization).await.unwrap();
        self.stores.keys.add(&other.key).await.unwrap();
        key
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    // --- as a worker

    async fn to_producer(&self, what: &str, lease: Option<&str>, body: Value) -> Answer {
        let mut request = Request::post(format!("/worker/v1/{what}"))
            .header("authorization", format!("Bearer {WORKER_TOKEN}"))
            .header("content-type", "application/json");
        if let Some(lease) = lease {
            request = request.header("gantry-lease", lease);
        }
        whole(self.worker.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap())
            .await
    }

    /// Creates a run and claims it.
    pub async fn running(&self) -> Held {
        self.running_with(json!({})).await
    }

    pub async fn running_with(&self, fields: Value) -> Held {
        self.create(fields).await;
        self.claim_next().await
    }

    /// Claims what is dispatched next.
    pub async fn claim_next(&self) -> Held {
        let delivery = {
            let mut messages = self.messages.lock().await;
            tokio::time::timeout(PATIENCE, messages.next())
                .await
                .expect("it is dispatched")
                .expect("the queue goes on")
        };
        let (id, dispatch) = (delivery.message.run, delivery.message.dispatch);
        let body = json!({"worker": self.worker_id, "dispatch": dispatch, "claim": gantry_domain::id::ClaimId::new()});
        let answer = self.to_producer(&format!("runs/{id}/claim"), None, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        delivery.ack().await.unwrap();
        let grant = answer.json();
        let attempt = u32::try_from(grant["attempt"].as_u64().unwrap()).unwrap();
        Held { id, attempt, token: grant["lease"].as_str().unwrap().to_owned() }
    }

    pub async fn send_log(&self, held: &Held, chunk: &LogChunk) -> Answer {
        let request = Request::post(format!("/worker/v1/runs/{}/logs", held.id))
            .header("authorization", format!("Bearer {WORKER_TOKEN}"))
            .header("gantry-lease", &held.token)
            .body(Body::from(encode_batch(chunk)))
            .unwrap();
        whole(self.worker.clone().oneshot(request).await.unwrap()).await
    }

    /// Appends `bytes` of one origin at `offset`; answers the log's end.
    pub async fn append(&self, held: &Held, offset: u64, stream: LogStream, bytes: &[u8]) -> u64 {
        let answer = self.send_log(held, &chunk(offset, stream, bytes)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["end"].as_u64().unwrap()
    }

    /// Reports that the command exited; answers where the run stands then.
    pub async fn finish(&self, held: &Held, code: i64, log_end: u64) -> String {
        let body = json!({
            "observed": {"kind": "exited", "code": code, "oom_killed": false}, "log_end": log_end,
            "log_truncated": false, "prepare_ms": 1, "execute_ms": 1, "collect_ms": 1, "warnings": [],
        });
        let finished = self.to_producer(&format!("runs/{}/finish", held.id), Some(&held.token), body).await;
        assert_eq!(finished.status, StatusCode::OK, "{}", finished.text());
        finished.json()["status"].as_str().unwrap().to_owned()
    }

    // --- as a caller

    pub async fn call(
        &self,
        method: &str,
        path: &str,
        key: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Response {
        let mut request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.public.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    /// Creates a run of a busybox that does nothing, with these fields.
    pub async fn create(&self, fields: Value) -> RunId {
        let mut body = json!({"image": "busybox", "command": ["true"]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let json = [("content-type", "application/json")];
        let created = self.call("POST", "/api/v1/runs", &self.key, &json, body.to_string().into()).await;
        let created = whole(created).await;
        assert_eq!(created.status, StatusCode::ACCEPTED, "{}", created.text());
        created.json()["id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn request(&self, method: &str, path: &str) -> Answer {
        whole(self.call(method, path, &self.key, &[], Body::empty()).await).await
    }

    /// `GET` below a run.
    pub async fn get(&self, id: RunId, below: &str, headers: &[(&str, &str)]) -> Answer {
        let path = format!("/api/v1/runs/{id}{below}");
        whole(self.call("GET", &path, &self.key, headers, Body::empty()).await).await
    }

    /// Opens a stream of events.
    pub async fn events(&self, path: &str, last_id: Option<&str>) -> Events {
        let headers: Vec<_> = last_id.map(|id| ("last-event-id", id)).into_iter().collect();
        let response = self.call("GET", path, &self.key, &headers, Body::empty()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { body: response.into_body().into_data_stream(), buffer: Vec::new() }
    }

    pub async fn follow(&self, id: RunId, last_id: Option<&str>) -> Events {
        self.events(&format!("/api/v1/runs/{id}/logs?follow=1"), last_id).await
    }

    pub async fn stored(&self, id: RunId) -> Run {
        self.stores.runs.find(id).await.unwrap().unwrap()
    }
}

/// A chunk of one origin.
pub fn chunk(offset: u64, stream: LogStream, bytes: &[u8]) -> LogChunk {
    let time = Timestamp::from_millis(1_700_000_000_000 + offset as i64);
    let segment = Segment { stream, time, length: bytes.len() as u32 };
    LogChunk::new(offset, vec![segment], Bytes::copy_from_slice(bytes)).unwrap()
}

/// Server-sent events as they arrive; reads nothing ahead.
pub struct Events {
    body: BodyDataStream,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    pub name: String,
    pub id: Option<String>,
    pub data: String,
}

impl Sent {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    pub fn log(&self) -> LogEvent {
        assert_eq!(self.name, "log");
        serde_json::from_str(&self.data).unwrap()
    }
}

impl Events {
    /// The next event; `None` at the end. Comments and hints are left out.
    pub async fn next(&mut self) -> Option<Sent> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let text: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let mut event = Sent::default();
                for line in String::from_utf8(text).unwrap().lines() {
                    match line.split_once(": ") {
                        Some(("event", name)) => event.name = name.to_owned(),
                        Some(("id", id)) => event.id = Some(id.to_owned()),
                        Some(("data", data)) => event.data = data.to_owned(),
                        Some(("retry" | "", _)) | None => {}
                        Some(other) => panic!("{other:?}"),
                    }
                }
                if event != Sent::default() {
                    return Some(event);
                }
            }
            let piece = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("the stream goes on");
            match piece {
                Some(piece) => self.buffer.extend_from_slice(&piece.unwrap()),
                None => {
                    assert!(self.buffer.is_empty(), "an event was cut off");
                    return None;
                }
            }
        }
    }

    /// The rest of the stream, which must end.
    pub async fn rest(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }

    /// Log bytes of one attempt up to `end`, checked to follow one another from `from` on.
    pub async fn log_until(&mut self, from: u64, end: u64) -> Vec<u8> {
        let (mut bytes, mut at) = (Vec::new(), from);
        while at < end {
            let event = self.next().await.expect("the log goes on");
            at = follows(&event, at, &mut bytes);
        }
        bytes
    }
}

/// Checks that a log event begins at `at`; adds its bytes and answers where it ends.
pub fn follows(event: &Sent, at: u64, bytes: &mut Vec<u8>) -> u64 {
    let log = event.log();
    assert_eq!(log.offset, at, "no gap, no duplicate");
    let piece = log.bytes().unwrap();
    let end = at + piece.len() as u64;
    assert_eq!(event.id.as_deref(), Some(format!("{}:{end}", log.attempt).as_str()));
    bytes.extend(piece);
    end
}
