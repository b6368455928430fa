//! Blobs in anything that `object_store` speaks: a local directory, memory, S3 and its like.

mod directory;
mod error;
mod read;
mod s3;
mod uploads;
mod writer;

use std::fmt;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use ::object_store::local::LocalFileSystem;
use ::object_store::memory::InMemory;
use ::object_store::path::Path;
use ::object_store::{ObjectStore, ObjectStoreExt as _};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use gantry_domain::id::{OrganizationId, RunId};

use self::directory::Directory;
use self::error::refused;
pub use self::s3::{S3Credentials, S3Options};
use self::uploads::Abandoned;
use self::writer::{ObjectWriter, SMALL_PART};
use crate::{BlobError, BlobKey, BlobWriter, Blobs};

/// Blobs as objects named `organization/run/attempt/kind`, below a prefix where there is one.
pub struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// What a writer holds in memory at most, and sends at once.
    part: usize,
    /// Set where uploads of dropped writers do not go by themselves.
    abandoned: Option<Abandoned>,
    /// Set when the objects are files: what `object_store` leaves to its callers there.
    directory: Option<Directory>,
}

impl ObjectBlobs {
    /// Blobs as files below a directory, which is created for its owner only (0700) if it is missing. A finished blob
    /// is on the disk, its name included. What writers of a killed process left behind is removed in the background
    /// once it is a day old.
    pub fn directory(path: impl AsRef<FilePath>) -> Result<Self, BlobError> {
        let directory = Directory::open(path.as_ref())?;
        let files = LocalFileSystem::new_with_prefix(directory.root()).map_err(refused)?.with_fsync(true);
        Ok(Self { directory: Some(directory), ..Self::of(files) })
    }

    /// Blobs that live as long as this value.
    pub fn in_memory() -> Self {
        Self::of(InMemory::new())
    }

    /// Blobs in a bucket of S3 or its like. Does not ask whether the bucket is there: [`check`](Blobs::check) does. Uploads
    /// of dropped writers are aborted by a background task, which ends with this value; for those that a killed process
    /// leaves, give the bucket a lifecycle rule that aborts incomplete uploads after a day. Needs a tokio runtime.
    pub fn s3(options: &S3Options) -> Result<Self, BlobError> {
        let store = s3::open(options)?;
        let prefix = Path::from(options.prefix.as_str());
        Ok(Self { prefix, part: s3::PART, abandoned: Some(Abandoned::start()), ..Self::of(store) })
    }

    fn of(store: impl ObjectStore) -> Self {
        let store = Arc::new(store);
        Self { store, prefix: Path::default(), part: SMALL_PART, abandoned: None, directory: None }
    }

    fn location(&self, key: &BlobKey) -> Path {
        self.below_prefix(Path::from(key.to_string()))
    }

    fn below_prefix(&self, path: Path) -> Path {
        self.prefix.parts().chain(path.parts()).collect()
    }
}

impl fmt::Debug for ObjectBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectBlobs({})", self.store)
    }
}

#[async_trait]
impl Blobs for ObjectBlobs {
    async fn write(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>, BlobError> {
        let abandoned = self.abandoned.as_ref().map(Abandoned::door);
        let store = Arc::clone(&self.store);
        Ok(Box::new(ObjectWriter::new(store, self.location(key), self.part, abandoned)))
    }

    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        Ok(self.store.head(&self.location(key)).await.map_err(refused)?.size)
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        match read::open(&*self.store, &self.location(key), range).await? {
            Some(found) => found.bytes().await.map_err(refused),
            None => Ok(Bytes::new()),
        }
    }

    async fn stream(
        &self,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        Ok(match read::open(&*self.store, &self.location(key), range).await? {
            Some(found) => read::pieces(found),
            None => futures::stream::empty().boxed(),
        })
    }

    async fn delete_run(&self, organization: OrganizationId, run: RunId) -> Result<(), BlobError> {
        if let Some(directory) = &self.directory {
            return directory.remove(format!("{organization}/{run}")).await;
        }
        let prefix = self.below_prefix(Path::from_iter([organization.to_string(), run.to_string()]));
        let found = self.store.list(Some(&prefix)).map_ok(|object| object.location).boxed();
        let mut deleted = self.store.delete_stream(found);
        while let Some(outcome) = deleted.next().await {
            match outcome.map_err(refused) {
                Ok(_) | Err(BlobError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn check(&self) -> Result<(), BlobError> {
        if let Some(directory) = &self.directory {
            return directory.check().await;
        }
        // Asking for a missing object would be answered alike by a bucket that is there and by one that is not.
        match self.store.list(Some(&self.below_prefix(Path::from("check")))).next().await {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(BlobError::Unavailable(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn directory() -> (ObjectBlobs, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        (ObjectBlobs::directory(directory.path().join("blobs")).unwrap(), directory)
    }

    async fn memory() -> (ObjectBlobs, ()) {
        (ObjectBlobs::in_memory(), ())
    }

    crate::contract::contract!(in_a_directory: super::directory);
    crate::contract::contract!(in_memory: super::memory);
}
