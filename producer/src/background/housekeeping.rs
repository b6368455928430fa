//! Slow duties: forgetting idempotency keys and workers that went, and the gauges that a scrape shows.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_service_kit::reconciler::{Outcome, ReconcileError, Reconciler};

use super::failed;
use crate::state::App;

/// A worker not heard of for this long is forgotten.
const FORGET_WORKER_AFTER: Duration = Duration::from_secs(3600);

pub struct Housekeeping(pub Arc<App>);

#[async_trait]
impl Reconciler for Housekeeping {
    fn name(&self) -> &'static str {
        "housekeeping"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(30)
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let stores = &self.0.parts.stores;
        let now = self.0.now();
        let forgotten =
            stores.runs.forget_idempotency(now - self.0.config.limits.idempotency).await.map_err(failed)?;
        let gone = stores.workers.forget(None, now - FORGET_WORKER_AFTER).await.map_err(failed)?;
        self.0.fleet.forget_silent();
        // Workers that other replicas hear from.
        for worker in stores.workers.list().await.map_err(failed)? {
            if now.since(worker.last_seen_at) < self.0.config.leases.fence {
                self.0.fleet.seen_elsewhere(&worker);
            }
        }
        for depth in stores.dispatch.depths().await.map_err(failed)? {
            for (state, count) in
                [("pending", depth.pending), ("queued", depth.queued), ("running", depth.running)]
            {
                metrics::gauge!("gantry_runs", "pool" => depth.pool.to_string(), "state" => state)
                    .set(count as f64);
            }
        }
        Ok(Outcome::did(forgotten + gone))
    }
}
