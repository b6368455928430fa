//! What a worker reports about its attempt: that it starts, that it collects, how it ended.

use gantry_api_types::worker::{Finish, ReportedState, StateAnswer};
use gantry_domain::attempt::{Observation, Warning};
use gantry_domain::id::RunId;
use gantry_domain::run::{AttemptReport, LeaseToken, Run, Timings};
use gantry_store::{Durability, LogKey};

use crate::error::{ApiError, ApiResult};
use crate::services::transition::{Scope, Unchanged, change, change_from};
use crate::state::App;
use crate::trace;
use gantry_api_types::problem::ProblemCode;

/// Warnings of one attempt that are kept.
const MAX_WARNINGS: usize = 50;
const MAX_WARNING_BYTES: usize = 2000;
/// Engines quote registries, and registries whatever they like.
const MAX_DETAIL_BYTES: usize = 4000;

pub(crate) fn refused(unchanged: Unchanged) -> ApiError {
    match unchanged {
        Unchanged::NotFound | Unchanged::Refused(..) => ApiError::stale(),
        Unchanged::Store(error) => error.into(),
    }
}

/// The run, if this lease is its present one.
pub async fn leased(app: &App, id: RunId, token: &LeaseToken) -> ApiResult<Run> {
    let run = app.parts.stores.runs.find(id).await?.ok_or_else(ApiError::stale)?;
    run.check_lease(token).map_err(|_| ApiError::stale())?;
    trace::about(&run);
    Ok(run)
}

/// Notes that the command starts, or that collecting begins.
pub async fn report_state(
    app: &App,
    id: RunId,
    token: &LeaseToken,
    state: ReportedState,
) -> ApiResult<StateAnswer> {
    let now = app.now();
    // A start is synced: an acknowledged start of an at-most-once run must survive a power cut.
    let durability = match state {
        ReportedState::Starting => Durability::Synced,
        ReportedState::Analyzing => Durability::Relaxed,
    };
    let run = change(app, Scope::Any, id, durability, |run| match state {
        ReportedState::Starting => run.start(token, now),
        ReportedState::Analyzing => run.analyze(token, now),
    })
    .await
    .map_err(refused)?;
    trace::about(&run);
    Ok(StateAnswer { cancel: run.cancel.is_some() })
}

/// Ends the attempt: the run becomes final, or pending for another try.
pub async fn finish(app: &App, id: RunId, token: &LeaseToken, finish: Finish) -> ApiResult<Run> {
    // The compare-and-set below judges a lease that is remembered.
    let known = app.recent.get(id).filter(|run| run.check_lease(token).is_ok());
    let run = match known {
        Some(run) => {
            trace::about(&run);
            run
        }
        None => leased(app, id, token).await?,
    };
    let log = LogKey { organization: run.organization, run: id, attempt: run.attempt() };
    let log_end = if finish.no_log { 0 } else { app.parts.stores.logs.end(log).await? };
    // A worker that sent none of it, or no longer knows how much, says zero: then what was acknowledged is the log.
    if finish.log_end > 0 && finish.log_end != log_end {
        let detail =
            format!("The log ends at {log_end}, not at {}: send what is missing first.", finish.log_end);
        return Err(ApiError::new(ProblemCode::LogOffset, detail));
    }
    let observation = bounded(finish.observed.into());
    let warnings: Vec<_> = finish
        .warnings
        .into_iter()
        .take(MAX_WARNINGS)
        .map(|(code, message)| Warning::new(&cut(code, 64), cut(message, MAX_WARNING_BYTES)))
        .collect();
    let timings = Timings {
        prepare_ms: finish.prepare_ms,
        execute_ms: finish.execute_ms,
        collect_ms: finish.collect_ms,
    };
    let now = app.now();
    change_from(app, run, Durability::Synced, |run| {
        let report = AttemptReport {
            log_end,
            log_truncated: finish.log_truncated,
            tests: run.last_attempt().map(|attempt| attempt.tests).unwrap_or_default(),
            warnings: warnings.clone(),
            timings,
        };
        run.finish(token, &observation, report, now).map(|(next, _)| Some(next))
    })
    .await
    .map_err(refused)
}

fn bounded(mut observation: Observation) -> Observation {
    use Observation as Seen;
    match &mut observation {
        Seen::BadCommand { detail }
        | Seen::ImageNotFound { detail }
        | Seen::ImageDenied { detail }
        | Seen::RegistryUnreachable { detail }
        | Seen::SecretMissing { detail }
        | Seen::Infrastructure { detail } => *detail = cut(std::mem::take(detail), MAX_DETAIL_BYTES),
        Seen::Exited { .. } | Seen::TimedOut { .. } | Seen::Cancelled | Seen::HandedBack | Seen::Lost => {}
    }
    observation
}

fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let mut end = max;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}
