//! The file's layout and how it gets from one version to the next.

mod identity;

use rusqlite::Connection;

use crate::{Result, StoreError};

/// A step from one version to the next. One that has been released never changes.
struct Step {
    sql: &'static str,
    /// What SQL cannot do, in the same transaction.
    and: fn(&Connection) -> Result<()>,
}

impl Step {
    const fn of(sql: &'static str) -> Self {
        Self { sql, and: |_| Ok(()) }
    }
}

/// Step `n` leads from version `n` to `n + 1`.
const STEPS: &[Step] = &[
    Step::of(include_str!("migrations/0001_first.sql")),
    Step::of(include_str!("migrations/0002_set_aside.sql")),
    Step { sql: include_str!("migrations/0003_identity.sql"), and: identity::bring_over },
    Step::of(include_str!("migrations/0004_projects.sql")),
];

/// Brings the file to the present version, each step in its own transaction.
pub(super) fn migrate(connection: &mut Connection) -> Result<()> {
    loop {
        let step = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version: u32 = step.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let known = STEPS.len() as u32;
        if version > known {
            return Err(StoreError::TooNew { found: version, known });
        }
        if version == 0 {
            refuse_foreign(&step)?;
        }
        let Some(next) = STEPS.get(version as usize) else { return Ok(()) };
        step.execute_batch(next.sql)?;
        (next.and)(&step)?;
        step.pragma_update(None, "user_version", version + 1)?;
        step.commit()?;
        tracing::info!(from = version, to = version + 1, "the store's schema was brought forward");
    }
}

fn refuse_foreign(connection: &Connection) -> Result<()> {
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        return Err(StoreError::Corrupt("the file is another program's database".to_owned()));
    }
    Ok(())
}
