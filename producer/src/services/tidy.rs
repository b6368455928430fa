//! Shared by reconcilers: ending leases and waiting that lasted too long.

use gantry_domain::run::{Refused, Run};
use gantry_domain::time::Timestamp;
use gantry_store::{Durability, LogKey, StoreError};

use crate::services::transition::{Unchanged, change_from};
use crate::state::App;

/// Ends the attempt of a worker that is gone, unless its lease was renewed meanwhile. True when it was ended.
pub async fn lose(app: &App, run: Run, expired_at: Option<Timestamp>) -> Result<bool, StoreError> {
    let key = LogKey { organization: run.organization, run: run.id, attempt: run.attempt() };
    let attempt = run.attempt();
    let log_end = app.parts.stores.logs.end(key).await?;
    let now = app.now();
    let decide = |run: &Run| {
        let lease = run.state.lease().ok_or(Refused::Stale)?;
        let over = run.attempt() == attempt && expired_at.is_none_or(|at| lease.expires_at < at);
        if over { run.lose(log_end, now).map(|(next, _)| Some(next)) } else { Err(Refused::Stale) }
    };
    match change_from(app, run, Durability::Synced, decide).await {
        Ok(run) => {
            tracing::warn!(run.id = %run.id, org.id = %run.organization, attempt, now = run.status().as_str(), "the attempt's worker is gone");
            metrics::counter!("gantry_lease_expiries_total").increment(1);
            Ok(true)
        }
        Err(Unchanged::Store(error)) => Err(error),
        Err(_) => Ok(false),
    }
}
