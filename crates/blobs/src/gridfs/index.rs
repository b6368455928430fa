//! The index: one document per blob, changed by guarded writes alone.

use bytes::Bytes;
use futures::TryStreamExt as _;
use gantry_domain::id::{OrganizationId, RunId};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, RawDocument, doc};

use super::calls::{call, insert};
use super::error::corrupt;
use super::layout::Layout;
use crate::{BlobError, BlobKey};

/// How often a key that others write as well is tried.
const TRIES: usize = 100;
/// Blobs of a run that are deleted in one go; each attempt has three at most.
const AT_ONCE: i64 = 300;

/// One version of a blob.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Differs for every write; the id of its file if it has one.
    pub(super) version: ObjectId,
    pub(super) size: u64,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    /// In the index itself.
    Inline(Bytes),
    /// In a file of chunks of this many bytes.
    File { chunk_size: u32 },
}

impl Entry {
    fn document(&self, key: &BlobKey) -> Document {
        let mut document = doc! {
            "_id": key.to_string(),
            "organization": key.organization.to_string(),
            "run": key.run.to_string(),
            "version": self.version,
            "size": self.size as i64,
        };
        match &self.content {
            Content::Inline(bytes) => {
                let bytes = bytes.to_vec();
                document.insert("data", Binary { subtype: BinarySubtype::Generic, bytes })
            }
            Content::File { chunk_size } => document.insert("chunk_size", i64::from(*chunk_size)),
        };
        document
    }

    fn read(document: &RawDocument) -> Result<Self, BlobError> {
        let size = size(document)?;
        let version = document.get_object_id("version").map_err(corrupt)?;
        let content = match chunk_size(document)? {
            Some(chunk_size) => Content::File { chunk_size },
            None => {
                let data = document.get_binary("data").map_err(corrupt)?;
                if data.bytes.len() as u64 != size {
                    return Err(corrupt("its size is wrong"));
                }
                Content::Inline(Bytes::copy_from_slice(data.bytes))
            }
        };
        Ok(Self { version, size, content })
    }
}

fn size(document: &RawDocument) -> Result<u64, BlobError> {
    let size = document.get_i64("size").map_err(corrupt)?;
    u64::try_from(size).map_err(corrupt)
}

/// `None` for a blob without a file.
fn chunk_size(document: &RawDocument) -> Result<Option<u32>, BlobError> {
    let Some(found) = document.get("chunk_size").map_err(corrupt)? else { return Ok(None) };
    let size = found.as_i64().and_then(|size| u32::try_from(size).ok()).filter(|size| *size > 0);
    size.map(Some).ok_or_else(|| corrupt("its chunks have no size"))
}

/// A version that is about to be let go.
struct Old {
    key: String,
    version: ObjectId,
    has_file: bool,
}

impl Old {
    fn read(document: &RawDocument) -> Result<Self, BlobError> {
        Ok(Self {
            key: document.get_str("_id").map_err(corrupt)?.to_owned(),
            version: document.get_object_id("version").map_err(corrupt)?,
            has_file: chunk_size(document)?.is_some(),
        })
    }
}

impl Layout {
    pub(super) async fn find(&self, key: &BlobKey) -> Result<Option<Entry>, BlobError> {
        let (index, id) = (Self::raw(&self.index), key.to_string());
        let found = call(|| async { index.find_one(doc! { "_id": &id }).await }).await?;
        found.as_deref().map(Entry::read).transpose()
    }

    pub(super) async fn find_size(&self, key: &BlobKey) -> Result<Option<u64>, BlobError> {
        let (index, id) = (Self::raw(&self.index), key.to_string());
        let only = doc! { "size": 1 };
        let find = || async { index.find_one(doc! { "_id": &id }).projection(only.clone()).await };
        call(find).await?.as_deref().map(size).transpose()
    }

    /// The version that `key` (as text) has now.
    pub(super) async fn version(&self, key: &str) -> Result<Option<ObjectId>, BlobError> {
        Ok(self.old(key).await?.map(|old| old.version))
    }

    async fn old(&self, key: &str) -> Result<Option<Old>, BlobError> {
        let index = Self::raw(&self.index);
        let only = doc! { "version": 1, "chunk_size": 1 };
        let find = || async { index.find_one(doc! { "_id": key }).projection(only.clone()).await };
        call(find).await?.as_deref().map(Old::read).transpose()
    }

    /// Makes `entry` the blob of its key: this one write is what others see. The version before it goes.
    pub(super) async fn put(&self, key: &BlobKey, entry: &Entry) -> Result<(), BlobError> {
        let (id, document) = (key.to_string(), entry.document(key));
        for _ in 0..TRIES {
            if insert(|| async { self.index.insert_one(&document).await }).await? {
                return Ok(());
            }
            // Gone again, or ours, of which the answer was lost.
            let Some(old) = self.old(&id).await? else { continue };
            if old.version == entry.version {
                return Ok(());
            }
            if old.has_file {
                self.write_down(&id, old.version).await?;
            }
            let guard = doc! { "_id": &id, "version": old.version };
            let replace = || async { self.index.replace_one(guard.clone(), &document).await };
            if call(replace).await?.matched_count == 1 {
                self.let_go(&old).await;
                return Ok(());
            }
        }
        Err(BlobError::Unavailable(format!("{key} is being written by too many at once")))
    }

    pub(super) async fn delete_run(&self, organization: OrganizationId, run: RunId) -> Result<(), BlobError> {
        let index = Self::raw(&self.index);
        let of_run = doc! { "organization": organization.to_string(), "run": run.to_string() };
        let only = doc! { "version": 1, "chunk_size": 1 };
        for _ in 0..TRIES {
            let find = || async {
                let found = index.find(of_run.clone()).projection(only.clone()).limit(AT_ONCE).await?;
                found.try_collect::<Vec<_>>().await
            };
            let found = call(find).await?;
            if found.is_empty() {
                return Ok(());
            }
            for document in &found {
                let old = Old::read(document)?;
                if old.has_file {
                    self.write_down(&old.key, old.version).await?;
                }
                let guard = doc! { "_id": &old.key, "version": old.version };
                // One that was replaced meanwhile is found again.
                if call(|| async { self.index.delete_one(guard.clone()).await }).await?.deleted_count == 1 {
                    self.let_go(&old).await;
                }
            }
        }
        Err(BlobError::Unavailable(format!("blobs of {run} are written faster than they are deleted")))
    }

    /// Nobody finds it any more. What can't be removed now is written down, for the sweep.
    async fn let_go(&self, old: &Old) {
        if old.has_file
            && let Err(error) = self.discard(old.version).await
        {
            tracing::warn!(%error, blob = old.key, "an old blob is removed later");
        }
    }
}
