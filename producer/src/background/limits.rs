//! Keeps concurrency limits honest: drops places of runs that no longer need them, and wakes runs that wait for a limit
//! with room.

use std::collections::HashMap;
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
        let (mut did, mut held) = (0, HashMap::<String, u32>::new());
        for (key, run) in stores.dispatch.holders().await.map_err(failed)? {
            let stored = stores.runs.find(run).await.map_err(failed)?;
            // A run that may be dispatched at any moment may be between taking the place and being queued.
            let needed = stored.is_some_and(|run| {
                run.holding.contains(&key) || matches!(run.state, RunState::Pending { hold: Hold::Workers })
            });
            if needed {
                *held.entry(key).or_default() += 1;
            } else {
                stores.dispatch.release(run, std::slice::from_ref(&key)).await.map_err(failed)?;
                did += 1;
            }
        }
        // As many as there are places. Somebody else may be faster: who finds the limit full waits again.
        for key in stores.dispatch.blocking_keys().await.map_err(failed)? {
            let held = held.get(&key).copied().unwrap_or(0);
            let room = concurrency::room(&self.0, &key, held).await.map_err(failed)?;
            did += concurrency::unblock(&self.0, &key, room).await.map_err(failed)?;
        }
        if did > 0 {
            self.0.wakes.dispatch.wake();
        }
        Ok(Outcome::did(did))
    }
}
