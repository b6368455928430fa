use async_trait::async_trait;
use gantry_domain::identity::lockout::{Failures, Subject};
use gantry_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::{Sqlite, statements as sql};
use crate::{Attempt, Durability, Result, SignInStore};

fn failures(connection: &Connection, subject: &str) -> Result<Option<Failures>> {
    let mut statement = connection.prepare_cached(sql::FAILURES)?;
    let known = statement.query_row([subject], |row| {
        Ok(Failures { count: row.get(0)?, last_at: Timestamp::from_millis(row.get(1)?) })
    });
    Ok(known.optional()?)
}

fn put(connection: &Connection, subject: &str, failures: Failures) -> Result<()> {
    let mut put = connection.prepare_cached(sql::PUT_FAILURES)?;
    put.execute(params![subject, failures.count, failures.last_at.as_millis()])?;
    Ok(())
}

#[async_trait]
impl SignInStore for Sqlite {
    async fn attempt(&self, subject: &Subject, now: Timestamp) -> Result<Attempt> {
        let (name, policy) = (subject.to_string(), subject.policy());
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let known = failures(writing.connection, &name)?;
                match Failures::attempt(known, policy, now) {
                    Err(until) => Ok(Attempt::Locked(until)),
                    Ok(next) => {
                        put(writing.connection, &name, next)?;
                        Ok(Attempt::Counted { now: next, before: known })
                    }
                }
            })
            .await
    }

    async fn take_back(&self, subject: &Subject, counted: Failures, before: Option<Failures>) -> Result<()> {
        let name = subject.to_string();
        self.writer
            .write(Durability::Relaxed, move |writing| match failures(writing.connection, &name)? {
                Some(known) => put(writing.connection, &name, known.take_back(counted, before)),
                None => Ok(()),
            })
            .await
    }

    async fn forgive(&self, subject: &Subject) -> Result<()> {
        let name = subject.to_string();
        self.writer
            .write(Durability::Relaxed, move |writing| {
                writing.connection.prepare_cached(sql::FORGIVE)?.execute([&name])?;
                Ok(())
            })
            .await
    }

    async fn failures(&self, subject: &Subject) -> Result<Option<Failures>> {
        let name = subject.to_string();
        self.readers.read(move |connection| failures(connection, &name)).await
    }

    async fn forget(&self, before: Timestamp) -> Result<u64> {
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let mut forget = writing.connection.prepare_cached(sql::FORGET_FAILURES)?;
                Ok(forget.execute([before.as_millis()])? as u64)
            })
            .await
    }
}
