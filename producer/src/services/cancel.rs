//! Ending runs before they end by themselves, and removing those that are over.

use gantry_api_types::problem::ProblemCode;
use gantry_domain::event::{Change, Event};
use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::identity::AuditAction;
use gantry_domain::run::{Refused, Run, RunStatus};
use gantry_queue::ControlMessage;
use gantry_store::{Deleted, Durability};

use crate::access::Caller;
use crate::error::{ApiError, ApiResult};
use crate::services::identity::audit;
use crate::services::transition::{Scope, Unchanged, change};
use crate::state::App;

/// Cancels: at once when nothing executes, else the worker is told at once and again with every heartbeat.
pub async fn cancel(app: &App, caller: Caller, id: RunId) -> ApiResult<Run> {
    let now = app.now();
    let scope = Scope::Organization(caller.organization);
    let run = change(app, scope, id, Durability::Synced, |run| run.cancel(caller.actor, now)).await.map_err(
        |unchanged| match unchanged {
            Unchanged::NotFound => ApiError::not_found(),
            Unchanged::Refused(Refused::WrongState(status), _) => ApiError::new(
                ProblemCode::RunFinished,
                format!("The run is already over ({}): there is nothing to cancel.", status.as_str()),
            ),
            Unchanged::Refused(Refused::Stale, _) => ApiError::stale(),
            Unchanged::Store(error) => error.into(),
        },
    )?;
    if run.state.lease().is_some() {
        let message = ControlMessage::Cancel { run: run.id, attempt: run.attempt() };
        if let Err(error) = app.parts.queue.broadcast(message).await {
            tracing::warn!(run.id = %run.id, org.id = %run.organization, %error, "cancel reaches the worker with its next heartbeat");
        }
    }
    audit::write(app, audit::done(app, &caller, AuditAction::RunCancelled).to(id)).await;
    Ok(run)
}

/// Removes a run that is over, with everything it left, because somebody asked for it.
pub async fn delete(app: &App, caller: Caller, id: RunId) -> ApiResult<()> {
    remove(app, caller.organization, id).await?;
    audit::write(app, audit::done(app, &caller, AuditAction::RunDeleted).to(id)).await;
    Ok(())
}

/// Removes a run that is over, with everything it left.
pub async fn remove(app: &App, organization: OrganizationId, id: RunId) -> ApiResult<()> {
    let still_going = |status: RunStatus| {
        Err(ApiError::new(
            ProblemCode::RunNotFinished,
            format!("The run is {}: cancel it first, then delete it.", status.as_str()),
        ))
    };
    let found = app.parts.stores.runs.get(organization, id).await?.ok_or_else(ApiError::not_found)?;
    if !found.is_final() {
        return still_going(found.status());
    }
    // Blobs first: while the run is there, whoever is interrupted here can ask again.
    app.parts.blobs.delete_run(organization, id).await?;
    match app.parts.stores.runs.delete(organization, id).await? {
        Deleted::NotFound => Err(ApiError::not_found()),
        Deleted::StillGoing(status) => still_going(status),
        Deleted::Deleted => {
            app.parts.bus.publish(Event { organization, run: id, change: Change::Deleted, version: None });
            Ok(())
        }
    }
}

/// Moves a run into another group, or out of any.
pub async fn regroup(app: &App, caller: Caller, id: RunId, group: Option<String>) -> ApiResult<Run> {
    let scope = Scope::Organization(caller.organization);
    change(app, scope, id, Durability::Relaxed, |run| Ok(run.regroup(group.clone()))).await.map_err(
        |unchanged| match unchanged {
            Unchanged::Store(error) => error.into(),
            _ => ApiError::not_found(),
        },
    )
}
