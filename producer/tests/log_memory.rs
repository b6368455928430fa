//! A long log goes through in bounded memory: taken in, followed, sealed and read back. Alone in its process, because the
//! process's memory is what is measured.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use futures::StreamExt as _;
use gantry_domain::log::LogStream::Stdout;
use gantry_producer::config::ProducerConfig;

use support::{Harness, eventually};

const CHUNK: usize = 256 * 1024;
const CHUNKS: usize = 256;
const MAX_GROWTH: u64 = 56 << 20;

/// Peak resident memory, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

fn piece(nth: usize) -> Vec<u8> {
    let line = format!("{nth:08} the quick brown fox jumps over the lazy dog\n");
    line.bytes().cycle().take(CHUNK).collect()
}

fn quick(config: &mut ProducerConfig) {
    config.limits.log_bytes = (CHUNK * CHUNKS) as u64;
    config.limits.seal_after = Duration::ZERO;
    config.limits.clear_after = Duration::ZERO;
}

#[tokio::test]
async fn sixty_four_megabytes_of_log_cost_little_memory() {
    let harness = Harness::with(quick).await;
    let held = harness.running().await;
    let mut stuck = harness.follow(held.id, None).await;
    harness.append(&held, 0, Stdout, &piece(0)).await;
    stuck.log_until(0, 1).await;
    let before = peak();
    let mut follower = harness.follow(held.id, None).await;
    let write = async {
        for nth in 1..CHUNKS {
            harness.append(&held, (nth * CHUNK) as u64, Stdout, &piece(nth)).await;
        }
        harness.finish(&held, 0, (CHUNKS * CHUNK) as u64).await;
    };
    let read = async {
        let (mut at, end) = (0, (CHUNKS * CHUNK) as u64);
        while at < end {
            let mut bytes = Vec::new();
            let from = at as usize;
            at = support::follows(&follower.next().await.unwrap(), at, &mut bytes);
            let expected = piece(from / CHUNK);
            let within = from % CHUNK;
            let now = bytes.len().min(CHUNK - within);
            assert!(bytes[..now] == expected[within..within + now], "at {from}");
        }
        assert_eq!(follower.next().await.unwrap().name, "end");
    };
    tokio::join!(write, read);
    eventually("it is sealed", async || {
        let log = harness.stored(held.id).await.attempts[0].log;
        log.sealed && log.chunks_until.is_none()
    })
    .await;
    let path = format!("/api/v1/runs/{}/logs", held.id);
    let plain = harness.call("GET", &path, harness.key(), &[], axum::body::Body::empty()).await;
    let mut body = plain.into_body().into_data_stream();
    let mut length = 0;
    while let Some(piece) = body.next().await {
        length += piece.unwrap().len();
    }
    assert_eq!(length, CHUNK * CHUNKS);
    let grown = peak() - before;
    assert!(grown < MAX_GROWTH, "{} MiB more", grown >> 20);
    drop(stuck);
}
