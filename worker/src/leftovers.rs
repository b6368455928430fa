//! Removes what attempts left on the engine that are over: their worker died, or could not remove it.

use std::sync::Arc;
use std::time::Duration;

use gantry_api_types::worker::{AttemptRef, OverQuestion};
use gantry_executor::AttemptKey;

use crate::producer::within;
use crate::sandbox::destroy;
use crate::shared::Shared;

const AFTER_FAILURE: Duration = Duration::from_secs(5);
const LIST_BOUND: Duration = Duration::from_secs(30);

/// Looks now, every period and whenever the engine comes back, until it is dropped.
pub(crate) async fn remove_leftovers(shared: Arc<Shared>) {
    let mut trouble = shared.engine.trouble();
    loop {
        let mut pause = shared.config.leftovers_period;
        if let Err(error) = remove_once(&shared).await {
            tracing::warn!(error, "cannot look for leftovers; looking again soon");
            pause = pause.min(AFTER_FAILURE);
        }
        let back = async {
            // An error says that the worker is gone, and this with it.
            let _ = trouble.wait_for(Option::is_some).await;
            let _ = trouble.wait_for(Option::is_none).await;
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = back => {}
        }
    }
}

async fn remove_once(shared: &Shared) -> Result<(), String> {
    let found = match tokio::time::timeout(LIST_BOUND, shared.executor.leftovers()).await {
        Ok(found) => found.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("the engine did not answer within {} s", LIST_BOUND.as_secs())),
    };
    // Looked up after listing: what is listed and ours was ours before.
    let attempts: Vec<_> = found
        .into_iter()
        .filter(|key| !shared.leases.is_held(*key))
        .map(|key| AttemptRef { run: key.run, attempt: key.attempt })
        .collect();
    if attempts.is_empty() {
        return Ok(());
    }
    let question = OverQuestion { worker: shared.config.id, attempts };
    let answer = within(shared.config.bounds.call, shared.producer.over(&question))
        .await
        .map_err(|error| error.to_string())?;
    // Only what was asked for: other attempts are none of this worker's business.
    for attempt in answer.over.into_iter().filter(|over| question.attempts.contains(over)) {
        let key = AttemptKey { run: attempt.run, attempt: attempt.attempt };
        if destroy(shared, key).await.is_ok() {
            tracing::info!(run.id = %key.run, attempt = key.attempt, "removed what an attempt left behind");
            metrics::counter!("gantry_worker_leftovers_removed_total").increment(1);
        }
    }
    Ok(())
}
