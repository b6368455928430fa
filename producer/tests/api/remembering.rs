//! A replica remembers runs that it changed. What others did to them meanwhile must count all the same.

use gantry_api_types::run::Status;
use gantry_producer::background::leases::LeaseReaper;
use serde_json::json;

use crate::installation::{Installation, spec};
use crate::worker::{FakeWorker, Held, exited};

#[tokio::test]
async fn what_another_replica_noted_is_not_overwritten_from_memory() {
    let here = Installation::new().await;
    let (one, two) = (here.replica().await, here.replica().await);
    let worker = FakeWorker::register(&here, 1).await;
    let (id, protocol) = (worker.id, worker.protocol);
    let held = worker.running(spec()).await;
    let there = here.with_workers_at(&two);
    let worker = FakeWorker { installation: &there, id, protocol };
    worker.state(&held, "starting").await.expect(200);
    let here = there.with_workers_at(&one);
    let worker = FakeWorker { installation: &here, id, protocol };
    worker.state(&held, "analyzing").await.expect(200);
    assert!(here.stored(held.run).await.state.lease().is_some_and(|lease| lease.started));
    // The second one remembers it as it was before.
    let there = here.with_workers_at(&two);
    let worker = FakeWorker { installation: &there, id, protocol };
    worker.finish(&held, exited(0)).await.expect(200);
    assert_eq!(there.status(held.run).await, Status::Passed);
}

#[tokio::test]
async fn a_lease_that_another_replica_took_away_is_gone_for_all() {
    let installation = Installation::new().await;
    let other = installation.replica().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held: Held = worker.running(spec()).await;
    worker.state(&held, "starting").await.expect(200);
    let reaper = LeaseReaper::new(other.app().clone());
    assert_eq!(installation.watch(&reaper, 65).await, 1);
    let version = installation.stored(held.run).await.version;
    worker.state(&held, "analyzing").await.refused(409, "stale_attempt");
    worker.finish(&held, exited(0)).await.refused(409, "stale_attempt");
    assert_eq!(installation.stored(held.run).await.version, version, "nothing was recorded");
}

#[tokio::test]
async fn a_renewal_lasts_through_a_change_from_memory() {
    let installation = Installation::new().await;
    let reaper = LeaseReaper::new(installation.app().clone());
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    for _ in 0..10 {
        assert_eq!(installation.watch(&reaper, 10).await, 0);
        worker.heartbeat(1, &[&held]).await;
    }
    // Remembered with the expiry of the claim, a hundred seconds ago.
    worker.state(&held, "starting").await.expect(200);
    assert_eq!(installation.watch(&reaper, 30).await, 0);
    worker.finish(&held, exited(0)).await.expect(200);
    let run = installation.show(held.run).await;
    assert_eq!((run.status, run.attempt), (Status::Passed, 1), "{}", json!(run.reason));
}
