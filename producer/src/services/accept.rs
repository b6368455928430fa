//! Accepting a run: check everything, store it, and only then say so.

use std::collections::BTreeSet;
use std::sync::Arc;

use gantry_api_types::problem::{FieldProblem, ProblemCode};
use gantry_api_types::request::CreateRun;
use gantry_domain::attempt::Warning;
use gantry_domain::id::{DispatchId, OrganizationId, RunId};
use gantry_domain::project::Project;
use gantry_domain::run::{Run, RunStatus, Trigger, TriggerKind};
use gantry_domain::spec::{Network, RunSpec, Violation};
use gantry_domain::worker::ExecutorKind;
use gantry_store::{Accepted, Idempotency, NewRun, StoreError};
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use crate::error::{ApiError, ApiResult};
use crate::extract::{rate, request_id};
use crate::services::allowances::{self, Allowance};
use crate::services::queued::{self, Place};
use crate::services::{concurrency, dispatch, secrets};
use crate::state::App;
use crate::trace;

use crate::access::Caller;

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
    let (spec, project) = resolve(app, caller.organization, request).await?;
    let trigger =
        Trigger { kind: TriggerKind::Api, actor: caller.actor, rerun_of: None, trace: request_id::trace() };
    store(app, caller, spec, project, trigger, idempotency).await
}

/// The specification that a request asks for, with what its project says.
async fn resolve(
    app: &App,
    organization: OrganizationId,
    request: CreateRun,
) -> ApiResult<(RunSpec, Option<Arc<Project>>)> {
    let wrong = |violation| ApiError::validation(vec![violation]);
    let Some(name) = request.project.clone() else {
        let spec = request.into_spec().map_err(wrong)?;
        check(app, organization, &spec, None).await?;
        return Ok((spec, None));
    };
    let known = app.projects.named(app, organization, &name).await?;
    let spec = request.clone().into_spec_of(known.as_deref()).map_err(wrong)?;
    if check(app, organization, &spec, known.as_deref()).await.is_ok() {
        return Ok((spec, known));
    }
    // What is missing may have been added a moment ago.
    let project = app.projects.read(app, organization, &name).await?;
    let spec = request.into_spec_of(project.as_deref()).map_err(wrong)?;
    check(app, organization, &spec, project.as_deref()).await?;
    Ok((spec, project))
}

/// Stores a run with the same specification; secrets are resolved anew, and what the project forbids by now is.
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
    let mut spec = original.spec.clone();
    let project = match &spec.project {
        Some(name) => app.projects.read(app, caller.organization, name).await?,
        None => None,
    };
    if project.as_ref().is_some_and(|project| project.network == Network::None) {
        spec.network = Network::None;
    }
    check(app, caller.organization, &spec, project.as_deref()).await?;
    store(app, caller, spec, project, trigger, idempotency).await
}

async fn store(
    app: &Arc<App>,
    caller: Caller,
    spec: RunSpec,
    project: Option<Arc<Project>>,
    trigger: Trigger,
    idempotency: Option<Idempotency>,
) -> ApiResult<Run> {
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
    let of_project = project.and_then(|project| project.concurrency);
    let allowance = allowances::of(app, caller.organization).await;
    rate::admit_run(app, &caller, &allowance).await?;
    let place = match place(app, caller.organization, &allowance, idempotency.as_ref()).await? {
        Entered::Known(accepted) => return told(app, accepted),
        Entered::Place(place) => place,
    };
    let limits = concurrency::limits_of(app, &allowance, caller.organization, &spec, of_project);
    let dispatch = (limits.is_empty() && goes_at_once(app, &spec)).then(DispatchId::new);
    let new = NewRun {
        id: RunId::new(),
        organization: caller.organization,
        spec,
        trigger,
        created_at: app.now(),
        idempotency,
        dispatch,
    };
    told(app, put(app, new, place).await?)
}

/// What came of looking for room.
#[allow(clippy::large_enum_variant)]
enum Entered {
    /// There is; `None` where there is no end of it.
    Place(Option<Place>),
    /// None is needed: the same request came before.
    Known(Accepted),
}

async fn place(
    app: &App,
    organization: OrganizationId,
    allowance: &Allowance,
    idempotency: Option<&Idempotency>,
) -> ApiResult<Entered> {
    let Some(max) = allowance.queued_runs else { return Ok(Entered::Place(None)) };
    match (queued::enter(app, organization, max).await, idempotency) {
        (Ok(place), _) => Ok(Entered::Place(Some(place))),
        (Err(full), Some(idempotency)) if full.code == ProblemCode::QuotaExceeded => {
            let known = app.parts.stores.runs.repeated(organization, idempotency).await?;
            known.map(Entered::Known).ok_or(full)
        }
        (Err(error), _) => Err(error),
    }
}

fn told(app: &Arc<App>, accepted: Accepted) -> ApiResult<Run> {
    match accepted {
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

/// Whether a run without limits need not wait for its turn: nothing else waits, and a worker is free.
fn goes_at_once(app: &App, spec: &RunSpec) -> bool {
    !app.shutdown.is_triggered()
        && app.tasks.initialized()
        && app.broker.trouble().is_none()
        && app.fleet.window(&spec.pool) > 0
        && app.room.take(&spec.pool)
}

/// Stores the run. One that goes at once is handed over even if its caller does not wait for the answer.
async fn put(app: &Arc<App>, new: NewRun, place: Option<Place>) -> Result<Accepted, StoreError> {
    let (Some(tasks), Some(_)) = (app.tasks.get(), new.dispatch) else {
        let accepted = insert(app, new).await;
        drop(place);
        return accepted;
    };
    let (told, answer) = oneshot::channel();
    let (app, request) = (Arc::clone(app), Span::current());
    let work = async move {
        let accepted = insert(&app, new).instrument(request).await;
        drop(place);
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

/// Refuses a specification with everything that is wrong with it on this installation.
async fn check(
    app: &App,
    organization: OrganizationId,
    spec: &RunSpec,
    project: Option<&Project>,
) -> ApiResult<()> {
    let missing = match spec.secrets.as_slice() {
        [] => BTreeSet::new(),
        names => secrets::unknown(app, organization, project, names).await?,
    };
    let mut violations = violations(app, spec, project);
    let whose = match (project, &spec.project) {
        (Some(_), Some(name)) => {
            format!("the project {name:?} has no secret of this name: set it there first")
        }
        (None, Some(name)) => format!("there is no project {name:?}, so it has no secrets"),
        (_, None) => "there is no secret of this name: name the project that has it".to_owned(),
    };
    violations.extend(
        missing.into_iter().map(|i| Violation { pointer: format!("/secrets/{i}"), message: whose.clone() }),
    );
    if violations.is_empty() { Ok(()) } else { Err(ApiError::validation(violations)) }
}

fn violations(app: &App, spec: &RunSpec, project: Option<&Project>) -> Vec<Violation> {
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
        if let (Some(project), Some(image)) = (project, &spec.image)
            && let Err(refused) = project.allows(image)
        {
            refuse("/image", &refused.to_string());
        }
        if spec.workdir.is_some() {
            refuse("/workdir", "only the process executor runs in a directory of the host");
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
