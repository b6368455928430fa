use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, SessionId, UserId};
use gantry_domain::identity::{SecretHash, Session};
use gantry_domain::time::Timestamp;
use mongodb::bson::doc;

use super::super::document::{bytes, time};
use super::super::schema::SESSIONS_BY_USER;
use super::super::{Mongo, names};
use super::{Stored, readable};
use crate::kept::Kept;
use crate::{Changed, Presented, Result, SessionStore, StoreError};

#[async_trait]
impl SessionStore for Mongo {
    async fn add(&self, session: &Session) -> Result<()> {
        match self.core.add_kept(session).await? {
            true => Ok(()),
            false => Err(StoreError::Corrupt("another session has this id or family".to_owned())),
        }
    }

    async fn by_family(&self, family_hash: &SecretHash) -> Result<Option<Session>> {
        self.core.find_kept(doc! { "family_hash": bytes(family_hash) }).await
    }

    async fn look_up(
        &self,
        id: SessionId,
        user: UserId,
        organization: OrganizationId,
    ) -> Result<Option<Presented<Session>>> {
        let (session, user, role) = tokio::try_join!(
            SessionStore::get(self, user, id),
            self.core.find_kept(doc! { "_id": user.to_string() }),
            self.core.role_of(organization, user),
        )?;
        Ok(session.map(|credential| Presented { credential, user, role }))
    }

    async fn get(&self, user: UserId, id: SessionId) -> Result<Option<Session>> {
        self.core.find_kept(doc! { "_id": id.to_string(), "user": user.to_string() }).await
    }

    async fn of_user(&self, user: UserId, limit: u32) -> Result<Vec<Session>> {
        let filter = doc! { "user": user.to_string(), "open": { "$exists": true } };
        let mut found = self.core.newest(names::SESSIONS, filter, SESSIONS_BY_USER, limit).await?;
        found.truncate(limit as usize);
        readable(Session::KIND, &found, Session::of_document)
    }

    async fn update(&self, next: &Session) -> Result<Changed<Session>> {
        self.core.swap_kept(next).await
    }

    async fn forget(&self, expired_before: Timestamp) -> Result<u64> {
        let expired = doc! { "expires_at": { "$lt": time(expired_before) } };
        self.core.forget_kept(names::SESSIONS, expired).await
    }
}
