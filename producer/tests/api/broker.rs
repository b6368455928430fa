//! The broker goes away: runs are accepted, wait where they can be seen, and none is lost or executed twice.

use gantry_api_types::run::Status;
use gantry_api_types::system::{BrokerStatus, QueueDepths};
use gantry_domain::id::{ClaimId, RunId};
use gantry_producer::background::limits::Holders;
use gantry_producer::background::waiting::{Due, Unclaimed};
use gantry_producer::config::{ConcurrencyConfig, ProducerConfig};
use serde_json::json;

use crate::installation::{Installation, T0, Wish, spec, spec_with};
use crate::moody_queue::QueueMood;
use crate::moody_store::INTERNAL;
use crate::worker::{FakeWorker, exited};

async fn installation(config: ProducerConfig) -> (Installation, QueueMood) {
    let mood = QueueMood::default();
    let between = mood.clone();
    let queue: crate::installation::WrapQueue = Box::new(move |queue| between.over(queue));
    (Installation::with(Wish { config, queue: Some(queue), ..Wish::default() }).await, mood)
}

async fn accept(installation: &Installation, count: usize) -> Vec<RunId> {
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(installation.accept(spec()).await);
    }
    runs
}

async fn queue(installation: &Installation) -> QueueDepths {
    let answer = installation.get("/api/v1/system/queue").await.expect(200);
    assert!(!answer.text().contains(INTERNAL), "{}", answer.text());
    serde_json::from_value(answer.json()).unwrap()
}

async fn with_status(installation: &Installation, runs: &[RunId], status: Status) -> usize {
    let mut count = 0;
    for run in runs {
        count += usize::from(installation.status(*run).await == status);
    }
    count
}

#[tokio::test]
async fn while_the_broker_is_away_runs_are_accepted_stay_pending_and_say_so() {
    let (installation, mood) = installation(ProducerConfig::default()).await;
    FakeWorker::register(&installation, 10).await;
    assert_eq!(queue(&installation).await.broker.status, BrokerStatus::Up);
    mood.away();
    let first = accept(&installation, 1).await;
    installation.dispatch().await;
    installation.advance(60);
    let later =
        installation.call_as(&installation.key, "POST".parse().unwrap(), "/api/v1/runs", Some(spec())).await;
    let said = later.expect(202).run();
    let message = said.waiting.unwrap().message;
    assert!(message.contains("message broker") && message.contains("cannot be reached"), "{message}");
    installation.dispatch().await;

    let broker = queue(&installation).await.broker;
    assert_eq!((broker.status, broker.since), (BrokerStatus::Down, Some(T0)));
    assert_eq!(broker.detail.as_deref(), Some("cannot be reached"));
    let pools = queue(&installation).await.pools;
    assert_eq!((pools[0].pending, pools[0].queued, pools[0].backlog), (2, 0, 2));
    let shown = installation.show(first[0]).await;
    assert_eq!(shown.status, Status::Pending);
    assert!(shown.waiting.unwrap().message.contains("message broker"));
    assert_eq!(mood.refused(), 0, "nothing is taken out of `pending` for a broker that is away");

    mood.well();
    installation.dispatch().await;
    assert_eq!(queue(&installation).await.broker.status, BrokerStatus::Up);
    assert_eq!(installation.depth().await, 2);
    assert!(!installation.show(first[0]).await.waiting.unwrap().message.contains("broker"));
}

#[tokio::test]
async fn it_is_known_that_the_broker_is_away_although_no_worker_is_there() {
    let (installation, mood) = installation(ProducerConfig::default()).await;
    mood.away();
    installation.dispatch().await;
    assert_eq!(queue(&installation).await.broker.status, BrokerStatus::Down);
    mood.well();
    installation.dispatch().await;
    assert_eq!(queue(&installation).await.broker.status, BrokerStatus::Up);
}

#[tokio::test]
async fn runs_whose_messages_are_not_taken_are_pending_again() {
    let (installation, mood) = installation(ProducerConfig::default()).await;
    FakeWorker::register(&installation, 50).await;
    mood.takes_nothing();
    let runs = accept(&installation, 20).await;
    installation.dispatch().await;
    assert_eq!(with_status(&installation, &runs, Status::Pending).await, 20);
    assert_eq!(mood.refused(), 20);
    let broker = queue(&installation).await.broker;
    assert_eq!((broker.status, broker.detail.as_deref()), (BrokerStatus::Down, Some("takes no messages")));

    // From now on one run at a time tries, and not all the time.
    installation.dispatch().await;
    assert_eq!(mood.refused(), 20);
    for tries in 1..=3 {
        installation.advance(2);
        installation.dispatch().await;
        installation.dispatch().await;
        assert_eq!(mood.refused(), 20 + tries);
    }
    assert_eq!(with_status(&installation, &runs, Status::Pending).await, 20);
    assert_eq!(queue(&installation).await.broker.since, Some(T0), "it is the same trouble all the time");

    mood.well();
    installation.advance(2);
    installation.dispatch().await;
    assert_eq!(with_status(&installation, &runs, Status::Queued).await, 20);
    assert_eq!(installation.depth().await, 20, "each message once");
    assert_eq!(queue(&installation).await.broker.status, BrokerStatus::Up);
}

#[tokio::test]
async fn a_message_that_was_taken_although_nobody_heard_of_it_meets_a_refusal() {
    let (installation, mood) = installation(ProducerConfig::default()).await;
    let worker = FakeWorker::register(&installation, 10).await;
    mood.keeps_silent();
    let run = accept(&installation, 1).await[0];
    installation.dispatch().await;
    assert_eq!(installation.status(run).await, Status::Pending);
    let stray = installation.take().await.expect("it was taken");
    worker.try_claim(stray.run, stray.dispatch, ClaimId::new()).await.expect(409);

    mood.well();
    installation.advance(2);
    installation.dispatch().await;
    let message = installation.take().await.expect("dispatched again");
    assert_eq!(message.run, run);
    assert_ne!(message.dispatch, stray.dispatch);
    let held = worker.claim(message).await;
    worker.try_claim(stray.run, stray.dispatch, ClaimId::new()).await.expect(409);
    worker.finish(&held, exited(0)).await.expect(200);
    assert_eq!(installation.status(run).await, Status::Passed);
    assert_eq!(installation.stored(run).await.attempts.len(), 1);
}

#[tokio::test]
async fn a_run_that_is_pending_again_gave_its_places_back() {
    let concurrency = ConcurrencyConfig { organization: Some(1), ..ConcurrencyConfig::default() };
    let (installation, mood) =
        installation(ProducerConfig { concurrency, ..ProducerConfig::default() }).await;
    let worker = FakeWorker::register(&installation, 10).await;
    mood.takes_nothing();
    let runs = accept(&installation, 3).await;
    installation.dispatch().await;
    assert_eq!(with_status(&installation, &runs, Status::Pending).await, 3);
    assert_eq!(installation.stores.dispatch.holders().await.unwrap(), []);
    mood.well();
    for _ in 0..20 {
        installation.advance(2);
        installation.pass(&Due(installation.app().clone())).await;
        installation.pass(&Holders(installation.app().clone())).await;
        installation.dispatch().await;
        assert!(installation.stores.dispatch.holders().await.unwrap().len() <= 1);
        if let Some(held) = worker.claim_next().await {
            worker.finish(&held, exited(0)).await.expect(200);
        }
    }
    assert_eq!(with_status(&installation, &runs, Status::Passed).await, 3);
}

#[tokio::test]
async fn a_queued_run_whose_message_is_lost_is_published_again_under_the_same_id_when_the_broker_is_back() {
    let (installation, mood) = installation(ProducerConfig::default()).await;
    FakeWorker::register(&installation, 10).await;
    installation.accept(spec_with(json!({"priority": "high"}))).await;
    installation.dispatch().await;
    let lost = installation.take().await.expect("dispatched");
    mood.away();
    installation.advance(61);
    let republish = Unclaimed(installation.app().clone());
    assert_eq!(installation.pass(&republish).await, 0);
    mood.takes_nothing();
    assert_eq!(installation.pass(&republish).await, 0);
    mood.well();
    assert_eq!(installation.pass(&republish).await, 1);
    assert_eq!(installation.pass(&republish).await, 0, "the broker holds it");
    assert_eq!(installation.take().await.map(|again| again.dispatch), Some(lost.dispatch));
}
