//! The trace an attempt leaves on its engine, and who sees to it that it goes.

use std::sync::Arc;

use gantry_executor::AttemptKey;
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::shared::Shared;

const BACKGROUND_TRIES: u32 = 3;

/// Owns an attempt's trace on the engine. If it is dropped before the trace is gone (a panic, an abort, an engine that
/// failed), the worker's clean-up group goes on removing it; what even that cannot remove is found as a leftover later.
pub(crate) struct Sandbox {
    shared: Arc<Shared>,
    key: AttemptKey,
    gone: bool,
}

impl Sandbox {
    pub fn new(shared: Arc<Shared>, key: AttemptKey) -> Self {
        Self { shared, key, gone: false }
    }

    /// Removes every trace; says why it could not.
    pub async fn destroy(&mut self) -> Result<(), String> {
        destroy(&self.shared, self.key).await?;
        self.gone = true;
        Ok(())
    }
}

pub(crate) async fn destroy(shared: &Shared, key: AttemptKey) -> Result<(), String> {
    let bound = shared.config.bounds.destroy;
    let outcome = match tokio::time::timeout(bound, shared.executor.destroy(key)).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the engine did not remove it within {} s", bound.as_secs())),
    };
    if let Err(error) = &outcome {
        tracing::warn!(run.id = %key.run, attempt = key.attempt, error, "cannot remove an attempt's trace");
    }
    outcome
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Without a runtime the process is ending; the next start finds what is left.
        if self.gone || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (shared, key) = (Arc::clone(&self.shared), self.key);
        let removal = async move {
            let mut backoff = Backoff::new();
            for _ in 0..BACKGROUND_TRIES {
                if destroy(&shared, key).await.is_ok() {
                    return;
                }
                backoff.wait().await;
            }
        };
        let name = format!("remove {} {}", key.run, key.attempt);
        self.shared.cleanup.spawn(name, removal.in_current_span());
    }
}
