use async_trait::async_trait;
use gantry_domain::id::{InstallationId, KeyId, OrganizationId};
use gantry_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::row::{Id, key, organization_id};
use super::{Sqlite, statements as sql};
use crate::{ApiKey, AuthStore, Bootstrap, Durability, Organization, Result, User};

const INSTALLATION: &str = "installation";
const CHECKED: &str = "checked";

#[async_trait]
impl AuthStore for Sqlite {
    async fn installation(&self) -> Result<InstallationId> {
        let known = self.readers.read(installation).await?;
        if let Some(id) = known {
            return Ok(id);
        }
        let fresh = key(InstallationId::new().as_u128());
        self.writer
            .write(Durability::Synced, move |writing| {
                writing.connection.prepare_cached(sql::ADD_SETTING)?.execute(params![INSTALLATION, fresh])?;
                Ok(installation(writing.connection)?
                    .unwrap_or(InstallationId::from_u128(u128::from_be_bytes(fresh))))
            })
            .await
    }

    async fn bootstrap(&self, first: &Bootstrap) -> Result<bool> {
        let Bootstrap { organization, user, key } = first.clone();
        self.writer
            .write(Durability::Synced, move |writing| {
                if writing.connection.prepare_cached(sql::ANY_ORGANIZATION)?.exists([])? {
                    return Ok(false);
                }
                insert_organization(writing.connection, &organization)?;
                insert_user(writing.connection, &user)?;
                insert_key(writing.connection, &key)?;
                Ok(true)
            })
            .await
    }

    async fn first_organization(&self) -> Result<Option<Organization>> {
        self.readers
            .read(|connection| {
                let mut statement = connection.prepare_cached(sql::FIRST_ORGANIZATION)?;
                Ok(statement.query_row([], read_organization).optional()?)
            })
            .await
    }

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>> {
        let id = key(id.as_u128());
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::ORGANIZATION)?;
                Ok(statement.query_row([id], read_organization).optional()?)
            })
            .await
    }

    async fn key_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiKey>> {
        let secret_hash = *secret_hash;
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::KEY_BY_HASH)?;
                Ok(statement.query_row([secret_hash], read_key).optional()?)
            })
            .await
    }

    async fn add_key(&self, key: &ApiKey) -> Result<()> {
        let key = key.clone();
        self.writer.write(Durability::Synced, move |writing| insert_key(writing.connection, &key)).await
    }

    async fn check(&self) -> Result<()> {
        self.writer
            .write(Durability::Relaxed, |writing| {
                writing.connection.prepare_cached(sql::PUT_SETTING)?.execute(params![CHECKED, [1_u8]])?;
                Ok(())
            })
            .await?;
        self.readers
            .read(|connection| {
                connection.prepare_cached(sql::SETTING)?.exists([CHECKED])?;
                Ok(())
            })
            .await
    }
}

fn installation(connection: &Connection) -> Result<Option<InstallationId>> {
    let stored: Option<Id> =
        connection.prepare_cached(sql::SETTING)?.query_row([INSTALLATION], |row| row.get(0)).optional()?;
    Ok(stored.map(|id| InstallationId::from_u128(u128::from_be_bytes(id))))
}

fn read_organization(row: &Row<'_>) -> rusqlite::Result<Organization> {
    Ok(Organization {
        id: organization_id(row.get(0)?),
        name: row.get(1)?,
        created_at: Timestamp::from_millis(row.get(2)?),
    })
}

fn insert_organization(connection: &Connection, organization: &Organization) -> Result<()> {
    connection.prepare_cached(sql::INSERT_ORGANIZATION)?.execute(params![
        key(organization.id.as_u128()),
        organization.name,
        organization.created_at.as_millis(),
    ])?;
    Ok(())
}

fn insert_user(connection: &Connection, user: &User) -> Result<()> {
    connection.prepare_cached(sql::INSERT_USER)?.execute(params![
        key(user.id.as_u128()),
        key(user.organization.as_u128()),
        user.email,
        user.password_hash,
        user.created_at.as_millis(),
    ])?;
    Ok(())
}

fn insert_key(connection: &Connection, api_key: &ApiKey) -> Result<()> {
    connection.prepare_cached(sql::INSERT_KEY)?.execute(params![
        key(api_key.id.as_u128()),
        key(api_key.organization.as_u128()),
        api_key.name,
        api_key.secret_hash,
        api_key.created_at.as_millis(),
        api_key.revoked_at.map(Timestamp::as_millis),
    ])?;
    Ok(())
}

fn read_key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    let id: Id = row.get(0)?;
    Ok(ApiKey {
        id: KeyId::from_u128(u128::from_be_bytes(id)),
        organization: organization_id(row.get(1)?),
        name: row.get(2)?,
        secret_hash: row.get(3)?,
        created_at: Timestamp::from_millis(row.get(4)?),
        revoked_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis),
    })
}
