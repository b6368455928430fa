//! Archives that must not be kept: each is refused with a sentence, leaves nothing, and its run still finishes.

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use gantry_producer::config::LimitConfig;
use serde_json::json;
use tar::EntryType;

use crate::setup::Setup;
use crate::tar_files::{PIECE, entry, large, raw, streamed, tar};

const GOOD: (&str, &[u8]) = ("good.txt", b"good");

/// Uploads `body` after a good file's worth of archive and checks everything that a refusal promises.
async fn refused(setup: &Setup, body: impl Into<Body>, because: &str) {
    let held = setup.running().await;
    let answer = setup.upload(&held, body).await;
    assert_eq!(answer.status, StatusCode::OK, "the worker goes on: {}", answer.text());
    let answer = answer.json();
    assert_eq!((&answer["count"], &answer["bytes"], &answer["tests"]), (&json!(0), &json!(0), &json!(0)));
    let problems = answer["problems"].as_array().unwrap();
    let problem = problems[0].as_str().unwrap();
    assert!(problems.len() == 1 && problem.contains(because), "{because}: {problem}");
    assert!(!problem.contains('\n'), "{problem}");
    assert!(setup.blob_files().is_empty(), "{because}");
    assert_eq!(setup.json(&held, "/artifacts").await["items"], json!([]));
    assert_eq!(setup.finish(&held, 0).await, "passed", "the run still finishes");
    let run = setup.json(&held, "").await;
    assert_eq!(run["warnings"], json!([{"code": "artifacts_refused", "message": problem}]));
}

fn after_a_good_file(bad: Vec<u8>) -> Vec<u8> {
    let mut archive = entry(GOOD.0, EntryType::Regular, "", GOOD.1);
    archive.extend(bad);
    archive
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    let setup = Setup::new().await;
    for (name, because) in [
        ("../../etc/cron.d/x", "`..`"),
        ("a/../../x", "`..`"),
        ("/etc/passwd", "absolute"),
        ("a\nb", "control character"),
    ] {
        refused(&setup, after_a_good_file(raw(name, EntryType::Regular, "", b"x")), because).await;
    }
}

#[tokio::test]
async fn whatever_is_no_plain_file_is_refused() {
    let setup = Setup::new().await;
    let mut link_then_file = entry("d", EntryType::Symlink, "/etc", b"");
    link_then_file.extend(raw("d/passwd", EntryType::Regular, "", b"x"));
    for (archive, because) in [
        (link_then_file, "symbolic link"),
        (raw("h", EntryType::Link, "good.txt", b""), "hard link"),
        (raw("n", EntryType::Block, "", b""), "device"),
        (raw("n", EntryType::Char, "", b""), "device"),
        (raw("p", EntryType::Fifo, "", b""), "pipe"),
        (raw(GOOD.0, EntryType::Regular, "", b"again"), "twice"),
        (raw("good.txt/below", EntryType::Regular, "", b"x"), "both as a file and as a directory"),
    ] {
        refused(&setup, after_a_good_file(archive), because).await;
    }
}

#[tokio::test]
async fn damaged_archives_are_refused() {
    let setup = Setup::new().await;
    let whole = tar(&[GOOD, ("b.txt", &[b'b'; 2000])]);
    refused(&setup, whole[..whole.len() - 2000].to_vec(), "ends too early").await;
    refused(&setup, whole[..1024].to_vec(), "ends too early").await;
    refused(&setup, Vec::new(), "ends too early").await;
    refused(&setup, b"this is no archive at all".repeat(100), "checksum").await;
    let mut hidden = whole.clone();
    hidden.extend(entry("hidden", EntryType::Regular, "", b"x"));
    refused(&setup, hidden, "data follows its end marker").await;
}

#[tokio::test]
async fn a_hundred_thousand_files_are_refused() {
    let setup = Setup::new().await;
    let files = (0..100_000).map(|n| Bytes::from(entry(&format!("f/{n}"), EntryType::Regular, "", b"")));
    refused(&setup, streamed(files.chain([Bytes::from_static(&[0; 1024])])), "more than 20000 artifacts")
        .await;
}

#[tokio::test]
async fn twenty_thousand_files_are_taken_and_listed_page_by_page() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    let files =
        (0..20_000).rev().map(|n| Bytes::from(entry(&format!("f/{n:05}"), EntryType::Regular, "", b"x")));
    let answer = setup.upload(&held, streamed(files.chain([Bytes::from_static(&[0; 1024])]))).await;
    assert_eq!(answer.json(), json!({"count": 20_000, "bytes": 20_000, "tests": 0, "problems": []}));
    setup.finish(&held, 0).await;
    let (mut cursor, mut seen) = (String::new(), 0);
    loop {
        let page = setup.json(&held, &format!("/artifacts?limit=100{cursor}")).await;
        for item in page["items"].as_array().unwrap() {
            assert_eq!(item["path"], format!("f/{seen:05}"));
            seen += 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 20_000);
}

#[tokio::test]
async fn an_archive_over_its_limits_is_refused_while_it_arrives() {
    let limits = LimitConfig {
        artifact_packed_bytes: 8 << 20,
        artifact_unpacked_bytes: 4 << 20,
        ..LimitConfig::default()
    };
    let setup = Setup::with(limits).await;
    refused(&setup, large("bomb", b"", &[0; PIECE], 1024), "4 MiB when unpacked").await;
    let chatter = std::iter::repeat_n(Bytes::from(vec![0; 1 << 20]), 64);
    let archive =
        streamed([Bytes::from(entry("a", EntryType::Regular, "", b"a"))].into_iter().chain(chatter));
    refused(&setup, archive, "larger than 8 MiB").await;
}

#[tokio::test]
async fn a_refusal_takes_back_what_an_earlier_upload_left() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    let junit = br#"<testsuite><testcase name="t"/></testsuite>"#;
    assert_eq!(setup.upload(&held, tar(&[("junit.xml", junit)])).await.json()["tests"], 1);
    let bad = after_a_good_file(raw("../x", EntryType::Regular, "", b""));
    assert_eq!(setup.upload(&held, bad).await.json()["count"], 0);
    assert_eq!(setup.json(&held, "/artifacts").await["items"], json!([]));
    assert_eq!(setup.json(&held, "/tests").await["items"], json!([]));
    assert_eq!(setup.get(&held, "/artifacts/junit.xml").await.status, StatusCode::NOT_FOUND);
    assert_eq!(setup.json(&held, "").await["tests"]["total"], 0);
}
