//! Writing: a small blob is one request, a large one goes out in parts as it comes in.

use std::sync::Arc;

use ::object_store::path::Path;
use ::object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::runtime::Handle;

use super::error::refused;
use crate::{BlobError, BlobWriter};

use super::uploads::Door;

/// The size of parts where they cost little.
pub(super) const SMALL_PART: usize = 1 << 20;

/// Dropping it drops the upload. That of a file removes its temporary file by itself, any other goes through the door.
pub(super) struct ObjectWriter {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// What is held in memory at most, and the size below which a blob is one request.
    part: usize,
    abandoned: Option<Door>,
    pending: BytesMut,
    /// Begun with the first full part.
    upload: Option<Box<dyn MultipartUpload>>,
    size: u64,
    /// A write did not come to its end: bytes are missing in the middle.
    torn: bool,
}

impl ObjectWriter {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path, part: usize, abandoned: Option<Door>) -> Self {
        let pending = BytesMut::new();
        Self { store, path, part, abandoned, pending, upload: None, size: 0, torn: false }
    }

    fn refuse_if_torn(&self) -> Result<(), BlobError> {
        if self.torn {
            return Err(BlobError::Unavailable("an earlier write to this blob failed".to_owned()));
        }
        Ok(())
    }

    async fn send_pending(&mut self) -> Result<(), BlobError> {
        let part = PutPayload::from(self.pending.split().freeze());
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(begin(Arc::clone(&self.store), self.path.clone()).await?),
        };
        upload.put_part(part).await.map_err(refused)
    }
}

/// The local file system makes and syncs directories here without leaving the calling thread, so that must not be one
/// that runs other tasks.
async fn begin(store: Arc<dyn ObjectStore>, path: Path) -> Result<Box<dyn MultipartUpload>, BlobError> {
    let runtime = Handle::current();
    let begun = tokio::task::spawn_blocking(move || runtime.block_on(store.put_multipart(&path))).await;
    begun.map_err(|error| BlobError::Unavailable(error.to_string()))?.map_err(refused)
}

#[async_trait]
impl BlobWriter for ObjectWriter {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), BlobError> {
        self.refuse_if_torn()?;
        self.torn = true;
        while !bytes.is_empty() {
            let fits = bytes.len().min(self.part - self.pending.len());
            self.pending.extend_from_slice(&bytes.split_to(fits));
            self.size += fits as u64;
            if self.pending.len() == self.part {
                self.send_pending().await?;
            }
        }
        self.torn = false;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, BlobError> {
        self.refuse_if_torn()?;
        if self.upload.is_some() && !self.pending.is_empty() {
            self.send_pending().await?;
        }
        match &mut self.upload {
            Some(upload) => upload.complete().await,
            None => self.store.put(&self.path, PutPayload::from(self.pending.split().freeze())).await,
        }
        .map_err(refused)?;
        self.upload = None;
        Ok(self.size)
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        if let (Some(upload), Some(abandoned)) = (self.upload.take(), &self.abandoned) {
            abandoned.leave(upload);
        }
    }
}
