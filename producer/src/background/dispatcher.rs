//! Hands pending runs to the queue whenever the fleet has room.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_service_kit::reconciler::{Outcome, ReconcileError, Reconciler};

use super::failed;
use crate::services::dispatch::dispatch;
use crate::state::App;

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
        for pool in self.0.fleet.pools() {
            let (done, more) = dispatch(&self.0, &pool).await.map_err(failed)?;
            total += done;
            again |= more;
        }
        Ok(Outcome::did(total).again_if(again))
    }
}
