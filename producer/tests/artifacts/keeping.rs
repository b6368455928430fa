//! Uploads that are taken, repeated, cut off, or too late.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use gantry_blobs::{BlobError, BlobKey, BlobKind, BlobWriter, Blobs, ObjectBlobs};
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::LeaseToken;
use gantry_producer::config::LimitConfig;
use serde_json::json;

use crate::setup::{Held, Setup};
use crate::tar_files::tar;

const PYTEST: &[u8] = include_bytes!("../../../crates/reports/tests/fixtures/pytest.xml");

#[tokio::test]
async fn files_and_test_results_of_a_run_are_kept() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    let archive = tar(&[
        ("reports/junit.xml", PYTEST),
        ("reports/index.html", b"<h1>5 tests</h1>"),
        ("notes.txt", b""),
    ]);

    let answer = setup.upload(&held, archive).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let bytes = PYTEST.len() + 16;
    assert_eq!(answer.json(), json!({"count": 3, "bytes": bytes, "tests": 5, "problems": []}));

    assert_eq!(setup.finish(&held, 0).await, "unstable", "a failed test makes a successful command unstable");
    let run = setup.json(&held, "").await;
    assert_eq!(run["artifacts"], json!({"count": 3, "bytes": bytes}));
    assert_eq!(run["tests"], json!({"total": 5, "passed": 2, "failed": 2, "skipped": 1, "flaky": 0}));
    assert_eq!(run["warnings"], json!([]));
    let listed = setup.json(&held, "/artifacts").await;
    assert_eq!(
        listed,
        json!({"next_cursor": null, "items": [
            {"path": "notes.txt", "bytes": 0, "content_type": "text/plain; charset=utf-8", "report": false},
            {"path": "reports/index.html", "bytes": 16, "content_type": "text/html; charset=utf-8", "report": true},
            {"path": "reports/junit.xml", "bytes": PYTEST.len(), "content_type": "application/xml", "report": false},
        ]})
    );
    let report = setup.get(&held, "/artifacts/reports/junit.xml").await;
    assert_eq!((report.status, report.bytes.as_slice()), (StatusCode::OK, PYTEST));
    let tests = setup.json(&held, "/tests?status=failed").await;
    let names: Vec<_> = tests["items"].as_array().unwrap().iter().map(|test| &test["name"]).collect();
    assert_eq!(names.len(), 2, "{tests}");
    assert!(names.contains(&&json!("test_rejects_wrong_password")));
}

#[tokio::test]
async fn an_empty_archive_leaves_nothing() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    for archive in [tar(&[]), crate::tar_files::raw("empty/", tar::EntryType::Directory, "", b"")] {
        let answer = setup.upload(&held, archive).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json(), json!({"count": 0, "bytes": 0, "tests": 0, "problems": []}));
    }
    assert!(setup.blob_files().is_empty());
    assert_eq!(setup.json(&held, "/artifacts").await, json!({"items": [], "next_cursor": null}));
    assert_eq!(setup.json(&held, "/tests").await, json!({"items": [], "next_cursor": null}));
    assert_eq!(setup.get(&held, "/artifacts/a.txt").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_repeated_upload_replaces_what_was_there() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    let first = tar(&[("junit.xml", PYTEST), ("broken.xml", b"<testsuite><testcase"), ("old.txt", b"old")]);
    let answer = setup.upload(&held, first.clone()).await;
    assert_eq!(answer.json()["tests"], 5);
    let noted = setup.run(held.id).await;
    let again = setup.upload(&held, first).await;
    assert_eq!(again.json(), answer.json());
    assert_eq!(setup.run(held.id).await, noted, "the same again changes nothing, and no warning comes twice");
    assert_eq!(setup.json(&held, "/artifacts").await["items"].as_array().unwrap().len(), 3);

    let other = setup.upload(&held, tar(&[("new.txt", b"new!")])).await;
    assert_eq!(other.json(), json!({"count": 1, "bytes": 4, "tests": 0, "problems": []}));
    let listed = setup.json(&held, "/artifacts").await;
    assert_eq!(listed["items"][0]["path"], "new.txt");
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(setup.get(&held, "/artifacts/new.txt").await.bytes, b"new!");
    assert_eq!(setup.get(&held, "/artifacts/old.txt").await.status, StatusCode::NOT_FOUND);
    assert_eq!(setup.json(&held, "/tests").await["items"], json!([]));
    assert_eq!(setup.json(&held, "").await["warnings"], json!([]));
    assert_eq!(setup.finish(&held, 0).await, "passed");
}

#[tokio::test]
async fn a_body_that_is_cut_off_keeps_nothing_and_may_be_repeated() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    let whole = tar(&[("a.bin", &[7; 300_000]), ("junit.xml", PYTEST)]);
    let half = Bytes::copy_from_slice(&whole[..200_000]);
    let broken = stream::iter([Ok(half), Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))]);
    let answer = setup.upload(&held, Body::from_stream(broken)).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::BAD_REQUEST, "malformed_body"));
    assert_eq!(setup.run(held.id).await.last_attempt().unwrap().artifacts.count, 0);
    assert!(setup.blob_files().is_empty());

    assert_eq!(setup.upload(&held, whole).await.json()["count"], 2);
    assert_eq!(setup.get(&held, "/artifacts/a.bin").await.bytes, [7; 300_000]);
}

#[tokio::test]
async fn a_stale_attempt_cannot_leave_artifacts() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    let guessed = Held { token: LeaseToken::from_bits(1), ..held.clone() };
    let answer = setup.upload(&guessed, tar(&[("a", b"a")])).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::CONFLICT, "stale_attempt"));

    // The lease ends while the upload is under way.
    let setup = Arc::new(setup);
    let archive = tar(&[("a", b"late")]);
    let (first, second) = (Bytes::copy_from_slice(&archive[..512]), Bytes::copy_from_slice(&archive[512..]));
    let during = setup.clone();
    let id = held.id;
    let body = Body::from_stream(stream::unfold(0, move |step| {
        let (first, second, setup) = (first.clone(), second.clone(), during.clone());
        async move {
            match step {
                0 => Some((Ok::<_, std::io::Error>(first), 1)),
                1 => {
                    setup.lose(id).await;
                    Some((Ok(second), 2))
                }
                _ => None,
            }
        }
    }));
    let answer = setup.upload(&held, body).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::CONFLICT, "stale_attempt"));
    let run = setup.run(id).await;
    assert_eq!(run.attempts[0].artifacts.count, 0);
    assert_eq!(setup.json(&held, "/artifacts?attempt=1").await["items"], json!([]));
    assert!(setup.blob_files().is_empty());
}

#[tokio::test]
async fn every_attempt_keeps_its_own() {
    let setup = Setup::new().await;
    let first = setup.running().await;
    setup.upload(&first, tar(&[("a.txt", b"first")])).await;
    setup.lose(first.id).await;
    let run = setup.run(first.id).await;
    setup.store(&run.hold(gantry_domain::run::Hold::Workers).unwrap()).await;
    let second = Held { token: setup.claim(first.id).await, ..first };
    assert_eq!(setup.json(&second, "/artifacts").await["items"], json!([]), "the last attempt has none yet");
    setup.upload(&second, tar(&[("a.txt", b"second")])).await;
    assert_eq!(setup.get(&second, "/artifacts/a.txt").await.bytes, b"second");
    assert_eq!(setup.get(&second, "/artifacts/a.txt?attempt=2").await.bytes, b"second");
    assert_eq!(setup.get(&second, "/artifacts/a.txt?attempt=1").await.bytes, b"first");
    let missing = setup.get(&second, "/artifacts?attempt=3").await;
    assert_eq!((missing.status, missing.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
}

/// Blobs on a disk that is full, or that cannot be reached.
struct Failing(BlobError, ObjectBlobs, BlobKind);

#[async_trait]
impl Blobs for Failing {
    async fn write(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>, BlobError> {
        if key.kind == self.2 { Err(self.0.clone()) } else { self.1.write(key).await }
    }
    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        self.1.size(key).await
    }
    async fn read(&self, key: &BlobKey, range: std::ops::Range<u64>) -> Result<Bytes, BlobError> {
        self.1.read(key, range).await
    }
    async fn stream(
        &self,
        key: &BlobKey,
        range: std::ops::Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        self.1.stream(key, range).await
    }
    async fn delete_run(&self, organization: OrganizationId, run: RunId) -> Result<(), BlobError> {
        self.1.delete_run(organization, run).await
    }
    async fn check(&self) -> Result<(), BlobError> {
        Err(self.0.clone())
    }
}

#[tokio::test]
async fn storage_that_fails_is_an_error_so_that_the_worker_tries_again() {
    let unavailable = BlobError::Unavailable("test".to_owned());
    for (error, kind, status) in [
        (BlobError::NoSpace, BlobKind::Artifacts, StatusCode::INSUFFICIENT_STORAGE),
        (BlobError::NoSpace, BlobKind::ArtifactIndex, StatusCode::INSUFFICIENT_STORAGE),
        (unavailable, BlobKind::Artifacts, StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let blobs = ObjectBlobs::directory(directory.path().join("blobs")).unwrap();
        let failing = Arc::new(Failing(error, blobs, kind));
        let setup = Setup::over(directory, LimitConfig::default(), failing).await;
        let held = setup.running().await;
        let answer = setup.upload(&held, tar(&[("a.txt", &[1; 1_000_000])])).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(!answer.header("retry-after").is_empty());
        let run = setup.run(held.id).await;
        assert_eq!(run.last_attempt().unwrap().artifacts.count, 0);
        assert!(run.last_attempt().unwrap().warnings.is_empty());
        assert_eq!(setup.json(&held, "/artifacts").await["items"], json!([]));
    }
}
