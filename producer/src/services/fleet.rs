//! What this replica knows of the fleet, for deciding how much to hand to the queue. An estimate: claims and endings
//! seen here move it at once, heartbeats put it right. Those that other replicas heard are found in the store.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gantry_domain::id::WorkerId;
use gantry_domain::spec::Pool;
use gantry_domain::time::Timestamp;
use gantry_domain::worker::Worker;
use gantry_store::WorkerStore;

use crate::config::LeaseConfig;

/// Claims of this long are taken as what the fleet will soon claim again.
const CLAIM_WINDOW: Duration = Duration::from_millis(250);

/// How old what was found in the store may be.
const FRESH: Duration = Duration::from_millis(500);

/// Endings that an estimate is made from.
const PACE: usize = 20;

pub struct Fleet {
    silent_after: Duration,
    inner: Mutex<Inner>,
    /// When the store was asked last.
    looked: tokio::sync::Mutex<Option<Instant>>,
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
    /// When this replica learned of its last sign of life: clocks of replicas may differ.
    heard: Instant,
    /// That sign, by the clock of whoever heard it.
    last_seen_at: Timestamp,
    /// Asked to, or out of space or engine.
    stands_still: (bool, bool),
}

impl Fleet {
    pub fn new(leases: &LeaseConfig) -> Self {
        Self { silent_after: leases.fence, inner: Mutex::default(), looked: tokio::sync::Mutex::default() }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A worker said where it stands.
    pub fn heard(&self, worker: &Worker) {
        self.with(|inner| inner.workers.insert(worker.id, Member::of(worker)));
    }

    /// A worker was asked to drain, or to take runs again.
    pub fn draining(&self, worker: WorkerId, draining: bool) {
        self.with(|inner| {
            if let Some(member) = inner.workers.get_mut(&worker) {
                member.stands_still.0 = draining;
            }
        });
    }

    /// Takes in what other replicas heard, if that was not done a moment ago. A look that fails leaves what is known.
    pub async fn look(&self, store: &dyn WorkerStore, now: Timestamp) {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < FRESH) {
            return;
        }
        match store.list().await {
            Ok(workers) => {
                *looked = Some(Instant::now());
                self.found(&workers, now);
            }
            Err(error) => tracing::debug!(%error, "the fleet is not looked up"),
        }
    }

    /// The fleet as the store has it. What was heard here since then counts for more.
    fn found(&self, workers: &[Worker], now: Timestamp) {
        let silent_after = self.silent_after;
        self.with(|inner| {
            for worker in workers {
                match inner.workers.get_mut(&worker.id) {
                    Some(known) if known.last_seen_at < worker.last_seen_at => *known = Member::of(worker),
                    Some(known) => known.stands_still.0 = worker.draining,
                    None if now.since(worker.last_seen_at) < silent_after => {
                        inner.workers.insert(worker.id, Member::of(worker));
                    }
                    None => {}
                }
            }
            // Who left said so to some replica; who fell silent is not counted any more.
            let still_there: HashSet<_> = workers.iter().map(|worker| worker.id).collect();
            inner.workers.retain(|id, member| {
                still_there.contains(id) && member.heard.elapsed() < silent_after
                    || member.heard.elapsed() < FRESH
            });
        });
    }

    pub fn left(&self, worker: WorkerId) {
        self.with(|inner| inner.workers.remove(&worker));
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
                if member.pool == *pool && member.takes_runs() && member.heard.elapsed() < silent_after {
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
                .filter(|member| member.takes_runs() && member.heard.elapsed() < self.silent_after)
                .map(|member| member.pool.clone())
                .collect();
            pools.sort();
            pools.dedup();
            pools
        })
    }
}

impl Member {
    fn of(worker: &Worker) -> Self {
        Self {
            pool: worker.pool.clone(),
            slots: worker.slots,
            busy: worker.busy,
            heard: Instant::now(),
            last_seen_at: worker.last_seen_at,
            stands_still: (worker.draining, worker.paused.is_some()),
        }
    }

    fn takes_runs(&self) -> bool {
        self.stands_still == (false, false)
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
