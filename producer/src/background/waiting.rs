//! Looks after runs that wait: for a retry's time, for a worker to claim them, or for too long.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::run::{Hold, RunState};
use gantry_service_kit::reconciler::{Outcome, ReconcileError, Reconciler};
use gantry_store::Durability;

use super::failed;
use crate::services::dispatch::{depth, publish};
use crate::services::transition::{Unchanged, change_from};
use crate::state::App;

const BATCH: u32 = 200;

/// Makes runs ready whose time has come.
pub struct Due(pub Arc<App>);

#[async_trait]
impl Reconciler for Due {
    fn name(&self) -> &'static str {
        "due-runs"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let now = self.0.now();
        let (due, next) = self.0.parts.stores.runs.due(now, BATCH).await.map_err(failed)?;
        let found = due.len();
        let mut did = 0;
        for run in due {
            let changed = change_from(&self.0, run, Durability::Relaxed, |run| match run.state {
                RunState::Pending { hold: Hold::Due { at } } if at <= now => {
                    run.hold(Hold::Workers).map(Some)
                }
                _ => Ok(None),
            });
            match changed.await {
                Err(Unchanged::Store(error)) => return Err(failed(error)),
                _ => did += 1,
            }
        }
        if did > 0 {
            self.0.wakes.dispatch.wake();
        }
        let next_due = next.map(|at| at.since(self.0.now()));
        Ok(Outcome::did(did).again_if(found == BATCH as usize).due_in(next_due))
    }
}

/// Publishes queued runs again whose message seems lost: the broker holds fewer than the store says are queued.
pub struct Unclaimed(pub Arc<App>);

#[async_trait]
impl Reconciler for Unclaimed {
    fn name(&self) -> &'static str {
        "republish"
    }

    fn period(&self) -> Duration {
        (self.0.config.leases.republish_after / 2).max(Duration::from_secs(1))
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let before = self.0.now() - self.0.config.leases.republish_after;
        let unclaimed = self.0.parts.stores.runs.unclaimed(before, BATCH).await.map_err(failed)?;
        if unclaimed.is_empty() {
            return Ok(Outcome::idle());
        }
        let depths = self.0.parts.stores.dispatch.depths().await.map_err(failed)?;
        let mut did = 0;
        for run in unclaimed {
            let queued =
                depths.iter().find(|depth| depth.pool == run.spec.pool).map_or(0, |depth| depth.queued);
            // A broker that is away has lost nothing yet, as far as anybody can tell.
            let Some(in_broker) = depth(&self.0, &run.spec.pool).await else { break };
            // What a worker has in hand while it claims the broker may not count: published again it is there twice,
            // and then counted. So this ends, and the second claim is refused.
            if in_broker < queued {
                tracing::warn!(run.id = %run.id, org.id = %run.organization, "unclaimed: published again");
                if !publish(&self.0, &run).await {
                    break;
                }
                did += 1;
            }
        }
        Ok(Outcome::did(did))
    }
}

/// Gives up runs that waited longer than allowed.
pub struct QueueTimeout(pub Arc<App>);

#[async_trait]
impl Reconciler for QueueTimeout {
    fn name(&self) -> &'static str {
        "queue-timeout"
    }

    fn period(&self) -> Duration {
        (self.0.config.limits.queue_timeout / 4).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let limit = self.0.config.limits.queue_timeout;
        let now = self.0.now();
        let waiting = self.0.parts.stores.runs.waiting_since(now - limit, BATCH).await.map_err(failed)?;
        let found = waiting.len();
        let mut did = 0;
        for run in waiting {
            // The store knows only when it was accepted: what was tried since then did not wait all the time.
            let given_up = change_from(&self.0, run, Durability::Synced, |run| {
                if now.since(run.waiting_since()) < limit {
                    return Ok(None);
                }
                run.give_up_waiting(limit, now).map(Some)
            });
            match given_up.await {
                Ok(run) => did += u64::from(run.is_final()),
                Err(Unchanged::Store(error)) => return Err(failed(error)),
                Err(_) => {}
            }
        }
        Ok(Outcome::did(did).again_if(did > 0 && found == BATCH as usize))
    }
}
