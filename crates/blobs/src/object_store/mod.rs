//! Blobs in anything that `object_store` speaks: a local directory or memory today, S3 and its like by another
//! constructor.

mod directory;
mod error;
mod read;
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
use self::writer::ObjectWriter;
use crate::{BlobError, BlobKey, BlobWriter, Blobs};

/// Blobs as objects named `organization/run/attempt/kind`.
pub struct ObjectBlobs {
    store: Arc<dyn ObjectStore>,
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
        Ok(Self { store: Arc::new(files), directory: Some(directory) })
    }

    /// Blobs that live as long as this value.
    pub fn in_memory() -> Self {
        Self { store: Arc::new(InMemory::new()), directory: None }
    }
}

impl fmt::Debug for ObjectBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectBlobs({})", self.store)
    }
}

fn location(key: &BlobKey) -> Path {
    Path::from(key.to_string())
}

#[async_trait]
impl Blobs for ObjectBlobs {
    async fn write(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>, BlobError> {
        Ok(Box::new(ObjectWriter::new(Arc::clone(&self.store), location(key))))
    }

    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        Ok(self.store.head(&location(key)).await.map_err(refused)?.size)
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        match read::open(&*self.store, &location(key), range).await? {
            Some(found) => found.bytes().await.map_err(refused),
            None => Ok(Bytes::new()),
        }
    }

    async fn stream(
        &self,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        Ok(match read::open(&*self.store, &location(key), range).await? {
            Some(found) => read::pieces(found),
            None => futures::stream::empty().boxed(),
        })
    }

    async fn delete_run(&self, organization: OrganizationId, run: RunId) -> Result<(), BlobError> {
        if let Some(directory) = &self.directory {
            return directory.remove(format!("{organization}/{run}")).await;
        }
        let prefix = Path::from_iter([organization.to_string(), run.to_string()]);
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
        match self.store.head(&Path::from("check")).await.map_err(refused) {
            Ok(_) | Err(BlobError::NotFound) => Ok(()),
            Err(error) => Err(error),
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
