//! The quota of runs that wait: nobody fills the store, or the queue's patience, with more than his share. Counted by
//! whoever accepts: exact for one replica; beside it others may accept a little more in the moment between two counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gantry_domain::id::OrganizationId;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use tokio::time::Instant;

use crate::error::{ApiError, ApiResult};
use crate::state::App;

/// How long a count lets runs in.
const LETS_IN: Duration = Duration::from_secs(1);
/// How long it keeps them out.
const KEEPS_OUT: Duration = Duration::from_millis(250);
const MAX_KNOWN: usize = 10_000;

/// What was counted for each organization that has a quota.
#[derive(Default)]
pub struct Queued(Mutex<HashMap<OrganizationId, Arc<Gate>>>);

#[derive(Default)]
struct Gate {
    /// Read while a run is being stored, written while they are counted: a count misses none, and counts none twice.
    storing: Arc<RwLock<()>>,
    count: Mutex<Option<Count>>,
}

#[derive(Clone, Copy)]
struct Count {
    at: Instant,
    max: u32,
    left: u32,
}

impl Count {
    fn holds(&self, max: u32) -> bool {
        self.max == max && self.at.elapsed() < if self.left > 0 { LETS_IN } else { KEEPS_OUT }
    }
}

/// Room for one run. Kept until the run is stored, or will not be.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<()>);

impl Gate {
    fn count(&self) -> MutexGuard<'_, Option<Count>> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last count has room, and takes it; `None` when it says nothing any more.
    fn take(&self, max: u32) -> Option<bool> {
        let mut count = self.count();
        let count = count.as_mut().filter(|count| count.holds(max))?;
        let room = count.left > 0;
        count.left = count.left.saturating_sub(1);
        Some(room)
    }

    fn is_known(&self, max: u32) -> bool {
        self.count().is_some_and(|count| count.holds(max))
    }
}

impl Queued {
    fn gate(&self, organization: OrganizationId) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= MAX_KNOWN {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        gates.entry(organization).or_default().clone()
    }
}

/// Takes a place among the runs that wait; an error says that there is none, and what to do.
pub async fn enter(app: &App, organization: OrganizationId, max: u32) -> ApiResult<Place> {
    let gate = app.queued.gate(organization);
    loop {
        let place = gate.storing.clone().read_owned().await;
        match gate.take(max) {
            Some(true) => return Ok(Place(place)),
            Some(false) => return Err(refused(max)),
            None => drop(place),
        }
        let _alone = gate.storing.write().await;
        // Who waited for the lock behind another finds what that one counted.
        if gate.is_known(max) {
            continue;
        }
        let depths = app.parts.stores.dispatch.organization_depths(organization).await?;
        let waiting: u64 = depths.iter().map(|depth| depth.pending + depth.queued).sum();
        let left = u64::from(max).saturating_sub(waiting);
        *gate.count() = Some(Count { at: Instant::now(), max, left: u32::try_from(left).unwrap_or(max) });
    }
}

fn refused(max: u32) -> ApiError {
    metrics::counter!("gantry_quota_refused_total", "quota" => "queued_runs").increment(1);
    ApiError::quota_exceeded(format!(
        "{max} runs of this organization wait already, which is its quota of queued runs. Try again when some of them \
         have started, cancel some, or ask whoever operates this installation for more."
    ))
}
