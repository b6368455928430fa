//! Keeps concurrency limits honest: drops places of runs that no longer need them, and wakes runs that wait for a limit
//! with room.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::run::{Hold, RunState};
use gantry_service_kit::reconciler::{Outcome, ReconcileError, Reconciler};

use super::failed;
use crate::services::concurrency;
use crate::state::App;

pub struct Holders(pub Arc<App>);

#[async_trait]
impl Reconciler for Holders {
    fn name(&self) -> &'static str {
        "limit-holders"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let stores = &self.0.parts.stores;
        let mut did = 0;
        for (key, run) in stores.dispatch.holders().await.map_err(failed)? {
            let stored = stores.runs.find(run).await.map_err(failed)?;
            // A run that may be dispatched at any moment may be between taking the place and being queued.
            let needed = stored.is_some_and(|run| {
                run.holding.contains(&key) || matches!(run.state, RunState::Pending { hold: Hold::Workers })
            });
            if !needed {
                stores.dispatch.release(run, std::slice::from_ref(&key)).await.map_err(failed)?;
                did += 1;
            }
        }
        // One each: whoever finds its limit full waits again, whoever does not frees the way for the next pass.
        for key in stores.dispatch.blocking_keys().await.map_err(failed)? {
            did += concurrency::unblock(&self.0, &key, 1).await.map_err(failed)?;
        }
        if did > 0 {
            self.0.wakes.dispatch.wake();
        }
        Ok(Outcome::did(did))
    }
}
