//! Lets ended runs go as their projects say: the way anybody deletes a run, some at a time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::id::RunId;
use gantry_domain::project::Project;
use gantry_domain::run::{Run, RunStatus};
use gantry_service_kit::reconciler::{Outcome, ReconcileError, Reconciler};
use gantry_store::ListFilter;

use super::failed;
use crate::error::ApiError;
use crate::services::cancel;
use crate::state::App;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Projects, or runs, that are read at once.
const PAGE: u32 = 100;
/// Runs of one project that go in one pass, at most.
const BATCH: usize = 500;

pub struct Retention(pub Arc<App>);

#[async_trait]
impl Reconciler for Retention {
    fn name(&self) -> &'static str {
        "retention"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(300)
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        let (mut did, mut after) = (0, None);
        loop {
            let page = self.0.parts.stores.projects.with_retention(after, PAGE).await.map_err(failed)?;
            for project in &page.items {
                // One whose runs cannot be removed holds up no other.
                did += self.tidy(project).await.unwrap_or_else(|error| {
                    tracing::warn!(org.id = %project.organization, project = project.name, %error, "ended runs stay for now");
                    0
                });
            }
            after = page.next;
            if after.is_none() {
                return Ok(Outcome::did(did));
            }
        }
    }
}

impl Retention {
    async fn tidy(&self, project: &Project) -> Result<u64, ReconcileError> {
        let app = &self.0;
        let oldest = project.retention.days.map(|days| app.now() - DAY * days);
        let ended = RunStatus::ALL.into_iter().filter(|status| status.is_final());
        let ended = ended.fold(ListFilter::default(), ListFilter::status);
        let mut filter = ListFilter { projects: vec![project.name.clone()], ..ended };
        // All but the newest: they have to be counted. Else only those that can be old enough are looked at.
        let mut kept = project.retention.runs.unwrap_or(u32::MAX);
        if project.retention.runs.is_none() {
            filter.created_before = oldest;
        }
        let (mut going, mut after) = (Vec::new(), None::<RunId>);
        while going.len() < BATCH {
            let runs = &app.parts.stores.runs;
            let page = runs.list(project.organization, &filter, after, PAGE).await.map_err(failed)?;
            for run in page.items {
                let too_old = oldest.is_some_and(|oldest| run.finished_at.is_some_and(|at| at < oldest));
                if kept == 0 || too_old {
                    going.push(run);
                } else {
                    kept -= 1;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        going.truncate(BATCH);
        let mut gone = 0;
        for run in going {
            match self.remove(&run).await {
                Ok(removed) => gone += u64::from(removed),
                Err(error) => {
                    tracing::warn!(run.id = %run.id, org.id = %run.organization, %error, "an ended run stays for now")
                }
            }
        }
        if gone > 0 {
            tracing::info!(org.id = %project.organization, project = project.name, gone, "ended runs went, as their project says");
            metrics::counter!("gantry_runs_retired_total").increment(gone);
        }
        Ok(gone)
    }

    async fn remove(&self, run: &Run) -> Result<bool, ReconcileError> {
        match cancel::remove(&self.0, run.organization, run.id).await {
            Ok(()) => Ok(true),
            // Somebody else was faster.
            Err(error) if error.code == ApiError::not_found().code => Ok(false),
            Err(error) => Err(error.detail.into()),
        }
    }
}
