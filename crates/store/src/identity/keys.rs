use async_trait::async_trait;
use gantry_domain::id::{KeyId, OrganizationId, UserId};
use gantry_domain::identity::{ApiKey, SecretHash};
use gantry_domain::time::Timestamp;

use super::{Changed, Presented};
use crate::{Page, Result};

/// API keys. A secret belongs to one of them; it is kept as SHA-256 only.
#[async_trait]
pub trait ApiKeyStore: Send + Sync {
    /// Stores another key; the same one again changes nothing. Synced.
    async fn add(&self, key: &ApiKey) -> Result<()>;

    /// The key with this secret, whether it works or not.
    async fn by_hash(&self, secret_hash: &SecretHash) -> Result<Option<ApiKey>>;

    /// The same with its owner, and his role in the key's organization: asked for (almost) every request.
    async fn look_up(&self, secret_hash: &SecretHash) -> Result<Option<Presented<ApiKey>>>;

    async fn get(&self, organization: OrganizationId, id: KeyId) -> Result<Option<ApiKey>>;

    /// Keys of an organization, or of one member, newest first; revoked ones included.
    async fn list(
        &self,
        organization: OrganizationId,
        owner: Option<UserId>,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Page<ApiKey, KeyId>>;

    /// Stores the successor if the stored version is the one before. When it was last used is left as it is.
    /// Synced.
    async fn update(&self, next: &ApiKey) -> Result<Changed<ApiKey>>;

    /// Notes that the key was used, unless that was noted less than [`USE_STEP`] before. Conflicts with nothing.
    ///
    /// [`USE_STEP`]: gantry_domain::identity::key::USE_STEP
    async fn used(&self, id: KeyId, at: Timestamp) -> Result<()>;
}
