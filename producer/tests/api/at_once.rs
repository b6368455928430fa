//! Runs that need not wait their turn go straight to the queue.

use gantry_api_types::run::Status;
use gantry_domain::id::{ClaimId, RunId};
use gantry_producer::config::{ConcurrencyConfig, ProducerConfig};
use gantry_service_kit::shutdown::TaskGroup;
use serde_json::json;

use crate::installation::{Installation, Wish, spec, spec_with};
use crate::moody_queue::QueueMood;
use crate::worker::FakeWorker;

/// An installation that may go on with a run after its request was answered.
async fn installation(config: ProducerConfig) -> (Installation, QueueMood) {
    let mood = QueueMood::default();
    let queue = mood.clone();
    let wish = Wish { config, queue: Some(Box::new(move |inner| queue.over(inner))), ..Wish::default() };
    let installation = Installation::with(wish).await;
    assert!(installation.producer.app().tasks.set(TaskGroup::new()).is_ok());
    (installation, mood)
}

async fn accepted(installation: &Installation) -> (RunId, Status) {
    let answer =
        installation.call_as(&installation.key, "POST".parse().unwrap(), "/api/v1/runs", Some(spec())).await;
    let run = answer.expect(202).run();
    (run.id.parse().unwrap(), run.status)
}

/// Waits for what goes on after requests were answered.
async fn settled(installation: &Installation) {
    let tasks = installation.producer.app().tasks.get().unwrap();
    while !tasks.running().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn while_nothing_waits_as_many_runs_go_at_once_as_there_are_slots() {
    let (installation, _) = installation(ProducerConfig::default()).await;
    let worker = FakeWorker::register(&installation, 2).await;
    assert_eq!(accepted(&installation).await.1, Status::Pending, "nobody has looked yet");
    installation.dispatch().await;
    let first = installation.take().await.unwrap();
    worker.claim(first).await;
    installation.dispatch().await;

    let (second, status) = accepted(&installation).await;
    assert_eq!(status, Status::Queued);
    settled(&installation).await;
    let message = installation.take().await.expect("its message");
    assert_eq!(message.run, second);
    worker.claim(message).await;
    assert_eq!(installation.status(second).await, Status::Running);
}

#[tokio::test]
async fn whoever_comes_after_a_run_that_waits_waits_too() {
    let (installation, _) = installation(ProducerConfig::default()).await;
    FakeWorker::register(&installation, 2).await;
    installation.dispatch().await;
    let statuses = [(); 4].map(|()| accepted(&installation));
    let statuses = futures::future::join_all(statuses).await;
    let count = |wanted| statuses.iter().filter(|(_, status)| *status == wanted).count();
    assert_eq!((count(Status::Queued), count(Status::Pending)), (2, 2));
    installation.dispatch().await;
    assert_eq!(accepted(&installation).await.1, Status::Pending, "others were there first");
}

#[tokio::test]
async fn a_run_whose_message_is_not_taken_is_pending_again() {
    let (installation, mood) = installation(ProducerConfig::default()).await;
    let worker = FakeWorker::register(&installation, 2).await;
    installation.dispatch().await;
    mood.takes_nothing();
    let (run, _) = accepted(&installation).await;
    settled(&installation).await;
    assert_eq!(installation.status(run).await, Status::Pending);
    assert_eq!(accepted(&installation).await.1, Status::Pending, "it is known that the broker takes nothing");
    mood.well();
    installation.advance(2);
    installation.dispatch().await;
    installation.dispatch().await;
    let message = installation.take().await.expect("its message");
    worker.try_claim(message.run, message.dispatch, ClaimId::new()).await.expect(200);
}

#[tokio::test]
async fn a_run_under_a_limit_takes_its_turn() {
    let concurrency = ConcurrencyConfig { group: Some(1), ..ConcurrencyConfig::default() };
    let (installation, _) = installation(ProducerConfig { concurrency, ..ProducerConfig::default() }).await;
    FakeWorker::register(&installation, 2).await;
    installation.dispatch().await;
    let run = installation.accept(spec_with(json!({"group": "nightly"}))).await;
    assert_eq!(installation.status(run).await, Status::Pending);
    installation.dispatch().await;
    assert_eq!(installation.status(run).await, Status::Queued);
}

#[tokio::test]
async fn a_run_that_no_worker_would_take_waits_where_it_can_be_seen() {
    let (installation, _) = installation(ProducerConfig::default()).await;
    let worker = FakeWorker::register(&installation, 2).await;
    installation.dispatch().await;
    installation.post(&format!("/api/v1/workers/{}/drain", worker.id), json!({})).await.expect(200);
    assert_eq!(accepted(&installation).await.1, Status::Pending);
}
