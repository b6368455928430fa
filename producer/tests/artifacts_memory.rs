//! Memory while a large upload is taken in; alone in its process, so that its peak is this upload's.

#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

#[path = "artifacts/setup.rs"]
#[allow(dead_code, reason = "shared with the other tests of artifacts")]
mod setup;
#[path = "artifacts/tar_files.rs"]
#[allow(dead_code, reason = "shared with the other tests of artifacts")]
mod tar_files;

use setup::Setup;
use tar_files::{PIECE, large};

/// The process's peak so far.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn a_large_upload_does_not_fill_memory() {
    const BYTES: usize = 96 << 20;
    let setup = Setup::new().await;
    let held = setup.running().await;
    let before = peak_bytes();
    let output = format!("<system-out>{}</system-out>", "x".repeat(PIECE - 25));
    let body = large("junit.xml", b"<testsuite><testcase name=\"a\"/>", output.as_bytes(), BYTES / PIECE);
    let answer = setup.upload(&held, body).await;
    assert_eq!(answer.json()["bytes"], BYTES, "{}", answer.text());
    let grown = peak_bytes() - before;
    assert!(grown < 40 << 20, "{} KiB more", grown >> 10);
}
