//! What a run leaves behind: taken in as one untrusted tar, kept as one packed blob with an index per attempt, and read
//! for test results. Nothing of an upload is visible before all of it was accepted and noted on the attempt.

pub mod disposition;
pub mod index;
mod packer;
pub mod range;
mod receive;
mod results;
mod upload;

use std::sync::Arc;

use gantry_blobs::{BlobKey, BlobKind, Blobs};
use gantry_domain::attempt::Attempt;
use gantry_domain::run::Run;
use gantry_store::TestResultStore;
use tokio::sync::Semaphore;

use crate::artifacts::index::{ArtifactIndex, IndexCache};
use crate::error::{ApiError, ApiResult};
use crate::state::Parts;

/// Uploads taken in at once; each holds some MiB and a blocking thread.
const UPLOADS: usize = 16;
/// Uploads whose reports are read at once; each may need about 100 MiB at worst.
const READINGS: usize = 2;

/// Takes in, keeps and shows artifacts.
pub struct ArtifactService {
    blobs: Arc<dyn Blobs>,
    tests: Arc<dyn TestResultStore>,
    indexes: IndexCache,
    uploads: Semaphore,
    readings: Semaphore,
}

impl ArtifactService {
    pub fn new(parts: &Parts) -> Self {
        Self {
            blobs: parts.blobs.clone(),
            tests: parts.stores.tests.clone(),
            indexes: IndexCache::default(),
            uploads: Semaphore::new(UPLOADS),
            readings: Semaphore::new(READINGS),
        }
    }

    /// What an attempt left; empty when nothing was accepted.
    pub async fn index(&self, run: &Run, attempt: &Attempt) -> ApiResult<Arc<ArtifactIndex>> {
        if attempt.artifacts.count == 0 {
            return Ok(Arc::default());
        }
        let key = key(run, attempt.number, BlobKind::ArtifactIndex);
        if let Some(index) = self.indexes.get(&key) {
            return Ok(index);
        }
        let size = self.blobs.size(&key).await?;
        let bytes = self.blobs.read(&key, 0..size).await?;
        let decoded = tokio::task::spawn_blocking(move || ArtifactIndex::decode(&bytes)).await;
        let unreadable =
            |error: &dyn std::fmt::Display| ApiError::internal(format!("artifact index {key}: {error}"));
        let index =
            Arc::new(decoded.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))?);
        // Before the attempt is over a repeated upload may replace it.
        if attempt.finished_at.is_some() {
            self.indexes.put(key, index.clone());
        }
        Ok(index)
    }

    pub fn blobs(&self) -> &dyn Blobs {
        &*self.blobs
    }
}

/// Where a part of an attempt's artifacts is.
pub fn key(run: &Run, attempt: u32, kind: BlobKind) -> BlobKey {
    BlobKey { organization: run.organization, run: run.id, attempt, kind }
}
