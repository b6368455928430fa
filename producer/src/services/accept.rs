//! Accepting a run: check everything, store it, and only then say so.

use std::sync::Arc;

use gantry_api_types::problem::{FieldProblem, ProblemCode};
use gantry_api_types::request::CreateRun;
use gantry_domain::attempt::Warning;
use gantry_domain::id::{DispatchId, OrganizationId, RunId};
use gantry_domain::run::{Run, RunStatus, Trigger, TriggerKind};
use gantry_domain::spec::{RunSpec, Violation};
use gantry_domain::worker::ExecutorKind;
use gantry_store::{Accepted, Idempotency, NewRun, StoreError};
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use crate::error::{ApiError, ApiResult};
use crate::extract::request_id;
use crate::services::{concurrency, dispatch};
use crate::state::App;
use crate::trace;

pub use crate::access::Caller;

/// Stores the run that a request asks for.
pub async fn create(
    app: &Arc<App>,
    caller: Caller,
    request: CreateRun,
    idempotency: Option<Idempotency>,
) -> ApiResult<Run> {
    let planned = request.unsupported();
    if !planned.is_empty() {
        let mut error = ApiError::new(
            ProblemCode::NotSupported,
            format!("{} can't be used yet: it is planned for a later version.", planned.join(", ")),
        );
        error.errors = planned
            .into_iter()
            .map(|pointer| FieldProblem {
                pointer: pointer.to_owned(),
                message: "not supported yet".to_owned(),
            })
            .collect();
        return Err(error);
    }
    let spec = request.into_spec().map_err(|violation| ApiError::validation(vec![violation]))?;
    let trigger =
        Trigger { kind: TriggerKind::Api, actor: caller.actor, rerun_of: None, trace: request_id::trace() };
    store(app, caller, spec, trigger, idempotency).await
}

/// Stores a run with the same specification; secrets are resolved anew.
pub async fn rerun(
    app: &Arc<App>,
    caller: Caller,
    original: &Run,
    idempotency: Option<Idempotency>,
) -> ApiResult<Run> {
    let trigger = Trigger {
        kind: TriggerKind::Rerun,
        actor: caller.actor,
        rerun_of: Some(original.id),
        trace: request_id::trace(),
    };
    store(app, caller, original.spec.clone(), trigger, idempotency).await
}

async fn store(
    app: &Arc<App>,
    caller: Caller,
    spec: RunSpec,
    trigger: Trigger,
    idempotency: Option<Idempotency>,
) -> ApiResult<Run> {
    let violations = violations(app, &spec);
    if !violations.is_empty() {
        return Err(ApiError::validation(violations));
    }
    let _guard = match &idempotency {
        None => None,
        Some(idempotency) => {
            Some(app.in_flight.enter(caller.organization, &idempotency.key).ok_or_else(|| {
                ApiError::new(
                    ProblemCode::IdempotencyInFlight,
                    "The first request with this Idempotency-Key is still being answered. Repeat yours in a moment.",
                )
            })?)
        }
    };
    let dispatch = goes_at_once(app, caller.organization, &spec).then(DispatchId::new);
    let new = NewRun {
        id: RunId::new(),
        organization: caller.organization,
        spec,
        trigger,
        created_at: app.now(),
        idempotency,
        dispatch,
    };
    match put(app, new).await? {
        Accepted::Created(run) => {
            trace::about(&run);
            if run.status() == RunStatus::Pending {
                app.run_waits(&run.spec.pool);
            }
            app.tell(&run);
            crate::metrics::accepted(&run);
            Ok(run)
        }
        Accepted::Replayed(run) => {
            trace::about(&run);
            Ok(run)
        }
        Accepted::KeyReused => Err(ApiError::new(
            ProblemCode::IdempotencyKeyReused,
            "This Idempotency-Key was used with another body in the last 24 hours. Use a new key for a new run.",
        )),
    }
}

/// Whether the run need not wait for its turn: nothing else waits, and a worker is free.
fn goes_at_once(app: &App, organization: OrganizationId, spec: &RunSpec) -> bool {
    !app.shutdown.is_triggered()
        && app.tasks.initialized()
        && app.broker.trouble().is_none()
        && concurrency::limits_of(app, organization, spec).is_empty()
        && app.fleet.window(&spec.pool) > 0
        && app.room.take(&spec.pool)
}

/// Stores the run. One that goes at once is handed over even if its caller does not wait for the answer.
async fn put(app: &Arc<App>, new: NewRun) -> Result<Accepted, StoreError> {
    let (Some(tasks), Some(_)) = (app.tasks.get(), new.dispatch) else {
        return insert(app, new).await;
    };
    let (told, answer) = oneshot::channel();
    let (app, request) = (Arc::clone(app), Span::current());
    let work = async move {
        let accepted = insert(&app, new).instrument(request).await;
        let created = match &accepted {
            Ok(Accepted::Created(run)) => Some(run.clone()),
            _ => None,
        };
        let _ = told.send(accepted);
        if let Some(run) = created {
            dispatch::hand_over_accepted(&app, run).await;
        }
    };
    tasks.spawn("accept", work);
    answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the producer ends".to_owned())))
}

async fn insert(app: &App, new: NewRun) -> Result<Accepted, StoreError> {
    let accepted = app.parts.stores.runs.accept(new).await?;
    if let Accepted::Created(run) = &accepted {
        app.recent.changed(run);
    }
    Ok(accepted)
}

/// Everything wrong with a specification on this installation.
fn violations(app: &App, spec: &RunSpec) -> Vec<Violation> {
    let mut violations = spec.violations(&app.config.spec);
    let mut refuse = |pointer: &str, message: &str| {
        violations.push(Violation { pointer: pointer.to_owned(), message: message.to_owned() });
    };
    if app.config.executor == Some(ExecutorKind::Process) {
        if spec.command.is_none() {
            refuse("/command", "name the command: without containers there is no image with an entrypoint");
        }
    } else {
        if spec.image.is_none() {
            refuse("/image", "name the container image to run");
        }
        if spec.workdir.is_some() {
            refuse("/workdir", "only the process executor runs in a directory of the host");
        }
    }
    for (i, name) in spec.secrets.iter().enumerate() {
        if !app.config.secrets.contains_key(name) {
            refuse(&format!("/secrets/{i}"), "there is no secret of this name");
        }
    }
    violations
}

/// What a user should know about a run at this installation.
pub fn notes(app: &App, run: &Run) -> Vec<Warning> {
    if app.config.executor == Some(ExecutorKind::Process) && run.spec.image.is_some() {
        vec![Warning::new(
            "image_ignored",
            "The process executor runs commands on the host: the image is not used.",
        )]
    } else {
        Vec::new()
    }
}
