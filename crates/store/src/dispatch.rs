use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::Run;
use gantry_domain::spec::Pool;

use crate::Result;

/// A concurrency limit: at most `max` runs hold `key` at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Names the organization first: keys of two tenants never meet.
    pub key: String,
    pub max: u32,
}

/// What came of taking places under limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// All of them; taking them again for the same run changes nothing.
    All,
    /// None: this key is full.
    Full { key: String },
}

/// How much waits and runs in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolDepth {
    pub pool: Pool,
    pub pending: u64,
    pub queued: u64,
    /// Running or analyzing.
    pub running: u64,
}

/// Which pending run goes next, and who holds places under concurrency limits.
#[async_trait]
pub trait DispatchStore: Send + Sync {
    /// Up to `limit` pending runs of the pool that wait for nothing but workers, in fair order: organizations take turns,
    /// inside one higher priority first, then age. Runs are returned as they are, still pending; asking moves the lanes
    /// of the organizations that were picked. Cost does not grow with the number of pending runs.
    async fn ready(&self, pool: &Pool, limit: u32) -> Result<Vec<Run>>;

    /// Takes a place under every limit, or under none. Keys are taken in sorted order, each by one guarded write.
    async fn acquire(&self, run: RunId, limits: &[Limit]) -> Result<Acquired>;

    /// Gives places back; those not held are fine.
    async fn release(&self, run: RunId, keys: &[String]) -> Result<()>;

    /// Every place held, for the reconciler that drops those of runs that no longer need them.
    async fn holders(&self) -> Result<Vec<(String, RunId)>>;

    /// Pending runs that wait for this limit, first the one to go first.
    async fn blocked_on(&self, key: &str, limit: u32) -> Result<Vec<Run>>;

    /// Limits that any pending run waits for.
    async fn blocking_keys(&self) -> Result<Vec<String>>;

    /// Per pool that has any run that is not over, or a worker.
    async fn depths(&self) -> Result<Vec<PoolDepth>>;

    /// The same for one organization.
    async fn organization_depths(&self, organization: OrganizationId) -> Result<Vec<PoolDepth>>;
}
