//! Writing: a small blob is one write of its index document, a large one goes out in chunks as it comes in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use mongodb::bson::oid::ObjectId;

use super::files::{CHUNK, TOGETHER};
use super::index::{Content, Entry};
use super::layout::Layout;
use super::sweep::{Door, Left};
use crate::{BlobError, BlobKey, BlobWriter};

/// What a writer holds in memory at most: whole chunks, so that they go out as they are.
const HELD: usize = CHUNK * TOGETHER;
/// Up to this size a blob lies in its index document.
pub(super) const INLINE: usize = 64 << 10;
/// Nothing is written for longer: after twice that time what is not finished counts as left behind.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

pub(super) struct GridFsWriter {
    layout: Arc<Layout>,
    key: BlobKey,
    door: Door,
    pending: BytesMut,
    /// Begun when memory is full.
    upload: Option<Upload>,
    size: u64,
    begun: Instant,
    /// A write did not come to its end: bytes are missing in the middle.
    torn: bool,
}

/// Dropping it has its file removed.
struct Upload {
    file: ObjectId,
    key: String,
    chunks: u32,
    door: Door,
    /// A call may still be on its way to the server.
    torn: bool,
    /// The index may name the file by now.
    finished: bool,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished {
            let key = std::mem::take(&mut self.key);
            self.door.leave(Left { file: self.file, key, for_sure: !self.torn });
        }
    }
}

impl GridFsWriter {
    pub(super) fn new(layout: Arc<Layout>, key: BlobKey, door: Door) -> Self {
        let begun = Instant::now();
        Self { layout, key, door, pending: BytesMut::new(), upload: None, size: 0, begun, torn: false }
    }

    fn refuse_if_torn(&self) -> Result<(), BlobError> {
        if self.torn {
            return Err(BlobError::Unavailable("an earlier write to this blob failed".to_owned()));
        }
        if self.begun.elapsed() > LONGEST {
            return Err(BlobError::Unavailable("the blob was being written for too long".to_owned()));
        }
        Ok(())
    }

    async fn send_pending(&mut self) -> Result<(), BlobError> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => {
                let (file, key) = (ObjectId::new(), self.key.to_string());
                self.layout.write_down(&key, file).await?;
                none.insert(Upload {
                    file,
                    key,
                    chunks: 0,
                    door: self.door.clone(),
                    torn: false,
                    finished: false,
                })
            }
        };
        upload.torn = true;
        upload.chunks = self.layout.append(upload.file, upload.chunks, &self.pending).await?;
        upload.torn = false;
        self.pending.clear();
        Ok(())
    }
}

#[async_trait]
impl BlobWriter for GridFsWriter {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), BlobError> {
        self.refuse_if_torn()?;
        self.torn = true;
        while !bytes.is_empty() {
            let fits = bytes.len().min(HELD - self.pending.len());
            self.pending.extend_from_slice(&bytes.split_to(fits));
            self.size += fits as u64;
            if self.pending.len() == HELD {
                self.send_pending().await?;
            }
        }
        self.torn = false;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, BlobError> {
        self.refuse_if_torn()?;
        let size = self.size;
        if self.upload.is_none() && self.pending.len() <= INLINE {
            let content = Content::Inline(self.pending.split().freeze());
            let entry = Entry { version: ObjectId::new(), size, content };
            self.layout.put(&self.key, &entry).await?;
            return Ok(size);
        }
        if !self.pending.is_empty() {
            self.send_pending().await?;
        }
        // It was begun when there was something to send.
        let Some(upload) = &mut self.upload else { return Ok(size) };
        self.layout.describe(&self.key, upload.file, size).await?;
        upload.finished = true;
        let entry = Entry { version: upload.file, size, content: Content::File { chunk_size: CHUNK as u32 } };
        self.layout.put(&self.key, &entry).await?;
        // Were it to fail, the sweep would find it in use and strike it out.
        if let Err(error) = self.layout.strike_out(upload.file).await {
            tracing::debug!(%error, blob = %self.key, "a finished blob is struck out later");
        }
        Ok(size)
    }
}
