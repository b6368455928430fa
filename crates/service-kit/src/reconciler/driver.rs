//! The loop around one reconciler.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::Instant;

use super::{Outcome, Reconciler, Statuses, Wake};
use crate::shutdown::{Shutdown, panic_message};

/// The shortest pause that is not none.
const BREATH: Duration = Duration::from_millis(5);
const FIRST_BACK_OFF: Duration = Duration::from_millis(200);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// Passes until the shutdown: the first at once, then by wake, due time or period. After a failure the back-off holds
/// whatever wakes come meanwhile, so that a broken dependency is not hammered.
pub(super) async fn drive(
    reconciler: Arc<dyn Reconciler>,
    wake: Wake,
    statuses: Statuses,
    shutdown: Shutdown,
) {
    let mut logged: Option<String> = None;
    while !shutdown.is_triggered() {
        wake.answered();
        match pass(reconciler.as_ref(), &statuses).await {
            Ok(outcome) => {
                if logged.take().is_some() {
                    tracing::info!(reconciler = reconciler.name(), "the reconciler works again");
                }
                if outcome.again {
                    if outcome.did > 0 {
                        tokio::task::yield_now().await;
                    } else {
                        tokio::time::sleep(BREATH).await;
                    }
                    continue;
                }
                let pause = pause_after(&outcome, reconciler.period());
                tokio::select! {
                    () = shutdown.triggered() => {}
                    () = wake.woken() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(failure) => {
                if logged.as_ref() != Some(&failure.error) {
                    tracing::warn!(reconciler = reconciler.name(), error = %failure.error, "the reconciler fails");
                    logged = Some(failure.error);
                }
                let _ = shutdown.interrupts(tokio::time::sleep(back_off(failure.in_a_row))).await;
            }
        }
    }
}

struct Failure {
    error: String,
    in_a_row: u32,
}

async fn pass(reconciler: &dyn Reconciler, statuses: &Statuses) -> Result<Outcome, Failure> {
    let name = reconciler.name();
    let timeout = reconciler.pass_timeout();
    statuses.started(name);
    let start = Instant::now();
    // The call itself may panic before it returns a future, hence the async block.
    let work = AssertUnwindSafe(async { reconciler.reconcile().await }).catch_unwind();
    let result = match tokio::time::timeout(timeout, work).await {
        Ok(Ok(Ok(outcome))) => Ok(outcome),
        Ok(Ok(Err(error))) => Err(with_causes(error.as_ref())),
        Ok(Err(panic)) => Err(format!("panicked: {}", panic_message(panic.as_ref()))),
        Err(_) => Err(format!("no end after {timeout:?}")),
    };
    let took = start.elapsed();
    let in_a_row = statuses.ended(name, took, result.as_ref().map_err(String::as_str));

    let label = if result.is_ok() { "ok" } else { "failed" };
    metrics::counter!("gantry_reconciler_passes_total", "reconciler" => name, "result" => label).increment(1);
    metrics::histogram!("gantry_reconciler_pass_seconds", "reconciler" => name).record(took.as_secs_f64());
    metrics::gauge!("gantry_reconciler_consecutive_failures", "reconciler" => name).set(f64::from(in_a_row));
    match result {
        Ok(outcome) => {
            metrics::counter!("gantry_reconciler_changes_total", "reconciler" => name).increment(outcome.did);
            Ok(outcome)
        }
        Err(error) => Err(Failure { error, in_a_row }),
    }
}

/// Up to a tenth is taken off the period, so that replicas that started together drift apart.
fn pause_after(outcome: &Outcome, period: Duration) -> Duration {
    let jittered = period.mul_f64(1.0 - rand::random_range(0.0..0.1));
    outcome.next_due.map_or(jittered, |due| due.min(jittered)).max(BREATH)
}

fn back_off(in_a_row: u32) -> Duration {
    FIRST_BACK_OFF.saturating_mul(1 << in_a_row.saturating_sub(1).min(16)).min(LONGEST_BACK_OFF)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
