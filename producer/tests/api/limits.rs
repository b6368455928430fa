//! Concurrency limits: never exceeded, and every place comes back.

use std::collections::BTreeMap;

use gantry_api_types::run::{Status, WaitingFor};
use gantry_domain::id::RunId;
use gantry_domain::run::{Run, RunStatus};
use gantry_domain::spec::Pool;
use gantry_producer::background::leases::LeaseReaper;
use gantry_producer::background::limits::Holders;
use gantry_producer::background::waiting::QueueTimeout;
use gantry_producer::config::ConcurrencyConfig;
use gantry_producer::services::dispatch::dispatch;
use gantry_store::{Limit, ListFilter};
use serde_json::{Value, json};

use crate::installation::{Installation, spec, spec_with};
use crate::worker::{FakeWorker, exited};

async fn limited(concurrency: ConcurrencyConfig) -> Installation {
    Installation::with_config(|config| config.concurrency = concurrency).await
}

fn of_organization(max: u32) -> ConcurrencyConfig {
    ConcurrencyConfig { organization: Some(max), ..ConcurrencyConfig::default() }
}

/// Runs that are queued or executed.
async fn taken_on(installation: &Installation) -> Vec<Run> {
    let filter = ListFilter::default()
        .status(RunStatus::Queued)
        .status(RunStatus::Running)
        .status(RunStatus::Analyzing);
    installation.stores.runs.list(installation.organization, &filter, None, 1000).await.unwrap().items
}

async fn holders(installation: &Installation) -> usize {
    installation.stores.dispatch.holders().await.unwrap().len()
}

/// Fails when more runs of any key are taken on than `max`.
async fn within(installation: &Installation, max: &ConcurrencyConfig) -> usize {
    let runs = taken_on(installation).await;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for run in &runs {
        *counts.entry("organization".to_owned()).or_default() += 1;
        if let Some(project) = &run.spec.project {
            *counts.entry(format!("project:{project}")).or_default() += 1;
        }
        if let Some(group) = &run.spec.group {
            *counts.entry(format!("group:{group}")).or_default() += 1;
        }
    }
    for (key, count) in counts {
        let limit = match key.split(':').next().unwrap() {
            "project" => max.project,
            "group" => max.group,
            _ => max.organization,
        };
        assert!(limit.is_none_or(|limit| count <= limit), "{count} runs under {key}");
    }
    runs.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_dispatches_at_once_exceed_no_limit() {
    let config = ConcurrencyConfig { organization: Some(7), project: Some(5), group: Some(3) };
    let installation = limited(config.clone()).await;
    let worker = FakeWorker::register(&installation, 200).await;
    let mut expected = 0;
    for i in 0..60 {
        let place = match i % 3 {
            0 => json!({"project": "web", "group": format!("g{}", i % 2)}),
            1 => json!({"project": "app"}),
            _ => json!({"group": "g0"}),
        };
        installation.accept(spec_with(place)).await;
        expected += 1;
    }
    let mut done = 0;
    for _ in 0..200 {
        let passes = (0..50).map(|_| {
            let app = installation.app().clone();
            tokio::spawn(async move { dispatch(&app, &Pool::default()).await.unwrap() })
        });
        futures::future::try_join_all(passes).await.unwrap();
        assert!(within(&installation, &config).await > 0, "something can always go on");
        while let Some(held) = worker.claim_next().await {
            assert!(within(&installation, &config).await <= 7);
            worker.finish(&held, exited(0)).await.expect(200);
            done += 1;
        }
        if done == expected {
            break;
        }
        installation.pass(&Holders(installation.app().clone())).await;
    }
    assert_eq!(done, expected, "no run is left behind");
    assert_eq!(holders(&installation).await, 0, "every place came back");
}

#[tokio::test]
async fn each_limit_holds_by_itself_and_says_so() {
    for (config, field) in [
        (ConcurrencyConfig { organization: Some(2), ..ConcurrencyConfig::default() }, "organization"),
        (ConcurrencyConfig { project: Some(2), ..ConcurrencyConfig::default() }, "project:web"),
        (ConcurrencyConfig { group: Some(2), ..ConcurrencyConfig::default() }, "group:nightly"),
    ] {
        let installation = limited(config).await;
        FakeWorker::register(&installation, 10).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let body = spec_with(json!({"project": "web", "group": "nightly"}));
            ids.push(installation.accept(body).await);
        }
        installation.dispatch().await;
        assert_eq!(taken_on(&installation).await.len(), 2);
        let waiting = installation.show(ids[2]).await.waiting.unwrap();
        assert_eq!((waiting.what, waiting.limit.as_deref()), (WaitingFor::Limit, Some(field)));
        assert!(waiting.message.contains(field), "{}", waiting.message);
    }
}

#[tokio::test]
async fn limits_of_two_organizations_are_two_limits() {
    let installation = limited(of_organization(1)).await;
    FakeWorker::register(&installation, 10).await;
    let stranger = installation.stranger().await;
    let (ours, theirs) = (installation.accept(spec()).await, installation.accept_as(&stranger, spec()).await);
    installation.dispatch().await;
    for id in [ours, theirs] {
        assert_eq!(installation.stored(id).await.status(), RunStatus::Queued);
    }
}

/// Two runs under a limit of one: the first holds the place, the second waits for it.
async fn one_of_two(installation: &Installation) -> (RunId, RunId) {
    let first = installation.accept(spec_with(json!({"retries": {"max_lost": 0}}))).await;
    let second = installation.accept(spec()).await;
    installation.dispatch().await;
    assert_eq!(installation.status(first).await, Status::Queued);
    assert_eq!(installation.show(second).await.waiting.unwrap().what, WaitingFor::Limit);
    (first, second)
}

async fn goes_on(installation: &Installation, waiting: RunId) {
    installation.dispatch().await;
    assert_eq!(installation.status(waiting).await, Status::Queued);
    assert_eq!(holders(installation).await, 1);
}

#[tokio::test]
async fn a_place_comes_back_when_its_run_finishes() {
    let installation = limited(of_organization(1)).await;
    let worker = FakeWorker::register(&installation, 10).await;
    let (_, second) = one_of_two(&installation).await;
    let held = worker.claim_next().await.unwrap();
    worker.finish(&held, exited(1)).await.expect(200);
    goes_on(&installation, second).await;
}

#[tokio::test]
async fn a_place_comes_back_when_its_run_is_cancelled_while_queued() {
    let installation = limited(of_organization(1)).await;
    FakeWorker::register(&installation, 10).await;
    let (first, second) = one_of_two(&installation).await;
    installation.post(&format!("/api/v1/runs/{first}/cancel"), Value::Null).await.expect(202);
    goes_on(&installation, second).await;
}

#[tokio::test]
async fn a_place_comes_back_when_its_run_is_lost() {
    let installation = limited(of_organization(1)).await;
    let worker = FakeWorker::register(&installation, 10).await;
    let (first, second) = one_of_two(&installation).await;
    worker.claim_next().await.unwrap();
    let reaper = LeaseReaper::new(installation.app().clone());
    assert_eq!(installation.watch(&reaper, 60).await, 1);
    assert_eq!(installation.status(first).await, Status::Error);
    goes_on(&installation, second).await;
}

#[tokio::test]
async fn a_place_comes_back_while_its_run_waits_for_a_retry() {
    let installation = limited(of_organization(1)).await;
    let worker = FakeWorker::register(&installation, 10).await;
    let retries = json!({"max": 1, "on": ["failed"], "backoff_seconds": 600});
    let first = installation.accept(spec_with(json!({"retries": retries}))).await;
    let second = installation.accept(spec()).await;
    installation.dispatch().await;
    let held = worker.claim_next().await.unwrap();
    assert_eq!(held.run, first);
    worker.finish(&held, exited(1)).await.expect(200);
    goes_on(&installation, second).await;
}

#[tokio::test]
async fn a_place_comes_back_when_its_run_is_given_up() {
    let installation = limited(of_organization(1)).await;
    FakeWorker::register(&installation, 10).await;
    let first = installation.accept(spec()).await;
    installation.dispatch().await;
    installation.advance(24 * 3600 - 10);
    let second = installation.accept(spec()).await;
    installation.dispatch().await;
    installation.advance(60);
    assert_eq!(installation.pass(&QueueTimeout(installation.app().clone())).await, 1);
    assert_eq!(installation.status(first).await, Status::TimedOut);
    goes_on(&installation, second).await;
}

#[tokio::test]
async fn places_that_a_crash_left_behind_are_found() {
    let installation = limited(of_organization(1)).await;
    let worker = FakeWorker::register(&installation, 10).await;
    let limit = Limit { key: format!("{}:organization", installation.organization), max: 1 };
    let orphan = async |run: RunId| {
        installation.stores.dispatch.acquire(run, std::slice::from_ref(&limit)).await.unwrap();
        assert_eq!(holders(&installation).await, 1);
    };
    let sweep = Holders(installation.app().clone());

    // Of a run that never came to be, one that is over, and one that waits for its retry.
    orphan(RunId::new()).await;
    let waiting = installation.accept(spec()).await;
    installation.dispatch().await;
    assert_eq!(installation.show(waiting).await.waiting.unwrap().what, WaitingFor::Limit);
    assert!(installation.pass(&sweep).await > 0);
    goes_on(&installation, waiting).await;
    let held = worker.claim_next().await.unwrap();
    worker.finish(&held, exited(0)).await.expect(200);

    orphan(held.run).await;
    installation.pass(&sweep).await;
    assert_eq!(holders(&installation).await, 0);

    let retries = json!({"max": 1, "on": ["failed"], "backoff_seconds": 600});
    let held = worker.running(spec_with(json!({"retries": retries}))).await;
    worker.finish(&held, exited(1)).await.expect(200);
    orphan(held.run).await;
    installation.pass(&sweep).await;
    assert_eq!(holders(&installation).await, 0);

    // Of one that is being executed it is not touched.
    let held = worker.running(spec()).await;
    installation.pass(&sweep).await;
    assert_eq!(holders(&installation).await, 1);
    worker.finish(&held, exited(0)).await.expect(200);
    assert_eq!(holders(&installation).await, 0);
}

#[tokio::test]
async fn a_run_moved_to_another_group_waits_under_that_groups_limit() {
    let installation = limited(ConcurrencyConfig { group: Some(1), ..ConcurrencyConfig::default() }).await;
    let worker = FakeWorker::register(&installation, 10).await;
    let group = |name: &str| spec_with(json!({"group": name}));
    installation.accept(group("a")).await;
    let moved = installation.accept(group("a")).await;
    installation.dispatch().await;
    assert_eq!(installation.show(moved).await.waiting.unwrap().limit.as_deref(), Some("group:a"));
    let regroup = json!({"action": "regroup", "ids": [moved], "group": "b"});
    installation.post("/api/v1/runs/bulk", regroup).await.expect(200);
    let held = worker.claim_next().await.unwrap();
    worker.finish(&held, exited(0)).await.expect(200);
    installation.dispatch().await;
    assert_eq!(installation.stored(moved).await.holding, [format!("{}:group:b", installation.organization)]);
}
