//! What a worker is told by its operator, and the bounds it puts on everything it does.

use std::time::Duration;

use gantry_domain::id::WorkerId;
use gantry_domain::spec::Pool;

use crate::disk::DiskWatch;

/// A worker's settings.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// New for every process; the executor carries it in its labels.
    pub id: WorkerId,
    /// For people: usually the host's name.
    pub name: String,
    pub pool: Pool,
    /// Runs executed at once.
    pub slots: u32,
    /// How long running commands may go on after a shutdown began; what is left then is handed back.
    pub drain_grace: Duration,
    /// `None`: the disk is somebody else's care.
    pub disk: Option<DiskWatch>,
    /// How often remains of attempts that are over are looked for.
    pub leftovers_period: Duration,
    pub bounds: Bounds,
}

/// How long each step may take. A run's own limits come with its grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Above the executor's own limit on a pull, whose message is the better one.
    pub prepare: Duration,
    pub start: Duration,
    /// Between the polite signal and the kill.
    pub stop_grace: Duration,
    /// For the engine to stop a command, on top of the grace.
    pub stop: Duration,
    /// For output to come after the command has ended, counted from the last piece.
    pub output_tail: Duration,
    pub destroy: Duration,
    /// How long an unreachable producer is asked for a claim before the message goes back to the queue.
    pub claim: Duration,
    /// One call to the producer, except uploads.
    pub call: Duration,
    /// For telling the producer how an attempt ended, once a drain's grace is over.
    pub farewell: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            prepare: Duration::from_secs(12 * 60),
            start: Duration::from_secs(60),
            stop_grace: Duration::from_secs(3),
            stop: Duration::from_secs(12),
            output_tail: Duration::from_secs(5),
            destroy: Duration::from_secs(30),
            claim: Duration::from_secs(20),
            call: Duration::from_secs(10),
            farewell: Duration::from_secs(10),
        }
    }
}

impl WorkerConfig {
    pub fn new(name: impl Into<String>, pool: Pool, slots: u32) -> Self {
        Self {
            id: WorkerId::new(),
            name: name.into(),
            pool,
            slots: slots.max(1),
            drain_grace: Duration::from_secs(30),
            disk: None,
            leftovers_period: Duration::from_secs(60),
            bounds: Bounds::default(),
        }
    }
}
