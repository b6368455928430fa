use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::log::LogChunk;

use crate::Result;

/// Names one attempt's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogKey {
    pub organization: OrganizationId,
    pub run: RunId,
    pub attempt: u32,
}

/// What came of appending a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Append {
    /// Stored now; the log ends at `end`.
    Stored { end: u64 },
    /// All of it was there before, byte for byte.
    AlreadyThere { end: u64 },
    /// The log ends at `end`, before the chunk begins: send what is missing first.
    Gap { end: u64 },
    /// Other bytes are there, or it overlaps the end.
    Differs { end: u64 },
}

/// Logs of attempts, as compressed chunks, until they are sealed into blobs.
#[async_trait]
pub trait LogStore: Send + Sync {
    /// Appends at the chunk's offset; the same chunk again is fine. Appends to one log may not run at the same time.
    async fn append(&self, key: LogKey, chunk: &LogChunk) -> Result<Append>;

    /// Chunks from the one that holds byte `from` (cut to begin there), in order, about `max_bytes` of them, at least one
    /// if there is any.
    async fn read(&self, key: LogKey, from: u64, max_bytes: usize) -> Result<Vec<LogChunk>>;

    /// Where the log ends so far.
    async fn end(&self, key: LogKey) -> Result<u64>;

    /// Removes the chunks; fine when there are none.
    async fn clear(&self, key: LogKey) -> Result<()>;
}
