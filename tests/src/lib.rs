//! End-to-end tests drive what people start: the real `gantry` binary with real containers and processes, through the
//! real client and the real command line. This library starts and stops it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod binary;
pub mod cluster;
pub mod collector;
mod engine;
pub mod faults;
mod installation;
pub mod neighbourhood;
pub mod one_trace;
pub mod proxy;
pub mod registry;
pub mod servers;

pub use binary::{gantry, gantry_producer, gantry_worker};
pub use engine::PrivateEngine;
pub use installation::{Installation, Up};

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// How long anything may take before a test gives up: generous, because machines are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Asks until the answer is there; fails the test with `what` when it never comes.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
