//! Runs: accepting, changing, finding, deleting.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, RunId, WorkerId};
use gantry_domain::run::{Hold, Run, RunState, RunStatus};
use gantry_domain::time::Timestamp;
use mongodb::bson::{Document, RawDocumentBuf, doc};

use super::accept::{Accepting, Placed};
use super::calls::{Call, Statement};
use super::changes::Change;
use super::document::{
    decode, id_of, integer, new_document, organization_of, projection, status_of, text, time, time_of, turn,
};
use super::find::Wanted;
use super::options::relaxed;
use super::schema::{DUE, KEY_SINCE, LEASED, LIVE, LOG_DUE, QUEUED, READY};
use super::wakes::Lane;
use super::{Core, Mongo, groups, list, names};
use crate::{
    Accepted, Deleted, Durability, Group, Idempotency, LeaseRef, ListFilter, NewRun, Page, Renewal, Result,
    RunStore, SetAside, Transition,
};

/// Runs that one command imports or forgets.
const BULK: usize = 500;
/// Runs ahead are counted up to this.
const AHEAD: u64 = 1000;

#[async_trait]
impl RunStore for Mongo {
    async fn accept(&self, new: NewRun) -> Result<Accepted> {
        let (mut run, idempotency) = new.into_run();
        Ok(match self.accepts.write(Accepting::of(&run, idempotency)?).await? {
            Placed::Created(number) => {
                run.number = number;
                Accepted::Created(run)
            }
            Placed::Found(stored) => Accepted::Replayed(decode(&stored)?),
            Placed::KeyReused => Accepted::KeyReused,
        })
    }

    async fn repeated(
        &self,
        organization: OrganizationId,
        idempotency: &Idempotency,
    ) -> Result<Option<Accepted>> {
        let known = self.core.of_key(&self.core.call(), &organization.to_string(), idempotency).await?;
        Ok(match known {
            Some(Some(stored)) => Some(Accepted::Replayed(decode(&stored)?)),
            Some(None) => Some(Accepted::KeyReused),
            None => None,
        })
    }

    async fn get(&self, organization: OrganizationId, id: RunId) -> Result<Option<Run>> {
        Ok(self.find(id).await?.filter(|run| run.organization == organization))
    }

    async fn find(&self, id: RunId) -> Result<Option<Run>> {
        self.finds.write(id).await?.map(|found| decode(&found)).transpose()
    }

    async fn transition(&self, next: &Run, durability: Durability) -> Result<Transition> {
        if matches!(next.state, RunState::Pending { hold: Hold::Workers }) {
            self.core.keep_awake(&self.core.call(), &Lane::of(next)).await?;
        }
        if self.changes.write(Change::of(next, durability)?).await? {
            return Ok(Transition::Updated);
        }
        Ok(match self.find(next.id).await? {
            Some(now) => Transition::Conflict(now),
            None => Transition::NotFound,
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
        renew(&self.core, &worker.to_string(), leases, expires_at).await
    }

    async fn expired(&self, now: Timestamp, limit: u32) -> Result<Vec<Run>> {
        let filter = doc! { "lease_expires_at": { "$lt": time(now) } };
        self.by_time(filter, "lease_expires_at", LEASED, limit).await
    }

    async fn leased(&self, worker: Option<WorkerId>, limit: u32) -> Result<Vec<Run>> {
        let mut filter = doc! { "lease_expires_at": { "$gt": time(Timestamp::from_millis(i64::MIN)) } };
        if let Some(worker) = worker {
            filter.insert("worker", worker.to_string());
        }
        self.by_time(filter, "lease_expires_at", LEASED, limit).await
    }

    async fn list(
        &self,
        organization: OrganizationId,
        filter: &ListFilter,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Page<Run, RunId>> {
        let page = list::runs(&self.core, organization, filter, after, limit).await;
        self.core.write_down_aside().await;
        page
    }

    async fn groups(
        &self,
        organization: OrganizationId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Group, String>> {
        groups::groups(&self.core, organization, after, limit).await
    }

    async fn delete(&self, organization: OrganizationId, id: RunId) -> Result<Deleted> {
        delete(&self.core, organization, id).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<(Vec<Run>, Option<Timestamp>)> {
        let call = self.core.call();
        let wanted = |way: &str| Wanted {
            filter: doc! { "due_at": { way: time(now) } },
            sort: doc! { "due_at": 1 },
            index: DUE,
        };
        let (due, later) = (wanted("$lte"), wanted("$gt"));
        let (runs, next) = tokio::try_join!(
            self.core.find_runs(&call, &due, limit),
            self.core.find_documents(&call, &later, doc! { "due_at": 1 }, 1),
        )?;
        Ok((runs, next.first().map(|run| time_of(run, "due_at")).transpose()?))
    }

    async fn unclaimed(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>> {
        self.by_time(doc! { "queued_since": { "$lt": time(before) } }, "queued_since", QUEUED, limit).await
    }

    async fn waiting_since(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>> {
        let call = self.core.call();
        let wanted = |status: RunStatus| Wanted {
            filter: doc! { "live": status.as_str(), "created_at": { "$lt": time(before) } },
            sort: doc! { "live": 1, "created_at": 1 },
            index: LIVE,
        };
        let (pending, queued) = (wanted(RunStatus::Pending), wanted(RunStatus::Queued));
        let (mut runs, mut queued) = tokio::try_join!(
            self.core.find_runs(&call, &pending, limit),
            self.core.find_runs(&call, &queued, limit),
        )?;
        runs.append(&mut queued);
        runs.sort_by_key(|run| run.created_at);
        runs.truncate(limit as usize);
        Ok(runs)
    }

    async fn logs_due(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>> {
        self.by_time(doc! { "log_due": { "$lt": time(before) } }, "log_due", LOG_DUE, limit).await
    }

    async fn ahead_of(&self, run: &Run) -> Result<u64> {
        let call = self.core.call();
        let runs = self.core.documents(names::RUNS);
        let turn = turn(run.spec.priority);
        let count = async |filter: Document| {
            let counted = call
                .run(|| async { runs.count_documents(filter.clone()).limit(AHEAD).hint(READY.hint()).await });
            Ok::<_, crate::StoreError>(counted.await?)
        };
        let lane = doc! { "ready": run.spec.pool.as_str(), "organization": run.organization.to_string() };
        let (mut more_urgent, mut older) = (lane.clone(), lane);
        more_urgent.insert("turn", doc! { "$lt": turn });
        older.extend(doc! { "turn": turn, "_id": { "$lt": run.id.to_string() } });
        let (more_urgent, older) = tokio::try_join!(count(more_urgent), count(older))?;
        Ok((more_urgent + older).min(AHEAD))
    }

    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64> {
        let runs = self.core.documents(names::RUNS);
        let old = doc! { "key_since": { "$lt": time(before) } };
        let wanted = Wanted { filter: old.clone(), sort: doc! { "key_since": 1 }, index: KEY_SINCE };
        let mut forgotten = 0;
        loop {
            let call = self.core.call();
            let some = self.core.find_documents(&call, &wanted, doc! { "_id": 1 }, BULK as i64).await?;
            let ids = some.iter().map(|run| text(run, "_id")).collect::<Result<Vec<_>>>()?;
            let mut these = doc! { "_id": { "$in": &ids } };
            these.extend(old.clone());
            let update = doc! { "$unset": { "key": "", "key_hash": "", "key_since": "" } };
            if !ids.is_empty() {
                call.run(|| async {
                    runs.update_many(these.clone(), update.clone()).write_concern(relaxed()).await
                })
                .await?;
            }
            forgotten += ids.len() as u64;
            if ids.len() < BULK {
                return Ok(forgotten);
            }
        }
    }

    async fn set_aside(&self, organization: OrganizationId, limit: u32) -> Result<Vec<SetAside>> {
        self.core.list_aside(organization, limit).await
    }

    async fn import(&self, runs: Vec<Run>) -> Result<()> {
        for part in runs.chunks(BULK) {
            import(&self.core, part).await?;
        }
        Ok(())
    }
}

impl Mongo {
    /// The runs of one index in its order.
    async fn by_time(
        &self,
        filter: Document,
        field: &str,
        index: super::schema::Index,
        limit: u32,
    ) -> Result<Vec<Run>> {
        let wanted = Wanted { filter, sort: doc! { field: 1 }, index };
        self.core.find_runs(&self.core.call(), &wanted, limit).await
    }
}

impl Core {
    /// Finds single runs together.
    pub async fn find_each(self, ids: Vec<RunId>) -> Vec<Result<Option<RawDocumentBuf>>> {
        let call = self.call();
        let runs = self.raw(names::RUNS);
        let texts: BTreeSet<_> = ids.iter().map(RunId::to_string).collect();
        let query = || async {
            runs.find(doc! { "_id": { "$in": Vec::from_iter(&texts) } }).projection(projection()).await
        };
        match call.all(query, |_| false).await {
            Ok(found) => {
                let found: HashMap<_, _> =
                    found.into_iter().filter_map(|run| Some((id_of(&run).ok()?, run))).collect();
                ids.iter().map(|id| Ok(found.get(id).cloned())).collect()
            }
            Err(fault) => {
                let error = crate::StoreError::from(fault);
                ids.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }
}

async fn renew(
    core: &Core,
    worker: &str,
    leases: &[LeaseRef],
    expires_at: Timestamp,
) -> Result<Vec<Renewal>> {
    let call = core.call();
    let mut statements: Vec<_> = leases
        .iter()
        .map(|lease| Statement {
            filter: doc! { "_id": lease.run.to_string(), "worker": worker, "lease_token": lease.token.as_str() },
            update: doc! { "$max": { "lease_expires_at": time(expires_at) } },
        })
        .collect();
    statements.sort_by_cached_key(|statement| statement.filter.get_str("_id").unwrap_or_default().to_owned());
    let updated = core.update(&call, names::RUNS, &statements, &relaxed()).await?;
    if let Some((_, fault)) = updated.failed.into_iter().next() {
        return Err(fault.into());
    }
    let ids: Vec<_> = leases.iter().map(|lease| lease.run.to_string()).collect();
    let runs = core.raw(names::RUNS);
    let fields = doc! { "worker": 1, "lease_token": 1, "lease_expires_at": 1, "cancel": 1 };
    let query = || async { runs.find(doc! { "_id": { "$in": &ids } }).projection(fields.clone()).await };
    let found = call.all(query, |_| false).await?;
    let found: BTreeMap<_, _> = found.iter().filter_map(|run| Some((text(run, "_id").ok()?, run))).collect();
    let outcome = |(id, lease): (&String, &LeaseRef)| {
        let held = found.get(id.as_str()).filter(|run| {
            text(run, "worker") == Ok(worker)
                && text(run, "lease_token") == Ok(lease.token.as_str())
                && time_of(run, "lease_expires_at").is_ok_and(|stored| stored >= expires_at)
        });
        held.map_or(Renewal::Lost, |run| Renewal::Renewed { cancel: run.get_bool("cancel").unwrap_or(false) })
    };
    Ok(ids.iter().zip(leases).map(outcome).collect())
}

/// What belongs to the run goes first: after a crash in between it is still there to be deleted again.
async fn delete(core: &Core, organization: OrganizationId, id: RunId) -> Result<Deleted> {
    let call = core.call();
    let runs = core.raw(names::RUNS);
    let id_text = id.to_string();
    let found = call
        .run(|| async {
            runs.find_one(doc! { "_id": &id_text }).projection(doc! { "organization": 1, "status": 1 }).await
        })
        .await?;
    let Some(found) = found.filter(|found| organization_of(found) == Ok(organization)) else {
        return Ok(Deleted::NotFound);
    };
    let status = status_of(&found)?;
    if !status.is_final() {
        return Ok(Deleted::StillGoing(status));
    }
    core.clear_logs(&call, organization, id).await?;
    core.clear_results(&call, organization, id).await?;
    let limits = core.documents(names::LIMITS);
    call.run(|| async {
        limits
            .update_many(doc! { "holders": &id_text }, doc! { "$pull": { "holders": &id_text } })
            .write_concern(relaxed())
            .await
    })
    .await?;
    let gone = call.answer(|| async { runs.delete_one(doc! { "_id": &id_text }).await }).await?;
    Ok(if gone.value.deleted_count > 0 || gone.tried_before { Deleted::Deleted } else { Deleted::NotFound })
}

async fn import(core: &Core, runs: &[Run]) -> Result<()> {
    let call = core.call();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for run in runs {
        let number = last.entry(run.organization.to_string()).or_default();
        *number = run.number.max(*number);
        if matches!(run.state, RunState::Pending { hold: Hold::Workers }) {
            core.keep_awake(&call, &Lane::of(run)).await?;
        }
    }
    let counters = core.documents(names::COUNTERS);
    for (organization, last) in last {
        core.first_counter(&call, &organization).await?;
        let update = doc! { "$max": { "last": integer(last) } };
        call.run(|| async { counters.update_one(doc! { "_id": &organization }, update.clone()).await })
            .await?;
    }
    let operation = rand::random();
    let documents = runs.iter().map(|run| new_document(run, operation, None)).collect::<Result<Vec<_>>>()?;
    let borrowed: Vec<_> = documents.iter().collect();
    for (run, outcome) in runs.iter().zip(core.insert_all(&call, names::RUNS, &borrowed).await) {
        match outcome {
            Ok(()) => {}
            // By an earlier try whose answer was lost.
            Err(super::errors::Fault::Duplicate) if core.has_operation(&call, run.id, operation).await? => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(())
}

impl Core {
    async fn has_operation(&self, call: &Call, id: RunId, operation: i64) -> Result<bool> {
        let runs = self.raw(names::RUNS);
        let found = call.run(|| async { runs.find_one(doc! { "_id": id.to_string() }).await }).await?;
        Ok(found.is_some_and(|run| super::document::knows_operation(&run, operation)))
    }
}
