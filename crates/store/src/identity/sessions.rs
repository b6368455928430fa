use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, SessionId, UserId};
use gantry_domain::identity::{SecretHash, Session};
use gantry_domain::time::Timestamp;

use super::{Changed, Presented};
use crate::Result;

/// Sessions: each a family of refresh tokens.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Stores a new session. Synced.
    async fn add(&self, session: &Session) -> Result<()>;

    /// The session whose family has this hash.
    async fn by_family(&self, family_hash: &SecretHash) -> Result<Option<Session>>;

    /// The session with its user, and his role in this organization, all of which the access token names: asked for (almost)
    /// every request. `None` when there is no such session of this user.
    async fn look_up(
        &self,
        id: SessionId,
        user: UserId,
        organization: OrganizationId,
    ) -> Result<Option<Presented<Session>>>;

    async fn get(&self, user: UserId, id: SessionId) -> Result<Option<Session>>;

    /// The newest `limit` of somebody's sessions that nobody ended; they may be expired, or of an earlier epoch.
    async fn of_user(&self, user: UserId, limit: u32) -> Result<Vec<Session>>;

    /// Stores the successor if the stored version is the one before. Synced: a token that was replaced must stay so.
    async fn update(&self, next: &Session) -> Result<Changed<Session>>;

    /// Removes sessions that expired before this time; answers how many.
    async fn forget(&self, expired_before: Timestamp) -> Result<u64>;
}
