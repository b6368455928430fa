//! Runs: accepting, changing, finding, deleting.

use std::sync::Arc;

use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, RunId, WorkerId};
use gantry_domain::run::Run;
use gantry_domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::row::{Changing, Id, NewRow, Standing, Stored, key, status_code, turn};
use super::writer::Writing;
use super::{Sqlite, list, statements as sql};
use crate::aside::{Aside, SetAside};
use crate::{
    Accepted, Deleted, Durability, Group, Idempotency, LeaseRef, ListFilter, NewRun, Page, Renewal, Result,
    RunStore, Transition,
};

/// Rows that one command imports or forgets, so that others get their turn.
const BULK: usize = 500;

/// What a command found, before it is decoded outside the writer.
enum Tried<T> {
    Done(T),
    Found(Stored),
    Refused,
}

#[async_trait]
impl RunStore for Sqlite {
    async fn accept(&self, new: NewRun) -> Result<Accepted> {
        let (mut run, idempotency) = new.into_run();
        let row = NewRow::of(&run)?;
        let tried = self
            .writer
            .write(Durability::Synced, move |writing| {
                if let Some(wanted) = &idempotency
                    && let Some(known) = same_key(writing.connection, row.organization, wanted)?
                {
                    return Ok(known);
                }
                // The same id again is the same request again: its answer was lost.
                if let Some(stored) = tenants_run(writing.connection, row.organization, row.id)? {
                    return Ok(Tried::Found(stored));
                }
                let number = writing.ledger.next_number(writing.connection, row.organization)?;
                let idempotency = idempotency.as_ref().map(|i| (i.key.as_str(), &i.body_hash));
                row.insert(writing, number, idempotency)?;
                Ok(Tried::Done(number))
            })
            .await?;
        Ok(match tried {
            Tried::Done(number) => {
                run.number = number;
                Accepted::Created(run)
            }
            Tried::Found(stored) => Accepted::Replayed(stored.decode()?),
            Tried::Refused => Accepted::KeyReused,
        })
    }

    async fn repeated(
        &self,
        organization: OrganizationId,
        idempotency: &Idempotency,
    ) -> Result<Option<Accepted>> {
        let (organization, wanted) = (key(organization.as_u128()), idempotency.clone());
        let known =
            self.readers.read(move |connection| same_key::<()>(connection, organization, &wanted)).await?;
        Ok(match known {
            Some(Tried::Found(stored)) => Some(Accepted::Replayed(stored.decode()?)),
            Some(Tried::Refused) => Some(Accepted::KeyReused),
            Some(Tried::Done(())) | None => None,
        })
    }

    async fn get(&self, organization: OrganizationId, id: RunId) -> Result<Option<Run>> {
        let (organization, id) = (key(organization.as_u128()), key(id.as_u128()));
        self.readers
            .read(move |connection| {
                tenants_run(connection, organization, id)?.map(Stored::decode).transpose()
            })
            .await
    }

    async fn find(&self, id: RunId) -> Result<Option<Run>> {
        let id = key(id.as_u128());
        self.readers.read(move |connection| any_run(connection, id)?.map(Stored::decode).transpose()).await
    }

    async fn transition(&self, next: &Run, durability: Durability) -> Result<Transition> {
        let id = key(next.id.as_u128());
        let (pool, group) = (next.spec.pool.clone(), next.spec.group.clone());
        let changing = Changing::of(next)?;
        let tried = self
            .writer
            .write(durability, move |writing| {
                let Some(standing) = Standing::of(writing.connection, id)? else { return Ok(Tried::Refused) };
                if standing.version + 1 != changing.version {
                    return Ok(match any_run(writing.connection, id)? {
                        Some(stored) => Tried::Found(stored),
                        None => Tried::Refused,
                    });
                }
                let expires_at = standing.later_expiry(&changing);
                writing.connection.prepare_cached(sql::UPDATE_RUN)?.execute(params![
                    standing.seq,
                    changing.version,
                    status_code(changing.status),
                    changing.waits,
                    changing.due_at,
                    changing.limit_key,
                    changing.queued_since,
                    changing.worker,
                    changing.lease_token,
                    expires_at,
                    changing.cancel,
                    changing.log_due,
                    changing.record,
                ])?;
                if standing.group != group {
                    let mut regroup = writing.connection.prepare_cached(sql::REGROUP_RUN)?;
                    regroup.execute(params![standing.seq, group])?;
                }
                let from = (standing.status, standing.group.as_deref());
                let to = (changing.status, group.as_deref());
                writing.ledger.count(standing.organization, pool.as_str(), Some(from), Some(to));
                if changing.waits == Some(0) {
                    writing.ledger.activate_lane(writing.connection, pool.as_str(), standing.organization)?;
                }
                Ok(Tried::Done(()))
            })
            .await?;
        Ok(match tried {
            Tried::Done(()) => Transition::Updated,
            Tried::Found(stored) => Transition::Conflict(stored.decode()?),
            Tried::Refused => Transition::NotFound,
        })
    }

    async fn renew(
        &self,
        worker: WorkerId,
        leases: &[LeaseRef],
        expires_at: Timestamp,
    ) -> Result<Vec<Renewal>> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let worker = key(worker.as_u128());
        let leases = leases.to_vec();
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let mut renew = writing.connection.prepare_cached(sql::RENEW_LEASE)?;
                leases
                    .iter()
                    .map(|lease| {
                        let id = key(lease.run.as_u128());
                        let values = params![id, worker, lease.token.as_str(), expires_at.as_millis()];
                        let cancel = renew.query_row(values, |row| row.get(0)).optional()?;
                        Ok(cancel.map_or(Renewal::Lost, |cancel| Renewal::Renewed { cancel }))
                    })
                    .collect()
            })
            .await
    }

    async fn expired(&self, now: Timestamp, limit: u32) -> Result<Vec<Run>> {
        self.many(sql::EXPIRED, limit, move |limit| [now.as_millis(), limit]).await
    }

    async fn leased(&self, worker: Option<WorkerId>, limit: u32) -> Result<Vec<Run>> {
        match worker {
            Some(worker) => {
                let worker = key(worker.as_u128());
                self.many(sql::LEASED_TO, limit, move |limit| (limit, worker)).await
            }
            None => self.many(sql::LEASED, limit, |limit| [limit]).await,
        }
    }

    async fn list(
        &self,
        organization: OrganizationId,
        filter: &ListFilter,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Page<Run, RunId>> {
        let (filter, aside) = (filter.clone(), Arc::clone(&self.aside));
        let page = self
            .readers
            .read(move |connection| list::runs(connection, &aside, organization, &filter, after, limit))
            .await;
        self.write_down_aside().await;
        page
    }

    async fn groups(
        &self,
        organization: OrganizationId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Group, String>> {
        let after = after.map(str::to_owned);
        self.readers
            .read(move |connection| list::groups(connection, organization, after.as_deref(), limit))
            .await
    }

    async fn delete(&self, organization: OrganizationId, id: RunId) -> Result<Deleted> {
        let (organization, id) = (key(organization.as_u128()), key(id.as_u128()));
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let standing = Standing::of(writing.connection, id)?;
                let Some(standing) = standing.filter(|found| found.organization == organization) else {
                    return Ok(Deleted::NotFound);
                };
                if !standing.status.is_final() {
                    return Ok(Deleted::StillGoing(standing.status));
                }
                delete(writing, &standing, id)?;
                Ok(Deleted::Deleted)
            })
            .await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<(Vec<Run>, Option<Timestamp>)> {
        let now = now.as_millis();
        let runs = self.many(sql::DUE, limit, move |limit| [now, limit]).await?;
        let next = self
            .readers
            .read(move |connection| {
                let mut next = connection.prepare_cached(sql::NEXT_DUE)?;
                Ok(next.query_row([now], |row| row.get(0)).optional()?.map(Timestamp::from_millis))
            })
            .await?;
        Ok((runs, next))
    }

    async fn unclaimed(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>> {
        self.many(sql::UNCLAIMED, limit, move |limit| [before.as_millis(), limit]).await
    }

    async fn waiting_since(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>> {
        self.many(sql::WAITING_SINCE, limit, move |limit| [before.as_millis(), limit]).await
    }

    async fn logs_due(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>> {
        self.many(sql::LOGS_DUE, limit, move |limit| [before.as_millis(), limit]).await
    }

    async fn ahead_of(&self, run: &Run) -> Result<u64> {
        let (organization, id) = (key(run.organization.as_u128()), key(run.id.as_u128()));
        let (pool, turn) = (run.spec.pool.clone(), turn(run.spec.priority));
        self.readers
            .read(move |connection| {
                let mut count = connection.prepare_cached(sql::AHEAD_OF)?;
                Ok(count.query_row(params![pool.as_str(), organization, turn, id], |row| row.get(0))?)
            })
            .await
    }

    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64> {
        let mut forgotten = 0;
        loop {
            let some = self
                .writer
                .write(Durability::Relaxed, move |writing| {
                    let mut forget = writing.connection.prepare_cached(sql::FORGET_IDEMPOTENCY)?;
                    Ok(forget.execute(params![before.as_millis(), BULK])?)
                })
                .await?;
            forgotten += some as u64;
            if some < BULK {
                return Ok(forgotten);
            }
        }
    }

    async fn set_aside(&self, organization: OrganizationId, limit: u32) -> Result<Vec<SetAside>> {
        self.list_aside(organization, limit).await
    }

    async fn import(&self, runs: Vec<Run>) -> Result<()> {
        let mut rest = runs.as_slice();
        while !rest.is_empty() {
            let (part, tail) = rest.split_at(rest.len().min(BULK));
            rest = tail;
            let rows =
                part.iter().map(|run| Ok((run.number, NewRow::of(run)?))).collect::<Result<Vec<_>>>()?;
            let durability = if rest.is_empty() { Durability::Synced } else { Durability::Relaxed };
            self.writer
                .write(durability, move |writing| {
                    for (number, row) in &rows {
                        writing.ledger.use_number(writing.connection, row.organization, *number)?;
                        row.insert(writing, *number, None)?;
                    }
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }
}

impl Sqlite {
    /// The first `limit` runs that a statement finds; `values` are given how many to ask for, as some may be unreadable.
    pub(super) async fn many<P>(
        &self,
        query: &'static str,
        limit: u32,
        values: impl Fn(i64) -> P + Clone + Send + 'static,
    ) -> Result<Vec<Run>>
    where
        P: rusqlite::Params,
    {
        loop {
            let known = self.aside.known();
            let wanted = limit.saturating_add(known);
            let (aside, values) = (Arc::clone(&self.aside), values.clone());
            let (mut runs, found) = self
                .readers
                .read(move |connection| runs(connection, &aside, query, values(wanted.into())))
                .await?;
            self.write_down_aside().await;
            // Those found unreadable just now took the places of others.
            let again =
                runs.len() < limit as usize && found >= u64::from(wanted) && self.aside.known() > known;
            if !again {
                runs.truncate(limit as usize);
                return Ok(runs);
            }
        }
    }
}

/// The runs that a statement finds, and how many rows it found.
fn runs(
    connection: &Connection,
    aside: &Aside,
    query: &str,
    values: impl rusqlite::Params,
) -> Result<(Vec<Run>, u64)> {
    let mut statement = connection.prepare_cached(query)?;
    let mut rows = statement.query(values)?;
    let (mut runs, mut found) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        found += 1;
        runs.extend(Stored::read(row)?.sift(aside)?);
    }
    Ok((runs, found))
}

/// The run that was accepted with this key; refused when that was with another body.
fn same_key<T>(connection: &Connection, organization: Id, wanted: &Idempotency) -> Result<Option<Tried<T>>> {
    let found = connection
        .prepare_cached(sql::RUN_BY_IDEMPOTENCY)?
        .query_row(params![organization, wanted.key], |found| {
            Ok((Stored::read(found)?, found.get::<_, [u8; 32]>(6)?))
        })
        .optional()?;
    Ok(found.map(
        |(stored, body_hash)| {
            if body_hash == wanted.body_hash { Tried::Found(stored) } else { Tried::Refused }
        },
    ))
}

fn any_run(connection: &Connection, id: Id) -> Result<Option<Stored>> {
    Ok(connection.prepare_cached(sql::RUN_BY_ID)?.query_row([id], Stored::read).optional()?)
}

fn tenants_run(connection: &Connection, organization: Id, id: Id) -> Result<Option<Stored>> {
    Ok(connection.prepare_cached(sql::RUN_OF)?.query_row([id, organization], Stored::read).optional()?)
}

fn delete(writing: &mut Writing<'_>, standing: &Standing, id: Id) -> Result<()> {
    let connection = writing.connection;
    let pool: String =
        connection.prepare_cached(sql::DELETE_RUN)?.query_row([standing.seq], |row| row.get(0))?;
    connection.prepare_cached(sql::CLEAR_ALL_CHUNKS)?.execute([standing.organization, id])?;
    connection.prepare_cached(sql::CLEAR_ALL_BLOCKS)?.execute([standing.organization, id])?;
    connection.prepare_cached(sql::GIVE_ALL_PLACES_BACK)?.execute([id])?;
    let from = (standing.status, standing.group.as_deref());
    writing.ledger.count(standing.organization, &pool, Some(from), None);
    Ok(())
}
