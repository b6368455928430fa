//! Telling the producer how an attempt ended.

use gantry_api_types::worker::Finish;

use crate::backoff::Backoff;
use crate::lease::Lease;
use crate::producer::{ProducerError, within};
use crate::shared::Shared;

/// Until it is answered; the caller bounds it. A stale answer means that it is known already.
pub(crate) async fn finish(shared: &Shared, lease: &Lease, mut end: Finish) {
    let mut backoff = Backoff::new();
    let run = lease.key.run;
    loop {
        let call = shared.producer.finish(run, &lease.token, &end);
        match within(shared.config.bounds.call, call).await {
            Ok(finished) => {
                tracing::debug!(run.id = %run, status = ?finished.status, "finished");
                return;
            }
            Err(ProducerError::Stale) => return,
            Err(error @ ProducerError::Retry { .. }) => {
                tracing::debug!(run.id = %run, %error, "the end is not reported yet");
                backoff.wait_after(&error).await;
            }
            Err(ProducerError::LogOffset { end: stored }) if end.log_end > 0 => {
                tracing::error!(run.id = %run, ours = end.log_end, ?stored, "the producer has another end of the log");
                end.log_end = stored.unwrap_or(0);
                end.warnings.push((
                    "log_incomplete".to_owned(),
                    "The producer's log of this attempt is not the one that was sent.".to_owned(),
                ));
            }
            Err(error) => {
                tracing::error!(run.id = %run, %error, "the end was refused: the lease will expire");
                return;
            }
        }
    }
}
