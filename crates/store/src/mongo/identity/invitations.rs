use async_trait::async_trait;
use gantry_domain::id::{InvitationId, OrganizationId};
use gantry_domain::identity::{Email, Invitation, SecretHash};
use mongodb::bson::doc;

use super::super::document::bytes;
use super::super::schema::INVITATIONS_BY_ORGANIZATION;
use super::super::{Mongo, names};
use super::{Stored, below, page};
use crate::kept::Kept;
use crate::{Changed, InvitationStore, Page, Result};

#[async_trait]
impl InvitationStore for Mongo {
    async fn add(&self, invitation: &Invitation) -> Result<bool> {
        self.core.add_kept(invitation).await
    }

    async fn by_token(&self, token_hash: &SecretHash) -> Result<Option<Invitation>> {
        self.core.find_kept(doc! { "token_hash": bytes(token_hash) }).await
    }

    async fn open(&self, organization: OrganizationId, email: &Email) -> Result<Option<Invitation>> {
        let open = doc! {
            "organization": organization.to_string(), "email": email.as_str(), "open": { "$exists": true },
        };
        self.core.find_kept(open).await
    }

    async fn get(&self, organization: OrganizationId, id: InvitationId) -> Result<Option<Invitation>> {
        self.core.find_kept(doc! { "_id": id.to_string(), "organization": organization.to_string() }).await
    }

    async fn list(
        &self,
        organization: OrganizationId,
        after: Option<InvitationId>,
        limit: u32,
    ) -> Result<Page<Invitation, InvitationId>> {
        let filter = below(doc! { "organization": organization.to_string() }, after);
        let index = INVITATIONS_BY_ORGANIZATION;
        let found = self.core.newest(names::INVITATIONS, filter, index, limit).await?;
        page(Invitation::KIND, found, limit, Invitation::of_document)
    }

    async fn update(&self, next: &Invitation) -> Result<Changed<Invitation>> {
        self.core.swap_kept(next).await
    }
}
