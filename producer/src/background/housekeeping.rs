//! Slow duties: forgetting idempotency keys, sessions and workers that went, and the gauges that a scrape shows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::identity::lockout::LockoutPolicy;
use gantry_domain::spec::Pool;
use gantry_service_kit::reconciler::{Outcome, ReconcileError, Reconciler};
use gantry_store::PoolDepth;

use super::failed;
use crate::state::App;

/// A worker not heard of for this long is forgotten.
const FORGET_WORKER_AFTER: Duration = Duration::from_secs(3600);
/// Sessions and links to choose a password.
const FORGET_EXPIRED_AFTER: Duration = Duration::from_secs(24 * 3600);

pub struct Housekeeping {
    app: Arc<App>,
    /// Pools that a gauge was set for: it must not stay when their last run is over.
    shown: Mutex<BTreeSet<Pool>>,
}

impl Housekeeping {
    pub fn new(app: Arc<App>) -> Self {
        Self { app, shown: Mutex::default() }
    }

    fn show_depths(&self, depths: Vec<PoolDepth>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<_> = depths.iter().map(|depth| depth.pool.clone()).collect();
        let gone = shown.difference(&now).cloned();
        let empty = gone.map(|pool| PoolDepth { pool, pending: 0, queued: 0, running: 0 });
        for depth in empty.chain(depths) {
            for (state, count) in
                [("pending", depth.pending), ("queued", depth.queued), ("running", depth.running)]
            {
                metrics::gauge!("gantry_runs", "pool" => depth.pool.to_string(), "state" => state)
                    .set(count as f64);
            }
        }
        *shown = now;
    }
}

#[async_trait]
impl Reconciler for Housekeeping {
    fn name(&self) -> &'static str {
        "housekeeping"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let stores = &self.app.parts.stores;
        let now = self.app.now();
        let forgotten =
            stores.runs.forget_idempotency(now - self.app.config.limits.idempotency).await.map_err(failed)?;
        let gone = stores.workers.forget(None, now - FORGET_WORKER_AFTER).await.map_err(failed)?;
        // What expired tells why for a while: a token that is replayed is answered as one of a session that is over.
        let long_ago = now - FORGET_EXPIRED_AFTER;
        let forgotten = forgotten
            + stores.sessions.forget(long_ago).await.map_err(failed)?
            + stores.resets.forget(long_ago).await.map_err(failed)?
            + stores.sign_ins.forget(now - LockoutPolicy::ACCOUNT.forget).await.map_err(failed)?;
        self.show_depths(stores.dispatch.depths().await.map_err(failed)?);
        Ok(Outcome::did(forgotten + gone))
    }
}
