//! Brings organizations, users and keys of version 2 over: each user had one organization, and a key had no owner. Like the
//! migration's SQL this never changes: it writes the records as they were then.

use gantry_domain::id::{KeyId, OrganizationId, UserId};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::super::row::Id;
use crate::{Result, StoreError};

fn bits(id: Id) -> u128 {
    u128::from_be_bytes(id)
}

fn record(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

pub(super) fn bring_over(connection: &Connection) -> Result<()> {
    // Old tables hold a row or a few: an installation had one user.
    let mut users: Vec<(Id, Id, String, String, i64)> = connection
        .prepare("SELECT id, organization, email, password_hash, created_at FROM old_users ORDER BY id")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (_, _, email, ..) in &mut users {
        *email = email.trim().to_ascii_lowercase();
    }
    for (id, _, email, password, created_at) in &users {
        let user = json!({
            "v": 1, "id": UserId::from_u128(bits(*id)), "version": 1, "email": email, "password": password,
            "created_at": created_at, "password_changed_at": created_at,
        });
        connection.execute(
            "INSERT INTO users (id, version, record, email) VALUES (?1, 1, ?2, ?3)",
            params![id, record(&user)?, email],
        )?;
    }

    let organizations: Vec<(Id, String, i64)> = connection
        .prepare("SELECT id, name, created_at FROM old_organizations")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, name, created_at) in organizations {
        let members: Vec<_> = users.iter().filter(|user| user.1 == id).collect();
        let member = |(user, _, _, _, since): &&(Id, Id, String, String, i64)| json!({ "user": UserId::from_u128(bits(*user)), "role": "admin", "since": since });
        let organization = json!({
            "v": 1, "id": OrganizationId::from_u128(bits(id)), "version": 1, "name": name,
            "created_at": created_at, "members": members.iter().map(member).collect::<Vec<_>>(),
        });
        connection.execute(
            "INSERT INTO organizations (id, version, record, name, created_at) VALUES (?1, 1, ?2, ?3, ?4)",
            params![id, record(&organization)?, name, created_at],
        )?;
        for (user, ..) in members {
            connection.execute(
                "INSERT INTO memberships (organization, user, role) VALUES (?1, ?2, 'admin')",
                params![id, user],
            )?;
        }
    }

    type Key = (Id, Id, String, [u8; 32], i64, Option<i64>);
    let keys: Vec<Key> = connection
        .prepare("SELECT id, organization, name, secret_hash, created_at, revoked_at FROM old_api_keys")?
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (id, organization, name, secret_hash, created_at, revoked_at) in keys {
        // Whoever made the installation had its keys; without him a key is nobody's, and can do nothing.
        let owner = users.iter().find(|user| user.1 == organization).map_or([0; 16], |user| user.0);
        let digits: String = secret_hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut key = json!({
            "v": 1, "id": KeyId::from_u128(bits(id)), "version": 1,
            "organization": OrganizationId::from_u128(bits(organization)), "owner": UserId::from_u128(bits(owner)),
            "name": name, "scopes": ["admin"], "secret_hash": digits, "created_at": created_at,
        });
        if let Some(at) = revoked_at {
            key["revoked_at"] = at.into();
        }
        connection.execute(
            "INSERT INTO api_keys (id, version, record, organization, owner, name, secret_hash, created_at, revoked_at)
             VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![id, record(&key)?, organization, owner, name, secret_hash, created_at, revoked_at],
        )?;
    }
    connection
        .execute_batch("DROP TABLE old_organizations; DROP TABLE old_users; DROP TABLE old_api_keys;")?;
    Ok(())
}
