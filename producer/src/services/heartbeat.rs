//! Workers that come, live and go.

use gantry_api_types::worker::{
    Heartbeat, HeartbeatAnswer, LeaseSignal, OverAnswer, OverQuestion, Register, Registered,
};
use gantry_domain::id::WorkerId;
use gantry_domain::worker::Worker;
use gantry_store::{LeaseRef, Renewal, StoreError};

use crate::error::ApiResult;
use crate::state::App;

/// A worker starts: it is listed, and told how leases work here.
pub async fn register(app: &App, register: Register) -> ApiResult<Registered> {
    let now = app.now();
    let worker = Worker {
        id: register.worker,
        name: register.name.chars().filter(|c| !c.is_control()).take(100).collect(),
        version: register.version.chars().filter(|c| !c.is_control()).take(50).collect(),
        pool: register.pool,
        executor: register.executor,
        slots: register.slots,
        busy: 0,
        disk_free_bytes: None,
        disk_total_bytes: None,
        draining: false,
        paused: None,
        registered_at: now,
        last_seen_at: now,
    };
    let worker = app.parts.stores.workers.put(&worker).await?;
    app.fleet.heard(&worker);
    app.wakes.dispatch.wake();
    let leases = &app.config.leases;
    let millis = |duration: std::time::Duration| duration.as_millis() as u64;
    Ok(Registered {
        installation: app.installation,
        heartbeat_ms: millis(leases.heartbeat),
        lease_ms: millis(leases.lease),
        fence_ms: millis(leases.fence),
    })
}

/// Renews the worker's leases and carries signals back.
pub async fn heartbeat(app: &App, beat: Heartbeat) -> ApiResult<HeartbeatAnswer> {
    let now = app.now();
    let leases: Vec<_> =
        beat.leases.iter().map(|held| LeaseRef { run: held.run, token: held.token.clone() }).collect();
    let renewed = match leases.is_empty() {
        true => Vec::new(),
        false => app.parts.stores.runs.renew(beat.worker, &leases, now + app.config.leases.lease).await?,
    };
    let leases = renewed
        .into_iter()
        .map(|renewal| match renewal {
            Renewal::Renewed { cancel: false } => LeaseSignal::Renewed,
            Renewal::Renewed { cancel: true } => LeaseSignal::Cancel,
            Renewal::Lost => LeaseSignal::Lost,
        })
        .collect();
    let known = match app.parts.stores.workers.get(beat.worker).await {
        // A newer replica wrote it: the worker is registered again, as this version knows it.
        Err(StoreError::Corrupt(_)) => None,
        known => known?,
    };
    let Some(known) = known else {
        return Ok(HeartbeatAnswer { draining: false, unknown: true, leases });
    };
    let worker = app
        .parts
        .stores
        .workers
        .put(&Worker {
            busy: beat.busy,
            disk_free_bytes: beat.disk_free_bytes,
            disk_total_bytes: beat.disk_total_bytes,
            paused: beat.paused,
            last_seen_at: now,
            ..known
        })
        .await?;
    app.fleet.heard(&worker);
    app.wakes.dispatch.wake();
    Ok(HeartbeatAnswer { draining: worker.draining, unknown: false, leases })
}

/// A worker is gone for good and holds nothing.
pub async fn leave(app: &App, worker: WorkerId) -> ApiResult<()> {
    app.fleet.left(worker);
    app.parts.stores.workers.forget(Some(worker), gantry_domain::time::Timestamp::EPOCH).await?;
    Ok(())
}

/// Which of these attempts nobody executes any more.
pub async fn over(app: &App, question: OverQuestion) -> ApiResult<OverAnswer> {
    let mut over = Vec::new();
    for asked in question.attempts.into_iter().take(10_000) {
        let going_on = match app.parts.stores.runs.find(asked.run).await {
            // Who can tell? Its container stays, and those of others go.
            Err(StoreError::Corrupt(_)) => true,
            Err(error) => return Err(error.into()),
            Ok(None) => false,
            Ok(Some(run)) => run.state.lease().is_some() && run.attempt() == asked.attempt,
        };
        if !going_on {
            over.push(asked);
        }
    }
    Ok(OverAnswer { over })
}
