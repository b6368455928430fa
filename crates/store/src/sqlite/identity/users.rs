use async_trait::async_trait;
use gantry_domain::id::UserId;
use gantry_domain::identity::{Email, User};

use super::super::row::key;
use super::super::{Sqlite, statements as sql};
use super::all;
use crate::{Changed, Result, UserStore};

#[async_trait]
impl UserStore for Sqlite {
    async fn add(&self, user: &User) -> Result<bool> {
        self.add_kept(user).await
    }

    async fn get(&self, id: UserId) -> Result<Option<User>> {
        self.find_kept(sql::USER, [key(id.as_u128())]).await
    }

    async fn by_email(&self, email: &Email) -> Result<Option<User>> {
        self.find_kept(sql::USER_BY_EMAIL, [email.as_str().to_owned()]).await
    }

    async fn several(&self, ids: &[UserId]) -> Result<Vec<User>> {
        let ids: Vec<_> = ids.iter().map(|id| key(id.as_u128())).collect();
        self.readers
            .read(move |connection| {
                let mut users = Vec::with_capacity(ids.len());
                for id in ids {
                    users.extend(all(connection, sql::USER, [id])?.into_iter().filter_map(|(_, user)| user));
                }
                Ok(users)
            })
            .await
    }

    async fn update(&self, next: &User) -> Result<Changed<User>> {
        self.swap_kept(next).await
    }
}
