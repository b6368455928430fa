//! Sends batches of a log in order, each until the producer has it, and gives them their places.

use std::sync::Arc;
use std::time::Duration;

use gantry_domain::log::LogChunk;
use gantry_domain::run::LeaseToken;
use gantry_executor::AttemptKey;
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::log_pipeline::Batch;
use crate::producer::{Producer, ProducerError, within};

/// Sends one attempt's log.
pub(crate) struct LogSender {
    pub producer: Arc<dyn Producer>,
    pub key: AttemptKey,
    pub lease: LeaseToken,
    pub call_bound: Duration,
    /// Tells the attempt that its lease is over.
    pub lose: Box<dyn Fn() + Send + Sync>,
}

/// How far it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SentLog {
    pub end: u64,
    pub problem: Option<String>,
}

impl LogSender {
    /// Until the channel is closed and empty. Once a batch cannot be stored, the rest is dropped.
    pub async fn run(self, mut batches: mpsc::Receiver<Batch>) -> SentLog {
        let mut sent = SentLog::default();
        while let Some(batch) = batches.recv().await {
            if sent.problem.is_some() {
                continue;
            }
            match LogChunk::new(sent.end, batch.segments, batch.bytes.freeze()) {
                Ok(chunk) => self.send(chunk, &mut sent).await,
                Err(error) => sent.problem = Some(error.to_string()),
            }
        }
        sent
    }

    async fn send(&self, mut chunk: LogChunk, sent: &mut SentLog) {
        let mut backoff = Backoff::new();
        loop {
            let append = self.producer.append_logs(self.key.run, &self.lease, &chunk);
            match within(self.call_bound, append).await {
                Ok(_) => {
                    metrics::counter!("gantry_worker_log_bytes_total").increment(chunk.end() - chunk.offset);
                    sent.end = chunk.end();
                    return;
                }
                Err(ProducerError::Stale) => {
                    (self.lose)();
                    sent.problem = Some("the lease was over".to_owned());
                    return;
                }
                Err(ProducerError::LogOffset { end: Some(end) }) if end > chunk.offset => {
                    // An answer was lost: the beginning of this chunk, or all of it, is there.
                    sent.end = end.min(chunk.end());
                    match chunk.from_offset(end) {
                        Some(rest) => chunk = rest,
                        None => return,
                    }
                }
                Err(error @ (ProducerError::LogOffset { .. } | ProducerError::Refused(_))) => {
                    tracing::error!(run.id = %self.key.run, offset = chunk.offset, %error, "log batch refused");
                    sent.problem = Some(format!("the producer refused a part of the log: {error}"));
                    return;
                }
                Err(error @ ProducerError::Retry { .. }) => {
                    tracing::debug!(run.id = %self.key.run, %error, "log batch not stored yet");
                    backoff.wait_after(&error).await;
                }
            }
        }
    }
}
