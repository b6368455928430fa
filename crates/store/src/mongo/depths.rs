//! How much waits and runs. Counted when asked for, over the index of runs that are not over: replicas share no memory,
//! and counters beside the runs would cost a write per step and drift.

use std::collections::BTreeMap;

use gantry_domain::id::OrganizationId;
use gantry_domain::run::RunStatus;
use mongodb::bson::{Document, RawDocument, doc};

use super::document::{number, text};
use super::schema::{BY_STATUS, Index, LIVE};
use super::{Core, names};
use crate::{PoolDepth, Result, StoreError};

const LIVING: [RunStatus; 4] =
    [RunStatus::Pending, RunStatus::Queued, RunStatus::Running, RunStatus::Analyzing];

pub(super) async fn all(core: &Core) -> Result<Vec<PoolDepth>> {
    let names: Vec<_> = LIVING.iter().map(|status| status.as_str()).collect();
    count(core, doc! { "live": { "$in": names } }, "$live", &LIVE).await
}

pub(super) async fn of(core: &Core, organization: OrganizationId) -> Result<Vec<PoolDepth>> {
    let names: Vec<_> = LIVING.iter().map(|status| status.as_str()).collect();
    let wanted = doc! { "organization": organization.to_string(), "status": { "$in": names } };
    count(core, wanted, "$status", &BY_STATUS).await
}

/// Pools with a worker, and those where anything is counted.
async fn count(core: &Core, wanted: Document, status: &str, index: &Index) -> Result<Vec<PoolDepth>> {
    let call = core.call();
    let pipeline = [
        doc! { "$match": wanted },
        doc! { "$group": { "_id": { "pool": "$pool", "status": status }, "runs": { "$sum": 1 } } },
    ];
    let workers = core.raw(names::WORKERS);
    let query = || async { workers.find(doc! { "_id": { "$gt": "" } }).projection(doc! { "pool": 1 }).await };
    let (rows, workers) = tokio::try_join!(core.aggregate(&call, names::RUNS, &pipeline, index), async {
        Ok(call.all(query, |_| false).await?)
    },)?;
    let mut counted: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for worker in &workers {
        counted.entry(text(worker, "pool")?.to_owned()).or_default();
    }
    for row in &rows {
        let (pool, status) = key_of(row)?;
        let column = match status {
            RunStatus::Pending => 0,
            RunStatus::Queued => 1,
            _ => 2,
        };
        counted.entry(pool).or_default()[column] += number(row, "runs")?;
    }
    let depth = |(pool, [pending, queued, running]): (String, [u64; 3])| {
        let named = pool.parse().map_err(|_| StoreError::Corrupt(format!("a pool is named {pool:?}")));
        Ok(PoolDepth { pool: named?, pending, queued, running })
    };
    counted.into_iter().map(depth).collect()
}

fn key_of(row: &RawDocument) -> Result<(String, RunStatus)> {
    let unreadable = || StoreError::Corrupt("a count of a pool cannot be read".to_owned());
    let key = row.get_document("_id").map_err(|_| unreadable())?;
    let status = RunStatus::parse(text(key, "status")?).ok_or_else(unreadable)?;
    Ok((text(key, "pool")?.to_owned(), status))
}
