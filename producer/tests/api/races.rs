//! What happens between two steps: answers that were lost, machines that slept, passes that broke off.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gantry_api_types::run::Status;
use gantry_api_types::worker::LeaseSignal;
use gantry_domain::id::{ClaimId, OrganizationId, RunId};
use gantry_domain::run::{Run, RunStatus};
use gantry_domain::spec::Pool;
use gantry_producer::background::dispatcher::Dispatcher;
use gantry_producer::background::leases::LeaseReaper;
use gantry_producer::background::waiting::Due;
use gantry_producer::config::LeaseConfig;
use gantry_producer::services::dispatch::dispatch;
use gantry_producer::services::fleet::Fleet;
use gantry_producer::state::App;
use gantry_queue::Queue as _;
use gantry_service_kit::reconciler::Reconciler as _;
use gantry_service_kit::shutdown::TaskGroup;
use gantry_store::{
    Acquired, DispatchStore, Limit, ListFilter, PoolDepth, Result as StoreResult, StoreError, Stores,
};
use serde_json::json;

use crate::installation::{Installation, Wish, spec, spec_with};
use crate::lifecycle::chunk;
use crate::worker::{FakeWorker, exited, finish};

#[tokio::test]
async fn a_machine_that_slept_hears_its_workers_before_it_takes_their_leases() {
    let installation = Installation::new().await;
    let reaper = LeaseReaper::new(installation.app().clone());
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec_with(json!({"at_most_once": true}))).await;
    worker.state(&held, "starting").await.expect(200);
    assert_eq!(installation.watch(&reaper, 30).await, 0);
    // The lid is closed for an hour: producer, worker and command stand still together.
    installation.advance(3600);
    assert_eq!(installation.pass(&reaper).await, 0);
    assert_eq!(worker.heartbeat(1, &[&held]).await.leases, [LeaseSignal::Renewed]);
    assert_eq!(installation.watch(&reaper, 16).await, 0);
    assert_eq!(installation.status(held.run).await, Status::Running);
    // One that is not heard again loses its run as ever.
    assert_eq!(installation.watch(&reaper, 46).await, 1);
}

#[tokio::test]
async fn a_sleep_shorter_than_a_lease_takes_no_lease_either() {
    let installation = Installation::new().await;
    let reaper = LeaseReaper::new(installation.app().clone());
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    assert_eq!(installation.watch(&reaper, 40).await, 0);
    // Only 11 s; the lease ran out in them.
    installation.advance(11);
    assert_eq!(installation.watch(&reaper, 14).await, 0);
    assert_eq!(worker.heartbeat(1, &[&held]).await.leases, [LeaseSignal::Renewed]);
    assert_eq!(installation.watch(&reaper, 30).await, 0);
    assert_eq!(installation.status(held.run).await, Status::Running);
}

#[tokio::test]
async fn a_clock_that_was_set_back_is_believed_again_after_a_while() {
    let installation = Installation::new().await;
    let reaper = LeaseReaper::new(installation.app().clone());
    let worker = FakeWorker::register(&installation, 1).await;
    installation.advance(7200);
    assert_eq!(installation.watch(&reaper, 30).await, 0);
    installation.set_back(3600);
    let held = worker.running(spec()).await;
    assert_eq!(installation.watch(&reaper, 40).await, 0);
    assert_eq!(installation.status(held.run).await, Status::Running);
    assert_eq!(installation.watch(&reaper, 6).await, 1, "not only in an hour");
}

#[tokio::test]
async fn a_lease_counts_from_the_claim_that_was_answered() {
    let installation = Installation::new().await;
    let reaper = LeaseReaper::new(installation.app().clone());
    let worker = FakeWorker::register(&installation, 1).await;
    let id = installation.accept(spec()).await;
    installation.dispatch().await;
    let (message, claim) = (installation.take().await.unwrap(), ClaimId::new());
    worker.try_claim(id, message.dispatch, claim).await.expect(200);
    // The answer was lost. The worker counts its fence from when it asked again.
    assert_eq!(installation.watch(&reaper, 30).await, 0);
    worker.try_claim(id, message.dispatch, claim).await.expect(200);
    assert_eq!(installation.watch(&reaper, 44).await, 0, "its worker may still be at work");
    installation.advance(2);
    assert_eq!(installation.pass(&reaper).await, 1);
}

#[tokio::test]
async fn a_refused_claim_makes_room_for_the_next_run_at_once() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let mut consumer = installation.queue.consume(&Pool::default()).await.unwrap();
    let cancelled = installation.accept(spec()).await;
    installation.dispatch().await;
    let delivery = consumer.next().await.unwrap();
    let next = installation.accept(spec()).await;
    assert_eq!(
        installation.pass(&Dispatcher(installation.app().clone())).await,
        0,
        "the broker holds enough"
    );
    installation.post(&format!("/api/v1/runs/{cancelled}/cancel"), json!({})).await.expect(202);

    let tasks = TaskGroup::new();
    installation.producer.spawn_reconcilers(&tasks);
    // The dispatcher's first pass finds no room, and the next by itself comes seconds later.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(installation.depth().await, 1);
    let refused = worker.try_claim(cancelled, delivery.message.dispatch, ClaimId::new()).await;
    refused.refused(409, "stale_attempt");
    delivery.ack().await.unwrap();
    let delivery =
        tokio::time::timeout(Duration::from_secs(3), consumer.next()).await.expect("no wait").unwrap();
    assert_eq!(delivery.message.run, next);
    installation.app().shutdown.trigger();
    assert!(tasks.drain(Duration::from_secs(10)).await.is_clean());
}

#[tokio::test]
async fn a_log_is_shown_whatever_end_its_worker_claims() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    worker.log(&held, chunk(0, "acknowledged")).await.expect(200);
    // A worker that finds its log's end refused says "none".
    worker.finish(&held, exited(0)).await.expect(200);
    let log = installation.get(&format!("/api/v1/runs/{}/logs", held.run)).await.expect(200);
    assert_eq!(log.text(), "acknowledged");
}

#[tokio::test]
async fn a_small_limit_for_callers_takes_no_lease_from_a_worker() {
    let installation = Installation::with_config(|config| config.limits.body_bytes = 1024).await;
    let worker = FakeWorker::register(&installation, 100).await;
    let held = worker.running(spec()).await;
    let signals = worker.heartbeat(1, &vec![&held; 1000]).await.leases;
    assert_eq!(signals, [LeaseSignal::Renewed; 1000]);
    let long = spec_with(json!({"variables": {"TEXT": "x".repeat(1024)}}));
    installation.post("/api/v1/runs", long).await.refused(413, "payload_too_large");
}

#[tokio::test]
async fn what_an_engine_says_is_kept_in_part() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    let detail = "é".repeat(500_000);
    worker.finish(&held, finish(json!({"kind": "image_not_found", "detail": detail}))).await.expect(200);
    let message = installation.show(held.run).await.reason.unwrap().message;
    assert!((100..10_000).contains(&message.len()), "{} bytes", message.len());
}

/// A store of places in whose way something comes.
struct Stubborn {
    dispatch: Arc<dyn DispatchStore>,
    /// Takes no place for this run.
    refuses: Option<RunId>,
    /// Dispatches whenever a place is about to be given back.
    hurries: Arc<OnceLock<Arc<App>>>,
}

#[async_trait]
impl DispatchStore for Stubborn {
    async fn ready(&self, pool: &Pool, limit: u32) -> StoreResult<Vec<Run>> {
        self.dispatch.ready(pool, limit).await
    }

    async fn acquire(&self, run: RunId, limits: &[Limit]) -> StoreResult<Acquired> {
        if Some(run) == self.refuses {
            return Err(StoreError::Unavailable("not this one".to_owned()));
        }
        self.dispatch.acquire(run, limits).await
    }

    async fn release(&self, run: RunId, keys: &[String]) -> StoreResult<()> {
        if let Some(app) = self.hurries.get() {
            dispatch(app, &Pool::default()).await?;
        }
        self.dispatch.release(run, keys).await
    }

    async fn holders(&self) -> StoreResult<Vec<(String, RunId)>> {
        self.dispatch.holders().await
    }

    async fn blocked_on(&self, key: &str, limit: u32) -> StoreResult<Vec<Run>> {
        self.dispatch.blocked_on(key, limit).await
    }

    async fn blocking_keys(&self) -> StoreResult<Vec<String>> {
        self.dispatch.blocking_keys().await
    }

    async fn depths(&self) -> StoreResult<Vec<PoolDepth>> {
        self.dispatch.depths().await
    }

    async fn organization_depths(&self, organization: OrganizationId) -> StoreResult<Vec<PoolDepth>> {
        self.dispatch.organization_depths(organization).await
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_dispatched_holds_up_no_other() {
    // Known before it is accepted: the last of the ten that are imported.
    let stubborn = RunId::new();
    let wrap = move |stores: Stores| Stores {
        dispatch: Arc::new(Stubborn {
            dispatch: stores.dispatch,
            refuses: Some(stubborn),
            hurries: Arc::default(),
        }),
        ..stores
    };
    let mut wish = Wish { stores: Some(Box::new(wrap)), ..Wish::default() };
    wish.config.concurrency.organization = Some(100);
    let installation = Installation::with(wish).await;
    let model = installation.stored(installation.accept(spec()).await).await;
    let copy = |id, i| Run { id, number: model.number + i, ..model.clone() };
    let mut runs: Vec<_> = (1..10).map(|i| copy(RunId::new(), i)).collect();
    runs.push(copy(stubborn, 10));
    installation.stores.runs.import(runs).await.unwrap();
    FakeWorker::register(&installation, 20).await;

    assert!(Dispatcher(installation.app().clone()).reconcile().await.is_err());
    let queued = ListFilter::default().status(RunStatus::Queued);
    let queued = installation.stores.runs.list(installation.organization, &queued, None, 100).await.unwrap();
    assert_eq!(queued.items.len(), 10);
    assert_eq!(installation.depth().await, 10);
}

#[tokio::test]
async fn a_worker_of_another_replica_never_seems_silent_while_the_store_hears_of_it() {
    let installation = Installation::new().await;
    let id = FakeWorker::register(&installation, 3).await.id;
    let workers = &*installation.stores.workers;
    let fence = Duration::from_millis(2400);
    let fleet = Fleet::new(&LeaseConfig { fence, ..LeaseConfig::default() });
    fleet.look(workers, installation.now()).await;
    tokio::time::sleep(fence * 3 / 4).await;
    installation.advance(2);
    let worker = workers.get(id).await.unwrap().unwrap();
    let beaten = gantry_domain::worker::Worker { last_seen_at: installation.now(), ..worker };
    workers.put(&beaten).await.unwrap();
    let looked_at = Instant::now();
    fleet.look(workers, installation.now()).await;
    tokio::time::sleep(fence / 2).await;
    let window = fleet.window(&beaten.pool);
    assert!(window == 3 || looked_at.elapsed() >= fence, "{window} after {:?}", looked_at.elapsed());
}

#[tokio::test]
async fn a_run_dispatched_again_at_once_keeps_its_new_place() {
    let hurries = Arc::new(OnceLock::<Arc<App>>::new());
    let later = Arc::clone(&hurries);
    let wrap = move |stores: Stores| Stores {
        dispatch: Arc::new(Stubborn { dispatch: stores.dispatch, refuses: None, hurries: later }),
        ..stores
    };
    let mut wish = Wish { stores: Some(Box::new(wrap)), ..Wish::default() };
    wish.config.concurrency.organization = Some(1);
    let installation = Installation::with(wish).await;
    let worker = FakeWorker::register(&installation, 10).await;
    let held = worker.running(spec()).await;
    let waiting = installation.accept(spec()).await;
    installation.dispatch().await;
    assert!(hurries.set(Arc::clone(installation.app())).is_ok());

    worker.finish(&held, finish(json!({"kind": "handed_back"}))).await.expect(200);
    for _ in 0..3 {
        installation.dispatch().await;
        installation.pass(&Due(installation.app().clone())).await;
    }
    let mut going = Vec::new();
    for id in [held.run, waiting] {
        going.push(installation.status(id).await);
    }
    going.sort_unstable_by_key(|status| *status == Status::Queued);
    assert_eq!(going, [Status::Pending, Status::Queued], "one at a time");
}
