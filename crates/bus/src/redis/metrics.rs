//! What is counted of live events through Redis.

use metrics::{Unit, counter, describe_counter};

const COUNTED: [(&str, &str); 4] = [
    ("gantry_bus_failures_total", "Connections to Redis that failed or broke"),
    ("gantry_bus_late_total", "Events that Redis did not take in time"),
    ("gantry_bus_overflow_total", "Events dropped because too many waited for Redis"),
    ("gantry_bus_unreadable_total", "Events of other replicas that cannot be read"),
];

/// Says what each means; all begin at zero.
pub(super) fn describe() {
    for (name, meaning) in COUNTED {
        describe_counter!(name, Unit::Count, meaning);
        counter!(name).absolute(0);
    }
}
