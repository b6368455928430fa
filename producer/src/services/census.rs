//! What runs and workers there are, as of a moment ago: those who ask often, or all at once, cost the store no more than one.

use std::sync::Arc;
use std::time::Duration;

use gantry_domain::time::Timestamp;
use gantry_domain::worker::Worker;
use gantry_store::{PoolDepth, StoreError, Stores};
use tokio::sync::Mutex;

/// How old an answer may be.
const FRESH: Duration = Duration::from_millis(250);

#[derive(Default)]
pub struct Census(Mutex<Option<(Timestamp, Arc<Counted>)>>);

pub struct Counted {
    pub depths: Vec<PoolDepth>,
    pub workers: Vec<Worker>,
}

impl Census {
    pub async fn take(&self, stores: &Stores, now: Timestamp) -> Result<Arc<Counted>, StoreError> {
        let mut last = self.0.lock().await;
        if let Some((at, counted)) = last.as_ref()
            && now >= *at
            && now.since(*at) < FRESH
        {
            return Ok(counted.clone());
        }
        let (depths, workers) = tokio::try_join!(stores.dispatch.depths(), stores.workers.list())?;
        let counted = Arc::new(Counted { depths, workers });
        *last = Some((now, counted.clone()));
        Ok(counted)
    }
}
