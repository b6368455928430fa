//! Concurrency limits: which ones a run falls under, and what happens when a place gets free.

use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::{Hold, Run};
use gantry_domain::spec::RunSpec;
use gantry_store::{Durability, Limit};

use crate::services::transition::change_from;
use crate::state::App;

/// The limits that hold for a run, by keys that begin with its organization.
pub fn limits_of(app: &App, organization: OrganizationId, spec: &RunSpec) -> Vec<Limit> {
    let config = &app.config.concurrency;
    let mut limits = Vec::new();
    let mut add = |max: Option<u32>, name: String| {
        if let Some(max) = max {
            limits.push(Limit { key: format!("{organization}:{name}"), max });
        }
    };
    add(config.organization, "organization".to_owned());
    if let Some(project) = &spec.project {
        add(config.project, format!("project:{project}"));
    }
    if let Some(group) = &spec.group {
        add(config.group, format!("group:{group}"));
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

/// Lets up to `count` runs that wait for `key` be dispatched; whoever finds it full again waits again.
pub async fn unblock(app: &App, key: &str, count: u32) -> Result<u64, gantry_store::StoreError> {
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
