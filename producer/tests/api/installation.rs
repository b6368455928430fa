//! A whole producer without a network: real store, blobs, queue and bus, and a clock that tests move.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures::FutureExt as _;
use gantry_api_types::run::{Run as RunView, Status};
use gantry_blobs::{Blobs, ObjectBlobs};
use gantry_bus::LocalBus;
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::identity::{ApiKey, Organization, OrganizationLimits, PasswordHash};
use gantry_domain::run::Run;
use gantry_domain::spec::Pool;
use gantry_domain::time::{Clock as _, ManualClock, Timestamp};
use gantry_producer::Producer;
use gantry_producer::background::dispatcher::Dispatcher;
use gantry_producer::config::ProducerConfig;
use gantry_producer::services::{credentials, founding};
use gantry_producer::state::{App, Parts};
use gantry_queue::{EmbeddedQueue, Queue, RunMessage};
use gantry_ratelimit::LocalLimiter;
use gantry_service_kit::reconciler::Reconciler;
use gantry_service_kit::shutdown::Shutdown;
use gantry_store::sqlite::{self, SqliteOptions};
use gantry_store::{Changed, Stores};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

pub const WORKER_TOKEN: &str = "the worker token of these tests";
/// When everything begins.
pub const T0: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub struct Installation {
    pub producer: Producer,
    parts: Parts,
    config: ProducerConfig,
    pub public: Router,
    pub worker_api: Router,
    pub stores: Stores,
    pub queue: EmbeddedQueue,
    pub clock: ManualClock,
    pub organization: OrganizationId,
    founded: Organization,
    pub key: String,
    pub directory: TempDir,
}

pub type WrapQueue = Box<dyn FnOnce(Arc<dyn Queue>) -> Arc<dyn Queue>>;
pub type WrapBlobs = Box<dyn FnOnce(Arc<dyn Blobs>) -> Arc<dyn Blobs>>;

/// What a test wants to be different.
#[derive(Default)]
pub struct Wish {
    pub config: ProducerConfig,
    pub stores: Option<Box<dyn FnOnce(Stores) -> Stores>>,
    pub blobs: Option<WrapBlobs>,
    pub queue: Option<WrapQueue>,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
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

    /// A problem's code; empty when it is none.
    pub fn code(&self) -> String {
        let value: Value = serde_json::from_slice(&self.bytes).unwrap_or_default();
        value["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The same, having checked that it is as wanted.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status.as_u16(), self.code().as_str()), (status, code), "{}", self.text());
        self
    }

    #[track_caller]
    pub fn run(&self) -> RunView {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

pub async fn answer(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 64 << 20).await.unwrap().to_vec();
    Answer { status: parts.status, headers: parts.headers, bytes }
}

/// A body that is accepted.
pub fn spec() -> Value {
    json!({"image": "busybox:1.36", "command": ["true"]})
}

/// The same with some fields changed.
pub fn spec_with(change: Value) -> Value {
    let mut spec = spec();
    for (field, value) in change.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

impl Installation {
    pub async fn new() -> Self {
        Self::with(Wish::default()).await
    }

    pub async fn with_config(change: impl FnOnce(&mut ProducerConfig)) -> Self {
        let mut config = ProducerConfig::default();
        change(&mut config);
        Self::with(Wish { config, ..Wish::default() }).await
    }

    pub async fn with(wish: Wish) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut stores =
            sqlite::open(SqliteOptions::new(directory.path().join("gantry.db"))).unwrap().stores();
        let key = credentials::new_api_key();
        let (email, password) = ("admin@localhost".parse().unwrap(), PasswordHash::from_phc("none"));
        let first = founding::begin("default", email, password, &key, T0);
        let founded = first.organization.clone();
        assert!(stores.auth.bootstrap(&first).await.unwrap());
        if let Some(wrap) = wish.stores {
            stores = wrap(stores);
        }
        let mut blobs: Arc<dyn Blobs> =
            Arc::new(ObjectBlobs::directory(directory.path().join("blobs")).unwrap());
        if let Some(wrap) = wish.blobs {
            blobs = wrap(blobs);
        }
        let (queue, clock) = (EmbeddedQueue::new(), ManualClock::at(T0));
        let shared: Arc<dyn Queue> = Arc::new(queue.clone());
        let parts = Parts {
            stores: stores.clone(),
            blobs,
            queue: wish.queue.map_or_else(|| shared.clone(), |wrap| wrap(shared.clone())),
            bus: Arc::new(LocalBus::new()),
            limiter: Arc::new(LocalLimiter::new(Arc::new(clock.clone()))),
            clock: Arc::new(clock.clone()),
        };
        let producer = replica(&wish.config, &parts).await;
        Self {
            public: producer.public_router(),
            worker_api: producer.worker_router(),
            producer,
            parts,
            config: wish.config,
            stores,
            queue,
            clock,
            organization: founded.id,
            founded,
            key,
            directory,
        }
    }

    /// Another producer of the same installation.
    pub async fn replica(&self) -> Producer {
        replica(&self.config, &self.parts).await
    }

    /// The same with workers that talk to another producer.
    pub fn with_workers_at(self, replica: &Producer) -> Self {
        Self { worker_api: replica.worker_router(), ..self }
    }

    pub fn app(&self) -> &Arc<App> {
        self.producer.app()
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn set_back(&self, seconds: u64) {
        self.clock.set_back(Duration::from_secs(seconds));
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Gives our organization limits of its own, known to the producer at once.
    pub async fn limit(&self, limits: OrganizationLimits) {
        let now = self.stores.organizations.get(self.organization).await.unwrap().unwrap();
        let changed = self.stores.organizations.update(&now.limit(limits)).await.unwrap();
        assert_eq!(changed, Changed::Updated);
        self.app().allowances.changed(self.organization);
    }

    /// Another organization, by its key.
    pub async fn stranger(&self) -> String {
        let key = credentials::new_api_key();
        let email = format!("{}@example.com", &key[7..]).parse().unwrap();
        let other = founding::begin("another", email, PasswordHash::from_phc("none"), &key, T0);
        assert!(self.stores.users.add(&other.user).await.unwrap());
        self.stores.organizations.found(&other.organization).await.unwrap();
        self.stores.keys.add(&other.key).await.unwrap();
        key
    }

    /// Another key of the organization's admin, not yet stored.
    pub fn another_key(&self, secret: &str) -> ApiKey {
        founding::key(&self.founded, "another", secret, T0)
    }

    /// A call with a key and a JSON body, if there is any.
    pub async fn call_as(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        answer(&self.public, request.body(body).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call_as(&self.key, Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call_as(&self.key, Method::POST, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call_as(&self.key, Method::DELETE, path, None).await
    }

    /// `POST /api/v1/runs` with these bytes and headers.
    pub async fn post_runs(&self, body: impl Into<Body>, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::post("/api/v1/runs")
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(&self.public, request.body(body.into()).unwrap()).await
    }

    pub async fn accept(&self, body: Value) -> RunId {
        self.accept_as(&self.key, body).await
    }

    pub async fn accept_as(&self, key: &str, body: Value) -> RunId {
        let created = self.call_as(key, Method::POST, "/api/v1/runs", Some(body)).await.expect(202);
        created.run().id.parse().unwrap()
    }

    pub async fn show(&self, id: RunId) -> RunView {
        self.get(&format!("/api/v1/runs/{id}")).await.expect(200).run()
    }

    pub async fn status(&self, id: RunId) -> Status {
        self.show(id).await.status
    }

    pub async fn stored(&self, id: RunId) -> Run {
        self.stores.runs.find(id).await.unwrap().unwrap()
    }

    /// One pass of a reconciler; how much it did.
    pub async fn pass(&self, reconciler: &dyn Reconciler) -> u64 {
        reconciler.reconcile().await.unwrap().did
    }

    /// Lets so many seconds go by while the reaper does its passes, every five as it should; how many leases it took.
    pub async fn watch(&self, reaper: &dyn Reconciler, seconds: u64) -> u64 {
        let mut lost = self.pass(reaper).await;
        let mut left = seconds;
        while left > 0 {
            let step = left.min(5);
            self.advance(step);
            left -= step;
            lost += self.pass(reaper).await;
        }
        lost
    }

    /// Dispatches all that can be.
    pub async fn dispatch(&self) {
        while self.pass(&Dispatcher(self.app().clone())).await > 0 {}
    }

    /// The next message of the default pool, acknowledged.
    pub async fn take(&self) -> Option<RunMessage> {
        let mut consumer = self.queue.consume(&Pool::default()).await.unwrap();
        let delivery = consumer.next().now_or_never().flatten()?;
        let message = delivery.message.clone();
        delivery.ack().await.unwrap();
        Some(message)
    }

    pub async fn depth(&self) -> u64 {
        self.queue.depth(&Pool::default()).await.unwrap()
    }
}

async fn replica(config: &ProducerConfig, parts: &Parts) -> Producer {
    Producer::new(config.clone(), parts.clone(), WORKER_TOKEN, None, Shutdown::new()).await.unwrap()
}
