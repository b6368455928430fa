use async_trait::async_trait;
use gantry_domain::identity::{PasswordReset, SecretHash};
use gantry_domain::time::Timestamp;
use mongodb::bson::doc;

use super::super::document::{bytes, time};
use super::super::{Mongo, names};
use crate::{Changed, PasswordResetStore, Result, StoreError};

#[async_trait]
impl PasswordResetStore for Mongo {
    async fn add(&self, reset: &PasswordReset) -> Result<()> {
        match self.core.add_kept(reset).await? {
            true => Ok(()),
            false => Err(StoreError::Corrupt("another reset has this id or token".to_owned())),
        }
    }

    async fn by_token(&self, token_hash: &SecretHash) -> Result<Option<PasswordReset>> {
        self.core.find_kept(doc! { "token_hash": bytes(token_hash) }).await
    }

    async fn update(&self, next: &PasswordReset) -> Result<Changed<PasswordReset>> {
        self.core.swap_kept(next).await
    }

    async fn forget(&self, expired_before: Timestamp) -> Result<u64> {
        let expired = doc! { "expires_at": { "$lt": time(expired_before) } };
        self.core.forget_kept(names::RESETS, expired).await
    }
}
