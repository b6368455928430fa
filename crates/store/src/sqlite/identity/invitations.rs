use async_trait::async_trait;
use gantry_domain::id::{InvitationId, OrganizationId};
use gantry_domain::identity::{Email, Invitation, SecretHash};
use rusqlite::params;

use super::super::row::key;
use super::super::{Sqlite, statements as sql};
use super::{all, below, page};
use crate::{Changed, InvitationStore, Page, Result};

#[async_trait]
impl InvitationStore for Sqlite {
    async fn add(&self, invitation: &Invitation) -> Result<bool> {
        self.add_kept(invitation).await
    }

    async fn by_token(&self, token_hash: &SecretHash) -> Result<Option<Invitation>> {
        self.find_kept(sql::INVITATION_BY_TOKEN, [*token_hash]).await
    }

    async fn open(&self, organization: OrganizationId, email: &Email) -> Result<Option<Invitation>> {
        self.find_kept(sql::OPEN_INVITATION, (key(organization.as_u128()), email.as_str().to_owned())).await
    }

    async fn get(&self, organization: OrganizationId, id: InvitationId) -> Result<Option<Invitation>> {
        self.find_kept(sql::INVITATION_OF, [key(id.as_u128()), key(organization.as_u128())]).await
    }

    async fn list(
        &self,
        organization: OrganizationId,
        after: Option<InvitationId>,
        limit: u32,
    ) -> Result<Page<Invitation, InvitationId>> {
        let (organization, below) = (key(organization.as_u128()), below(after.map(InvitationId::as_u128)));
        let count = limit.max(1).saturating_add(1);
        let found = self
            .readers
            .read(move |connection| all(connection, sql::INVITATIONS, params![organization, below, count]))
            .await?;
        Ok(page(found, limit, InvitationId::from_u128))
    }

    async fn update(&self, next: &Invitation) -> Result<Changed<Invitation>> {
        self.swap_kept(next).await
    }
}
