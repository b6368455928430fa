//! Reconcilers: the promises that no request keeps. Each takes no input, may run on every replica at once, and only
//! ever moves runs by compare-and-set.

pub mod dispatcher;
pub mod housekeeping;
pub mod leases;
pub mod limits;
pub mod recovery;
pub mod retention;
pub mod waiting;

use std::sync::Arc;

use gantry_service_kit::reconciler::{ReconcileError, Reconcilers, Wake};
use gantry_service_kit::shutdown::TaskGroup;

use crate::state::App;

/// Starts all of them.
pub fn spawn(app: &Arc<App>, group: &TaskGroup) {
    let mut reconcilers = Reconcilers::new();
    reconcilers.add(Arc::new(dispatcher::Dispatcher(app.clone())), app.wakes.dispatch.clone());
    reconcilers.add(Arc::new(waiting::Due(app.clone())), app.wakes.due.clone());
    reconcilers.add(Arc::new(waiting::Unclaimed(app.clone())), Wake::new());
    reconcilers.add(Arc::new(waiting::QueueTimeout(app.clone())), Wake::new());
    reconcilers.add(Arc::new(leases::LeaseReaper::new(app.clone())), Wake::new());
    reconcilers.add(Arc::new(limits::Holders(app.clone())), Wake::new());
    if app.addresses.is_some() {
        reconcilers.add(Arc::new(crate::http::Sweep(app.clone())), Wake::new());
    }
    reconcilers.add(Arc::new(housekeeping::Housekeeping::new(app.clone())), Wake::new());
    reconcilers.add(Arc::new(retention::Retention(app.clone())), Wake::new());
    reconcilers.add(Arc::new(crate::logs::sealing::Sealer::new(app.clone())), app.wakes.seal.clone());
    let _ = app.statuses.set(reconcilers.statuses());
    let _ = app.tasks.set(group.clone());
    reconcilers.spawn(group, &app.shutdown);
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> ReconcileError {
    Box::new(error)
}
