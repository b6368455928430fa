use async_trait::async_trait;
use gantry_domain::id::UserId;
use gantry_domain::identity::{Email, User};
use mongodb::bson::doc;

use super::super::{Mongo, names};
use super::{Stored, readable};
use crate::kept::Kept;
use crate::{Changed, Result, UserStore};

#[async_trait]
impl UserStore for Mongo {
    async fn add(&self, user: &User) -> Result<bool> {
        self.core.add_kept(user).await
    }

    async fn get(&self, id: UserId) -> Result<Option<User>> {
        self.core.find_kept(doc! { "_id": id.to_string() }).await
    }

    async fn by_email(&self, email: &Email) -> Result<Option<User>> {
        self.core.find_kept(doc! { "email": email.as_str() }).await
    }

    async fn several(&self, ids: &[UserId]) -> Result<Vec<User>> {
        let ids: Vec<_> = ids.iter().map(UserId::to_string).collect();
        let users = self.core.raw(names::USERS);
        let query = || async { users.find(doc! { "_id": { "$in": &ids } }).await };
        let found = self.core.call().all(query, |_| false).await?;
        readable(User::KIND, &found, User::of_document)
    }

    async fn update(&self, next: &User) -> Result<Changed<User>> {
        self.core.swap_kept(next).await
    }
}
