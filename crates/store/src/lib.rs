//! The truth: runs, logs, results, the fleet, people and credentials. One small trait per aggregate, so that SQLite and a document
//! database can each keep it; one contract suite (`contract`, behind the feature of that name) says what every backend promises.
//!
//! Every invariant is one guarded write to one document; nothing needs a transaction across documents. Backends never
//! interpret a run: they store what the domain computed if the version still is the expected one.

mod aside;
mod auth;
#[cfg(feature = "contract")]
pub mod contract;
mod dispatch;
mod identity;
mod kept;
mod logs;
mod measured;
pub mod mongo;
mod projects;
mod record;
mod runs;
mod selection;
pub mod sqlite;
mod test_results;
mod workers;

use std::sync::Arc;

pub use aside::{DocumentKind, SetAside};
pub use auth::{AuthStore, Bootstrap};
pub use dispatch::{Acquired, DispatchStore, Limit, PoolDepth};
pub use identity::{
    ApiKeyStore, Attempt, AuditFilter, AuditStore, Changed, InvitationStore, OrganizationStore,
    PasswordResetStore, Presented, SessionStore, SignInStore, UserStore,
};
pub use logs::{Append, LogKey, LogStore};
pub use projects::{ProjectStore, Sealing};
pub use runs::{
    Accepted, Deleted, Durability, Group, Idempotency, LeaseRef, ListFilter, NewRun, Page, Renewal, RunStore,
    Transition,
};
pub use test_results::TestResultStore;
pub use workers::WorkerStore;

/// The store could not do its part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Try again later; whether a write happened is not known.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    #[error("the store has no space left")]
    NoSpace,
    /// A stored document cannot be read.
    #[error("stored data cannot be read: {0}")]
    Corrupt(String),
    /// The data was written by a newer version.
    #[error(
        "the store has schema version {found}, this program knows {known}: use a newer version of Gantry"
    )]
    TooNew { found: u32, known: u32 },
}

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// One backend's stores, handed around together.
#[derive(Clone)]
pub struct Stores {
    pub runs: Arc<dyn RunStore>,
    pub dispatch: Arc<dyn DispatchStore>,
    pub logs: Arc<dyn LogStore>,
    pub tests: Arc<dyn TestResultStore>,
    pub workers: Arc<dyn WorkerStore>,
    pub auth: Arc<dyn AuthStore>,
    pub organizations: Arc<dyn OrganizationStore>,
    pub users: Arc<dyn UserStore>,
    pub keys: Arc<dyn ApiKeyStore>,
    pub sessions: Arc<dyn SessionStore>,
    pub invitations: Arc<dyn InvitationStore>,
    pub resets: Arc<dyn PasswordResetStore>,
    pub sign_ins: Arc<dyn SignInStore>,
    pub audit: Arc<dyn AuditStore>,
    pub projects: Arc<dyn ProjectStore>,
}
