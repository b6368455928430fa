use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::Run;
use gantry_domain::spec::Pool;
use rusqlite::params;

use super::ledger::Depth;
use super::row::{Id, key, run_id};
use super::{Sqlite, lanes, statements as sql};
use crate::{Acquired, DispatchStore, Durability, Limit, PoolDepth, Result, StoreError};

#[async_trait]
impl DispatchStore for Sqlite {
    async fn ready(&self, pool: &Pool, limit: u32) -> Result<Vec<Run>> {
        let (pool, aside) = (pool.clone(), Arc::clone(&self.aside));
        let picked = self
            .writer
            .write(Durability::Relaxed, move |writing| lanes::ready(writing, &aside, pool.as_str(), limit))
            .await?;
        let mut runs = Vec::with_capacity(picked.len());
        for stored in picked {
            runs.extend(stored.sift(&self.aside)?);
        }
        self.write_down_aside().await;
        Ok(runs)
    }

    async fn acquire(&self, run: RunId, limits: &[Limit]) -> Result<Acquired> {
        let mut sorted: BTreeMap<String, u32> = BTreeMap::new();
        for limit in limits {
            let max = sorted.entry(limit.key.clone()).or_insert(limit.max);
            *max = limit.max.min(*max);
        }
        if sorted.is_empty() {
            return Ok(Acquired::All);
        }
        let run = key(run.as_u128());
        self.writer
            .write(Durability::Relaxed, move |writing| {
                let mut has = writing.connection.prepare_cached(sql::HAS_PLACE)?;
                let mut take = writing.connection.prepare_cached(sql::TAKE_PLACE)?;
                let mut taken = Vec::new();
                for (limit, max) in &sorted {
                    if has.exists(params![limit, run])? {
                        continue;
                    }
                    if take.execute(params![limit, run, max])? == 0 {
                        give_back(writing.connection, run, &taken)?;
                        return Ok(Acquired::Full { key: limit.clone() });
                    }
                    taken.push(limit.clone());
                }
                Ok(Acquired::All)
            })
            .await
    }

    async fn release(&self, run: RunId, keys: &[String]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        let (run, keys) = (key(run.as_u128()), keys.to_vec());
        self.writer.write(Durability::Relaxed, move |writing| give_back(writing.connection, run, &keys)).await
    }

    async fn holders(&self) -> Result<Vec<(String, RunId)>> {
        self.readers
            .read(|connection| {
                let mut statement = connection.prepare_cached(sql::HOLDERS)?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, run_id(row.get(1)?))))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    async fn blocked_on(&self, key: &str, limit: u32) -> Result<Vec<Run>> {
        let key = key.to_owned();
        self.many(sql::BLOCKED_ON, limit, move |limit| (key.clone(), limit)).await
    }

    async fn blocking_keys(&self) -> Result<Vec<String>> {
        self.readers
            .read(|connection| {
                let mut next = connection.prepare_cached(sql::NEXT_BLOCKING_KEY)?;
                let mut keys: Vec<String> = Vec::new();
                loop {
                    let last = keys.last().map_or("", String::as_str);
                    let mut rows = next.query([last])?;
                    match rows.next()? {
                        Some(row) => {
                            let key = row.get(0)?;
                            drop(rows);
                            keys.push(key);
                        }
                        None => break,
                    }
                }
                Ok(keys)
            })
            .await
    }

    async fn depths(&self) -> Result<Vec<PoolDepth>> {
        self.count(|lanes| {
            lanes.values().fold(Depth::default(), |sum, depth| Depth {
                pending: sum.pending + depth.pending,
                queued: sum.queued + depth.queued,
                running: sum.running + depth.running,
            })
        })
        .await
    }

    async fn organization_depths(&self, organization: OrganizationId) -> Result<Vec<PoolDepth>> {
        let organization = key(organization.as_u128());
        self.count(|lanes| lanes.get(&organization).copied().unwrap_or_default()).await
    }
}

impl Sqlite {
    /// Pools with a worker, and those where `of` counts anything.
    async fn count(
        &self,
        of: impl Fn(&std::collections::HashMap<Id, Depth>) -> Depth + Send,
    ) -> Result<Vec<PoolDepth>> {
        let with_worker: Vec<String> = self
            .readers
            .read(|connection| {
                let mut statement = connection.prepare_cached(sql::WORKER_POOLS)?;
                let pools = statement.query_map([], |row| row.get(0))?;
                Ok(pools.collect::<rusqlite::Result<_>>()?)
            })
            .await?;
        let mut counted: BTreeMap<String, Depth> =
            with_worker.into_iter().map(|pool| (pool, Depth::default())).collect();
        for (pool, lanes) in self.depths.lock().iter() {
            let depth = of(lanes);
            if depth != Depth::default() {
                counted.insert(pool.clone(), depth);
            }
        }
        counted
            .into_iter()
            .map(|(pool, depth)| {
                let pool =
                    pool.parse().map_err(|_| StoreError::Corrupt(format!("a pool is named {pool:?}")))?;
                Ok(PoolDepth { pool, pending: depth.pending, queued: depth.queued, running: depth.running })
            })
            .collect()
    }
}

fn give_back(connection: &rusqlite::Connection, run: Id, keys: &[String]) -> Result<()> {
    let mut give_back = connection.prepare_cached(sql::GIVE_PLACE_BACK)?;
    for key in keys {
        give_back.execute(params![key, run])?;
    }
    Ok(())
}
