//! Quotas: what an organization may keep waiting, run at once, and leave behind.

use std::time::Duration;

use gantry_api_types::run::{Status, WaitingFor};
use gantry_domain::identity::OrganizationLimits;
use gantry_domain::run::RunStatus;
use gantry_store::ListFilter;
use serde_json::{Value, json};

use crate::installation::{Installation, spec, spec_with};
use crate::problem::problem;
use crate::worker::{FakeWorker, exited, tar_of};

async fn with_quota(max: u32) -> Installation {
    Installation::with_config(|config| config.quotas.queued_runs = Some(max)).await
}

/// A count keeps others out for a moment.
async fn accepted_soon(installation: &Installation) {
    for _ in 0..200 {
        if installation.post("/api/v1/runs", spec()).await.status == 202 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("there is room, and nobody gets in");
}

#[tokio::test]
async fn no_more_runs_wait_than_the_quota_and_the_refusal_says_what_to_do() {
    let installation = with_quota(3).await;
    let stranger = installation.stranger().await;
    let first = installation.accept(spec()).await;
    for _ in 0..2 {
        installation.accept(spec()).await;
    }
    let refused = installation.post("/api/v1/runs", spec()).await.refused(429, "quota_exceeded");
    let detail = problem(&refused).detail;
    assert!(detail.contains("3 runs") && detail.contains("cancel some"), "{detail}");
    assert_eq!(refused.header("retry-after"), "10");
    let rerun = installation.post(&format!("/api/v1/runs/{first}/rerun"), json!({})).await;
    rerun.refused(429, "quota_exceeded");
    installation.accept_as(&stranger, spec()).await;

    installation.post(&format!("/api/v1/runs/{first}/cancel"), Value::Null).await.expect(202);
    accepted_soon(&installation).await;
    installation.post("/api/v1/runs", spec()).await.refused(429, "quota_exceeded");
}

#[tokio::test]
async fn runs_that_started_wait_no_more() {
    let installation = with_quota(1).await;
    let worker = FakeWorker::register(&installation, 5).await;
    worker.running(spec()).await;
    accepted_soon(&installation).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_fifty_at_once_as_many_get_in_as_there_is_room() {
    let installation = with_quota(10).await;
    let posts = (0..50).map(|_| installation.post("/api/v1/runs", spec()));
    let answers = futures::future::join_all(posts).await;
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(accepted, 10);
    assert!(answers.iter().all(|answer| answer.status == 202 || answer.code() == "quota_exceeded"));
}

#[tokio::test]
async fn a_repeated_request_gets_its_answer_however_full_it_is() {
    let installation = with_quota(1).await;
    let (body, key) = (spec().to_string(), [("idempotency-key", "k")]);
    let first = installation.post_runs(body.clone(), &key).await.expect(202).run();
    assert_eq!(installation.post_runs(body.clone(), &key).await.expect(202).run().id, first.id);
    let other = spec_with(json!({"group": "g"})).to_string();
    installation.post_runs(other, &key).await.refused(422, "idempotency_key_reused");
    installation.post_runs(body, &[("idempotency-key", "new")]).await.refused(429, "quota_exceeded");
}

#[tokio::test]
async fn an_organization_has_quotas_of_its_own() {
    let installation = with_quota(1).await;
    let own = OrganizationLimits { queued_runs: Some(2), ..OrganizationLimits::default() };
    installation.limit(own).await;
    for _ in 0..2 {
        installation.accept(spec()).await;
    }
    installation.post("/api/v1/runs", spec()).await.refused(429, "quota_exceeded");
    installation.limit(OrganizationLimits { queued_runs: Some(0), ..own }).await;
    installation.post("/api/v1/runs", spec()).await.refused(429, "quota_exceeded");
}

#[tokio::test]
async fn an_organization_runs_as_many_at_once_as_it_may() {
    let installation = Installation::with_config(|config| config.concurrency.organization = Some(5)).await;
    installation.limit(OrganizationLimits { concurrent_runs: Some(1), ..Default::default() }).await;
    FakeWorker::register(&installation, 10).await;
    let first = installation.accept(spec()).await;
    let second = installation.accept(spec()).await;
    installation.dispatch().await;
    assert_eq!(installation.status(first).await, Status::Queued);
    let waiting = installation.show(second).await.waiting.unwrap();
    assert_eq!((waiting.what, waiting.limit.as_deref()), (WaitingFor::Limit, Some("organization")));

    // More of them, from now on.
    installation.limit(OrganizationLimits { concurrent_runs: Some(2), ..Default::default() }).await;
    installation.pass(&gantry_producer::background::limits::Holders(installation.app().clone())).await;
    installation.dispatch().await;
    assert_eq!(installation.stored(second).await.status(), RunStatus::Queued);
}

#[tokio::test]
async fn a_raised_limit_lets_in_all_that_it_has_room_for() {
    let installation = Installation::with_config(|config| config.concurrency.organization = Some(1)).await;
    FakeWorker::register(&installation, 100).await;
    for _ in 0..40 {
        installation.accept(spec()).await;
    }
    let taken_on = async || {
        installation.dispatch().await;
        let queued = ListFilter::default().status(RunStatus::Queued);
        let runs = &installation.stores.runs;
        runs.list(installation.organization, &queued, None, 100).await.unwrap().items.len()
    };
    assert_eq!(taken_on().await, 1);
    installation.limit(OrganizationLimits { concurrent_runs: Some(30), ..Default::default() }).await;
    let holders = gantry_producer::background::limits::Holders(installation.app().clone());
    for _ in 0..2 {
        installation.pass(&holders).await;
        assert_eq!(taken_on().await, 30);
    }
}

#[tokio::test]
async fn the_smaller_size_holds() {
    let installation = Installation::new().await;
    let own = OrganizationLimits { log_bytes: Some(1_000), artifact_bytes: Some(4), ..Default::default() };
    installation.limit(own).await;
    let worker = FakeWorker::register(&installation, 5).await;
    installation.accept(spec()).await;
    installation.dispatch().await;
    let held = worker.claim_next().await.unwrap();
    assert_eq!(held.log_limit, 1_000);
    let answer = worker.upload(&held, tar_of("reports/a.txt", b"12345")).await.expect(200).json();
    assert!(answer.to_string().contains("4"), "{answer}");
    worker.finish(&held, exited(0)).await.expect(200);
    let run = installation.get(&format!("/api/v1/runs/{}", held.run)).await.json();
    assert_eq!(run["artifacts"]["count"], 0, "{run}");
    assert!(run["warnings"].to_string().contains("artifacts"), "{run}");

    installation.limit(OrganizationLimits { log_bytes: Some(u64::MAX), ..Default::default() }).await;
    installation.accept(spec()).await;
    installation.dispatch().await;
    let held = worker.claim_next().await.unwrap();
    assert_eq!(held.log_limit, 64 << 20);
}
