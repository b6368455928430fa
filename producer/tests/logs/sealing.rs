use std::time::Duration;

use futures::StreamExt as _;
use gantry_blobs::{BlobError, BlobKey, BlobKind};
use gantry_domain::attempt::SMALL_LOG_BYTES;
use gantry_domain::id::RunId;
use gantry_domain::log::LogStream::Stdout;
use gantry_store::LogKey;

use crate::plain::ranges_are_slices;
use crate::sample::Sample;
use crate::support::{Harness, eventually};

async fn quick() -> Harness {
    Harness::with(|config| {
        config.limits.seal_after = Duration::ZERO;
        config.limits.clear_after = Duration::ZERO;
    })
    .await
}

fn key(harness: &Harness, run: RunId) -> LogKey {
    LogKey { organization: harness.organization, run, attempt: 1 }
}

async fn blob_size(harness: &Harness, run: RunId) -> Result<u64, BlobError> {
    let key = BlobKey { organization: harness.organization, run, attempt: 1, kind: BlobKind::Log };
    harness.blobs.size(&key).await
}

/// Waits until the log is in its blob and nowhere else.
async fn moved(harness: &Harness, run: RunId) {
    eventually("the chunks are gone", async || {
        let log = harness.stored(run).await.attempts[0].log;
        log.sealed && log.chunks_until.is_none()
    })
    .await;
    assert_eq!(harness.stores.logs.end(key(harness, run)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_sealed_log_answers_like_its_chunks_did() {
    let harness = quick().await;
    let sample = Sample::mixed(21, 900_000);
    let id = sample.finished(&harness).await;
    moved(&harness, id).await;
    assert!(blob_size(&harness, id).await.unwrap() < sample.end() / 2);
    assert!(harness.get(id, "/logs", &[]).await.bytes == sample.output);
    let all = harness.get(id, "/logs?system=1", &[]).await;
    assert!(all.bytes == sample.everything);
    assert_eq!(all.header("content-length"), sample.end().to_string());
    ranges_are_slices(&harness, id, "", &sample.output, 60).await;
    ranges_are_slices(&harness, id, "?system=1", &sample.everything, 60).await;
    for at in [0, 1, 262_143, 262_144, 262_145, 500_001, sample.end() - 1, sample.end()] {
        let mut follower = harness.follow(id, Some(&format!("1:{at}"))).await;
        assert!(follower.log_until(at, sample.end()).await == sample.everything[at as usize..], "from {at}");
        assert_eq!(follower.next().await.unwrap().name, "end");
    }
}

#[tokio::test]
async fn readers_in_the_middle_do_not_notice_the_move() {
    let harness = quick().await;
    let sample = Sample::mixed(22, 3_000_000);
    let held = harness.running().await;
    sample.append_to(&harness, &held).await;
    let path = format!("/api/v1/runs/{}/logs", held.id);
    let plain = harness.call("GET", &path, harness.key(), &[], axum::body::Body::empty()).await;
    let mut plain = plain.into_body().into_data_stream();
    let mut text = plain.next().await.unwrap().unwrap().to_vec();
    let mut follower = harness.follow(held.id, None).await;
    let first = follower.log_until(0, 1).await;
    harness.finish(&held, 0, sample.end()).await;
    moved(&harness, held.id).await;
    while let Some(piece) = plain.next().await {
        text.extend_from_slice(&piece.unwrap());
    }
    assert!(text == sample.output);
    let rest = follower.log_until(first.len() as u64, sample.end()).await;
    assert!([first, rest].concat() == sample.everything);
    assert_eq!(follower.next().await.unwrap().name, "end");
}

#[tokio::test]
async fn every_long_attempt_is_sealed_and_short_ones_stay() {
    let harness = quick().await;
    let retries = serde_json::json!({"retries": {"max": 1, "on": ["failed"], "backoff_seconds": 0}});
    let first = harness.running_with(retries).await;
    let long = Sample::mixed(23, 100_000);
    long.append_to(&harness, &first).await;
    harness.finish(&first, 1, long.end()).await;
    moved(&harness, first.id).await;
    let second = harness.claim_next().await;
    let short = vec![b'x'; SMALL_LOG_BYTES as usize];
    harness.append(&second, 0, Stdout, &short).await;
    harness.finish(&second, 0, SMALL_LOG_BYTES).await;
    let version = harness.stored(first.id).await.version;
    // Another log that is sealed after it shows that there was the time to.
    let other = long.finished(&harness).await;
    moved(&harness, other).await;
    let run = harness.stored(first.id).await;
    assert_eq!((run.version, run.attempts[1].log.sealed), (version, false), "no write after the end");
    assert!(harness.get(first.id, "/logs?attempt=1", &[]).await.bytes == long.output);
    assert!(harness.get(first.id, "/logs", &[]).await.bytes == short);
}

#[tokio::test]
async fn sealing_again_after_a_crash_changes_nothing() {
    let harness = quick().await;
    let sample = Sample::mixed(24, 300_000);
    let id = sample.finished(&harness).await;
    moved(&harness, id).await;
    // What a crash between writing the blob and noting it leaves: the blob, the chunks, and a run that knows of neither.
    let size = blob_size(&harness, id).await.unwrap();
    for chunk in &sample.chunks {
        harness.stores.logs.append(key(&harness, id), chunk).await.unwrap();
    }
    let mut run = harness.stored(id).await;
    run.version += 1;
    run.attempts[0].log.sealed = false;
    harness.stores.runs.transition(&run, gantry_store::Durability::Relaxed).await.unwrap();
    moved(&harness, id).await;
    assert_eq!(blob_size(&harness, id).await.unwrap(), size);
    assert!(harness.get(id, "/logs", &[]).await.bytes == sample.output);
}

#[tokio::test]
async fn deleting_a_run_takes_its_sealed_log_along() {
    let harness = quick().await;
    let sample = Sample::mixed(25, 100_000);
    let id = sample.finished(&harness).await;
    moved(&harness, id).await;
    assert!(harness.request("DELETE", &format!("/api/v1/runs/{id}")).await.status.is_success());
    eventually("the blob is gone", async || blob_size(&harness, id).await == Err(BlobError::NotFound)).await;
}
