//! Claiming: the compare-and-set that makes exactly one worker execute a queued run.

use gantry_api_types::worker::{Claim, Grant};
use gantry_domain::id::{RunId, WorkerId};
use gantry_domain::run::{Claimed, Lease, LeaseToken, Refused, Run};
use gantry_domain::time::Timestamp;
use gantry_store::{Durability, LeaseRef, Renewal, StoreError};

use crate::error::{ApiError, ApiResult};
use crate::services::environment;
use crate::services::transition::{Scope, Unchanged, change};
use crate::state::App;
use crate::trace;
use crate::worker_tokens::Allowed;

/// Grants the lease, or the same one again for the same claim. A token of another pool is as good as none.
pub async fn claim(app: &App, id: RunId, claim: Claim, allowed: &Allowed) -> ApiResult<Grant> {
    let now = app.now();
    let lease = Lease {
        worker: claim.worker,
        dispatch: claim.dispatch,
        claim: claim.claim,
        token: LeaseToken::from_bits(rand::random()),
        expires_at: now + app.config.leases.lease,
        started: false,
    };
    let decide = |run: &Run| match run.claim(lease.clone(), now)? {
        _ if !allowed.pool(&run.spec.pool) => Err(Refused::Stale),
        Claimed::Granted(next) => Ok(Some(next)),
        Claimed::Repeated => Ok(None),
    };
    // Relaxed: a claim lost in a power cut is a queued run that is published again.
    let run = match change(app, Scope::Any, id, Durability::Relaxed, decide).await {
        Ok(run) => run,
        Err(Unchanged::NotFound | Unchanged::Refused(..)) => return Err(refuse(app, claim.worker)),
        // Asking again would hold the worker's slot for nothing. The run stays queued: whoever can read it publishes it again.
        Err(Unchanged::Store(StoreError::Corrupt(why))) => {
            tracing::warn!(run.id = %id, why, "a run that cannot be read is not handed out");
            return Err(refuse(app, claim.worker));
        }
        Err(Unchanged::Store(error)) => return Err(error.into()),
    };
    if run.check_lease(&lease.token).is_err() {
        return repeat(app, &run, claim.worker, lease.expires_at).await;
    }
    trace::about(&run);
    app.fleet.claimed(claim.worker);
    app.wakes.dispatch.wake();
    grant(app, &run)
}

/// The worker forgets the message, and its slot is free for another one.
fn refuse(app: &App, worker: WorkerId) -> ApiError {
    app.fleet.refused(worker);
    app.wakes.dispatch.wake();
    ApiError::stale()
}

/// The worker counts its fence from when it asked again, so the lease has to last from then on, too.
async fn repeat(app: &App, run: &Run, worker: WorkerId, expires_at: Timestamp) -> ApiResult<Grant> {
    let Some(held) = run.state.lease() else { return Err(ApiError::stale()) };
    let lease = LeaseRef { run: run.id, token: held.token.clone() };
    match app.parts.stores.runs.renew(worker, &[lease], expires_at).await?.as_slice() {
        [Renewal::Renewed { .. }] => grant(app, run),
        _ => Err(ApiError::stale()),
    }
}

fn grant(app: &App, run: &Run) -> ApiResult<Grant> {
    let Some(lease) = run.state.lease() else { return Err(ApiError::stale()) };
    let spec = &run.spec;
    let (environment, masked) = environment::resolve(run, run.attempt(), &app.config.secrets);
    Ok(Grant {
        run: run.id,
        organization: run.organization,
        attempt: run.attempt(),
        lease: lease.token.clone(),
        image: spec.image.clone(),
        command: spec.command.clone(),
        folder: spec.folder.clone(),
        workdir: spec.workdir.clone(),
        network: spec.network,
        environment,
        masked,
        resources: spec.resources,
        timeout_seconds: spec.timeout_seconds,
        collect_timeout_seconds: app.config.limits.collect_timeout.as_secs().try_into().unwrap_or(u32::MAX),
        artifacts: spec.artifacts.clone(),
        log_limit_bytes: app.config.limits.log_bytes,
        start_first: spec.at_most_once,
    })
}
