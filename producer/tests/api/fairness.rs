//! Nobody's ten thousand runs delay anybody else's one, and the broker never holds more than the fleet can take.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::join_all;
use gantry_api_types::run::Status;
use gantry_domain::id::RunId;
use gantry_domain::run::{Run, RunStatus};
use gantry_domain::spec::Pool;
use gantry_producer::background::dispatcher::Dispatcher;
use gantry_store::ListFilter;
use serde_json::{Value, json};

use crate::installation::{Installation, spec, spec_with};
use crate::worker::{FakeWorker, Held, exited};

const MANY: u64 = 10_000;

/// Copies of an accepted run, until there are `count` in all.
async fn multiply(installation: &Installation, model: RunId, count: u64) {
    let model = installation.stored(model).await;
    let copies = (1..count).map(|i| Run { id: RunId::new(), number: model.number + i, ..model.clone() });
    installation.stores.runs.import(copies.collect()).await.unwrap();
}

async fn pass(installation: &Installation) -> u64 {
    installation.pass(&Dispatcher(installation.app().clone())).await
}

/// Claims up to `slots` messages together.
async fn claim(worker: &FakeWorker<'_>, slots: usize) -> Vec<Held> {
    let mut messages = Vec::new();
    while messages.len() < slots
        && let Some(message) = worker.installation.take().await
    {
        messages.push(message);
    }
    join_all(messages.into_iter().map(|message| worker.claim(message))).await
}

async fn finish_all(worker: &FakeWorker<'_>, held: &[Held]) {
    for answer in join_all(held.iter().map(|held| worker.finish(held, exited(0)))).await {
        answer.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_runs_of_one_organization_do_not_delay_one_of_another() {
    let installation = Installation::new().await;
    let first = installation.accept(spec()).await;
    multiply(&installation, first, MANY).await;
    let stranger = installation.stranger().await;
    let slots = 64;
    let worker = FakeWorker::register(&installation, slots as u32).await;

    let (mut seen, mut theirs, mut since) = (BTreeSet::new(), None, 0);
    let (mut handed_over_before, mut accepted_at, mut waited) = (0, Instant::now(), None);
    let begun = Instant::now();
    while seen.len() as u64 <= MANY {
        worker.heartbeat(0, &[]).await;
        assert!(begun.elapsed() < Duration::from_secs(300), "{} of {MANY}", seen.len());
        pass(&installation).await;
        if theirs.is_none() && seen.len() >= 1000 {
            // The worst moment: the broker holds all that the window lets it hold.
            handed_over_before = installation.depth().await;
            assert!(handed_over_before > 0);
            theirs = Some(installation.accept_as(&stranger, spec()).await);
            accepted_at = Instant::now();
        }
        let held = claim(&worker, slots).await;
        for one in &held {
            assert!(seen.insert(one.run), "executed twice");
            if theirs == Some(one.run) {
                waited = Some((since, accepted_at.elapsed()));
            } else if theirs.is_some() && waited.is_none() {
                since += 1;
            }
        }
        finish_all(&worker, &held).await;
    }
    let (before, waited) = waited.expect("the other organization's run was executed");
    assert!(
        before <= handed_over_before + 2,
        "{before} runs went first, though only {handed_over_before} were with the broker"
    );
    assert!(waited < Duration::from_secs(5), "{waited:?}");

    let depths = installation.stores.dispatch.depths().await.unwrap();
    assert!(depths.iter().all(|depth| depth.pending + depth.queued + depth.running == 0), "{depths:?}");
    let unfinished = RunStatus::ALL
        .into_iter()
        .filter(|status| *status != RunStatus::Passed)
        .fold(ListFilter::default(), ListFilter::status);
    let left = installation.stores.runs.list(installation.organization, &unfinished, None, 10).await.unwrap();
    assert_eq!(left.items, []);
    assert_eq!(installation.show(first).await.status, Status::Passed);
}

#[tokio::test]
async fn organizations_take_turns_whatever_their_backlog() {
    let installation = Installation::new().await;
    let ours = installation.accept(spec()).await;
    multiply(&installation, ours, 100).await;
    let stranger = installation.stranger().await;
    let mut theirs = BTreeSet::new();
    for _ in 0..10 {
        theirs.insert(installation.accept_as(&stranger, spec()).await);
    }
    let worker = FakeWorker::register(&installation, 1).await;
    let mut turns = Vec::new();
    for _ in 0..20 {
        pass(&installation).await;
        let held = claim(&worker, 1).await;
        turns.push(theirs.contains(&held[0].run));
        finish_all(&worker, &held).await;
        // So that what was claimed a moment ago does not widen the window.
        window_of(&installation, 1).await;
    }
    for pair in turns.chunks(2) {
        assert_eq!(pair.iter().filter(|theirs| **theirs).count(), 1, "{turns:?}");
    }
}

#[tokio::test]
async fn a_batch_is_handed_over_in_the_order_it_was_picked() {
    let installation = Installation::new().await;
    let mut expected = Vec::new();
    for priority in ["low", "normal", "high", "critical"] {
        let mut same = Vec::new();
        for _ in 0..15 {
            same.push(installation.accept(spec_with(json!({"priority": priority}))).await);
        }
        expected.splice(0..0, same);
    }
    FakeWorker::register(&installation, 100).await;
    installation.dispatch().await;
    let mut order = Vec::new();
    while let Some(message) = installation.take().await {
        order.push(message.run);
    }
    assert_eq!(order, expected);
}

#[tokio::test]
async fn inside_an_organization_priority_goes_first_then_age() {
    let installation = Installation::new().await;
    let mut expected = Vec::new();
    for priority in ["low", "normal", "high", "critical"] {
        let first = installation.accept(spec_with(json!({"priority": priority}))).await;
        let second = installation.accept(spec_with(json!({"priority": priority}))).await;
        expected.splice(0..0, [first, second]);
    }
    let worker = FakeWorker::register(&installation, 1).await;
    let mut order = Vec::new();
    for _ in 0..expected.len() {
        pass(&installation).await;
        let held = claim(&worker, 1).await;
        order.push(held[0].run);
        finish_all(&worker, &held).await;
        window_of(&installation, 1).await;
    }
    assert_eq!(order, expected);
}

/// Waits until the window of the default pool is no wider than `wanted`.
async fn window_of(installation: &Installation, wanted: u64) {
    let begun = Instant::now();
    while installation.app().fleet.window(&Pool::default()) > wanted {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_broker_holds_no_more_than_the_fleet_can_take() {
    let installation = Installation::new().await;
    let model = installation.accept(spec()).await;
    multiply(&installation, model, 100).await;
    installation.dispatch().await;
    assert_eq!(installation.depth().await, 0, "there is no fleet");

    let worker = FakeWorker::register(&installation, 4).await;
    installation.dispatch().await;
    assert_eq!(installation.depth().await, 4, "its free slots");
    installation.dispatch().await;
    assert_eq!(installation.depth().await, 4);

    // A busy worker has one message waiting, so that a slot that gets free is filled at once.
    let held = claim(&worker, 4).await;
    installation.dispatch().await;
    assert!(installation.depth().await <= 4, "what was claimed a moment ago");
    while installation.take().await.is_some() {}
    window_of(&installation, 1).await;
    installation.dispatch().await;
    assert_eq!(installation.depth().await, 1);

    // A second worker adds its slots; one that drains takes them away again.
    let second = FakeWorker::register(&installation, 2).await;
    installation.dispatch().await;
    assert_eq!(installation.depth().await, 2, "two free slots, and no less than one for each worker");
    while installation.take().await.is_some() {}
    for id in [worker.id, second.id] {
        installation.post(&format!("/api/v1/workers/{id}/drain"), Value::Null).await.expect(200);
    }
    installation.dispatch().await;
    assert_eq!(installation.depth().await, 0);
    finish_all(&worker, &held).await;
}

#[tokio::test]
async fn pools_do_not_wait_for_each_other() {
    let installation = Installation::new().await;
    let ours = installation.accept(spec()).await;
    multiply(&installation, ours, 1000).await;
    let elsewhere = installation.accept(spec_with(json!({"pool": "gpu"}))).await;
    let gpu: Pool = "gpu".parse().unwrap();
    FakeWorker::register_in(&installation, &gpu, 1).await;
    installation.dispatch().await;
    assert_eq!(installation.status(elsewhere).await, Status::Queued);
    assert_eq!(installation.status(ours).await, Status::Pending);
}
