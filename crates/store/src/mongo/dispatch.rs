use std::collections::BTreeMap;

use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::Run;
use gantry_domain::spec::Pool;
use mongodb::bson::{RawDocument, doc};

use super::calls::Call;
use super::document::text;
use super::errors::Fault;
use super::find::Wanted;
use super::options::relaxed;
use super::schema::BLOCKED;
use super::{Core, Mongo, depths, lanes, names};
use crate::{Acquired, DispatchStore, Limit, PoolDepth, Result, StoreError};

#[async_trait]
impl DispatchStore for Mongo {
    async fn ready(&self, pool: &Pool, limit: u32) -> Result<Vec<Run>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        lanes::ready(&self.core, &self.lanes, pool.as_str(), limit as usize).await
    }

    async fn acquire(&self, run: RunId, limits: &[Limit]) -> Result<Acquired> {
        let mut sorted: BTreeMap<&str, u32> = BTreeMap::new();
        for limit in limits {
            let max = sorted.entry(&limit.key).or_insert(limit.max);
            *max = limit.max.min(*max);
        }
        let (call, run) = (self.core.call(), run.to_string());
        let mut taken = Vec::new();
        for (key, max) in sorted {
            match take_place(&self.core, &call, &run, key, max).await? {
                Place::Taken => taken.push(key.to_owned()),
                Place::Had => {}
                Place::Full => {
                    give_back(&self.core, &call, &run, &taken).await?;
                    return Ok(Acquired::Full { key: key.to_owned() });
                }
            }
        }
        Ok(Acquired::All)
    }

    async fn release(&self, run: RunId, keys: &[String]) -> Result<()> {
        give_back(&self.core, &self.core.call(), &run.to_string(), keys).await
    }

    async fn holders(&self) -> Result<Vec<(String, RunId)>> {
        let call = self.core.call();
        let limits = self.core.raw(names::LIMITS);
        let found =
            call.all(|| async { limits.find(doc! { "_id": { "$gt": "" } }).await }, |_| false).await?;
        let (mut holders, mut empty) = (Vec::new(), Vec::new());
        for limit in &found {
            let key = text(limit, "_id")?;
            let runs = holders_of(limit)?;
            if runs.is_empty() {
                empty.push(key);
            }
            holders.extend(runs.into_iter().map(|run| (key.to_owned(), run)));
        }
        if !empty.is_empty() {
            let unused = doc! { "_id": { "$in": empty }, "holders": { "$size": 0 } };
            call.run(|| async { limits.delete_many(unused.clone()).write_concern(relaxed()).await }).await?;
        }
        holders.sort();
        Ok(holders)
    }

    async fn blocked_on(&self, key: &str, limit: u32) -> Result<Vec<Run>> {
        let wanted = Wanted {
            filter: doc! { "limit": key },
            sort: doc! { "limit": 1, "turn": 1, "_id": 1 },
            index: BLOCKED,
        };
        self.core.find_runs(&self.core.call(), &wanted, limit).await
    }

    async fn blocking_keys(&self) -> Result<Vec<String>> {
        let call = self.core.call();
        let (mut keys, mut last) = (Vec::new(), String::new());
        loop {
            let wanted = Wanted {
                filter: doc! { "limit": { "$gt": &last } },
                sort: doc! { "limit": 1, "turn": 1, "_id": 1 },
                index: BLOCKED,
            };
            let next = self.core.find_documents(&call, &wanted, doc! { "limit": 1 }, 1).await?;
            let Some(next) = next.first() else { return Ok(keys) };
            last = text(next, "limit")?.to_owned();
            keys.push(last.clone());
        }
    }

    async fn depths(&self) -> Result<Vec<PoolDepth>> {
        depths::all(&self.core).await
    }

    async fn organization_depths(&self, organization: OrganizationId) -> Result<Vec<PoolDepth>> {
        depths::of(&self.core, organization).await
    }
}

fn holders_of(limit: &RawDocument) -> Result<Vec<RunId>> {
    let bad = || StoreError::Corrupt("the holders of a limit cannot be read".to_owned());
    let holders = limit.get_array("holders").map_err(|_| bad())?;
    holders
        .into_iter()
        .map(|holder| holder.ok().and_then(|id| id.as_str()?.parse().ok()).ok_or_else(bad))
        .collect()
}

enum Place {
    Taken,
    Had,
    Full,
}

/// One guarded write: there is a place, and this run does not have it yet.
async fn take_place(core: &Core, call: &Call, run: &str, key: &str, max: u32) -> Result<Place> {
    let Some(last) = max.checked_sub(1) else { return Ok(Place::Full) };
    let limits = core.documents(names::LIMITS);
    let free =
        doc! { "_id": key, "holders": { "$ne": run }, format!("holders.{last}"): { "$exists": false } };
    let take = doc! { "$push": { "holders": run } };
    loop {
        let taken = call
            .run(|| async { limits.update_one(free.clone(), take.clone()).write_concern(relaxed()).await });
        if taken.await?.matched_count > 0 {
            return Ok(Place::Taken);
        }
        let limit = core.raw(names::LIMITS);
        match call.run(|| async { limit.find_one(doc! { "_id": key }).await }).await? {
            Some(limit) => {
                let holders = holders_of(&limit)?;
                if holders.iter().any(|holder| holder.to_string() == run) {
                    return Ok(Place::Had);
                }
                if holders.len() >= max as usize {
                    return Ok(Place::Full);
                }
            }
            None => {
                let first = doc! { "_id": key, "holders": [run] };
                match call.run(|| async { limits.insert_one(&first).write_concern(relaxed()).await }).await {
                    Ok(_) => return Ok(Place::Taken),
                    Err(Fault::Duplicate) => {}
                    Err(fault) => return Err(fault.into()),
                }
            }
        }
    }
}

async fn give_back(core: &Core, call: &Call, run: &str, keys: &[String]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let limits = core.documents(names::LIMITS);
    let held = doc! { "_id": { "$in": keys }, "holders": run };
    call.run(|| async {
        limits.update_many(held.clone(), doc! { "$pull": { "holders": run } }).write_concern(relaxed()).await
    })
    .await?;
    Ok(())
}
