//! Changes of runs, as they happen. Every event carries the whole run, so that a lost one never matters: between two
//! events only the newest state counts.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use async_stream::stream;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{BoxStream, Fuse};
use futures::{FutureExt as _, Stream, StreamExt as _};
use gantry_api_types::problem::Problem;
use gantry_api_types::run as wire;
use gantry_bus::{Heard, Topic};
use gantry_domain::event::{Change, Event};
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::Run;
use gantry_store::StoreError;
use serde::Serialize;
use tokio::time::Instant;

use crate::access::Caller;
use crate::error::ApiResult;
use crate::extract::{Access, Loaded};
use crate::pace::Pace;
use crate::services::overview;
use crate::sse::{self, ALIVE, COME_BACK, HELLO, KEEP_ALIVE, event};
use crate::state::App;

/// Runs whose change is still to be told. Beyond that, clients do better to fetch their list again.
const MAX_WAITING: usize = 1_000;

type Hearing = Fuse<BoxStream<'static, Heard>>;

#[derive(Serialize)]
struct DeletedData {
    id: String,
}

#[derive(Serialize)]
struct GapData {}

fn deleted(id: RunId) -> Bytes {
    event("deleted", None, &DeletedData { id: id.to_string() })
}

/// Watch one run: `run` events with the whole run, first as it is now, the last one when it is over. `deleted` when it
/// is deleted.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", operation_id = "follow_run", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, description = "Events", body = wire::Run, content_type = "text/event-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn run(
    State(app): State<Arc<App>>,
    Loaded { run, .. }: Loaded,
    access: Access,
) -> ApiResult<Response> {
    // Subscribed before the run is read again, so that no change falls in between.
    let heard = app.parts.bus.subscribe(Topic::Run(run.organization, run.id)).await.fuse();
    Ok(sse::response(run_events(app, heard, run.organization, run.id, access)))
}

fn run_events(
    app: Arc<App>,
    mut heard: Hearing,
    organization: OrganizationId,
    id: RunId,
    mut access: Access,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream! {
        yield HELLO;
        let (mut told, mut seen) = (None, None);
        let mut pace = Pace::new();
        loop {
            if app.shutdown.is_triggered() || access.ended(&app).await {
                yield COME_BACK;
                return;
            }
            match run_as_of(&app, organization, id, seen.take()).await {
                Ok(Some(run)) => {
                    if told != Some(run.version) {
                        told = Some(run.version);
                        yield event("run", None, &overview::brief(&app, &run));
                    }
                    if run.is_final() {
                        return;
                    }
                }
                Ok(None) => {
                    yield deleted(id);
                    return;
                }
                // Asked again with the next event or sign of life.
                Err(error) => tracing::warn!(run.id = %id, org.id = %organization, %error, "watchers of a run wait for the store"),
            }
            let heard_of_it = tokio::select! {
                heard_of_it = changed(&app, &mut heard, &mut seen) => heard_of_it,
                () = access.until_ended(&app) => continue,
            };
            if !heard_of_it {
                yield ALIVE;
            }
            tokio::time::sleep_until(pace.turn()).await;
        }
    }
}

/// Waits until the run may have changed; false when nothing was heard for as long as a stream may be silent.
/// `seen` is the version it then has, if every change said.
async fn changed(app: &App, heard: &mut Hearing, seen: &mut Option<u64>) -> bool {
    let of_interest = async {
        loop {
            match heard.next().await {
                Some(Heard::Event(Event { change: Change::Log { .. }, .. })) => {}
                Some(heard) => {
                    *seen = version_of(&heard);
                    break;
                }
                None => std::future::pending().await,
            }
        }
        while let Some(Some(more)) = heard.next().now_or_never() {
            match more {
                Heard::Event(Event { change: Change::Log { .. }, .. }) => {}
                more => *seen = latest(*seen, version_of(&more)),
            }
        }
    };
    tokio::select! {
        waited = tokio::time::timeout(KEEP_ALIVE, of_interest) => waited.is_ok(),
        () = app.shutdown.triggered() => true,
    }
}

/// The version that an event speaks of.
fn version_of(heard: &Heard) -> Option<u64> {
    match heard {
        Heard::Event(Event { change: Change::Run, version, .. }) => *version,
        _ => None,
    }
}

/// Of two changes; whoever does not know one must look.
fn latest(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one?.max(other?))
}

/// The run as it was when this version of it was told of, or later.
async fn run_as_of(
    app: &App,
    organization: OrganizationId,
    id: RunId,
    version: Option<u64>,
) -> Result<Option<Run>, StoreError> {
    let known = version.and_then(|version| app.recent.at_least(id, version));
    match known.filter(|run| run.organization == organization) {
        Some(run) => Ok(Some(run)),
        None => app.parts.stores.runs.get(organization, id).await,
    }
}

/// Watch all runs of the organization: `run` events with the whole run, `deleted`, and `gap` when some were missed and
/// lists should be fetched again.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "follow_organization", tag = "runs",
    responses((status = 200, description = "Events", body = wire::Run, content_type = "text/event-stream"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn organization(
    State(app): State<Arc<App>>,
    caller: Caller,
    access: Access,
) -> ApiResult<Response> {
    let heard = app.parts.bus.subscribe(Topic::Organization(caller.organization)).await.fuse();
    Ok(sse::response(organization_events(app, heard, caller.organization, access)))
}

fn organization_events(
    app: Arc<App>,
    mut heard: Hearing,
    organization: OrganizationId,
    mut access: Access,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream! {
        yield HELLO;
        let mut pace = Pace::new();
        loop {
            if app.shutdown.is_triggered() || access.ended(&app).await {
                yield COME_BACK;
                return;
            }
            let mut waiting = Waiting::default();
            let gathered = tokio::select! {
                gathered = waiting.gather(&app, &mut heard, &mut pace) => gathered,
                () = access.until_ended(&app) => continue,
            };
            if !gathered {
                yield ALIVE;
                continue;
            }
            if waiting.gap {
                yield event("gap", None, &GapData {});
            }
            for id in waiting.runs {
                let version = waiting.versions.get(&id).copied().flatten();
                match run_as_of(&app, organization, id, version).await {
                    Ok(Some(run)) => yield told(&app, &run),
                    Ok(None) => yield deleted(id),
                    Err(error) => {
                        tracing::warn!(org.id = %organization, %error, "watchers wait for the store");
                        yield event("gap", None, &GapData {});
                        break;
                    }
                }
            }
        }
    }
}

fn told(app: &App, run: &Run) -> Bytes {
    event("run", None, &overview::brief(app, run))
}

/// What is to be told next: each run once, in the order they first changed.
#[derive(Default)]
struct Waiting {
    runs: VecDeque<RunId>,
    versions: HashMap<RunId, Option<u64>>,
    gap: bool,
}

impl Waiting {
    fn note(&mut self, heard: Heard) {
        let version = version_of(&heard);
        match heard {
            Heard::Event(Event { change: Change::Log { .. }, .. }) => {}
            Heard::Event(Event { run, .. }) if self.runs.len() < MAX_WAITING => {
                match self.versions.entry(run) {
                    Entry::Occupied(mut known) => *known.get_mut() = latest(*known.get(), version),
                    Entry::Vacant(new) => {
                        new.insert(version);
                        self.runs.push_back(run);
                    }
                }
            }
            Heard::Event(_) | Heard::Gap => self.gap = true,
        }
    }

    fn is_empty(&self) -> bool {
        self.runs.is_empty() && !self.gap
    }

    /// Listens until something was heard and it is time to tell it; false when nothing was heard for as long as a stream may
    /// be silent.
    async fn gather(&mut self, app: &App, heard: &mut Hearing, pace: &mut Pace) -> bool {
        let mut until = Instant::now() + KEEP_ALIVE;
        loop {
            let next = async {
                match heard.next().await {
                    Some(heard) => heard,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = app.shutdown.triggered() => return true,
                () = tokio::time::sleep_until(until) => return !self.is_empty(),
                heard = next => {
                    let first = self.is_empty();
                    self.note(heard);
                    if first && !self.is_empty() {
                        until = pace.turn();
                    }
                }
            }
        }
    }
}
