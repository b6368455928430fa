//! The one way a run changes: read (or remember), ask the domain for the successor, compare-and-set; on a conflict decide
//! again.

use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::{Hold, Refused, Run, RunState};
use gantry_store::{Durability, StoreError, Transition};

use crate::services::concurrency;
use crate::state::App;

/// Why a run did not change.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)]
pub enum Unchanged {
    NotFound,
    Refused(Refused, Run),
    Store(StoreError),
}

impl From<StoreError> for Unchanged {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whose run may be changed.
#[derive(Debug, Clone, Copy)]
pub enum Scope {
    Organization(OrganizationId),
    /// Workers and reconcilers, who act for no tenant.
    Any,
}

/// Reads the run and changes it as `decide` says, until that was stored on the state it was decided on. `decide` answers
/// `None` when nothing is to be changed; then and after a change the run as it is now is returned.
pub async fn change(
    app: &App,
    scope: Scope,
    id: RunId,
    durability: Durability,
    decide: impl Fn(&Run) -> Result<Option<Run>, Refused> + Send + Sync,
) -> Result<Run, Unchanged> {
    // Only to be changed: what refuses here may be past, and who asks for the run as it is wants it read.
    if let (Scope::Any, Some(known)) = (scope, app.recent.get(id))
        && let Ok(Some(_)) = decide(&known)
    {
        return change_from(app, known, durability, decide).await;
    }
    let found = match scope {
        Scope::Organization(organization) => app.parts.stores.runs.get(organization, id).await?,
        Scope::Any => app.parts.stores.runs.find(id).await?,
    };
    change_from(app, found.ok_or(Unchanged::NotFound)?, durability, decide).await
}

/// The same, beginning with a run that was just read.
pub async fn change_from(
    app: &App,
    mut current: Run,
    durability: Durability,
    decide: impl Fn(&Run) -> Result<Option<Run>, Refused> + Send + Sync,
) -> Result<Run, Unchanged> {
    loop {
        let next = match decide(&current) {
            Ok(Some(next)) => next,
            Ok(None) => return Ok(current),
            Err(refused) => return Err(Unchanged::Refused(refused, current)),
        };
        match app.parts.stores.runs.transition(&next, durability).await? {
            Transition::Updated => {
                app.recent.changed(&next);
                after(app, &current, &next).await;
                return Ok(next);
            }
            Transition::Conflict(now) => current = now,
            Transition::NotFound => return Err(Unchanged::NotFound),
        }
    }
}

/// What follows from a change. Best effort: reconcilers catch up on whatever is missed here.
async fn after(app: &App, before: &Run, now: &Run) {
    app.tell(now);
    // Before anything that could let this run be dispatched again.
    if now.holding.is_empty() && !before.holding.is_empty() {
        concurrency::give_back(app, now.organization, now.id, &before.holding).await;
    }
    match now.state {
        RunState::Pending { hold: Hold::Workers } => app.run_waits(&now.spec.pool),
        RunState::Pending { hold: Hold::Due { .. } } => app.wakes.due.wake(),
        _ => {}
    }
    if before.state.lease().is_some() && now.state.lease().is_none() {
        if let Some(attempt) = before.last_attempt() {
            app.fleet.slot_freed(attempt.worker);
        }
        app.wakes.dispatch.wake();
        // Most logs are short and stay where they are.
        if now.log_due().is_some() {
            app.wakes.seal.wake();
        }
    }
    crate::metrics::changed(before, now);
}
