//! What is counted of the broker besides the time its answers take.

use metrics::{Unit, counter, describe_counter, describe_gauge};

/// Says what each means; what only counts when something happens begins at zero.
pub(super) fn describe() {
    describe_gauge!(
        "gantry_queue_connected",
        Unit::Count,
        "1 while connected to the broker, by role, else 0"
    );
    describe_counter!(
        "gantry_queue_connections_lost_total",
        Unit::Count,
        "Connections to the broker that broke"
    );
    describe_counter!("gantry_queue_consumers_lost_total", Unit::Count, "Consumers that the broker ended");
    describe_counter!(
        "gantry_queue_returned_total",
        Unit::Count,
        "Messages returned because their queue was gone"
    );
    describe_counter!(
        "gantry_queue_publish_failures_total",
        Unit::Count,
        "Messages that the broker did not take"
    );
    describe_counter!(
        "gantry_queue_unreadable_total",
        Unit::Count,
        "Messages set aside because they cannot be read"
    );
    counter!("gantry_queue_returned_total").absolute(0);
    counter!("gantry_queue_consumers_lost_total").absolute(0);
}
