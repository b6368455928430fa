//! Keeping lanes awake. A lane is asleep when nobody needs to look at it: no run of its organization waits in its pool.
//!
//! Whoever is about to make a run ready touches the lane first, unless he did so a moment ago; a lane falls asleep only
//! after it was watched without a run and without a touch for much longer than that (`lanes`). So no run comes into a
//! sleeping lane, and a run costs no write to its lane. What a process that stood still for a minute leaves behind all
//! the same, a sweep over the ready runs finds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gantry_domain::run::Run;
use mongodb::bson::{Document, doc};

use super::calls::Call;
use super::document::number;
use super::errors::Fault;
use super::{Core, names};
use crate::Result;

/// How long one touch counts.
const COUNTS_FOR: Duration = Duration::from_secs(10);
/// A lane is watched for this long without a run before it may sleep: longer than a touch counts and the write that
/// relies on it may take.
pub(super) const WATCHED_FOR: Duration = Duration::from_secs(60);
/// Lanes remembered.
const REMEMBERED: usize = 10_000;

/// An organization's runs in a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Lane {
    pub pool: String,
    pub organization: String,
}

impl Lane {
    pub fn of(run: &Run) -> Self {
        Self { pool: run.spec.pool.as_str().to_owned(), organization: run.organization.to_string() }
    }

    pub fn id(&self) -> String {
        format!("{}/{}", self.pool, self.organization)
    }
}

/// The touches of this process.
#[derive(Default)]
pub(super) struct Wakes(Mutex<HashMap<Lane, Instant>>);

impl Wakes {
    fn counts(&self, lane: &Lane) -> bool {
        let touched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        touched.get(lane).is_some_and(|at| at.elapsed() < COUNTS_FOR)
    }

    fn note(&self, lane: &Lane, at: Instant) {
        let mut touched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.len() >= REMEMBERED {
            touched.clear();
        }
        touched.insert(lane.clone(), at);
    }
}

impl Core {
    /// Makes sure that dispatching looks at the lane from now on.
    pub async fn keep_awake(&self, call: &Call, lane: &Lane) -> Result<()> {
        if self.wakes.counts(lane) {
            return Ok(());
        }
        let at = Instant::now();
        self.touch(call, lane).await?;
        self.wakes.note(lane, at);
        Ok(())
    }

    /// Touches the lane; one that slept goes on where the others are: idling earns nothing.
    pub async fn touch(&self, call: &Call, lane: &Lane) -> Result<()> {
        let lanes = self.documents(names::LANES);
        loop {
            let id = lane.id();
            if self
                .update_lane(call, doc! { "_id": &id, "awake": true }, doc! { "$inc": { "touched": 1_i64 } })
                .await?
            {
                return Ok(());
            }
            let vtime = self.lane_clock(call, &lane.pool).await?;
            let wake = doc! {
                "$set": { "awake": true, "idle": false }, "$max": { "vtime": vtime }, "$inc": { "touched": 1_i64 },
            };
            if self.update_lane(call, doc! { "_id": &id, "awake": false }, wake).await? {
                return Ok(());
            }
            let first = doc! {
                "_id": &id, "pool": &lane.pool, "organization": &lane.organization,
                "vtime": vtime, "awake": true, "idle": false, "touched": 1_i64,
            };
            match call.run(|| async { lanes.insert_one(&first).await }).await {
                Ok(_) => return Ok(()),
                // Somebody else was faster; touch what he made.
                Err(Fault::Duplicate) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    async fn update_lane(&self, call: &Call, filter: Document, update: Document) -> Result<bool> {
        let lanes = self.documents(names::LANES);
        let updated = call.run(|| async { lanes.update_one(filter.clone(), update.clone()).await }).await?;
        Ok(updated.matched_count > 0)
    }

    /// Where the pool's turns are: the least virtual time of a lane with runs, else the greatest of all.
    async fn lane_clock(&self, call: &Call, pool: &str) -> Result<i64> {
        let lanes = self.raw(names::LANES);
        let least = doc! { "pool": pool, "awake": true, "idle": false };
        let least =
            call.run(|| async { lanes.find_one(least.clone()).sort(doc! { "vtime": 1 }).await }).await?;
        let lane = match least {
            Some(lane) => Some(lane),
            None => {
                call.run(|| async { lanes.find_one(doc! { "pool": pool }).sort(doc! { "vtime": -1 }).await })
                    .await?
            }
        };
        Ok(lane.map(|lane| number(&lane, "vtime")).transpose()?.unwrap_or(0) as i64)
    }
}
