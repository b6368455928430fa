use async_trait::async_trait;
use gantry_domain::id::{InstallationId, OrganizationId};
use gantry_domain::identity::Organization;
use rusqlite::{Connection, OptionalExtension, params};

use super::identity::{add, found};
use super::row::{Id, key};
use super::{Sqlite, statements as sql};
use crate::{AuthStore, Bootstrap, Durability, Result, StoreError};

const INSTALLATION: &str = "installation";
const CHECKED: &str = "checked";
const OPERATORS: &str = "operators";

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
                let connection = writing.connection;
                if connection.prepare_cached(sql::ANY_ORGANIZATION)?.exists([])? {
                    return Ok(false);
                }
                if found(connection, &organization)? && add(connection, &user)? && add(connection, &key)? {
                    let operators = organization.id.as_u128().to_be_bytes();
                    connection.prepare_cached(sql::PUT_SETTING)?.execute(params![OPERATORS, operators])?;
                    return Ok(true);
                }
                Err(StoreError::Corrupt("there are users or keys, but no organization".to_owned()))
            })
            .await
    }

    async fn first_organization(&self) -> Result<Option<Organization>> {
        self.find_kept(sql::FIRST_ORGANIZATION, []).await
    }

    async fn operators(&self) -> Result<Option<OrganizationId>> {
        self.readers
            .read(|connection| {
                let mut setting = connection.prepare_cached(sql::SETTING)?;
                let found: Option<[u8; 16]> = setting.query_row([OPERATORS], |row| row.get(0)).optional()?;
                Ok(found.map(|bits| OrganizationId::from_u128(u128::from_be_bytes(bits))))
            })
            .await
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
