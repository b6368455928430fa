//! Takes runs away from workers that fell silent. Does nothing until the store has been healthy for a while, so that
//! an outage of the store, or a sleep of the machine, during which nobody could renew, kills no run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::time::Timestamp;
use gantry_service_kit::reconciler::{Outcome, ReconcileError, Reconciler};

use super::failed;
use crate::services::tidy;
use crate::state::App;

const BATCH: u32 = 200;
/// Passes are late by that much on a busy machine, however short their period.
const LEAST_UNWATCHED: Duration = Duration::from_secs(2);

pub struct LeaseReaper {
    app: Arc<App>,
    health: Mutex<Option<Health>>,
}

/// What earlier passes saw of the store, while nothing was wrong.
struct Health {
    since: Timestamp,
    seen_at: Timestamp,
}

impl LeaseReaper {
    pub fn new(app: Arc<App>) -> Self {
        Self { app, health: Mutex::new(None) }
    }

    fn settled(&self, healthy: bool) -> bool {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if !healthy {
            *health = None;
            return false;
        }
        let (now, leases) = (self.app.now(), &self.app.config.leases);
        // Later than that, or earlier than before: this machine slept or its clock jumped, and leases may have run out while
        // nobody could renew them.
        let unwatched = (leases.reaper_period * 2).max(LEAST_UNWATCHED);
        let watched =
            health.as_ref().filter(|health| now >= health.seen_at && now.since(health.seen_at) <= unwatched);
        let since = watched.map_or(now, |health| health.since);
        *health = Some(Health { since, seen_at: now });
        now.since(since) >= leases.settle
    }
}

#[async_trait]
impl Reconciler for LeaseReaper {
    fn name(&self) -> &'static str {
        "lease-reaper"
    }

    fn period(&self) -> Duration {
        self.app.config.leases.reaper_period
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let checked = self.app.parts.stores.auth.check().await;
        let settled = self.settled(checked.is_ok());
        checked.map_err(failed)?;
        if !settled {
            return Ok(Outcome::idle());
        }
        let now = self.app.now();
        let expired = self.app.parts.stores.runs.expired(now, BATCH).await.map_err(failed)?;
        let found = expired.len();
        let mut lost = 0;
        for run in expired {
            lost += u64::from(tidy::lose(&self.app, run, Some(now)).await.map_err(failed)?);
        }
        Ok(Outcome::did(lost).again_if(found == BATCH as usize))
    }
}
