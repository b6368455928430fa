//! Large, immutable things: sealed logs and artifacts. One trait; behind it a directory or S3 through `object_store`, or
//! GridFS in the database that a cluster has anyway.

#[cfg(test)]
mod contract;
mod gridfs;
mod object_store;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use gantry_domain::id::{OrganizationId, RunId};

pub use self::gridfs::{GridFsBlobs, GridFsOptions};
pub use self::object_store::{ObjectBlobs, S3Credentials, S3Options};

/// Where a blob is: the organization is always part of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlobKey {
    pub organization: OrganizationId,
    pub run: RunId,
    pub attempt: u32,
    pub kind: BlobKind,
}

/// What a blob holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlobKind {
    /// A sealed log: frames and their index.
    Log,
    /// All artifacts of an attempt, one behind the other.
    Artifacts,
    /// Where in `Artifacts` each file is.
    ArtifactIndex,
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            BlobKind::Log => "log",
            BlobKind::Artifacts => "artifacts",
            BlobKind::ArtifactIndex => "artifact-index",
        };
        write!(f, "{}/{}/{}/{name}", self.organization, self.run, self.attempt)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    #[error("no such blob")]
    NotFound,
    #[error("no space left for blobs")]
    NoSpace,
    #[error("the range reaches beyond the {size} bytes of the blob")]
    OutOfRange { size: u64 },
    #[error("the blob store failed: {0}")]
    Unavailable(String),
}

/// Stores blobs. A blob is there as a whole or not at all; writing one again replaces it as a whole.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Begins a blob; nothing is visible before [`BlobWriter::finish`].
    async fn write(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>, BlobError>;

    /// Its size in bytes.
    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError>;

    /// All of a range at once; a range that does not lie inside the blob is [`BlobError::OutOfRange`].
    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError>;

    /// A range as a stream of pieces of at most 1 MiB, all of one version of the blob: when it is replaced or deleted
    /// meanwhile, the stream goes on with the old bytes or fails.
    async fn stream(
        &self,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError>;

    /// Removes all blobs of a run; fine when there are none.
    async fn delete_run(&self, organization: OrganizationId, run: RunId) -> Result<(), BlobError>;

    /// Whether the backend answers.
    async fn check(&self) -> Result<(), BlobError>;
}

/// A blob being written, in bounded memory. Dropping it leaves nothing behind.
#[async_trait]
pub trait BlobWriter: Send {
    /// Appends. After an error or a cancelled call the blob can only be dropped: finishing it is refused.
    async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError>;
    /// Makes the blob visible, durably; answers its size.
    async fn finish(self: Box<Self>) -> Result<u64, BlobError>;
}
