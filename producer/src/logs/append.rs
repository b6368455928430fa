//! Taking in a batch of log from a worker.

use std::hash::{BuildHasher as _, RandomState};

use gantry_api_types::problem::ProblemCode;
use gantry_domain::event::{Change, Event};
use gantry_domain::log::LogChunk;
use gantry_domain::run::Run;
use gantry_store::{Append, LogKey};
use tokio::sync::{Mutex, MutexGuard};

use super::LogService;
use crate::error::{ApiError, ApiResult};

/// Gantry's own lines may exceed a run's log limit by this much.
pub(super) const SYSTEM_BYTES: u64 = 1 << 20;

const SHARDS: usize = 64;

/// Whose turn it is to append: the store takes one append to a log at a time.
pub(super) struct Turns {
    hasher: RandomState,
    shards: [Mutex<()>; SHARDS],
}

impl Default for Turns {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: [const { Mutex::const_new(()) }; SHARDS] }
    }
}

impl Turns {
    async fn take(&self, log: LogKey) -> MutexGuard<'_, ()> {
        self.shards[self.hasher.hash_one(log) as usize % SHARDS].lock().await
    }
}

impl LogService {
    /// Appends to the log of the run's present attempt; answers where it ends now. The same batch again is fine.
    pub async fn append(&self, run: &Run, chunk: LogChunk) -> ApiResult<u64> {
        if chunk.end() > self.max_bytes {
            let detail = format!("The log of an attempt has {} bytes at most.", self.max_bytes);
            return Err(ApiError::new(ProblemCode::PayloadTooLarge, detail));
        }
        let log = LogKey { organization: run.organization, run: run.id, attempt: run.attempt() };
        let appended = {
            let _turn = self.turns.take(log).await;
            self.stores.logs.append(log, &chunk).await?
        };
        match appended {
            Append::Stored { end } => {
                let change = Change::Log { attempt: log.attempt, end };
                self.bus.publish(Event {
                    organization: run.organization,
                    run: run.id,
                    change,
                    version: None,
                });
                metrics::counter!("gantry_log_bytes_total").increment(chunk.bytes().len() as u64);
                Ok(end)
            }
            Append::AlreadyThere { end } => Ok(end),
            Append::Gap { end } => {
                let detail =
                    format!("The log ends at {end}, before this batch begins: send what is missing first.");
                Err(ApiError::new(ProblemCode::LogOffset, detail))
            }
            Append::Differs { end } => {
                let detail = format!("The log ends at {end}, and other bytes are there already.");
                Err(ApiError::new(ProblemCode::LogOffset, detail))
            }
        }
    }
}
