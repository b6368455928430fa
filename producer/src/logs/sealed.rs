//! Reading and writing sealed logs.

use std::sync::Arc;

use bytes::Bytes;
use gantry_blobs::{BlobError, BlobKey, BlobKind, BlobWriter, Blobs};
use gantry_domain::log::LogChunk;
use gantry_store::LogKey;

use super::frames::{Damaged, Entry, FOOTER_BYTES, Footer, Framer, Index, pack, unpack};
use crate::error::ApiError;

/// Read at once at the end of a blob; the index of most logs is within.
const TAIL_BYTES: u64 = 32 * 1024;

/// A sealed log could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

impl From<SealedError> for ApiError {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::Blob(error) => error.into(),
            SealedError::Damaged(error) => Self::internal(error.to_string()),
        }
    }
}

pub(super) fn blob_key(log: LogKey) -> BlobKey {
    BlobKey { organization: log.organization, run: log.run, attempt: log.attempt, kind: BlobKind::Log }
}

/// A sealed log, ready to be read in any part.
pub(super) struct SealedLog {
    blobs: Arc<dyn Blobs>,
    key: BlobKey,
    index: Index,
}

impl SealedLog {
    pub async fn open(blobs: Arc<dyn Blobs>, log: LogKey) -> Result<Self, SealedError> {
        let key = blob_key(log);
        let size = blobs.size(&key).await?;
        let tail_at = size.saturating_sub(TAIL_BYTES);
        let tail = blobs.read(&key, tail_at..size).await?;
        let footer_at =
            tail.len().checked_sub(FOOTER_BYTES).ok_or_else(|| Damaged("it is too short".to_owned()))?;
        let footer = Footer::decode(&tail[footer_at..], size)?;
        let index_end = footer.index_at + u64::from(footer.index_bytes);
        let index = match usize::try_from(footer.index_at.wrapping_sub(tail_at)) {
            Ok(from) if footer.index_at >= tail_at => tail.slice(from..footer_at),
            _ => blobs.read(&key, footer.index_at..index_end).await?,
        };
        let index = Index::decode(&index, footer)?;
        Ok(Self { blobs, key, index })
    }

    /// The log's length without `system` lines.
    pub fn visible_end(&self) -> u64 {
        self.index.visible_end
    }

    /// The frame to begin with for visible byte `visible`.
    pub fn showing(&self, visible: u64) -> Option<Entry> {
        self.index.showing(visible)
    }

    /// Chunks from byte `from` on, about `max_bytes`, at least one; none behind the end.
    pub async fn read(&self, from: u64, max_bytes: usize) -> Result<Vec<LogChunk>, SealedError> {
        let Some(first) = self.index.holding(from) else { return Ok(Vec::new()) };
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        for entry in &self.index.entries[first..] {
            let packed = self.blobs.read(&self.key, entry.at..entry.at + u64::from(entry.packed)).await?;
            let Some(chunk) = unpack(entry.start, &packed)?.from_offset(from) else {
                return Err(Damaged(format!("the frame at byte {} is too short", entry.start)).into());
            };
            bytes += chunk.bytes().len();
            chunks.push(chunk);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(chunks)
    }
}

/// Writes a sealed log, frame by frame.
pub(super) struct SealedWriter {
    blob: Box<dyn BlobWriter>,
    framer: Framer,
    index: Index,
    written: u64,
}

impl SealedWriter {
    pub async fn begin(blobs: &dyn Blobs, log: LogKey) -> Result<Self, SealedError> {
        let blob = blobs.write(&blob_key(log)).await?;
        Ok(Self { blob, framer: Framer::default(), index: Index::default(), written: 0 })
    }

    /// Appends the next chunk of the log.
    pub async fn push(&mut self, chunk: &LogChunk) -> Result<(), SealedError> {
        for frame in self.framer.push(chunk)? {
            self.write(frame).await?;
        }
        Ok(())
    }

    async fn write(&mut self, frame: LogChunk) -> Result<(), SealedError> {
        let (frame, packed) = tokio::task::spawn_blocking(move || {
            let packed = pack(&frame);
            (frame, packed)
        })
        .await
        .map_err(|error| Damaged(format!("a frame was not packed: {error}")))?;
        let packed: Bytes = packed?;
        self.index.push(&frame, self.written, packed.len());
        self.written += packed.len() as u64;
        Ok(self.blob.write(packed).await?)
    }

    /// Makes it visible, durably.
    pub async fn finish(mut self) -> Result<(), SealedError> {
        if let Some(last) = self.framer.take()? {
            self.write(last).await?;
        }
        self.blob.write(self.index.encode(self.written)).await?;
        self.blob.finish().await?;
        Ok(())
    }
}
