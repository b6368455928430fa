//! The public API, call by call.

use futures::Stream;
use futures::future::BoxFuture;
use gantry_api_types::Page;
use gantry_api_types::fleet::{Worker, Workers};
use gantry_api_types::request::{BulkRequest, BulkResponse, CreateRun};
use gantry_api_types::run::{Artifact, Attempts, Group, Run, TestResult};
use gantry_api_types::set_aside::SetAside;
use gantry_api_types::system::{Health, QueueDepths, Reconcilers, Version};
use gantry_domain::id::{RunId, WorkerId};
use http::{HeaderName, Method};

use crate::call::{ByteRange, ByteStream, Caller};
use crate::error::ClientError;
use crate::events::{self, Change};
use crate::follow::{self, LogItem, LogPosition};
use crate::query::{LogQuery, Query, RunFilter, TestFilter, below};
use crate::subscription::{Patience, Subscription};
use crate::transport::Transport;

const RUNS: &str = "/api/v1/runs";
/// For whoever wants all pages.
pub(crate) const LARGEST_PAGE: u32 = 100;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Calls of the public API with an API key. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ApiClient {
    pub(crate) caller: Caller,
    patience: Patience,
}

impl ApiClient {
    pub fn new(transport: Transport, api_key: &str) -> Self {
        Self { caller: Caller::new(transport, api_key), patience: Patience::default() }
    }

    /// With other bounds for live streams.
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Where it leads, for messages.
    pub fn address(&self) -> String {
        self.caller.transport().address()
    }

    /// Accepts a run. With an idempotency key the call may be repeated: the same key and body get the same run.
    pub async fn create_run(
        &self,
        request: &CreateRun,
        idempotency_key: Option<&str>,
    ) -> Result<Run, ClientError> {
        let call = self.caller.post(RUNS).json(request);
        match idempotency_key {
            Some(key) => call.header(IDEMPOTENCY_KEY, key).answer().await,
            None => call.answer().await,
        }
    }

    /// A page of runs, newest first.
    pub async fn list_runs(&self, filter: &RunFilter) -> Result<Page<Run>, ClientError> {
        self.caller.get(&filter.path(RUNS)).answer().await
    }

    pub async fn get_run(&self, run: RunId) -> Result<Run, ClientError> {
        self.caller.get(&path(run, "")).answer().await
    }

    /// Asks for the run's end; the answer is the run as it stands, which may still be going on.
    pub async fn cancel_run(&self, run: RunId) -> Result<Run, ClientError> {
        self.caller.post(&path(run, "/cancel")).no_body().answer().await
    }

    /// Creates a run with the same specification; the answer is the new one. With an idempotency key the call may be
    /// repeated.
    pub async fn rerun(&self, run: RunId, idempotency_key: Option<&str>) -> Result<Run, ClientError> {
        let call = self.caller.post(&path(run, "/rerun")).no_body();
        match idempotency_key {
            Some(key) => call.header(IDEMPOTENCY_KEY, key).answer().await,
            None => call.answer().await,
        }
    }

    /// Removes a run that is over, with its log and artifacts.
    pub async fn delete_run(&self, run: RunId) -> Result<(), ClientError> {
        self.caller.call(Method::DELETE, &path(run, "")).done().await
    }

    pub async fn bulk(&self, request: &BulkRequest) -> Result<BulkResponse, ClientError> {
        self.caller.post("/api/v1/runs/bulk").json(request).answer().await
    }

    /// A page of groups by name.
    pub async fn groups(&self, cursor: Option<&str>) -> Result<Page<Group>, ClientError> {
        self.caller.get(&Query::new("/api/v1/runs/groups").option("cursor", cursor).path).answer().await
    }

    /// The log as plain bytes.
    pub async fn logs(
        &self,
        run: RunId,
        query: LogQuery,
        range: Option<&ByteRange>,
    ) -> Result<ByteStream, ClientError> {
        self.caller.get(&query.path(&path(run, "/logs"))).range(range).stream().await
    }

    /// The log as it grows, Gantry's own lines included, from the last attempt's beginning or from where a follower stood,
    /// until the run is over. Reconnects by itself.
    pub fn follow(
        &self,
        run: RunId,
        from: Option<LogPosition>,
    ) -> impl Stream<Item = Result<LogItem, ClientError>> + Send + use<> {
        let path = path(run, "/logs?follow=1");
        follow::follow(self.subscribe(path, from.map(|position| position.to_string())), from)
    }

    /// The run as it stands and after every change, until it is over. Reconnects by itself.
    pub fn run_events(&self, run: RunId) -> impl Stream<Item = Result<Run, ClientError>> + Send + use<> {
        events::run_changes(self.subscribe(path(run, "/events"), None))
    }

    /// All changes of the organization from now on. Reconnects by itself.
    pub fn events(&self) -> impl Stream<Item = Result<Change, ClientError>> + Send + use<> {
        events::changes(self.subscribe("/api/v1/events".to_owned(), None))
    }

    pub async fn attempts(&self, run: RunId) -> Result<Attempts, ClientError> {
        self.caller.get(&path(run, "/attempts")).answer().await
    }

    /// A page of test results.
    pub async fn tests(&self, run: RunId, filter: &TestFilter) -> Result<Page<TestResult>, ClientError> {
        self.caller.get(&filter.path(&path(run, "/tests"))).answer().await
    }

    /// All test results, page after page.
    pub fn all_tests(
        &self,
        run: RunId,
        filter: TestFilter,
    ) -> impl Stream<Item = Result<TestResult, ClientError>> + Send + use<> {
        let client = self.clone();
        pages(move |cursor| {
            let client = client.clone();
            let filter = TestFilter { cursor, ..filter.clone() };
            Box::pin(async move { client.tests(run, &filter).await })
        })
    }

    /// All runs, page after page, newest first.
    pub fn all_runs(&self, filter: RunFilter) -> impl Stream<Item = Result<Run, ClientError>> + Send + use<> {
        let client = self.clone();
        pages(move |cursor| {
            let client = client.clone();
            let filter = RunFilter { cursor, ..filter.clone() };
            Box::pin(async move { client.list_runs(&filter).await })
        })
    }

    /// A page of the collected files; 25 of them without a limit, at most 100.
    pub async fn artifacts(
        &self,
        run: RunId,
        cursor: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Page<Artifact>, ClientError> {
        let query = Query::new(&path(run, "/artifacts"))
            .option("limit", limit.map(|limit| limit.to_string()).as_deref())
            .option("cursor", cursor);
        self.caller.get(&query.path).answer().await
    }

    /// All collected files, page after page.
    pub fn all_artifacts(
        &self,
        run: RunId,
    ) -> impl Stream<Item = Result<Artifact, ClientError>> + Send + use<> {
        let client = self.clone();
        pages(move |cursor| {
            let client = client.clone();
            Box::pin(async move { client.artifacts(run, cursor.as_deref(), Some(LARGEST_PAGE)).await })
        })
    }

    /// The bytes of a collected file.
    pub async fn artifact(&self, run: RunId, name: &str) -> Result<ByteStream, ClientError> {
        self.caller.get(&below(&path(run, "/artifacts"), name)).stream().await
    }

    pub async fn workers(&self) -> Result<Workers, ClientError> {
        self.caller.get("/api/v1/workers").answer().await
    }

    /// The worker finishes what it has and takes no more.
    pub async fn drain(&self, worker: WorkerId) -> Result<Worker, ClientError> {
        self.caller.post(&format!("/api/v1/workers/{worker}/drain")).no_body().answer().await
    }

    pub async fn undrain(&self, worker: WorkerId) -> Result<Worker, ClientError> {
        self.caller.post(&format!("/api/v1/workers/{worker}/undrain")).no_body().answer().await
    }

    /// Also answers when something is down.
    pub async fn health(&self) -> Result<Health, ClientError> {
        crate::health::health(&self.caller).await
    }

    /// Whether the process answers at all.
    pub async fn live(&self) -> Result<(), ClientError> {
        crate::health::live(&self.caller).await
    }

    pub async fn queue(&self) -> Result<QueueDepths, ClientError> {
        self.caller.get("/api/v1/system/queue").answer().await
    }

    pub async fn reconcilers(&self) -> Result<Reconcilers, ClientError> {
        self.caller.get("/api/v1/system/reconcilers").answer().await
    }

    /// Stored runs and workers that the server cannot read, and how many messages.
    pub async fn set_aside(&self) -> Result<SetAside, ClientError> {
        self.caller.get("/api/v1/system/set-aside").answer().await
    }

    pub async fn version(&self) -> Result<Version, ClientError> {
        self.caller.get("/api/v1/system/version").answer().await
    }

    fn subscribe(&self, path: String, last_id: Option<String>) -> Subscription {
        Subscription::new(self.caller.clone(), path, last_id, self.patience)
    }
}

fn path(run: RunId, rest: &str) -> String {
    format!("{RUNS}/{run}{rest}")
}

/// The items of all pages.
pub(crate) fn pages<T: Send>(
    mut page: impl FnMut(Option<String>) -> BoxFuture<'static, Result<Page<T>, ClientError>> + Send,
) -> impl Stream<Item = Result<T, ClientError>> + Send {
    async_stream::try_stream! {
        let mut cursor = None;
        loop {
            let Page { items, next_cursor } = page(cursor).await?;
            for item in items {
                yield item;
            }
            match next_cursor {
                Some(next) => cursor = Some(next),
                None => return,
            }
        }
    }
}
