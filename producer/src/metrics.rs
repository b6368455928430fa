//! What a producer counts, for whoever scrapes it. Labels have few values: ids belong into logs and traces.

use gantry_domain::run::{Run, RunStatus};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Why a run gets another attempt.
const CAUSES: [&str; 2] = ["outcome", "infrastructure"];

/// Says what each means; what only counts when something happens begins at zero.
pub fn describe() {
    describe_histogram!(
        "gantry_http_request_seconds",
        Unit::Seconds,
        "Time from a request's head to its answer's, by method, route and class of status"
    );
    describe_counter!("gantry_runs_accepted_total", Unit::Count, "Runs accepted");
    describe_counter!(
        "gantry_runs_finished_total",
        Unit::Count,
        "Runs that reached a final state, by status"
    );
    describe_gauge!(
        "gantry_runs",
        Unit::Count,
        "Runs pending, queued and running in a pool, as the store has them"
    );
    describe_histogram!(
        "gantry_dispatch_wait_seconds",
        Unit::Seconds,
        "Time from when a run may start (accepted, or its retry due) to when it was queued"
    );
    describe_histogram!(
        "gantry_claim_wait_seconds",
        Unit::Seconds,
        "Time from queued to claimed by a worker"
    );
    describe_counter!("gantry_retries_total", Unit::Count, "Attempts that are followed by another, by cause");
    describe_counter!(
        "gantry_lease_expiries_total",
        Unit::Count,
        "Attempts ended because their worker was gone"
    );
    describe_counter!(
        "gantry_publish_failures_total",
        Unit::Count,
        "Run messages that the broker did not take; they are published again later"
    );
    describe_counter!("gantry_runs_retired_total", Unit::Count, "Ended runs deleted as their projects say");
    counter!("gantry_runs_retired_total").absolute(0);
    describe_counter!("gantry_log_bytes_total", Unit::Bytes, "Bytes of logs taken in");
    describe_counter!("gantry_logs_sealed_total", Unit::Count, "Logs that moved from the store into a blob");
    describe_gauge!("gantry_log_followers", Unit::Count, "Readers that follow a log at the moment");
    describe_gauge!(
        "gantry_dispatch_waits_for_broker",
        Unit::Count,
        "1 while runs stay pending because the broker does not answer, else 0"
    );
    gauge!("gantry_dispatch_waits_for_broker").increment(0);
    describe_counter!(
        "gantry_audit_unwritten_total",
        Unit::Count,
        "Audit entries that the store did not take"
    );
    counter!("gantry_audit_unwritten_total").absolute(0);
    describe_counter!("gantry_quota_refused_total", Unit::Count, "Runs refused because a quota was used up");
    counter!("gantry_quota_refused_total", "quota" => "queued_runs").absolute(0);
    describe_counter!("gantry_rate_limited_total", Unit::Count, "Requests refused by a rate limit");
    for limit in ["key", "account", "organization", "new_run", "address", "sign_in"] {
        counter!("gantry_rate_limited_total", "limit" => limit).absolute(0);
    }
    for cause in CAUSES {
        counter!("gantry_retries_total", "cause" => cause).absolute(0);
    }
    for status in RunStatus::ALL.into_iter().filter(|status| status.is_final()) {
        counter!("gantry_runs_finished_total", "status" => status.as_str()).absolute(0);
    }
    counter!("gantry_runs_accepted_total").absolute(0);
    counter!("gantry_lease_expiries_total").absolute(0);
    counter!("gantry_publish_failures_total").absolute(0);
    counter!("gantry_log_bytes_total").absolute(0);
    counter!("gantry_logs_sealed_total").absolute(0);
    gauge!("gantry_log_followers").increment(0);
}

/// A run was accepted.
pub fn accepted(run: &Run) {
    counter!("gantry_runs_accepted_total").increment(1);
    if let Some(queued_at) = run.queued_at {
        histogram!("gantry_dispatch_wait_seconds").record(queued_at.since(run.created_at));
    }
}

/// A run changed from `before` to `now`.
pub fn changed(before: &Run, now: &Run) {
    if now.is_final() {
        counter!("gantry_runs_finished_total", "status" => now.status().as_str()).increment(1);
    }
    let [outcome, infrastructure] = CAUSES;
    if now.retries_used > before.retries_used {
        counter!("gantry_retries_total", "cause" => outcome).increment(1);
    }
    if now.losses > before.losses {
        counter!("gantry_retries_total", "cause" => infrastructure).increment(1);
    }
    if let (RunStatus::Pending, RunStatus::Queued, Some(queued_at)) =
        (before.status(), now.status(), now.queued_at)
    {
        histogram!("gantry_dispatch_wait_seconds").record(queued_at.since(before.waiting_since()));
    }
    if let (RunStatus::Queued, RunStatus::Running, Some(queued_at), Some(attempt)) =
        (before.status(), now.status(), now.queued_at, now.last_attempt())
    {
        histogram!("gantry_claim_wait_seconds").record(attempt.claimed_at.since(queued_at));
    }
}
