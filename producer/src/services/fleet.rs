//! What this replica knows of the fleet, for deciding how much to hand to the queue. An estimate: claims and endings
//! seen here move it at once, heartbeats put it right.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gantry_domain::id::WorkerId;
use gantry_domain::spec::Pool;
use gantry_domain::time::Timestamp;
use gantry_domain::worker::Worker;

use crate::config::LeaseConfig;

/// Claims of this long are taken as what the fleet will soon claim again.
const CLAIM_WINDOW: Duration = Duration::from_millis(250);

/// Endings that an estimate is made from.
const PACE: usize = 20;

pub struct Fleet {
    silent_after: Duration,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    workers: HashMap<WorkerId, Member>,
    claims: HashMap<Pool, VecDeque<Instant>>,
    /// When the last runs ended.
    pace: HashMap<Pool, VecDeque<Instant>>,
}

struct Member {
    pool: Pool,
    slots: u32,
    busy: u32,
    takes_runs: bool,
    heard: Instant,
    /// Only the store told of it: it talks to another replica.
    elsewhere: bool,
}

impl Fleet {
    pub fn new(leases: &LeaseConfig) -> Self {
        Self { silent_after: leases.fence, inner: Mutex::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A worker said where it stands.
    pub fn heard(&self, worker: &Worker) {
        self.note(worker, false);
    }

    fn note(&self, worker: &Worker, elsewhere: bool) {
        let member = Member {
            pool: worker.pool.clone(),
            slots: worker.slots,
            busy: worker.busy,
            takes_runs: !worker.draining && worker.paused.is_none(),
            heard: Instant::now(),
            elsewhere,
        };
        self.with(|inner| inner.workers.insert(worker.id, member));
    }

    /// A worker was asked to drain, or to take runs again.
    pub fn draining(&self, worker: WorkerId, draining: bool) {
        self.with(|inner| {
            if let Some(member) = inner.workers.get_mut(&worker) {
                member.takes_runs = !draining;
            }
        });
    }

    /// A worker that talks to another replica; what was heard here counts for more.
    pub fn seen_elsewhere(&self, worker: &Worker) {
        let heard_here = |inner: &mut Inner| {
            let known = inner.workers.get(&worker.id);
            known.is_some_and(|member| !member.elsewhere && member.heard.elapsed() < self.silent_after)
        };
        if !self.with(heard_here) {
            self.note(worker, true);
        }
    }

    pub fn left(&self, worker: WorkerId) {
        self.with(|inner| inner.workers.remove(&worker));
    }

    /// Drops workers that fell silent without leaving.
    pub fn forget_silent(&self) {
        let silent_after = self.silent_after;
        self.with(|inner| inner.workers.retain(|_, member| member.heard.elapsed() < silent_after));
    }

    pub fn claimed(&self, worker: WorkerId) {
        self.with(|inner| {
            let Some(member) = inner.workers.get_mut(&worker) else { return };
            member.busy = (member.busy + 1).min(member.slots);
            let pool = member.pool.clone();
            inner.message_taken(pool);
        });
    }

    /// A message that led to nothing: its place in the queue gets free all the same.
    pub fn refused(&self, worker: WorkerId) {
        self.with(|inner| {
            if let Some(member) = inner.workers.get(&worker) {
                let pool = member.pool.clone();
                inner.message_taken(pool);
            }
        });
    }

    pub fn slot_freed(&self, worker: WorkerId) {
        self.with(|inner| {
            let Some(member) = inner.workers.get_mut(&worker) else { return };
            member.busy = member.busy.saturating_sub(1);
            let pace = inner.pace.entry(member.pool.clone()).or_default();
            if pace.len() == PACE {
                pace.pop_front();
            }
            pace.push_back(Instant::now());
        });
    }

    /// How many messages a pool's queue may hold: its free slots plus what was claimed a moment ago, at least one per
    /// worker that takes runs. Short enough that fairness, priority and cancelling stay in the store's hands.
    pub fn window(&self, pool: &Pool) -> u64 {
        self.with(|inner| {
            let silent_after = self.silent_after;
            let (mut workers, mut free) = (0_u64, 0_u64);
            for member in inner.workers.values() {
                if member.pool == *pool && member.takes_runs && member.heard.elapsed() < silent_after {
                    workers += 1;
                    free += u64::from(member.slots.saturating_sub(member.busy));
                }
            }
            let recent = inner.claims.get_mut(pool).map_or(0, |claims| {
                trim(claims);
                claims.len() as u64
            });
            if workers == 0 { 0 } else { (free + recent).max(workers) }
        })
    }

    /// When a run with `ahead` runs before it may start, judged by how fast runs ended lately; `None` without a basis.
    pub fn estimated_start(&self, pool: &Pool, ahead: u64, now: Timestamp) -> Option<Timestamp> {
        self.with(|inner| {
            let pace = inner.pace.get(pool)?;
            let (first, last) = (pace.front()?, pace.back()?);
            let ends = pace.len() as u32 - 1;
            let between = last.checked_duration_since(*first)?.checked_div(ends)?;
            let waited = last.elapsed().min(between);
            Some(
                now + between
                    .saturating_mul(u32::try_from(ahead + 1).unwrap_or(u32::MAX))
                    .saturating_sub(waited),
            )
        })
    }

    /// Pools with a worker that takes runs.
    pub fn pools(&self) -> Vec<Pool> {
        self.with(|inner| {
            let mut pools: Vec<_> = inner
                .workers
                .values()
                .filter(|member| member.takes_runs && member.heard.elapsed() < self.silent_after)
                .map(|member| member.pool.clone())
                .collect();
            pools.sort();
            pools.dedup();
            pools
        })
    }
}

impl Inner {
    /// Until its worker acknowledges it, which it is about to, the queue still counts it.
    fn message_taken(&mut self, pool: Pool) {
        let claims = self.claims.entry(pool).or_default();
        claims.push_back(Instant::now());
        trim(claims);
    }
}

fn trim(claims: &mut VecDeque<Instant>) {
    while claims.front().is_some_and(|at| at.elapsed() > CLAIM_WINDOW) {
        claims.pop_front();
    }
}
