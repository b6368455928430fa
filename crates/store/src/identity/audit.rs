use async_trait::async_trait;
use gantry_domain::id::{AuditId, OrganizationId};
use gantry_domain::identity::{AuditAction, AuditEntry};
use gantry_domain::run::Actor;
use gantry_domain::time::Timestamp;

use crate::{Page, Result};

/// Which entries are wanted; what is not set matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    pub from: Option<Timestamp>,
    pub before: Option<Timestamp>,
    pub actor: Option<Actor>,
    pub action: Option<AuditAction>,
}

impl AuditFilter {
    /// The ids that can be meant: from the first on, and below the second. Ids sort by time.
    pub(crate) fn range(&self, after: Option<AuditId>) -> (AuditId, AuditId) {
        let least = self.from.map_or(AuditId::from_u128(0), AuditId::first_at);
        let below = self.before.map_or(AuditId::from_u128(u128::MAX), AuditId::first_at);
        (least, after.map_or(below, |after| after.min(below)))
    }
}

/// The audit log. There is no way to change or remove an entry.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Adds an entry; the same one again changes nothing. Synced.
    async fn append(&self, entry: &AuditEntry) -> Result<()>;

    /// Entries of an organization, or of none, newest first. A page is full unless it is the last.
    async fn list(
        &self,
        organization: Option<OrganizationId>,
        filter: &AuditFilter,
        after: Option<AuditId>,
        limit: u32,
    ) -> Result<Page<AuditEntry, AuditId>>;
}
