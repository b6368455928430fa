//! What a worker counts, for whoever scrapes it.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

use crate::shared::Slots;

/// Says what each means; what only counts when something happens begins at zero.
pub(crate) fn describe() {
    describe_counter!("gantry_worker_claims_total", Unit::Count, "Claims, by what the producer answered");
    describe_counter!(
        "gantry_worker_attempts_total",
        Unit::Count,
        "Attempts that ended here, by how they ended"
    );
    describe_histogram!(
        "gantry_worker_prepare_seconds",
        Unit::Seconds,
        "Time to get image, container and network ready"
    );
    describe_histogram!("gantry_worker_start_seconds", Unit::Seconds, "Time to start a prepared container");
    describe_histogram!("gantry_worker_run_seconds", Unit::Seconds, "Time that commands ran");
    describe_histogram!(
        "gantry_worker_collect_seconds",
        Unit::Seconds,
        "Time to collect and upload artifacts"
    );
    describe_counter!(
        "gantry_worker_log_bytes_total",
        Unit::Bytes,
        "Bytes of logs that producers acknowledged"
    );
    describe_counter!("gantry_worker_heartbeat_failures_total", Unit::Count, "Heartbeats without an answer");
    describe_counter!(
        "gantry_worker_leftovers_removed_total",
        Unit::Count,
        "Remains of attempts that were over, found and removed"
    );
    describe_gauge!("gantry_worker_slots", Unit::Count, "Slots, free and busy");
    for answer in ["granted", "refused", "unanswered"] {
        counter!("gantry_worker_claims_total", "answer" => answer).absolute(0);
    }
    counter!("gantry_worker_log_bytes_total").absolute(0);
    counter!("gantry_worker_heartbeat_failures_total").absolute(0);
    counter!("gantry_worker_leftovers_removed_total").absolute(0);
}

pub(crate) fn slots(slots: &Slots) {
    let (busy, total) = (slots.busy(), slots.total());
    gauge!("gantry_worker_slots", "state" => "busy").set(busy);
    gauge!("gantry_worker_slots", "state" => "free").set(total.saturating_sub(busy));
}
