//! Blobs in the database that a cluster has anyway: chunks and files as GridFS lays them out, and an index that says which
//! file is the blob of a key.
//!
//! A blob becomes visible, or is replaced, by one guarded write of its index document. Whatever may have to be removed is
//! written down before it comes into being or is let go: what a crash leaves is swept up a day later. A small blob lies in
//! its index document and costs one write.

mod calls;
mod error;
mod files;
mod index;
mod layout;
mod sweep;
mod writer;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use gantry_domain::id::{OrganizationId, RunId};
use mongodb::Client;
use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};

use self::index::Entry;
use self::layout::Layout;
use self::sweep::Sweep;
use self::writer::GridFsWriter;
use crate::{BlobError, BlobKey, BlobWriter, Blobs};

/// The database when the address names none.
const DEFAULT_DATABASE: &str = "gantry";
/// How often a blob that is replaced again and again is looked up for one read.
const LOOKS: usize = 5;

/// Where the blobs are. Its `Debug` form shows no password.
#[derive(Clone)]
pub struct GridFsOptions {
    /// `mongodb://` or `mongodb+srv://`; its path names the database (`gantry` by default).
    pub uri: String,
    /// How long to look for a server that can be written to.
    pub server_selection: Duration,
    /// Connections at most.
    pub pool: u32,
}

impl GridFsOptions {
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), server_selection: Duration::from_secs(3), pool: 32 }
    }

    async fn open(&self) -> Result<mongodb::Database, BlobError> {
        let mut options = ClientOptions::parse(&self.uri).await.map_err(|_| {
            // The driver's words may repeat parts of the address, a password among them.
            let expected = "mongodb://user:password@host:27017/database";
            BlobError::Unavailable(format!("the address of the blobs is not a MongoDB address ({expected})"))
        })?;
        let name = options.default_database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        options.app_name.get_or_insert_with(|| "gantry-blobs".to_owned());
        options.server_selection_timeout = Some(self.server_selection);
        options.connect_timeout = Some(Duration::from_secs(2));
        options.max_pool_size = Some(self.pool.max(2));
        // What is guarded is read where it is written, and tried again by us.
        options.selection_criteria = None;
        options.read_concern = None;
        options.retry_reads = Some(false);
        options.retry_writes = Some(false);
        options.write_concern =
            Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
        let client = Client::with_options(options).map_err(|error| error::refused(&error))?;
        Ok(client.database(&name))
    }
}

impl fmt::Debug for GridFsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GridFsOptions").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// Blobs in GridFS, in the bucket `blobs`. A background task removes what was left behind; it ends with this value.
pub struct GridFsBlobs {
    layout: Arc<Layout>,
    sweep: Sweep,
}

impl GridFsBlobs {
    /// Connects and makes sure of the indexes; fails when no server answers.
    pub async fn connect(options: &GridFsOptions) -> Result<Self, BlobError> {
        Self::open(options.open().await?).await
    }

    async fn open(database: mongodb::Database) -> Result<Self, BlobError> {
        let layout = Arc::new(Layout::new(database));
        layout.make_indexes().await?;
        let sweep = Sweep::start(layout.clone());
        Ok(Self { layout, sweep })
    }

    async fn find(&self, key: &BlobKey, range: &Range<u64>) -> Result<Entry, BlobError> {
        let found = self.layout.find(key).await?.ok_or(BlobError::NotFound)?;
        if range.start > range.end || range.end > found.size {
            return Err(BlobError::OutOfRange { size: found.size });
        }
        Ok(found)
    }
}

impl fmt::Debug for GridFsBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GridFsBlobs({})", self.layout.name())
    }
}

#[async_trait]
impl Blobs for GridFsBlobs {
    async fn write(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>, BlobError> {
        Ok(Box::new(GridFsWriter::new(self.layout.clone(), key.clone(), self.sweep.door())))
    }

    async fn size(&self, key: &BlobKey) -> Result<u64, BlobError> {
        self.layout.find_size(key).await?.ok_or(BlobError::NotFound)
    }

    async fn read(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let mut missing = None;
        for _ in 0..LOOKS {
            let entry = self.find(key, &range).await?;
            if missing == Some(entry.version) {
                break;
            }
            missing = Some(entry.version);
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let mut pieces = self.layout.pieces(entry, range.clone());
            let mut all = BytesMut::with_capacity(length);
            loop {
                match pieces.next().await {
                    Some(Ok(piece)) if all.is_empty() && piece.len() == length => return Ok(piece),
                    Some(Ok(piece)) => all.extend_from_slice(&piece),
                    // It was replaced or deleted meanwhile.
                    Some(Err(BlobError::NotFound)) => break,
                    Some(Err(error)) => return Err(error),
                    None => return Ok(all.freeze()),
                }
            }
        }
        Err(BlobError::Unavailable(format!("chunks of {key} are missing")))
    }

    async fn stream(
        &self,
        key: &BlobKey,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, BlobError>>, BlobError> {
        let entry = self.find(key, &range).await?;
        let gone = || BlobError::Unavailable("the blob was replaced or deleted while it was read".to_owned());
        let pieces = self.layout.pieces(entry, range);
        Ok(pieces.map_err(move |error| if error == BlobError::NotFound { gone() } else { error }).boxed())
    }

    async fn delete_run(&self, organization: OrganizationId, run: RunId) -> Result<(), BlobError> {
        self.layout.delete_run(organization, run).await
    }

    async fn check(&self) -> Result<(), BlobError> {
        self.layout.check().await
    }
}

#[cfg(test)]
mod tests;
