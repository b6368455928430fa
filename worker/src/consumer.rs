//! Takes run messages while there is a free slot, and claims what they announce.
//!
//! A message is acknowledged once the claim was answered, whatever the answer: the run's fate is then in the store. A
//! consumer without a slot for its next message pauses *before* the acknowledgement makes room for that. A worker with
//! many slots has several consumers, because each has one message in hand at a time and a claim takes a while.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::join_all;
use gantry_api_types::worker::{Claim, Grant};
use gantry_domain::id::{ClaimId, DispatchId};
use gantry_executor::AttemptKey;
use gantry_queue::{Consumer, Delivery, RunMessage};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::producer::{ProducerError, within};
use crate::run_attempt::run_attempt;
use crate::shared::{Shared, Slot};
use crate::trace;

/// Consumes until it is dropped. What was taken goes on by itself.
pub(crate) async fn consume(shared: &Arc<Shared>) {
    let unanswered = Arc::new(UnansweredClaims::default());
    let consumers = consumers(shared.config.slots);
    join_all((0..consumers).map(|_| keep_consuming(shared, &unanswered))).await;
}

/// How many claims a worker asks for at a time. Each keeps a slot ready.
fn consumers(slots: u32) -> u32 {
    (slots / 4).clamp(1, 4)
}

async fn keep_consuming(shared: &Arc<Shared>, unanswered: &Arc<UnansweredClaims>) {
    let mut backoff = Backoff::new();
    loop {
        match shared.queue.consume(&shared.config.pool).await {
            Ok(mut consumer) => {
                if take_messages(shared, &mut *consumer, unanswered).await {
                    backoff = Backoff::new();
                }
            }
            Err(error) => tracing::warn!(%error, "cannot consume run messages; trying again"),
        }
        backoff.wait().await;
    }
}

/// Until the consumer ends; whether it gave anything.
async fn take_messages(
    shared: &Arc<Shared>,
    consumer: &mut dyn Consumer,
    unanswered: &Arc<UnansweredClaims>,
) -> bool {
    let (mut took, mut ready) = (false, None);
    loop {
        let slot = match ready.take() {
            Some(slot) => slot,
            None => match shared.slots.take().await {
                Some(slot) => slot,
                None => return took,
            },
        };
        if !takes_runs(shared) {
            consumer.pause().await;
            until_runs_are_taken(shared).await;
        }
        let delivery = tokio::select! {
            delivery = consumer.next() => delivery,
            () = until_no_runs_are_taken(shared) => {
                ready = Some(slot);
                continue;
            }
        };
        let Some(delivery) = delivery else { return took };
        took = true;
        // Taken now, because other consumers want slots, too.
        ready = shared.slots.try_take();
        if ready.is_none() {
            consumer.pause().await;
        }
        let name = delivery.message.run.to_string();
        let span = trace::of_message(&delivery.message, &shared.config.pool);
        let task = claim_and_run(Arc::clone(shared), Arc::clone(unanswered), delivery, slot.occupy());
        shared.attempts.spawn(name, task.instrument(span));
    }
}

fn takes_runs(shared: &Shared) -> bool {
    !*shared.draining.borrow() && shared.disk.borrow().paused.is_none() && shared.engine.answers()
}

async fn until_runs_are_taken(shared: &Shared) {
    until(shared, || takes_runs(shared)).await;
}

async fn until_no_runs_are_taken(shared: &Shared) {
    until(shared, || !takes_runs(shared)).await;
}

async fn until(shared: &Shared, condition: impl Fn() -> bool) {
    let (mut draining, mut disk, mut engine) =
        (shared.draining.subscribe(), shared.disk.clone(), shared.engine.trouble());
    while !condition() {
        // The senders live as long as `shared` and its watcher; without a watcher the disk never pauses.
        tokio::select! {
            Ok(()) = draining.changed() => {}
            Ok(()) = disk.changed() => {}
            Ok(()) = engine.changed() => {}
            else => std::future::pending().await,
        }
    }
}

async fn claim_and_run(
    shared: Arc<Shared>,
    unanswered: Arc<UnansweredClaims>,
    delivery: Delivery,
    slot: Slot,
) {
    let context = trace::context(&delivery.message);
    let asking = tracing::debug_span!("claim", run.id = %delivery.message.run);
    let claimed = claim(&shared, &unanswered, delivery).instrument(asking).await;
    let Some((grant, asked_at)) = claimed else { return };
    trace::granted(&grant);
    let key = AttemptKey { run: grant.run, attempt: grant.attempt };
    let Some(lease) = shared.leases.take_up(key, grant.lease.clone(), asked_at) else {
        tracing::warn!(run.id = %key.run, "the attempt is going on here already");
        return;
    };
    run_attempt(shared, grant, lease, slot.number, context).await;
}

/// The grant, and when it was asked for; `None` when the run is somebody else's or the producer cannot be reached.
async fn claim(
    shared: &Shared,
    unanswered: &UnansweredClaims,
    delivery: Delivery,
) -> Option<(Grant, Instant)> {
    let message = delivery.message.clone();
    let claim = Claim {
        worker: shared.config.id,
        dispatch: message.dispatch,
        claim: unanswered.take(message.dispatch).unwrap_or_else(ClaimId::new),
        keeps_network: true,
    };
    let asked = ask(shared, &message, &claim).await;
    let granted = match asked {
        Ok(granted) => {
            answered("granted");
            Some(granted)
        }
        Err(ProducerError::Retry { detail, .. }) => {
            tracing::warn!(run.id = %message.run, detail, "no answer to a claim: the message goes back");
            answered("unanswered");
            unanswered.remember(message.dispatch, claim.claim);
            return None;
        }
        Err(error) => {
            answered("refused");
            tracing::debug!(run.id = %message.run, %error, "claim refused: the message is forgotten");
            None
        }
    };
    if let Err(error) = delivery.ack().await {
        tracing::debug!(run.id = %message.run, %error, "not acknowledged: the duplicate will be refused");
    }
    granted
}

fn answered(answer: &'static str) {
    metrics::counter!("gantry_worker_claims_total", "answer" => answer).increment(1);
}

/// Asks for a bounded time with the same claim id, so that a granted claim whose answer was lost is granted again.
async fn ask(
    shared: &Shared,
    message: &RunMessage,
    claim: &Claim,
) -> Result<(Grant, Instant), ProducerError> {
    let bounds = &shared.config.bounds;
    let deadline = Instant::now() + bounds.claim;
    let mut backoff = Backoff::new();
    loop {
        let asked_at = Instant::now();
        let error = match within(bounds.call, shared.producer.claim(message.run, claim)).await {
            Ok(grant) => return Ok((grant, asked_at)),
            Err(error @ ProducerError::Retry { .. }) => error,
            Err(error) => return Err(error),
        };
        if Instant::now() >= deadline || shared.stages.begun.is_cancelled() {
            return Err(error);
        }
        // Versions that do not fit make a worker drain: then others can have what it did not get.
        let refused = matches!(error, ProducerError::Retry { outright: true, .. });
        tokio::select! {
            () = backoff.wait_after(&error) => {}
            () = until_no_runs_are_taken(shared), if refused => return Err(error),
        }
    }
}

/// Claims that may have been granted although nobody heard of it: asked again under the same id when their message
/// comes back.
#[derive(Debug, Default)]
struct UnansweredClaims(Mutex<VecDeque<(DispatchId, ClaimId)>>);

const UNANSWERED_CLAIMS: usize = 1024;

impl UnansweredClaims {
    fn remember(&self, dispatch: DispatchId, claim: ClaimId) {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if claims.len() == UNANSWERED_CLAIMS {
            claims.pop_front();
        }
        claims.push_back((dispatch, claim));
    }

    /// Taken by one message only: two claims under one id would both be granted.
    fn take(&self, dispatch: DispatchId) -> Option<ClaimId> {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = claims.iter().position(|(other, _)| *other == dispatch)?;
        claims.remove(at).map(|(_, claim)| claim)
    }
}
