//! What is counted of limits that replicas share.

use metrics::{Unit, counter, describe_counter};

const COUNTED: [(&str, &str); 2] = [
    ("gantry_ratelimit_failures_total", "Connections to Redis that failed or broke"),
    ("gantry_ratelimit_local_total", "Decisions taken by this replica alone, without Redis"),
];

/// Says what each means; all begin at zero.
pub(super) fn describe() {
    for (name, meaning) in COUNTED {
        describe_counter!(name, Unit::Count, meaning);
        counter!(name).absolute(0);
    }
}
