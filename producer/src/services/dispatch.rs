//! Dispatch: from `pending` to the queue, fairly and just as much as the fleet can take.

use futures::StreamExt as _;
use futures::stream;
use gantry_domain::id::DispatchId;
use gantry_domain::run::{Hold, Refused, Run, RunState};
use gantry_domain::spec::Pool;
use gantry_domain::trace::TraceContext;
use gantry_queue::RunMessage;
use gantry_service_kit::telemetry::trace::{Messaging, context_of, messaging};
use gantry_store::{Acquired, Durability, StoreError};
use tracing::{Instrument as _, Span};

use crate::services::transition::{Unchanged, change_from};
use crate::services::{allowances, concurrency};
use crate::state::App;
use crate::trace;

/// Runs taken in one pass at most.
const BATCH: u64 = 256;

/// One pass over a pool: how many runs were taken on, and whether there may be more.
pub async fn dispatch(app: &App, pool: &Pool) -> Result<(u64, bool), StoreError> {
    app.room.look_begins(pool);
    let pass = pass(app, pool).await;
    match &pass {
        Ok(pass) => app.room.looked(pool, pass.left, pass.waiting),
        Err(_) => app.room.waits(pool),
    }
    pass.map(|pass| (pass.done, pass.again))
}

/// What a pass did, and what it left.
#[derive(Default)]
struct Pass {
    done: u64,
    again: bool,
    /// Messages that the queue still has room for.
    left: u64,
    /// Whether runs wait, as far as it knows.
    waiting: bool,
}

async fn pass(app: &App, pool: &Pool) -> Result<Pass, StoreError> {
    let blind = Pass { waiting: true, ..Pass::default() };
    let window = app.fleet.window(pool);
    // Before anything is taken out of `pending`: there it can be seen, and cancelled, and goes in its turn.
    let Some(waiting) = depth(app, pool).await else { return Ok(blind) };
    let wanted = app.broker.allows(window.saturating_sub(waiting).min(BATCH), app.now());
    if wanted == 0 {
        return Ok(blind);
    }
    let ready = app.parts.stores.dispatch.ready(pool, wanted as u32).await?;
    let found = ready.len() as u64;
    // Together, so that their writes share a commit; handed over in the order they were picked.
    let taken = stream::iter(ready).map(|run| take(app, run)).buffered(BATCH as usize);
    let mut results = taken.map(|taken| hand_over(app, taken)).buffered(BATCH as usize);
    let (mut done, mut refused, mut failed) = (0, false, None);
    // All of them to their end: one that breaks off between its two steps is queued without a message.
    while let Some(result) = results.next().await {
        match result {
            Ok(Handed::Done) => done += 1,
            Ok(Handed::Gone) => {}
            Ok(Handed::Back) => refused = true,
            Err(error) => failed = Some(error),
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let all_found = found < wanted;
    let left = if app.broker.trouble().is_none() { wanted.saturating_sub(found) } else { 0 };
    Ok(Pass { done, again: !all_found && !refused, left, waiting: !all_found || refused })
}

/// Messages that the broker holds for a pool; `None`, and known to everybody, when it does not answer.
pub async fn depth(app: &App, pool: &Pool) -> Option<u64> {
    match app.parts.queue.depth(pool).await {
        Ok(depth) => {
            app.broker.answers(app.now());
            Some(depth)
        }
        Err(error) => {
            tracing::debug!(%pool, %error, "the broker does not answer");
            app.broker.unreachable(&error, app.now());
            None
        }
    }
}

/// What came of picking a run.
#[allow(clippy::large_enum_variant)]
enum Taken {
    /// The span lasts until it was handed over.
    Queued(Run, Span),
    /// It waits for a limit now.
    Held,
    /// Somebody else took or cancelled it.
    Gone,
}

/// What came of handing it over.
enum Handed {
    Done,
    Gone,
    /// The broker did not take it: it is pending again.
    Back,
}

/// State first, then publish: a claim can never meet a run that is not yet queued.
async fn hand_over(app: &App, taken: Result<Taken, StoreError>) -> Result<Handed, StoreError> {
    Ok(match taken? {
        Taken::Queued(run, span) => {
            if publish(app, &run).instrument(span).await {
                Handed::Done
            } else {
                take_back(app, run).await?;
                Handed::Back
            }
        }
        Taken::Held => Handed::Done,
        Taken::Gone => Handed::Gone,
    })
}

/// Hands over a run that was stored as queued.
pub async fn hand_over_accepted(app: &App, run: Run) {
    let span = dispatching(&run);
    if let Err(error) = hand_over(app, Ok(Taken::Queued(run, span))).await {
        tracing::warn!(%error, "a run that the broker did not take stays queued");
    }
}

/// What the broker did not take is pending again. Should its message arrive all the same, it was claimed by now, and
/// stays so, or the message meets a refusal. When the store does not answer either, it stays queued and is published
/// again once nobody claimed it for a while.
async fn take_back(app: &App, run: Run) -> Result<(), StoreError> {
    let RunState::Queued { dispatch } = run.state else { return Ok(()) };
    let now = app.now();
    match change_from(app, run, Durability::Relaxed, |run| run.take_back(dispatch, now).map(Some)).await {
        Err(Unchanged::Store(error)) => Err(error),
        _ => Ok(()),
    }
}

async fn take(app: &App, run: Run) -> Result<Taken, StoreError> {
    let span = dispatching(&run);
    take_in(app, run).instrument(span).await
}

fn dispatching(run: &Run) -> Span {
    let span =
        tracing::debug_span!("dispatch", run.id = %run.id, org.id = %run.organization, pool = %run.spec.pool);
    trace::continued(span, run)
}

async fn take_in(app: &App, run: Run) -> Result<Taken, StoreError> {
    let of_project = concurrency::of_project(app, run.organization, &run.spec).await?;
    let allowance = allowances::of(app, run.organization).await;
    let limits = concurrency::limits_of(app, &allowance, run.organization, &run.spec, of_project);
    let keys: Vec<_> = limits.iter().map(|limit| limit.key.clone()).collect();
    if !limits.is_empty()
        && let Acquired::Full { key } = app.parts.stores.dispatch.acquire(run.id, &limits).await?
    {
        let waits = |run: &Run| match run.state {
            RunState::Pending { hold: Hold::Workers } => run.hold(Hold::Limit { key: key.clone() }).map(Some),
            _ => Ok(None),
        };
        return match change_from(app, run, Durability::Relaxed, waits).await {
            Err(Unchanged::Store(error)) => Err(error),
            _ => Ok(Taken::Held),
        };
    }
    let (id, now, dispatch) = (run.id, app.now(), DispatchId::new());
    let organization = run.organization;
    let ready = |run: &Run| match run.state {
        // Regrouped meanwhile, it falls under other limits.
        RunState::Pending { hold: Hold::Workers }
            if concurrency::limits_of(app, &allowance, run.organization, &run.spec, of_project) == limits =>
        {
            run.dispatch(dispatch, keys.clone(), now).map(Some)
        }
        _ => Err(Refused::Stale),
    };
    // Relaxed: after a power cut the run is pending again, and the message meets a refusal.
    match change_from(app, run, Durability::Relaxed, ready).await {
        Ok(run) => Ok(Taken::Queued(run, Span::current())),
        Err(Unchanged::Store(error)) => Err(error),
        Err(_) => {
            // Somebody else took or cancelled it; the places may be theirs by now, or about to be, so only drop what
            // nobody needs. What is kept too long a reconciler drops.
            if !keys.is_empty() {
                let needed = app.parts.stores.runs.find(id).await?.is_some_and(|run| {
                    !run.holding.is_empty() || matches!(run.state, RunState::Pending { hold: Hold::Workers })
                });
                if !needed {
                    concurrency::give_back(app, organization, id, &keys).await;
                }
            }
            Ok(Taken::Gone)
        }
    }
}

/// Hands a queued run's message to the broker. A run that stays queued although it was refused is published
/// again when nobody claims it.
pub async fn publish(app: &App, run: &Run) -> bool {
    let RunState::Queued { dispatch } = run.state else { return false };
    let mut span = tracing::debug_span!("publish", run.id = %run.id, org.id = %run.organization);
    if Span::current().is_none() {
        span = trace::continued(span, run);
    }
    messaging(&span, Messaging::Send, run.spec.pool.as_str());
    let mut context = context_of(&span);
    if context.is_empty() {
        context = run.trigger.trace.as_ref().map(TraceContext::to_headers).unwrap_or_default();
    }
    let message = RunMessage { run: run.id, dispatch, trace: context };
    match app.parts.queue.publish(&run.spec.pool, message).instrument(span).await {
        Ok(()) => {
            app.broker.takes(app.now());
            true
        }
        Err(error) => {
            app.broker.refuses(&error, app.now());
            tracing::warn!(run.id = %run.id, org.id = %run.organization, %error, "not published");
            metrics::counter!("gantry_publish_failures_total").increment(1);
            false
        }
    }
}
