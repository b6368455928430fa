//! Moves long logs of ended attempts out of the store: first into a blob, later, when nobody can be in the middle of
//! them any more, the chunks go. Small logs stay where they are ([`gantry_domain::attempt::SMALL_LOG_BYTES`]).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::run::Run;
use gantry_domain::time::Timestamp;
use gantry_service_kit::reconciler::{Outcome, ReconcileError, Reconciler};
use gantry_store::{Durability, LogKey, StoreError};

use super::sealed::{SealedError, SealedWriter};
use crate::services::transition::{Scope, Unchanged, change};
use crate::state::App;

const BATCH: u32 = 100;
/// Log held in memory while sealing.
const READ_BYTES: usize = 1 << 20;

/// Why a log did not move.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
enum SealError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sealed(#[from] SealedError),
    #[error("chunks from byte {at} on are missing, of {end}")]
    Missing { at: u64, end: u64 },
}

pub struct Sealer {
    app: Arc<App>,
}

impl Sealer {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Moves what is due of one run; answers how many logs moved.
    async fn move_logs(&self, run: &Run, now: Timestamp) -> Result<u64, SealError> {
        let limits = &self.app.config.limits;
        let mut did = 0;
        for attempt in &run.attempts {
            let log = LogKey { organization: run.organization, run: run.id, attempt: attempt.number };
            let (Some(due), Some(end)) = (attempt.log_due(), attempt.log.end) else { continue };
            if now.since(due) < limits.seal_after {
                continue;
            }
            if attempt.needs_sealing() {
                self.seal(log, end).await?;
                let until = self.app.now() + limits.clear_after;
                self.note(log, |run| run.log_sealed(log.attempt, until)).await?;
            } else {
                self.app.parts.stores.logs.clear(log).await?;
                self.note(log, |run| run.log_cleared(log.attempt)).await?;
            }
            did += 1;
        }
        Ok(did)
    }

    async fn seal(&self, log: LogKey, end: u64) -> Result<(), SealError> {
        let mut writer = SealedWriter::begin(self.app.parts.blobs.as_ref(), log).await?;
        let mut at = 0;
        while at < end {
            let chunks = self.app.parts.stores.logs.read(log, at, READ_BYTES).await?;
            if chunks.first().is_none_or(|chunk| chunk.offset != at) {
                return Err(SealError::Missing { at, end });
            }
            // Bytes that came after the attempt was closed are not part of its log.
            for chunk in chunks.into_iter().filter_map(|chunk| chunk.until_offset(end)) {
                at = chunk.end();
                writer.push(&chunk).await?;
            }
        }
        writer.finish().await?;
        metrics::counter!("gantry_logs_sealed_total").increment(1);
        Ok(())
    }

    /// Relaxed: forgotten in a power cut, it is done again.
    async fn note(
        &self,
        log: LogKey,
        next: impl Fn(&Run) -> Option<Run> + Send + Sync,
    ) -> Result<(), StoreError> {
        match change(&self.app, Scope::Any, log.run, Durability::Relaxed, |run| Ok(next(run))).await {
            Err(Unchanged::Store(error)) => Err(error),
            // A run deleted meanwhile must not leave its blob behind.
            Err(Unchanged::NotFound) => {
                if let Err(error) = self.app.parts.blobs.delete_run(log.organization, log.run).await {
                    tracing::warn!(run.id = %log.run, org.id = %log.organization, %error, "a deleted run's blobs are still there");
                }
                Ok(())
            }
            Err(Unchanged::Refused(..)) | Ok(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Reconciler for Sealer {
    fn name(&self) -> &'static str {
        "log-sealing"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let (now, limits) = (self.app.now(), &self.app.config.limits);
        let before = now - limits.seal_after + Duration::from_millis(1);
        let due = self.app.parts.stores.runs.logs_due(before, BATCH).await?;
        let found = due.len();
        let (mut did, mut failure) = (0, None);
        for run in due {
            match self.move_logs(&run, now).await {
                Ok(moved) => did += moved,
                // One bad log holds up no other.
                Err(error) => {
                    tracing::error!(run.id = %run.id, org.id = %run.organization, %error, "a log was not sealed");
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if did == 0 => Err(Box::new(error)),
            _ => {
                let clearing = (did > 0).then_some(limits.clear_after + limits.seal_after);
                Ok(Outcome::did(did).again_if(found == BATCH as usize).due_in(clearing))
            }
        }
    }
}
