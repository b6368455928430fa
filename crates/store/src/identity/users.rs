use async_trait::async_trait;
use gantry_domain::id::UserId;
use gantry_domain::identity::{Email, User};

use super::Changed;
use crate::Result;

/// Accounts of people. An e-mail address belongs to one of them.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// Stores a new account; false when somebody has the address. Of many at once one is stored. Synced.
    async fn add(&self, user: &User) -> Result<bool>;

    async fn get(&self, id: UserId) -> Result<Option<User>>;

    async fn by_email(&self, email: &Email) -> Result<Option<User>>;

    /// Those of these that exist, in no order.
    async fn several(&self, ids: &[UserId]) -> Result<Vec<User>>;

    /// Stores the successor if the stored version is the one before. Synced.
    async fn update(&self, next: &User) -> Result<Changed<User>>;
}
