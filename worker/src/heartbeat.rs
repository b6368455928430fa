//! One heartbeat for all leases of the worker: it renews them and brings back who is wanted to end.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use gantry_api_types::worker::{Heartbeat, HeartbeatAnswer, HeldLease, LeaseSignal, Register, Registered};
use gantry_queue::ControlMessage;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::lease::Signal;
use crate::producer::{ProducerError, within};
use crate::shared::Shared;

/// Registers, however long it takes.
pub(crate) async fn register(shared: &Shared) -> Registered {
    let mut backoff = Backoff::new();
    let mut complained = false;
    loop {
        match try_register(shared).await {
            Ok(registered) => {
                tracing::info!(worker = %shared.config.id, pool = %shared.config.pool, "registered");
                return registered;
            }
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::warn!(%error, "cannot register; trying until it works");
                }
                backoff.wait_after(&error).await;
            }
        }
    }
}

async fn try_register(shared: &Shared) -> Result<Registered, ProducerError> {
    let config = &shared.config;
    let register = Register {
        worker: config.id,
        name: config.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pool: config.pool.clone(),
        executor: shared.executor.kind(),
        slots: config.slots,
    };
    let registered = within(config.bounds.call, shared.producer.register(&register)).await?;
    shared.contact.answered();
    shared.leases.set_fence(Duration::from_millis(registered.fence_ms));
    Ok(registered)
}

/// Beats until it is dropped.
pub(crate) async fn beat(shared: Arc<Shared>, period: Duration) {
    let (mut disk, mut engine) = (shared.disk.clone(), shared.engine.trouble());
    let mut failures = 0_u32;
    loop {
        // After a beat that was not answered the next one comes sooner.
        let pause = if failures == 0 { period } else { period / 4 };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // A change of mind about taking runs is told at once.
            Ok(()) = disk.changed(), if failures == 0 => {}
            Ok(()) = engine.changed(), if failures == 0 => {}
        }
        let sent_at = Instant::now();
        let heartbeat = heartbeat(&shared);
        let bound = (period * 2).min(shared.config.bounds.call);
        match within(bound, shared.producer.heartbeat(&heartbeat)).await {
            Ok(answer) => {
                if failures > 0 {
                    tracing::info!(failures, "heartbeats are answered again");
                }
                failures = 0;
                shared.contact.answered();
                take_in(&shared, &heartbeat.leases, answer, sent_at).await;
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%error, "a heartbeat was not answered");
                }
                failures += 1;
                metrics::counter!("gantry_worker_heartbeat_failures_total").increment(1);
            }
        }
    }
}

fn heartbeat(shared: &Shared) -> Heartbeat {
    crate::metrics::slots(&shared.slots);
    let disk = shared.disk.borrow().clone();
    Heartbeat {
        worker: shared.config.id,
        busy: shared.slots.busy(),
        disk_free_bytes: disk.space.map(|space| space.free),
        disk_total_bytes: disk.space.map(|space| space.total),
        paused: disk.paused.or_else(|| shared.engine.trouble().borrow().clone()),
        leases: shared.leases.held(),
    }
}

async fn take_in(shared: &Shared, asked: &[HeldLease], answer: HeartbeatAnswer, sent_at: Instant) {
    for (lease, signal) in asked.iter().zip(answer.leases) {
        match signal {
            LeaseSignal::Renewed => shared.leases.renew(lease, sent_at),
            LeaseSignal::Cancel => {
                shared.leases.renew(lease, sent_at);
                shared.leases.signal(lease, Signal::Cancel);
            }
            LeaseSignal::Lost => shared.leases.signal(lease, Signal::Lost),
        }
    }
    let changed = shared.draining.send_if_modified(|draining| {
        let changed = *draining != answer.draining;
        *draining = answer.draining;
        changed
    });
    if changed {
        tracing::info!(draining = answer.draining, "the producer says whether to take runs");
    }
    if answer.unknown
        && let Err(error) = try_register(shared).await
    {
        tracing::warn!(%error, "cannot register again; the next heartbeat tries again");
    }
}

/// Takes control messages until it is dropped. Heartbeats carry the same signals, later.
pub(crate) async fn listen(shared: Arc<Shared>) {
    let mut backoff = Backoff::new();
    loop {
        match shared.queue.control().await {
            Ok(mut messages) => {
                while let Some(message) = messages.next().await {
                    backoff = Backoff::new();
                    let ControlMessage::Cancel { run, attempt } = message;
                    shared.leases.signal_attempt(run, attempt, Signal::Cancel);
                }
            }
            Err(error) => tracing::warn!(%error, "no control messages: cancelling waits for heartbeats"),
        }
        backoff.wait().await;
    }
}
