//! Claiming: the compare-and-set that makes exactly one worker execute a queued run.

use gantry_api_types::worker::{Claim, Grant, RegistryAuth};
use gantry_domain::attempt::Observation;
use gantry_domain::id::{RunId, WorkerId};
use gantry_domain::run::{AttemptReport, Claimed, Lease, LeaseToken, Refused, Run};
use gantry_domain::spec::Network;
use gantry_domain::time::Timestamp;
use gantry_store::{Durability, LeaseRef, Renewal, StoreError};

use crate::error::{ApiError, ApiResult};
use crate::services::secrets::{self, Unopened};
use crate::services::transition::{Scope, Unchanged, change};
use crate::services::{allowances, environment};
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
        // An older worker would give it one: it stays queued for another.
        _ if run.spec.network == Network::None && !claim.keeps_network => Err(Refused::Stale),
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
    grant(app, &run).await
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
        [Renewal::Renewed { .. }] => grant(app, run).await,
        _ => Err(ApiError::stale()),
    }
}

/// Everything the worker needs, secrets included. A run whose secrets cannot be had ends here.
async fn grant(app: &App, run: &Run) -> ApiResult<Grant> {
    let Some(lease) = run.state.lease() else { return Err(ApiError::stale()) };
    let spec = &run.spec;
    let opened = match secrets::open(app, run).await {
        Ok(opened) => opened,
        // The lease is held: the same claim again gets its answer.
        Err(Unopened::Store(error)) => return Err(error.into()),
        Err(Unopened::Gone(detail)) => {
            return end(app, run, lease, Observation::SecretMissing { detail }).await;
        }
        // Perhaps another producer has the key.
        Err(Unopened::Closed(detail)) => {
            tracing::error!(run.id = %run.id, org.id = %run.organization, why = detail, "a run's secrets cannot be opened");
            return end(app, run, lease, Observation::Infrastructure { detail }).await;
        }
    };
    let environment = environment::resolve(run, run.attempt(), &opened.secrets);
    let masked = opened.masked();
    let registry = opened.registry.map(|login| RegistryAuth {
        registry: login.registry,
        username: login.username,
        password: login.password.expose().to_owned(),
    });
    let allowance = allowances::of(app, run.organization).await;
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
        registry,
        resources: spec.resources,
        timeout_seconds: spec.timeout_seconds,
        collect_timeout_seconds: app.config.limits.collect_timeout.as_secs().try_into().unwrap_or(u32::MAX),
        artifacts: spec.artifacts.clone(),
        log_limit_bytes: allowance.log_bytes,
        start_first: spec.at_most_once,
    })
}

/// Ends the attempt before it began; its worker forgets it.
async fn end(app: &App, run: &Run, lease: &Lease, observed: Observation) -> ApiResult<Grant> {
    let (now, report) = (app.now(), AttemptReport::default());
    let ended = change(app, Scope::Any, run.id, Durability::Synced, |run| {
        run.finish(&lease.token, &observed, report.clone(), now).map(|(next, _)| Some(next))
    });
    match Box::pin(ended).await {
        Err(Unchanged::Store(error)) => Err(error.into()),
        _ => Err(ApiError::stale()),
    }
}
