use std::collections::BTreeSet;

use axum::http::StatusCode;
use gantry_domain::log::LogStream::Stdout;
use serde_json::json;

use crate::support::{Events, Harness, eventually};

/// Reads `run` events until one shows `status`; answers the statuses seen.
async fn until(events: &mut Events, status: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let event = events.next().await.expect("the stream goes on");
        assert_eq!(event.name, "run");
        seen.push(event.json()["status"].as_str().unwrap().to_owned());
        if seen.last().is_some_and(|last| last == status) {
            return seen;
        }
    }
}

#[tokio::test]
async fn a_watcher_sees_the_run_as_it_is_and_every_state_it_comes_to_rest_in() {
    let harness = Harness::new().await;
    let waiting = harness.create(json!({"pool": "elsewhere"})).await;
    let mut events = harness.events(&format!("/api/v1/runs/{waiting}/events"), None).await;
    assert_eq!(until(&mut events, "pending").await, ["pending"]);
    harness.request("POST", &format!("/api/v1/runs/{waiting}/cancel")).await;
    assert_eq!(until(&mut events, "cancelled").await, ["cancelled"]);
    assert_eq!(events.rest().await, [], "it ends with the run");

    let held = harness.running().await;
    let mut events = harness.events(&format!("/api/v1/runs/{}/events", held.id), None).await;
    until(&mut events, "running").await;
    // Log is not what this stream is about.
    harness.append(&held, 0, Stdout, b"x").await;
    harness.finish(&held, 3, 1).await;
    let event = events.next().await.unwrap();
    assert_eq!(event.json(), harness.get(held.id, "", &[]).await.json());
    assert_eq!(event.json()["status"], "failed");
    assert_eq!(events.rest().await, []);
    let mut over = harness.events(&format!("/api/v1/runs/{}/events", held.id), None).await;
    assert_eq!(over.rest().await.len(), 1);
}

#[tokio::test]
async fn the_organization_hears_of_all_its_runs_and_of_nobody_elses() {
    let harness = Harness::new().await;
    let mut events = harness.events("/api/v1/events", None).await;
    let stranger = harness.stranger().await;
    let theirs = harness.call("GET", "/api/v1/events", &stranger, &[], axum::body::Body::empty()).await;
    assert_eq!(theirs.status(), StatusCode::OK);
    let mut wanted = BTreeSet::new();
    for _ in 0..20 {
        let held = harness.running().await;
        harness.append(&held, 0, Stdout, b"x").await;
        harness.finish(&held, 0, 1).await;
        wanted.insert(held.id.to_string());
    }
    while !wanted.is_empty() {
        let event = events.next().await.unwrap();
        assert_eq!(event.name, "run");
        if event.json()["status"] == "passed" {
            wanted.remove(event.json()["id"].as_str().unwrap());
        }
    }
    harness.shutdown.trigger();
    let theirs = axum::body::to_bytes(theirs.into_body(), 1 << 20).await.unwrap();
    let theirs = String::from_utf8(theirs.to_vec()).unwrap();
    assert!(!theirs.contains("run_") && theirs.ends_with("retry: 1000\n\n"), "{theirs}");
}

#[tokio::test]
async fn a_deleted_run_is_told() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    harness.finish(&held, 0, 0).await;
    let mut events = harness.events("/api/v1/events", None).await;
    // It subscribed before it answered.
    assert!(harness.request("DELETE", &format!("/api/v1/runs/{}", held.id)).await.status.is_success());
    let event = events.next().await.unwrap();
    assert_eq!((event.name.as_str(), event.json()), ("deleted", json!({"id": held.id.to_string()})));
}

#[tokio::test]
async fn a_watcher_who_reads_nothing_is_told_of_the_gap() {
    let harness = Harness::new().await;
    let mut slow = harness.events("/api/v1/events", None).await;
    for _ in 0..200 {
        harness.create(json!({"pool": "elsewhere"})).await;
        let held = harness.running().await;
        harness.finish(&held, 0, 0).await;
    }
    let first = slow.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.data.as_str()), ("gap", "{}"));
    drop(slow);
    eventually("nobody listens any more", async || harness.bus.topics() == 0).await;
}
