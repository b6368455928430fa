use async_trait::async_trait;
use gantry_domain::identity::{PasswordReset, SecretHash};
use gantry_domain::time::Timestamp;

use super::Changed;
use crate::Result;

/// Requests to set a forgotten password anew.
#[async_trait]
pub trait PasswordResetStore: Send + Sync {
    /// Synced.
    async fn add(&self, reset: &PasswordReset) -> Result<()>;

    async fn by_token(&self, token_hash: &SecretHash) -> Result<Option<PasswordReset>>;

    /// Stores the successor if the stored version is the one before: of many who use one token, one is told `Updated`.
    /// Synced.
    async fn update(&self, next: &PasswordReset) -> Result<Changed<PasswordReset>>;

    /// Removes those that expired before this time; answers how many.
    async fn forget(&self, expired_before: Timestamp) -> Result<u64>;
}
