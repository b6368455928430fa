//! Deleting: everything goes, or it can be asked for again.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::http::Method;
use bytes::Bytes;
use futures::stream::BoxStream;
use gantry_blobs::{BlobError, BlobKey, BlobWriter, Blobs};
use gantry_domain::id::{OrganizationId, RunId};
use serde_json::json;

use crate::installation::{Installation, Wish, WrapBlobs, spec, spec_with};
use crate::lifecycle::chunk;
use crate::problem::problem;
use crate::worker::{FakeWorker, Held, exited, tar_of};

/// Blobs that cannot be removed for a while.
struct Stuck {
    blobs: Arc<dyn Blobs>,
    stuck: Arc<AtomicBool>,
}

#[async_trait]
impl Blobs for Stuck {
    async fn write(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>, BlobError> {
        self.blobs.write(key).await
    }

    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        self.blobs.size(key).await
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.blobs.read(key, range).await
    }

    async fn stream(
        &self,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        self.blobs.stream(key, range).await
    }

    async fn delete_run(&self, organization: OrganizationId, run: RunId) -> Result<(), BlobError> {
        if self.stuck.load(Ordering::SeqCst) {
            return Err(BlobError::Unavailable("/mnt/internal is gone".to_owned()));
        }
        self.blobs.delete_run(organization, run).await
    }

    async fn check(&self) -> Result<(), BlobError> {
        if self.stuck.load(Ordering::SeqCst) {
            return Err(BlobError::Unavailable("/mnt/internal is gone".to_owned()));
        }
        self.blobs.check().await
    }
}

/// A run that is over and left a log, a result and an artifact.
async fn with_everything(installation: &Installation) -> Held {
    let worker = FakeWorker::register(installation, 1).await;
    let held = worker.running(spec()).await;
    worker.log(&held, chunk(0, "a line\n")).await.expect(200);
    let tar = tar_of("junit.xml", b"<testsuite><testcase name='a'/></testsuite>");
    worker.upload(&held, tar).await.expect(200);
    let mut done = exited(0);
    done["log_end"] = json!(7);
    worker.finish(&held, done).await.expect(200);
    held
}

#[tokio::test]
async fn a_deleted_run_leaves_nothing_behind() {
    let installation = Installation::new().await;
    let going = installation.accept(spec_with(json!({"pool": "nobody"}))).await;
    let refused = installation.delete(&format!("/api/v1/runs/{going}")).await;
    refused.refused(409, "run_not_finished");
    let held = with_everything(&installation).await;
    let path = format!("/api/v1/runs/{}", held.run);
    let tests = installation.get(&format!("{path}/tests")).await.expect(200).json();
    assert_eq!(tests["items"].as_array().unwrap().len(), 1);
    assert!(!blob_files(&installation).is_empty());

    installation.delete(&path).await.expect(204);
    for below in ["", "/logs", "/attempts", "/tests", "/artifacts", "/artifacts/junit.xml", "/events"] {
        installation.get(&format!("{path}{below}")).await.refused(404, "not_found");
    }
    assert_eq!(blob_files(&installation), Vec::<std::path::PathBuf>::new());
    let key = gantry_store::LogKey { organization: installation.organization, run: held.run, attempt: 1 };
    assert_eq!(installation.stores.logs.end(key).await.unwrap(), 0);
    assert_eq!(installation.stores.tests.list(key, &[], 0, 10).await.unwrap(), []);
    installation.delete(&path).await.refused(404, "not_found");
}

#[tokio::test]
async fn an_interrupted_deletion_can_be_asked_for_again() {
    let stuck = Arc::new(AtomicBool::new(true));
    let switch = stuck.clone();
    let wrap: WrapBlobs = Box::new(move |blobs| Arc::new(Stuck { blobs, stuck: switch }));
    let installation = Installation::with(Wish { blobs: Some(wrap), ..Wish::default() }).await;
    let held = with_everything(&installation).await;
    let path = format!("/api/v1/runs/{}", held.run);
    let failed = installation.delete(&path).await.refused(503, "unavailable");
    assert!(!problem(&failed).detail.contains("/mnt/internal"));
    installation.get(&path).await.expect(200);
    for route in ["/health", "/health/ready"] {
        let health = installation.call_as("", Method::GET, route, None).await.expect(200);
        assert!(!health.text().contains("/mnt/internal"), "{}", health.text());
        assert_eq!(health.json()["ready"], true, "runs are accepted all the same");
        assert_eq!(health.json()["status"], "degraded");
        let down = json!({"name": "blobs", "up": false, "required": false, "detail": "cannot be reached"});
        assert!(health.json()["dependencies"].as_array().unwrap().contains(&down), "{}", health.text());
    }
    stuck.store(false, Ordering::SeqCst);
    let health = installation.call_as("", Method::GET, "/health/ready", None).await.expect(200);
    assert_eq!(health.json()["status"], "ok");
    installation.delete(&path).await.expect(204);
    assert_eq!(blob_files(&installation), Vec::<std::path::PathBuf>::new());
}

fn blob_files(installation: &Installation) -> Vec<std::path::PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![installation.directory.path().join("blobs")]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let is_directory = entry.file_type().unwrap().is_dir();
            if is_directory { open.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files
}
