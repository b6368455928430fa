//! Log chunks: a chunk's id is its log and offset, so that storing it twice is refused by the id alone, and a log is a
//! range of ids: no other index is needed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::log::LogChunk;
use mongodb::bson::{Document, RawDocument, doc};

use super::calls::Call;
use super::document::{bad, bytes, integer, number};
use super::errors::Fault;
use super::options::relaxed;
use super::{Core, Mongo, names};
use crate::record::{decode_chunk, encode_chunk};
use crate::{Append, LogKey, LogStore, Result, StoreError};

/// Chunks above this are compressed on another thread: it takes about as long as the hand-over from here on.
const INLINE_BYTES: usize = 16 * 1024;
/// Logs whose end is remembered.
const REMEMBERED: usize = 10_000;
/// Chunks fetched at once.
const CHUNKS: u32 = 16;

/// Where logs end that this process appended to, to save asking. A wrong one does no harm: a chunk stands where its offset
/// says, and a place can be taken only once.
#[derive(Default)]
pub(super) struct Ends(Mutex<HashMap<LogKey, u64>>);

impl Ends {
    fn get(&self, log: LogKey) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&log).copied()
    }

    fn set(&self, log: LogKey, end: Option<u64>) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match end {
            Some(end) => {
                if ends.len() >= REMEMBERED {
                    ends.clear();
                }
                ends.insert(log, end);
            }
            None => {
                ends.remove(&log);
            }
        }
    }
}

/// What the ids of everything that belongs to a run begin with.
pub(super) fn of_run(organization: OrganizationId, run: RunId) -> String {
    format!("{organization}/{run}/")
}

/// The same for an attempt.
pub(super) fn of_attempt(log: LogKey) -> String {
    format!("{}{:010}/", of_run(log.organization, log.run), log.attempt)
}

/// Every id that begins with `prefix`, which ends in a slash.
pub(super) fn beginning_with(prefix: &str) -> Document {
    // "0" is what follows "/".
    doc! { "_id": { "$gte": prefix, "$lt": format!("{}0", prefix.trim_end_matches('/')) } }
}

fn id(log: LogKey, start: u64) -> String {
    format!("{}{start:020}", of_attempt(log))
}

#[async_trait]
impl LogStore for Mongo {
    async fn append(&self, log: LogKey, chunk: &LogChunk) -> Result<Append> {
        let (core, call) = (&self.core, self.core.call());
        let document = doc! {
            "_id": id(log, chunk.offset),
            "start": integer(chunk.offset),
            "stop": integer(chunk.end()),
            "body": bytes(&pack(chunk).await?),
        };
        let known = core.log_ends.get(log);
        let end = match known {
            Some(end) if end == chunk.offset => end,
            _ => core.log_end(&call, log).await?,
        };
        let mut end = end;
        if end == chunk.offset {
            let chunks = core.documents(names::CHUNKS);
            let stored = call.run(|| async { chunks.insert_one(&document).write_concern(relaxed()).await });
            match stored.await {
                Ok(_) => {
                    core.log_ends.set(log, Some(chunk.end()));
                    return Ok(Append::Stored { end: chunk.end() });
                }
                // Another replica appended meanwhile, or an earlier try of this did.
                Err(Fault::Duplicate) => end = core.log_end(&call, log).await?,
                Err(fault) => return Err(fault.into()),
            }
        }
        core.log_ends.set(log, Some(end));
        if end < chunk.offset {
            return Ok(Append::Gap { end });
        }
        if end < chunk.end() {
            return Ok(Append::Differs { end });
        }
        let there = self.read(log, chunk.offset, chunk.bytes().len()).await?;
        let same = there.iter().flat_map(|chunk| chunk.bytes().iter()).take(chunk.bytes().len());
        let same = same.eq(chunk.bytes().iter());
        Ok(if same { Append::AlreadyThere { end } } else { Append::Differs { end } })
    }

    async fn read(&self, log: LogKey, from: u64, max_bytes: usize) -> Result<Vec<LogChunk>> {
        let (core, call) = (&self.core, self.core.call());
        // The chunk that holds the first byte may begin before it; it, and what follows, are asked for at once.
        let (holding, behind) = tokio::try_join!(
            core.chunk_at(&call, log, from),
            core.chunks_behind(&call, log, from, max_bytes)
        )?;
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        for chunk in holding.into_iter().chain(behind) {
            let Some(chunk) = chunk.from_offset(from) else { continue };
            bytes += chunk.bytes().len();
            chunks.push(chunk);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(chunks)
    }

    async fn end(&self, log: LogKey) -> Result<u64> {
        self.core.log_end(&self.core.call(), log).await
    }

    async fn clear(&self, log: LogKey) -> Result<()> {
        self.core.log_ends.set(log, None);
        self.core.clear_beginning_with(&self.core.call(), names::CHUNKS, &of_attempt(log)).await
    }
}

impl Core {
    async fn log_end(&self, call: &Call, log: LogKey) -> Result<u64> {
        let chunks = self.raw(names::CHUNKS);
        let all = beginning_with(&of_attempt(log));
        let last = call.run(|| async {
            chunks.find_one(all.clone()).sort(doc! { "_id": -1 }).projection(doc! { "stop": 1 }).await
        });
        Ok(last.await?.map(|chunk| number(&chunk, "stop")).transpose()?.unwrap_or(0))
    }

    /// The last chunk that begins at or before `from`.
    async fn chunk_at(&self, call: &Call, log: LogKey, from: u64) -> Result<Option<LogChunk>> {
        let chunks = self.raw(names::CHUNKS);
        let before = doc! { "_id": { "$gte": of_attempt(log), "$lte": id(log, from) } };
        let found = call.run(|| async { chunks.find_one(before.clone()).sort(doc! { "_id": -1 }).await });
        found.await?.map(|chunk| unpack(&chunk)).transpose()
    }

    /// Chunks that begin after `from`, until they hold `max_bytes`.
    async fn chunks_behind(
        &self,
        call: &Call,
        log: LogKey,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<LogChunk>> {
        let chunks = self.raw(names::CHUNKS);
        let mut behind = beginning_with(&of_attempt(log));
        if let Ok(range) = behind.get_document_mut("_id") {
            range.remove("$gte");
            range.insert("$gt", id(log, from));
        }
        let query = || async { chunks.find(behind.clone()).sort(doc! { "_id": 1 }).batch_size(CHUNKS).await };
        let length = |chunk: &RawDocument| {
            number(chunk, "stop").unwrap_or(0).saturating_sub(number(chunk, "start").unwrap_or(0))
        };
        let enough = |found: &[mongodb::bson::RawDocumentBuf]| {
            found.iter().map(|chunk| length(chunk)).sum::<u64>() >= max_bytes as u64
        };
        call.all(query, enough).await?.iter().map(|chunk| unpack(chunk)).collect()
    }

    /// Removes a run's chunks.
    pub async fn clear_logs(&self, call: &Call, organization: OrganizationId, run: RunId) -> Result<()> {
        self.clear_beginning_with(call, names::CHUNKS, &of_run(organization, run)).await
    }

    pub async fn clear_beginning_with(&self, call: &Call, collection: &str, prefix: &str) -> Result<()> {
        let documents = self.documents(collection);
        let all = beginning_with(prefix);
        call.run(|| async { documents.delete_many(all.clone()).write_concern(relaxed()).await }).await?;
        Ok(())
    }
}

fn unpack(document: &RawDocument) -> Result<LogChunk> {
    let body = document.get_binary("body").map_err(|_| bad(document, "body"))?;
    decode_chunk(number(document, "start")?, body.bytes)
}

async fn pack(chunk: &LogChunk) -> Result<Vec<u8>> {
    if chunk.bytes().len() <= INLINE_BYTES {
        return encode_chunk(chunk);
    }
    let chunk = chunk.clone();
    tokio::task::spawn_blocking(move || encode_chunk(&chunk))
        .await
        .map_err(|error| StoreError::Unavailable(format!("a log chunk was not compressed: {error}")))?
}
