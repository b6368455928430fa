//! A run as its reader sees it: with what only a look around tells, such as how many go first.

use gantry_api_types::run as wire;
use gantry_domain::run::Run;
use gantry_store::LogKey;

use crate::error::ApiResult;
use crate::services::accept;
use crate::state::App;

/// A run as lists and answers show it.
pub fn brief(app: &App, run: &Run) -> wire::Run {
    let mut view = wire::Run::of(run, app.now());
    for note in accept::notes(app, run) {
        view.warnings.insert(0, wire::Warning { code: note.code, message: note.message });
    }
    if let Some(waiting) = &mut view.waiting
        && waiting.what == wire::WaitingFor::Workers
        && let Some(trouble) = app.broker.trouble()
    {
        waiting.message = format!(
            "Waiting for the message broker, which {} since {}: the run goes on by itself when it is back.",
            trouble.detail(),
            trouble.since
        );
    }
    view
}

/// A run in full: queue position, expected start, length of the log so far.
pub async fn detail(app: &App, run: &Run) -> ApiResult<wire::Run> {
    let mut view = brief(app, run);
    if let Some(waiting) = &mut view.waiting
        && waiting.what == wire::WaitingFor::Workers
    {
        let ahead = app.parts.stores.runs.ahead_of(run).await?;
        waiting.ahead = Some(ahead);
        waiting.estimated_start_at = app.fleet.estimated_start(&run.spec.pool, ahead, app.now());
        if app.fleet.window(&run.spec.pool) == 0 && app.broker.trouble().is_none() {
            waiting.message = format!(
                "No worker takes runs of pool {}: start one, or resume a draining one.",
                run.spec.pool
            );
        }
    }
    if let Some(attempt) = run.last_attempt()
        && attempt.log.end.is_none()
    {
        let key = LogKey { organization: run.organization, run: run.id, attempt: attempt.number };
        view.log_bytes = Some(app.parts.stores.logs.end(key).await?);
    }
    Ok(view)
}
