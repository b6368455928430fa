use async_trait::async_trait;
use gantry_domain::id::{KeyId, OrganizationId, UserId};
use gantry_domain::identity::key::USE_STEP;
use gantry_domain::identity::{ApiKey, SecretHash, User};
use gantry_domain::time::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::super::row::key;
use super::super::{Sqlite, statements as sql};
use super::{add, all, below, find, page, role};
use crate::kept::Kept;
use crate::{ApiKeyStore, Changed, Durability, Page, Presented, Result, StoreError};

/// The record, with the last use that stands beside it.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Result<ApiKey>> {
    let last_used_at = row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis);
    let decoded = ApiKey::decode(row.get_ref(0)?.as_blob()?);
    Ok(decoded.map(|key| ApiKey { last_used_at, ..key }))
}

#[async_trait]
impl ApiKeyStore for Sqlite {
    async fn add(&self, api_key: &ApiKey) -> Result<()> {
        let api_key = api_key.clone();
        self.writer
            .write(Durability::Synced, move |writing| {
                if add(writing.connection, &api_key)? {
                    return Ok(());
                }
                let known = find::<ApiKey>(writing.connection, sql::KEY, [key(api_key.id.as_u128())])?;
                match known {
                    Some(known) if known.secret_hash == api_key.secret_hash => Ok(()),
                    _ => Err(StoreError::Corrupt("another key has this id or this secret".to_owned())),
                }
            })
            .await
    }

    async fn by_hash(&self, secret_hash: &SecretHash) -> Result<Option<ApiKey>> {
        self.find_kept(sql::KEY_BY_HASH, [*secret_hash]).await
    }

    async fn look_up(&self, secret_hash: &SecretHash) -> Result<Option<Presented<ApiKey>>> {
        let secret_hash = *secret_hash;
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::KEY_LOOK_UP)?;
                let found = statement
                    .query_row([secret_hash], |row| {
                        let user: Option<Vec<u8>> = row.get(3)?;
                        let role: Option<String> = row.get(4)?;
                        Ok((read(row)?, user, role))
                    })
                    .optional()?;
                let Some((credential, user, name)) = found else { return Ok(None) };
                let user = user.map(|user| User::decode(&user)).transpose()?;
                Ok(Some(Presented { credential: credential?, user, role: role(name)? }))
            })
            .await
    }

    async fn get(&self, organization: OrganizationId, id: KeyId) -> Result<Option<ApiKey>> {
        self.find_kept(sql::KEY_OF, [key(id.as_u128()), key(organization.as_u128())]).await
    }

    async fn list(
        &self,
        organization: OrganizationId,
        owner: Option<UserId>,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Page<ApiKey, KeyId>> {
        let (organization, below) = (key(organization.as_u128()), below(after.map(KeyId::as_u128)));
        let count = limit.max(1).saturating_add(1);
        let found = self
            .readers
            .read(move |connection| match owner {
                Some(owner) => {
                    let owner = key(owner.as_u128());
                    all(connection, sql::KEYS_OF_OWNER, params![organization, below, count, owner])
                }
                None => all(connection, sql::KEYS, params![organization, below, count]),
            })
            .await?;
        Ok(page(found, limit, KeyId::from_u128))
    }

    async fn update(&self, next: &ApiKey) -> Result<Changed<ApiKey>> {
        self.swap_kept(next).await
    }

    async fn used(&self, id: KeyId, at: Timestamp) -> Result<()> {
        let (id, noted_before) = (key(id.as_u128()), (at - USE_STEP).as_millis());
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let mut note = writing.connection.prepare_cached(sql::KEY_USED)?;
                note.execute(params![id, at.as_millis(), noted_before])?;
                Ok(())
            })
            .await
    }
}
