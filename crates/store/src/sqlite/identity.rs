//! People, organizations and credentials in the file, and how projects are kept as well: every kind is added, found and compared and set in the same way.

mod audit;
mod invitations;
mod keys;
mod organizations;
mod resets;
mod sessions;
mod sign_ins;
mod users;

pub(super) use organizations::found;

use gantry_domain::identity::{ApiKey, Invitation, Organization, PasswordReset, Session, User};
use gantry_domain::project::Project;
use gantry_domain::role::Role;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Params, Row, params_from_iter};

use super::row::{Id, key};
use super::{Sqlite, statements as sql};
use crate::kept::{Field, Kept, sift};
use crate::{Changed, Durability, Page, Result, StoreError};

/// A kind's statements. The parameters are id, version, record and then its fields; a query's first column is the record.
pub(super) trait Table: Kept {
    const ADD: &'static str;
    const PUT: &'static str;
    /// By id.
    const GET: &'static str;

    fn of_row(row: &Row<'_>) -> rusqlite::Result<Result<Self>> {
        Ok(Self::decode(row.get_ref(0)?.as_blob()?))
    }
}

macro_rules! tables {
    ($($kind:ty: $add:ident, $put:ident, $get:ident;)*) => {$(
        impl Table for $kind {
            const ADD: &'static str = sql::$add;
            const PUT: &'static str = sql::$put;
            const GET: &'static str = sql::$get;
        }
    )*};
}

tables! {
    Organization: ADD_ORGANIZATION, PUT_ORGANIZATION, ORGANIZATION;
    User: ADD_USER, PUT_USER, USER;
    Session: ADD_SESSION, PUT_SESSION, SESSION;
    Invitation: ADD_INVITATION, PUT_INVITATION, INVITATION;
    PasswordReset: ADD_RESET, PUT_RESET, RESET;
    Project: ADD_PROJECT, PUT_PROJECT, PROJECT;
}

impl Table for ApiKey {
    const ADD: &'static str = sql::ADD_KEY;
    const PUT: &'static str = sql::PUT_KEY;
    const GET: &'static str = sql::KEY;

    fn of_row(row: &Row<'_>) -> rusqlite::Result<Result<Self>> {
        keys::read(row)
    }
}

fn value(field: Field) -> Value {
    match field {
        Field::Id(id) => Value::Blob(key(id.bits).to_vec()),
        Field::Text(text) => Value::Text(text),
        Field::Hash(hash) => Value::Blob(hash.to_vec()),
        Field::Time(at) => Value::Integer(at.as_millis()),
        Field::While(true) => Value::Integer(1),
        Field::While(false) => Value::Null,
        Field::Since(at) => at.map_or(Value::Null, |at| Value::Integer(at.as_millis())),
    }
}

fn write<T: Table>(connection: &Connection, statement: &str, kept: &T) -> Result<Written> {
    let version = i64::try_from(kept.version()).unwrap_or(i64::MAX);
    let head =
        [Value::Blob(key(kept.id().bits).to_vec()), Value::Integer(version), Value::Blob(kept.encode()?)];
    let beside = kept.fields().into_iter().map(|(_, field)| value(field));
    // A refused statement undoes itself alone; the transaction goes on.
    match connection.prepare_cached(statement)?.execute(params_from_iter(head.into_iter().chain(beside))) {
        Ok(0) => Ok(Written::Nothing),
        Ok(_) => Ok(Written::Done),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Ok(Written::Taken),
        Err(error) => Err(error.into()),
    }
}

enum Written {
    Done,
    Nothing,
    /// Its id or another unique value is there.
    Taken,
}

pub(super) fn find<T: Table>(
    connection: &Connection,
    statement: &str,
    params: impl Params,
) -> Result<Option<T>> {
    connection.prepare_cached(statement)?.query_row(params, T::of_row).optional()?.transpose()
}

/// Stores a new value unless its id or another unique value is there.
pub(super) fn add<T: Table>(connection: &Connection, kept: &T) -> Result<bool> {
    Ok(matches!(write(connection, T::ADD, kept)?, Written::Done))
}

/// Stores a successor if the stored version is the one before.
pub(super) fn swap<T: Table>(connection: &Connection, next: &T) -> Result<Changed<T>> {
    match write(connection, T::PUT, next)? {
        Written::Done => Ok(Changed::Updated),
        Written::Taken => Ok(Changed::Taken),
        Written::Nothing => {
            let current = find::<T>(connection, T::GET, [key(next.id().bits)])?;
            Ok(current.map_or(Changed::NotFound, Changed::Conflict))
        }
    }
}

/// The rows of a query, and the id of each; unreadable ones are left out.
pub(super) fn all<T: Table>(
    connection: &Connection,
    statement: &str,
    params: impl Params,
) -> Result<Vec<(u128, Option<T>)>> {
    rows(connection, statement, params, T::KIND, T::of_row)
}

fn rows<T>(
    connection: &Connection,
    statement: &str,
    params: impl Params,
    kind: &'static str,
    read: fn(&Row<'_>) -> rusqlite::Result<Result<T>>,
) -> Result<Vec<(u128, Option<T>)>> {
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let id: Id = row.get(1)?;
        let bits = u128::from_be_bytes(id);
        found.push((bits, sift(kind, &format!("{bits:032x}"), read(row)?)?));
    }
    Ok(found)
}

/// The first `limit` of what was found with one more.
pub(super) fn page<T, C>(mut found: Vec<(u128, Option<T>)>, limit: u32, cursor: fn(u128) -> C) -> Page<T, C> {
    let limit = limit.max(1) as usize;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().map(|(id, _)| cursor(*id)) } else { None };
    Page { items: found.into_iter().filter_map(|(_, item)| item).collect(), next }
}

/// The id that a page ends before.
pub(super) fn below(after: Option<u128>) -> Id {
    key(after.unwrap_or(u128::MAX))
}

fn role(name: Option<String>) -> Result<Option<Role>> {
    let known = |name: String| {
        Role::parse(&name).ok_or_else(|| StoreError::Corrupt(format!("a member has the role {name:?}")))
    };
    name.map(known).transpose()
}

impl Sqlite {
    pub(super) async fn add_kept<T: Table>(&self, kept: &T) -> Result<bool> {
        let kept = kept.clone();
        self.writer.write(Durability::Synced, move |writing| add(writing.connection, &kept)).await
    }

    pub(super) async fn swap_kept<T: Table>(&self, next: &T) -> Result<Changed<T>> {
        let next = next.clone();
        self.writer.write(Durability::Synced, move |writing| swap(writing.connection, &next)).await
    }

    pub(super) async fn find_kept<T, P>(&self, statement: &'static str, params: P) -> Result<Option<T>>
    where
        T: Table,
        P: Params + Send + 'static,
    {
        self.readers.read(move |connection| find(connection, statement, params)).await
    }
}
