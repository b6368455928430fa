use std::collections::BTreeSet;

use async_trait::async_trait;
use gantry_domain::id::{DispatchId, OrganizationId, RunId, WorkerId};
use gantry_domain::run::{LeaseToken, Run, RunStatus, Trigger, TriggerKind};
use gantry_domain::spec::RunSpec;
use gantry_domain::time::Timestamp;

use crate::{Result, SetAside};

/// A run to be accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    pub id: RunId,
    pub organization: OrganizationId,
    pub spec: RunSpec,
    pub trigger: Trigger,
    pub created_at: Timestamp,
    pub idempotency: Option<Idempotency>,
    /// Handed to the queue as soon as it is stored: it is stored as queued under this dispatch.
    pub dispatch: Option<DispatchId>,
}

impl NewRun {
    /// The run to be stored, but for its number.
    pub(crate) fn into_run(self) -> (Run, Option<Idempotency>) {
        let run = Run::accepted(self.id, self.organization, self.spec, self.trigger, self.created_at);
        let queued = self.dispatch.and_then(|id| run.dispatch(id, Vec::new(), self.created_at).ok());
        (queued.unwrap_or(run), self.idempotency)
    }
}

/// Makes accepting the same request twice harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Chosen by the caller, unique inside the organization while it is kept.
    pub key: String,
    /// SHA-256 of the request's body.
    pub body_hash: [u8; 32],
}

/// What came of accepting a run.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)]
pub enum Accepted {
    Created(Run),
    /// This key was used with the same body: the run as it is now.
    Replayed(Run),
    /// This key was used with another body.
    KeyReused,
}

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It survives a power cut: accept, start, finish.
    Synced,
    /// It survives a crash of this process, and is synced with the next write that is.
    Relaxed,
}

/// What came of a compare-and-set.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)]
pub enum Transition {
    Updated,
    /// Somebody else was faster; the run as it is now.
    Conflict(Run),
    NotFound,
}

/// One lease that a heartbeat renews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRef {
    pub run: RunId,
    pub token: LeaseToken,
}

/// What came of renewing one lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    Renewed {
        /// Somebody asked for the run to end.
        cancel: bool,
    },
    /// The lease is over; the attempt must stop.
    Lost,
}

/// Which runs to list. Several values of one field are alternatives; fields are combined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    pub statuses: BTreeSet<RunStatusKey>,
    pub projects: Vec<String>,
    pub environments: Vec<String>,
    pub groups: Vec<String>,
    pub triggers: Vec<TriggerKind>,
    /// Each must be there with this value.
    pub labels: Vec<(String, String)>,
    /// Runs are expected to be made in the order of their ids, give or take an hour.
    pub created_from: Option<Timestamp>,
    pub created_before: Option<Timestamp>,
    /// Part of the id, number, image, command, project or group, whatever the case.
    pub text: Option<String>,
}

/// A status by its stable name.
pub type RunStatusKey = &'static str;

impl ListFilter {
    pub fn status(mut self, status: RunStatus) -> Self {
        self.statuses.insert(status.as_str());
        self
    }
}

/// A page, newest first. It may hold fewer than asked for, even none, and still have a `next`.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, C> {
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<C>,
}

/// Runs that carry the same `group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub runs: u64,
    /// How many stand where, only those that there are.
    pub by_status: Vec<(RunStatus, u64)>,
    pub last_created_at: Timestamp,
}

/// What came of deleting a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    Deleted,
    NotFound,
    /// Only a run that is over can be deleted.
    StillGoing(RunStatus),
}

/// Runs. All writes are atomic per run; a write whose future is dropped may or may not happen.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Stores a run, numbers it, and makes its lane known to dispatching if it waits there (hold: `workers`). Synced.
    async fn accept(&self, run: NewRun) -> Result<Accepted>;

    /// What accepting would answer because of this key alone: the run as it is now, or that the key was used with another
    /// body; `None` when it is new.
    async fn repeated(
        &self,
        organization: OrganizationId,
        idempotency: &Idempotency,
    ) -> Result<Option<Accepted>>;

    /// A tenant's run.
    async fn get(&self, organization: OrganizationId, id: RunId) -> Result<Option<Run>>;

    /// Any run; for the worker protocol and for reconcilers, which act for no tenant.
    async fn find(&self, id: RunId) -> Result<Option<Run>>;

    /// Stores `next` if the run's version still is `next.version - 1`. Leases are part of this; a renewal in between is
    /// kept: of the two expiries the later one stays.
    async fn transition(&self, next: &Run, durability: Durability) -> Result<Transition>;

    /// Moves the expiry of each lease that `worker` still holds. Touches no version. Answers in the order asked.
    async fn renew(
        &self,
        worker: WorkerId,
        leases: &[LeaseRef],
        expires_at: Timestamp,
    ) -> Result<Vec<Renewal>>;

    /// Runs whose lease ended before `now`, longest over first.
    async fn expired(&self, now: Timestamp, limit: u32) -> Result<Vec<Run>>;

    /// Running and analyzing runs leased to `worker`, or to anybody.
    async fn leased(&self, worker: Option<WorkerId>, limit: u32) -> Result<Vec<Run>>;

    /// Newest first (by id). `after` is the last id of the page before. Filters without an index look at 10,000 runs at
    /// most and then answer what they found so far, with a cursor.
    async fn list(
        &self,
        organization: OrganizationId,
        filter: &ListFilter,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Page<Run, RunId>>;

    /// Groups by name; `after` is the last name of the page before.
    async fn groups(
        &self,
        organization: OrganizationId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Group, String>>;

    /// Removes a run that is over, with its log chunks and test results.
    async fn delete(&self, organization: OrganizationId, id: RunId) -> Result<Deleted>;

    /// Pending runs held until a time that has come, and when the next one's comes.
    async fn due(&self, now: Timestamp, limit: u32) -> Result<(Vec<Run>, Option<Timestamp>)>;

    /// Runs queued before `before` that nobody claimed since, oldest first.
    async fn unclaimed(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>>;

    /// Pending or queued runs created before `before`.
    async fn waiting_since(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>>;

    /// Runs whose [`Run::log_due`] is before `before`, longest due first: a log to seal, or chunks to clear.
    async fn logs_due(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>>;

    /// Pending runs of the same pool and organization that would be dispatched before `run`; counts to 1,000 at most.
    async fn ahead_of(&self, run: &Run) -> Result<u64>;

    /// Forgets idempotency keys of runs created before `before`; answers how many.
    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64>;

    /// Documents that could not be read and are left out wherever several are asked for: those of an organization, and
    /// nobody's; the latest first.
    async fn set_aside(&self, organization: OrganizationId, limit: u32) -> Result<Vec<SetAside>>;

    /// Stores runs as they are, for restoring a backup and for measuring; ids must be new.
    async fn import(&self, runs: Vec<Run>) -> Result<()>;
}
