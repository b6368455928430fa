use async_trait::async_trait;
use gantry_domain::log::LogChunk;
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{Id, key};
use super::{Sqlite, statements as sql};
use crate::record::{decode_chunk, encode_chunk};
use crate::{Append, Durability, LogKey, LogStore, Result, StoreError};

/// Chunks above this are compressed on another thread: it takes about as long as the hand-over from here on.
const INLINE_BYTES: usize = 16 * 1024;

/// Offsets are far from the sign bit; one that is not lies behind every log.
fn position(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn ids(log: LogKey) -> (Id, Id, u32) {
    (key(log.organization.as_u128()), key(log.run.as_u128()), log.attempt)
}

#[async_trait]
impl LogStore for Sqlite {
    async fn append(&self, log: LogKey, chunk: &LogChunk) -> Result<Append> {
        let body = pack(chunk).await?;
        let (start, stop) = (chunk.offset, chunk.end());
        let (organization, run, attempt) = ids(log);
        let end = self
            .writer
            .write(Durability::Relaxed, move |writing| {
                let end = end(writing.connection, log)?;
                if end == start {
                    let mut insert = writing.connection.prepare_cached(sql::INSERT_CHUNK)?;
                    insert.execute(params![
                        organization,
                        run,
                        attempt,
                        position(start),
                        position(stop),
                        body
                    ])?;
                }
                Ok(end)
            })
            .await?;
        if end == start {
            Ok(Append::Stored { end: stop })
        } else if end < start {
            Ok(Append::Gap { end })
        } else if end < stop {
            Ok(Append::Differs { end })
        } else {
            let there = self.read(log, start, chunk.bytes().len()).await?;
            let same = there.iter().flat_map(|chunk| chunk.bytes().iter()).take(chunk.bytes().len());
            let same = same.eq(chunk.bytes().iter());
            Ok(if same { Append::AlreadyThere { end } } else { Append::Differs { end } })
        }
    }

    async fn read(&self, log: LogKey, from: u64, max_bytes: usize) -> Result<Vec<LogChunk>> {
        self.readers.read(move |connection| read(connection, log, from, max_bytes)).await
    }

    async fn end(&self, log: LogKey) -> Result<u64> {
        self.readers.read(move |connection| end(connection, log)).await
    }

    async fn clear(&self, log: LogKey) -> Result<()> {
        self.writer
            .write(Durability::Relaxed, move |writing| {
                writing.connection.prepare_cached(sql::CLEAR_CHUNKS)?.execute(ids(log))?;
                Ok(())
            })
            .await
    }
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

fn end(connection: &Connection, log: LogKey) -> Result<u64> {
    let end = connection.prepare_cached(sql::LOG_END)?.query_row(ids(log), |row| row.get(0)).optional()?;
    Ok(end.unwrap_or(0))
}

fn read(connection: &Connection, log: LogKey, from: u64, max_bytes: usize) -> Result<Vec<LogChunk>> {
    let (organization, run, attempt) = ids(log);
    let mut statement = connection.prepare_cached(sql::READ_CHUNKS)?;
    let mut rows = statement.query(params![organization, run, attempt, position(from)])?;
    let mut chunks = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(1)?.as_blob().map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let Some(chunk) = decode_chunk(row.get(0)?, body)?.from_offset(from) else { continue };
        bytes += chunk.bytes().len();
        chunks.push(chunk);
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(chunks)
}
