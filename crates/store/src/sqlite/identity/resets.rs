use async_trait::async_trait;
use gantry_domain::identity::{PasswordReset, SecretHash};
use gantry_domain::time::Timestamp;

use super::super::{Sqlite, statements as sql};
use crate::{Changed, Durability, PasswordResetStore, Result, StoreError};

#[async_trait]
impl PasswordResetStore for Sqlite {
    async fn add(&self, reset: &PasswordReset) -> Result<()> {
        match self.add_kept(reset).await? {
            true => Ok(()),
            false => Err(StoreError::Corrupt("another reset has this id or token".to_owned())),
        }
    }

    async fn by_token(&self, token_hash: &SecretHash) -> Result<Option<PasswordReset>> {
        self.find_kept(sql::RESET_BY_TOKEN, [*token_hash]).await
    }

    async fn update(&self, next: &PasswordReset) -> Result<Changed<PasswordReset>> {
        self.swap_kept(next).await
    }

    async fn forget(&self, expired_before: Timestamp) -> Result<u64> {
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let mut forget = writing.connection.prepare_cached(sql::FORGET_RESETS)?;
                Ok(forget.execute([expired_before.as_millis()])? as u64)
            })
            .await
    }
}
