//! A store of runs that fails when told to.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use gantry_domain::id::{OrganizationId, RunId, WorkerId};
use gantry_domain::run::Run;
use gantry_domain::time::Timestamp;
use gantry_store::{
    Accepted, Deleted, Durability, Group, Idempotency, LeaseRef, ListFilter, NewRun, Page, Renewal, Result,
    RunStore, SetAside, StoreError, Stores, Transition,
};

/// What must never reach a caller.
pub const INTERNAL: &str = "mongodb://gantry:hunter2@10.0.0.7:27017";

/// How the store is today.
#[derive(Clone, Default)]
pub struct Mood(Arc<AtomicU8>, Arc<Mutex<Vec<SetAside>>>);

impl Mood {
    pub fn well(&self) {
        self.0.store(0, Ordering::SeqCst);
    }

    pub fn unavailable(&self) {
        self.0.store(1, Ordering::SeqCst);
    }

    pub fn full(&self) {
        self.0.store(2, Ordering::SeqCst);
    }

    pub fn panicking(&self) {
        self.0.store(3, Ordering::SeqCst);
    }

    pub fn corrupt(&self) {
        self.0.store(4, Ordering::SeqCst);
    }

    /// From now on the store lists this as set aside, too.
    pub fn set_aside(&self, document: SetAside) {
        self.1.lock().unwrap().push(document);
    }

    fn allow(&self) -> Result<()> {
        match self.0.load(Ordering::SeqCst) {
            1 => Err(StoreError::Unavailable(INTERNAL.to_owned())),
            2 => Err(StoreError::NoSpace),
            3 => panic!("{INTERNAL}"),
            4 => Err(StoreError::Corrupt(INTERNAL.to_owned())),
            _ => Ok(()),
        }
    }

    /// Puts this mood between a store and its users.
    pub fn over(&self) -> Box<dyn FnOnce(Stores) -> Stores> {
        let mood = self.clone();
        Box::new(move |stores| Stores { runs: Arc::new(MoodyRuns { runs: stores.runs, mood }), ..stores })
    }
}

struct MoodyRuns {
    runs: Arc<dyn RunStore>,
    mood: Mood,
}

impl MoodyRuns {
    fn runs(&self) -> Result<&dyn RunStore> {
        self.mood.allow()?;
        Ok(&*self.runs)
    }
}

#[async_trait]
impl RunStore for MoodyRuns {
    async fn accept(&self, run: NewRun) -> Result<Accepted> {
        self.runs()?.accept(run).await
    }

    async fn repeated(
        &self,
        organization: OrganizationId,
        idempotency: &Idempotency,
    ) -> Result<Option<Accepted>> {
        self.runs()?.repeated(organization, idempotency).await
    }

    async fn get(&self, organization: OrganizationId, id: RunId) -> Result<Option<Run>> {
        self.runs()?.get(organization, id).await
    }

    async fn find(&self, id: RunId) -> Result<Option<Run>> {
        self.runs()?.find(id).await
    }

    async fn transition(&self, next: &Run, durability: Durability) -> Result<Transition> {
        self.runs()?.transition(next, durability).await
    }

    async fn renew(&self, worker: WorkerId, leases: &[LeaseRef], until: Timestamp) -> Result<Vec<Renewal>> {
        self.runs()?.renew(worker, leases, until).await
    }

    async fn expired(&self, now: Timestamp, limit: u32) -> Result<Vec<Run>> {
        self.runs()?.expired(now, limit).await
    }

    async fn leased(&self, worker: Option<WorkerId>, limit: u32) -> Result<Vec<Run>> {
        self.runs()?.leased(worker, limit).await
    }

    async fn list(
        &self,
        organization: OrganizationId,
        filter: &ListFilter,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Page<Run, RunId>> {
        self.runs()?.list(organization, filter, after, limit).await
    }

    async fn groups(
        &self,
        organization: OrganizationId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Group, String>> {
        self.runs()?.groups(organization, after, limit).await
    }

    async fn delete(&self, organization: OrganizationId, id: RunId) -> Result<Deleted> {
        self.runs()?.delete(organization, id).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<(Vec<Run>, Option<Timestamp>)> {
        self.runs()?.due(now, limit).await
    }

    async fn unclaimed(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>> {
        self.runs()?.unclaimed(before, limit).await
    }

    async fn waiting_since(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>> {
        self.runs()?.waiting_since(before, limit).await
    }

    async fn logs_due(&self, before: Timestamp, limit: u32) -> Result<Vec<Run>> {
        self.runs()?.logs_due(before, limit).await
    }

    async fn ahead_of(&self, run: &Run) -> Result<u64> {
        self.runs()?.ahead_of(run).await
    }

    async fn forget_idempotency(&self, before: Timestamp) -> Result<u64> {
        self.runs()?.forget_idempotency(before).await
    }

    async fn set_aside(&self, organization: OrganizationId, limit: u32) -> Result<Vec<SetAside>> {
        let mut listed = self.runs()?.set_aside(organization, limit).await?;
        let added = self.mood.1.lock().unwrap().clone();
        listed.extend(added.into_iter().filter(|one| one.organization.is_none_or(|own| own == organization)));
        Ok(listed)
    }

    async fn import(&self, runs: Vec<Run>) -> Result<()> {
        self.runs()?.import(runs).await
    }
}
