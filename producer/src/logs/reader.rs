//! One reader for a log wherever it is: in chunks, in a blob, or on its way from one to the other.

use gantry_domain::attempt::Attempt;
use gantry_domain::log::LogChunk;
use gantry_domain::run::Run;
use gantry_store::LogKey;

use super::LogService;
use super::sealed::SealedLog;
use crate::error::{ApiError, ApiResult};

/// Reads one attempt's log from any byte on.
pub(super) struct LogReader {
    logs: LogService,
    log: LogKey,
    /// Its length, once it is complete; bytes behind it are not part of it.
    end: Option<u64>,
    sealed: bool,
    opened: Option<SealedLog>,
}

impl LogReader {
    pub fn new(logs: &LogService, run: &Run, attempt: &Attempt) -> Self {
        let log = LogKey { organization: run.organization, run: run.id, attempt: attempt.number };
        Self { logs: logs.clone(), log, end: attempt.log.end, sealed: attempt.log.sealed, opened: None }
    }

    pub fn log(&self) -> LogKey {
        self.log
    }

    /// Its length, if it is complete.
    pub fn known_end(&self) -> Option<u64> {
        self.end
    }

    /// Takes note of what the run says about this log now.
    pub fn update(&mut self, run: &Run) {
        if let Some(attempt) = run.attempts.iter().find(|attempt| attempt.number == self.log.attempt) {
            self.end = attempt.log.end;
            self.sealed |= attempt.log.sealed;
        }
    }

    /// Where the log ends so far.
    pub async fn end(&self) -> ApiResult<u64> {
        match self.end {
            Some(end) => Ok(end),
            None => Ok(self.logs.stores.logs.end(self.log).await?),
        }
    }

    /// The sealed log, if it is sealed.
    pub async fn sealed(&mut self) -> ApiResult<Option<&SealedLog>> {
        if self.sealed && self.opened.is_none() {
            self.opened = Some(SealedLog::open(self.logs.blobs.clone(), self.log).await?);
        }
        Ok(self.opened.as_ref())
    }

    /// Chunks from byte `from` on, in order, about `max_bytes` of them; none when there is nothing (yet).
    pub async fn read(&mut self, from: u64, max_bytes: usize) -> ApiResult<Vec<LogChunk>> {
        let chunks = match self.sealed().await? {
            Some(sealed) => sealed.read(from, max_bytes).await?,
            None => self.logs.stores.logs.read(self.log, from, max_bytes).await?,
        };
        // Chunks that begin later are those of a log that is just being cleared.
        if chunks.first().is_none_or(|chunk| chunk.offset != from) {
            return Ok(Vec::new());
        }
        let end = self.end.unwrap_or(u64::MAX);
        Ok(chunks.into_iter().map_while(|chunk| chunk.until_offset(end)).collect())
    }

    /// The same before byte `until`, which must have been there: at least one chunk, or an error.
    pub async fn read_until(&mut self, from: u64, until: u64, max_bytes: usize) -> ApiResult<Vec<LogChunk>> {
        let mut chunks = self.read(from, max_bytes).await?;
        if chunks.is_empty() && !self.sealed {
            // Sealed and cleared since we looked, or deleted.
            let run = self.logs.stores.runs.get(self.log.organization, self.log.run).await?;
            self.update(&run.ok_or_else(ApiError::not_found)?);
            chunks = self.read(from, max_bytes).await?;
        }
        let chunks: Vec<_> = chunks.into_iter().map_while(|chunk| chunk.until_offset(until)).collect();
        if chunks.is_empty() {
            let log = self.log;
            return Err(ApiError::internal(format!(
                "bytes from {from} on are missing in the log of {} {}",
                log.run, log.attempt
            )));
        }
        Ok(chunks)
    }
}
