use axum::http::StatusCode;
use gantry_domain::log::LogStream::Stdout;

use crate::support::{Harness, chunk};

#[tokio::test]
async fn a_batch_again_is_fine_and_one_that_does_not_continue_is_told_where_the_log_ends() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    assert_eq!(harness.append(&held, 0, Stdout, b"hello ").await, 6);
    assert_eq!(harness.append(&held, 0, Stdout, b"hello ").await, 6);
    assert_eq!(harness.append(&held, 6, Stdout, b"world").await, 11);
    assert_eq!(harness.append(&held, 0, Stdout, b"hello ").await, 11);
    for (offset, bytes) in [(12, &b"gap"[..]), (0, b"HELLO "), (6, b"world and more")] {
        let refused = harness.send_log(&held, &chunk(offset, Stdout, bytes)).await;
        assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "log_offset".to_owned()));
        assert!(refused.json()["detail"].as_str().unwrap().contains("ends at 11"), "{}", refused.text());
    }
    assert_eq!(harness.get(held.id, "/logs", &[]).await.text(), "hello world");
}

#[tokio::test]
async fn the_log_limit_leaves_room_for_system_lines_and_then_refuses() {
    let harness = Harness::with(|config| config.limits.log_bytes = 10).await;
    let held = harness.running().await;
    let piece = vec![b'x'; 256 * 1024];
    let mut at = 0;
    while at < 1 << 20 {
        at = harness.append(&held, at, Stdout, &piece).await;
    }
    assert_eq!(harness.append(&held, at, Stdout, b"0123456789").await, at + 10);
    let refused = harness.send_log(&held, &chunk(at + 10, Stdout, b"!")).await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large".to_owned())
    );
}

#[tokio::test]
async fn nothing_is_taken_from_an_attempt_that_is_over() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    harness.append(&held, 0, Stdout, b"in time").await;
    harness.finish(&held, 0, 7).await;
    let refused = harness.send_log(&held, &chunk(7, Stdout, b" too late")).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::CONFLICT, "stale_attempt".to_owned()));
    assert_eq!(harness.get(held.id, "/logs", &[]).await.text(), "in time");
}

#[tokio::test]
async fn a_broken_batch_is_malformed() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    let request = axum::http::Request::post(format!("/worker/v1/runs/{}/logs", held.id))
        .header("authorization", "Bearer the worker token")
        .header("gantry-lease", &held.token)
        .body(axum::body::Body::from("nonsense that is long enough"))
        .unwrap();
    let response = tower::ServiceExt::oneshot(harness.worker.clone(), request).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_same_batch_sent_many_times_at_once_is_stored_once() {
    let harness = Harness::new().await;
    let held = harness.running().await;
    for round in 0..10 {
        let batch = chunk(round * 3, Stdout, b"abc");
        let answers = futures::future::join_all((0..8).map(|_| harness.send_log(&held, &batch))).await;
        assert!(answers.iter().all(|answer| answer.json() == serde_json::json!({"end": round * 3 + 3})));
    }
    assert_eq!(harness.get(held.id, "/logs", &[]).await.text(), "abc".repeat(10));
}
