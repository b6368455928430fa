use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::Organization;
use gantry_domain::role::Role;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::row::key;
use super::super::{Sqlite, statements as sql};
use super::{add, all, role, swap};
use crate::{Changed, Durability, OrganizationStore, Result};

/// Adds the organization with what its members are found by.
pub(in super::super) fn found(connection: &Connection, organization: &Organization) -> Result<bool> {
    let new = add(connection, organization)?;
    if new {
        write_members(connection, organization)?;
    }
    Ok(new)
}

fn write_members(connection: &Connection, organization: &Organization) -> Result<()> {
    let id = key(organization.id.as_u128());
    connection.prepare_cached(sql::FORGET_MEMBERS)?.execute([id])?;
    let mut add = connection.prepare_cached(sql::ADD_MEMBER)?;
    for member in organization.members() {
        add.execute(params![id, key(member.user.as_u128()), member.role.as_str()])?;
    }
    Ok(())
}

#[async_trait]
impl OrganizationStore for Sqlite {
    async fn found(&self, organization: &Organization) -> Result<()> {
        let organization = organization.clone();
        self.writer
            .write(Durability::Synced, move |writing| {
                found(writing.connection, &organization)?;
                Ok(())
            })
            .await
    }

    async fn get(&self, id: OrganizationId) -> Result<Option<Organization>> {
        self.find_kept(sql::ORGANIZATION, [key(id.as_u128())]).await
    }

    async fn update(&self, next: &Organization) -> Result<Changed<Organization>> {
        let next = next.clone();
        self.writer
            .write(Durability::Synced, move |writing| {
                let changed = swap(writing.connection, &next)?;
                if changed == Changed::Updated {
                    write_members(writing.connection, &next)?;
                }
                Ok(changed)
            })
            .await
    }

    async fn role(&self, id: OrganizationId, user: UserId) -> Result<Option<Role>> {
        let pair = [key(id.as_u128()), key(user.as_u128())];
        let read = self.readers.read(move |connection| {
            Ok(connection.prepare_cached(sql::ROLE)?.query_row(pair, |row| row.get(0)).optional()?)
        });
        role(read.await?)
    }

    async fn of_user(&self, user: UserId) -> Result<Vec<Organization>> {
        let user = key(user.as_u128());
        let found =
            self.readers.read(move |connection| all(connection, sql::ORGANIZATIONS_OF, [user])).await?;
        Ok(found.into_iter().filter_map(|(_, organization)| organization).collect())
    }
}
