//! Concurrency limits: which ones a run falls under, and what happens when a place gets free.

use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::{Hold, Run};
use gantry_domain::spec::RunSpec;
use gantry_store::{Durability, Limit, StoreError};

use crate::services::allowances::{self, Allowance};
use crate::services::transition::change_from;
use crate::state::App;

/// Runs that one change lets in at once, at most; the reconciler lets others in.
pub const WOKEN_AT_ONCE: u32 = 100;

/// The key of a project's limit.
pub fn project_key(organization: OrganizationId, name: &str) -> String {
    format!("{organization}:project:{name}")
}

/// The project's own limit, as it was a moment ago.
pub async fn of_project(
    app: &App,
    organization: OrganizationId,
    spec: &RunSpec,
) -> Result<Option<u32>, StoreError> {
    let Some(name) = &spec.project else { return Ok(None) };
    match app.projects.named(app, organization, name).await {
        Ok(project) => Ok(project.and_then(|project| project.concurrency)),
        // One document that cannot be read holds up nobody else's runs; its own are looked at when they are claimed.
        Err(StoreError::Corrupt(why)) => {
            tracing::error!(org.id = %organization, project = name, why, "a project that cannot be read limits nothing");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The limits that hold for a run of an organization with this allowance, by keys that begin with it. Of a project's own
/// limit and the installation's for all projects the lower one holds.
pub fn limits_of(
    app: &App,
    allowance: &Allowance,
    organization: OrganizationId,
    spec: &RunSpec,
    of_project: Option<u32>,
) -> Vec<Limit> {
    let config = &app.config.concurrency;
    let mut limits = Vec::new();
    let mut add = |max: Option<u32>, name: String| {
        if let Some(max) = max {
            limits.push(Limit { key: name, max });
        }
    };
    add(allowance.concurrent_runs, format!("{organization}:organization"));
    if let Some(project) = &spec.project {
        let max = config.project.into_iter().chain(of_project).min();
        add(max, project_key(organization, project));
    }
    if let Some(group) = &spec.group {
        add(config.group, format!("{organization}:group:{group}"));
    }
    limits
}

/// Gives places back and lets the next runs in. Failures are left to the reconciler.
pub async fn give_back(app: &App, organization: OrganizationId, run: RunId, keys: &[String]) {
    if let Err(error) = app.parts.stores.dispatch.release(run, keys).await {
        tracing::warn!(run.id = %run, org.id = %organization, %error, "places under limits not given back yet");
        return;
    }
    for key in keys {
        if let Err(error) = unblock(app, key, 1).await {
            tracing::warn!(key, %error, "runs waiting for a limit not woken yet");
        }
    }
    app.wakes.dispatch.wake();
}

/// How many more runs that wait for `key` may go, when `held` have a place; never none, for what was counted may be old.
pub async fn room(app: &App, key: &str, held: u32) -> Result<u32, StoreError> {
    let Some(first) = app.parts.stores.dispatch.blocked_on(key, 1).await?.pop() else { return Ok(1) };
    let of_project = of_project(app, first.organization, &first.spec).await?;
    let allowance = allowances::of(app, first.organization).await;
    let limits = limits_of(app, &allowance, first.organization, &first.spec, of_project);
    let places = limits.iter().find(|limit| limit.key == key).map_or(WOKEN_AT_ONCE, |limit| limit.max);
    Ok(places.saturating_sub(held).clamp(1, WOKEN_AT_ONCE))
}

/// Lets up to `count` runs that wait for `key` be dispatched; whoever finds it full again waits again.
pub async fn unblock(app: &App, key: &str, count: u32) -> Result<u64, StoreError> {
    let mut woken = 0;
    for run in app.parts.stores.dispatch.blocked_on(key, count).await? {
        let waits_for_it = |run: &Run| match &run.state {
            gantry_domain::run::RunState::Pending { hold: Hold::Limit { key: k } } if k == key => {
                run.hold(Hold::Workers).map(Some)
            }
            _ => Ok(None),
        };
        // Boxed: `change_from` calls `give_back`, which calls this.
        match Box::pin(change_from(app, run, Durability::Relaxed, waits_for_it)).await {
            Ok(_) => woken += 1,
            Err(crate::services::transition::Unchanged::Store(error)) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(woken)
}
