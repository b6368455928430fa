//! Hands pending runs to the queue whenever the fleet has room.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::spec::Pool;
use gantry_service_kit::reconciler::{Outcome, ReconcileError, Reconciler};

use super::failed;
use crate::services::dispatch::{depth, dispatch};
use crate::state::App;

/// What gets free meanwhile is handed out together: the queue holds what workers take next.
const BETWEEN: Duration = Duration::from_millis(20);

pub struct Dispatcher(pub Arc<App>);

#[async_trait]
impl Reconciler for Dispatcher {
    fn name(&self) -> &'static str {
        "dispatch"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(5)
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let (mut total, mut again) = (0, false);
        let known = self.0.fleet.pools();
        let settled: Option<Vec<_>> = known.iter().map(|pool| self.0.room.settled_for(pool)).collect();
        if let Some(soonest) = settled.and_then(|settled| settled.into_iter().min()) {
            return Ok(Outcome::idle().due_in(Some(soonest)));
        }
        self.0.fleet.look(&*self.0.parts.stores.workers, self.0.now()).await;
        let pools = self.0.fleet.pools();
        if pools.is_empty() {
            // Nothing to hand over, but whoever looks wants to know whether it could be.
            depth(&self.0, &Pool::default()).await;
        }
        let mut failure = None;
        for pool in pools {
            match dispatch(&self.0, &pool).await {
                Ok((done, more)) => {
                    total += done;
                    again |= more;
                }
                // What stops one pool need not stop the others.
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            return Err(failed(error));
        }
        if total > 0 {
            tokio::time::sleep(BETWEEN).await;
        }
        // A broker that is back is not kept waiting.
        let soon = self.0.broker.trouble().map(|_| Duration::from_secs(1));
        Ok(Outcome::did(total).again_if(again).due_in(soon))
    }
}
