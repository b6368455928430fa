use async_trait::async_trait;
use gantry_domain::identity::lockout::{Failures, Subject};
use gantry_domain::time::Timestamp;

use crate::Result;

/// Whether a sign-in may be attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It may, and counts as failed until [`forgive`](SignInStore::forgive).
    Counted {
        now: Failures,
        /// What was counted before it.
        before: Option<Failures>,
    },
    /// Not before this time.
    Locked(Timestamp),
}

/// Sign-ins that failed, per account and per address. Counted before they are judged, all replicas together: of any number
/// that come at once no more are let through than one after the other.
#[async_trait]
pub trait SignInStore: Send + Sync {
    /// Lets an attempt through and counts it, or says how long to wait.
    async fn attempt(&self, subject: &Subject, now: Timestamp) -> Result<Attempt>;

    /// An attempt was no failure, or never judged: what was counted is as it was before, unless more was counted since.
    async fn take_back(&self, subject: &Subject, counted: Failures, before: Option<Failures>) -> Result<()>;

    /// A sign-in succeeded: nothing is counted any more.
    async fn forgive(&self, subject: &Subject) -> Result<()>;

    async fn failures(&self, subject: &Subject) -> Result<Option<Failures>>;

    /// Removes what was counted last before this time; answers how many.
    async fn forget(&self, before: Timestamp) -> Result<u64>;
}
