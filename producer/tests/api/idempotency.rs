//! The same request again is the same run.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use futures::FutureExt as _;
use gantry_producer::background::housekeeping::Housekeeping;
use gantry_store::ListFilter;
use serde_json::json;

use crate::installation::{Answer, Installation, answer, spec, spec_with};
use crate::worker::{FakeWorker, exited};

const DAY: u64 = 24 * 3600;

fn request(key: &str, idempotency: &str, body: &str) -> Request<Body> {
    Request::post("/api/v1/runs")
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .header("idempotency-key", idempotency)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

async fn post(installation: &Installation, idempotency: &str, body: &str) -> Answer {
    answer(&installation.public, request(&installation.key, idempotency, body)).await
}

async fn stored(installation: &Installation) -> usize {
    let filter = ListFilter::default();
    installation.stores.runs.list(installation.organization, &filter, None, 100).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_posts_at_once_to_two_replicas_are_one_run() {
    let installation = Installation::new().await;
    let replicas = [installation.public.clone(), installation.replica().await.public_router()];
    let mut expected = 0;
    for round in 0..10 {
        let posts = (0..50).map(|i| {
            let request = request(&installation.key, &format!("key {round}"), &spec().to_string());
            let router = replicas[i % 2].clone();
            tokio::spawn(async move { answer(&router, request).await })
        });
        let answers = futures::future::try_join_all(posts).await.unwrap();
        let mut ids = BTreeSet::new();
        for answer in answers {
            if answer.status == 202 {
                ids.insert(answer.run().id);
            } else {
                answer.refused(409, "idempotency_in_flight");
            }
        }
        assert_eq!(ids.len(), 1, "{ids:?}");
        expected += 1;
        assert_eq!(stored(&installation).await, expected);
    }
}

#[tokio::test]
async fn the_same_request_again_shows_the_run_as_it_is_now() {
    let installation = Installation::new().await;
    let body = spec().to_string();
    let first = post(&installation, "k", &body).await.expect(202);
    let worker = FakeWorker::register(&installation, 1).await;
    installation.dispatch().await;
    let held = worker.claim_next().await.unwrap();
    worker.finish(&held, exited(0)).await.expect(200);
    let again = post(&installation, "k", &body).await.expect(202);
    assert_eq!(again.run().id, first.run().id);
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.run().status.as_str(), "passed");
    assert_eq!(stored(&installation).await, 1);
}

#[tokio::test]
async fn a_key_belongs_to_one_body() {
    let installation = Installation::new().await;
    let body = spec().to_string();
    post(&installation, "k", &body).await.expect(202);
    let other = spec_with(json!({"group": "x"})).to_string();
    post(&installation, "k", &other).await.refused(422, "idempotency_key_reused");
    post(&installation, "k", &format!("{body} ")).await.refused(422, "idempotency_key_reused");
    post(&installation, "other", &other).await.expect(202);
    // Without a key, everything is new.
    installation.accept(spec()).await;
    assert_eq!(stored(&installation).await, 3);
}

#[tokio::test]
async fn a_request_that_was_refused_uses_no_key_up() {
    let installation = Installation::new().await;
    let bad = spec_with(json!({"timeout_seconds": 0})).to_string();
    post(&installation, "k", &bad).await.refused(422, "validation_failed");
    post(&installation, "k", &spec().to_string()).await.expect(202);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let installation = Installation::new().await;
    let body = spec().to_string();
    let first = post(&installation, "k", &body).await.expect(202).run().id;
    let housekeeping = Housekeeping::new(installation.app().clone());
    installation.advance(DAY);
    assert_eq!(installation.pass(&housekeeping).await, 0);
    assert_eq!(post(&installation, "k", &body).await.expect(202).run().id, first);
    installation.advance(1);
    assert_eq!(installation.pass(&housekeeping).await, 1);
    let other = spec_with(json!({"group": "x"})).to_string();
    assert_ne!(post(&installation, "k", &other).await.expect(202).run().id, first);
    assert_eq!(stored(&installation).await, 2);
}

#[tokio::test]
async fn keys_of_two_organizations_never_meet() {
    let installation = Installation::new().await;
    let stranger = installation.stranger().await;
    let ours = post(&installation, "k", &spec().to_string()).await.expect(202).run();
    let other = spec_with(json!({"group": "x"})).to_string();
    let theirs = answer(&installation.public, request(&stranger, "k", &other)).await.expect(202).run();
    assert_ne!(ours.id, theirs.id);
    assert_eq!((ours.number, theirs.number), (1, 1));
}

#[tokio::test]
async fn a_caller_who_hangs_up_leaves_the_key_usable() {
    let installation = Installation::new().await;
    let body = spec().to_string();
    for _ in 0..20 {
        // Dropped after the first step, wherever that got to.
        if let Some(answered) = post(&installation, "k", &body).now_or_never() {
            answered.expect(202);
        }
    }
    let id = post(&installation, "k", &body).await.expect(202).run().id;
    assert_eq!(post(&installation, "k", &body).await.expect(202).run().id, id);
    assert_eq!(stored(&installation).await, 1);
}

#[tokio::test]
async fn deleting_the_run_frees_its_key() {
    let installation = Installation::new().await;
    let body = spec().to_string();
    let first = post(&installation, "k", &body).await.expect(202).run().id;
    installation.post(&format!("/api/v1/runs/{first}/cancel"), json!(null)).await.expect(202);
    installation.delete(&format!("/api/v1/runs/{first}")).await.expect(204);
    assert_ne!(post(&installation, "k", &body).await.expect(202).run().id, first);
}

#[tokio::test]
async fn a_rerun_can_be_repeated_too() {
    let installation = Installation::new().await;
    let original = installation.accept(spec()).await;
    let rerun = async |id: &str, idempotency: &str| {
        let request = Request::post(format!("/api/v1/runs/{id}/rerun"))
            .header("authorization", format!("Bearer {}", installation.key))
            .header("idempotency-key", idempotency);
        answer(&installation.public, request.body(Body::empty()).unwrap()).await
    };
    let first = rerun(&original.to_string(), "k").await.expect(202).run().id;
    assert_eq!(rerun(&original.to_string(), "k").await.expect(202).run().id, first);
    assert_ne!(rerun(&original.to_string(), "other").await.expect(202).run().id, first);
    // The key stands for the rerun of that run, and for nothing else.
    rerun(&first, "k").await.refused(422, "idempotency_key_reused");
    post(&installation, "k", &spec().to_string()).await.refused(422, "idempotency_key_reused");
    assert_eq!(stored(&installation).await, 3);
}
