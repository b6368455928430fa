//! Writing down what was set aside, and looking again at every start.

use gantry_domain::id::{OrganizationId, RunId, WorkerId};
use gantry_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{Id, Stored, key, organization_id};
use super::{Sqlite, statements as sql};
use crate::aside::{DocumentKind, SetAside};
use crate::record::decode_worker;
use crate::{Durability, Result, StoreError};

impl Sqlite {
    /// Writes down what was set aside since the last time. A failure costs nobody his answer.
    pub async fn write_down_aside(&self) {
        let fresh = self.aside.take_fresh();
        if fresh.is_empty() {
            return;
        }
        let rows: Vec<_> = fresh.iter().filter_map(|aside| Some((bits(aside)?, aside.clone()))).collect();
        let written = self
            .writer
            .write(Durability::Relaxed, move |writing| {
                let mut put = writing.connection.prepare_cached(sql::PUT_ASIDE)?;
                for (id, aside) in &rows {
                    let organization = aside.organization.map(|organization| key(organization.as_u128()));
                    let at = aside.at.as_millis();
                    put.execute(params![aside.kind.as_str(), id, organization, aside.why, at])?;
                }
                Ok(())
            })
            .await;
        if let Err(error) = written {
            tracing::warn!(%error, "what was set aside is not written down yet");
            self.aside.put_back(fresh);
        }
    }

    pub async fn list_aside(&self, organization: OrganizationId, limit: u32) -> Result<Vec<SetAside>> {
        let organization = key(organization.as_u128());
        self.readers
            .read(move |connection| {
                let mut statement = connection.prepare_cached(sql::LIST_ASIDE)?;
                let mut rows = statement.query(params![organization, limit])?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    let (kind, id): (String, Id) = (row.get(0)?, row.get(1)?);
                    let organization: Option<Id> = row.get(2)?;
                    let kind = DocumentKind::parse(&kind)
                        .ok_or_else(|| StoreError::Corrupt(format!("a {kind} is set aside")))?;
                    found.push(SetAside {
                        kind,
                        id: kind.id(u128::from_be_bytes(id)),
                        organization: organization.map(organization_id),
                        why: row.get(3)?,
                        at: Timestamp::from_millis(row.get(4)?),
                    });
                }
                Ok(found)
            })
            .await
    }
}

fn bits(aside: &SetAside) -> Option<Id> {
    let bits = match aside.kind {
        DocumentKind::Run => aside.id.parse::<RunId>().ok()?.as_u128(),
        DocumentKind::Worker => aside.id.parse::<WorkerId>().ok()?.as_u128(),
    };
    Some(key(bits))
}

/// Strikes out what this version can read, or what is gone, and lets dispatching look at such runs again.
pub(super) fn look_again(connection: &mut Connection) -> Result<()> {
    let transaction = connection.transaction()?;
    let listed: Vec<(String, Id)> = transaction
        .prepare(sql::ALL_ASIDE)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (kind, id) in listed {
        let readable = match DocumentKind::parse(&kind) {
            Some(DocumentKind::Run) => {
                let stored = transaction.query_row(sql::RUN_BY_ID, [id], Stored::read).optional()?;
                stored.map(|stored| stored.decode().is_ok())
            }
            Some(DocumentKind::Worker) => {
                let record: Option<Vec<u8>> =
                    transaction.query_row(sql::WORKER, [id], |row| row.get(0)).optional()?;
                record.map(|record| decode_worker(&record).is_ok())
            }
            None => None,
        };
        if readable != Some(false) {
            transaction.execute(sql::STRIKE_ASIDE, params![kind, id])?;
            transaction.execute(sql::WAKE_LANE_OF, [id])?;
        }
    }
    transaction.commit()?;
    Ok(())
}
