use async_trait::async_trait;
use gantry_domain::id::{InvitationId, OrganizationId};
use gantry_domain::identity::{Email, Invitation, SecretHash};

use super::Changed;
use crate::{Page, Result};

/// Invitations. One of an organization to an address is open at most.
#[async_trait]
pub trait InvitationStore: Send + Sync {
    /// Stores a new one; false when one to the same address is open: send that one again. Synced.
    async fn add(&self, invitation: &Invitation) -> Result<bool>;

    async fn by_token(&self, token_hash: &SecretHash) -> Result<Option<Invitation>>;

    /// The open one to this address, expired or not.
    async fn open(&self, organization: OrganizationId, email: &Email) -> Result<Option<Invitation>>;

    async fn get(&self, organization: OrganizationId, id: InvitationId) -> Result<Option<Invitation>>;

    /// Newest first, whatever became of them.
    async fn list(
        &self,
        organization: OrganizationId,
        after: Option<InvitationId>,
        limit: u32,
    ) -> Result<Page<Invitation, InvitationId>>;

    /// Stores the successor if the stored version is the one before. Synced: a token works once.
    async fn update(&self, next: &Invitation) -> Result<Changed<Invitation>>;
}
