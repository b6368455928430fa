use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, SessionId, UserId};
use gantry_domain::identity::{SecretHash, Session, User};
use gantry_domain::time::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::super::row::key;
use super::super::{Sqlite, statements as sql};
use super::{Table, all, role};
use crate::kept::Kept;
use crate::{Changed, Durability, Presented, Result, SessionStore, StoreError};

#[async_trait]
impl SessionStore for Sqlite {
    async fn add(&self, session: &Session) -> Result<()> {
        match self.add_kept(session).await? {
            true => Ok(()),
            false => Err(StoreError::Corrupt("another session has this id or family".to_owned())),
        }
    }

    async fn by_family(&self, family_hash: &SecretHash) -> Result<Option<Session>> {
        self.find_kept(sql::SESSION_BY_FAMILY, [*family_hash]).await
    }

    async fn look_up(
        &self,
        id: SessionId,
        user: UserId,
        organization: OrganizationId,
    ) -> Result<Option<Presented<Session>>> {
        let wanted = [key(id.as_u128()), key(user.as_u128()), key(organization.as_u128())];
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::SESSION_LOOK_UP)?;
                let found = statement
                    .query_row(wanted, |row| {
                        let user: Option<Vec<u8>> = row.get(2)?;
                        let role: Option<String> = row.get(3)?;
                        Ok((Session::of_row(row)?, user, role))
                    })
                    .optional()?;
                let Some((credential, user, name)) = found else { return Ok(None) };
                let user = user.map(|user| User::decode(&user)).transpose()?;
                Ok(Some(Presented { credential: credential?, user, role: role(name)? }))
            })
            .await
    }

    async fn get(&self, user: UserId, id: SessionId) -> Result<Option<Session>> {
        self.find_kept(sql::SESSION_OF, [key(id.as_u128()), key(user.as_u128())]).await
    }

    async fn of_user(&self, user: UserId, limit: u32) -> Result<Vec<Session>> {
        let user = key(user.as_u128());
        let found = self
            .readers
            .read(move |connection| all(connection, sql::SESSIONS_OF, params![user, limit]))
            .await?;
        Ok(found.into_iter().filter_map(|(_, session)| session).collect())
    }

    async fn update(&self, next: &Session) -> Result<Changed<Session>> {
        self.swap_kept(next).await
    }

    async fn forget(&self, expired_before: Timestamp) -> Result<u64> {
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let mut forget = writing.connection.prepare_cached(sql::FORGET_SESSIONS)?;
                Ok(forget.execute([expired_before.as_millis()])? as u64)
            })
            .await
    }
}
