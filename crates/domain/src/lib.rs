//! What Gantry talks about, and the rules that hold whatever the backend: ids, runs and their state machine,
//! specifications, leases, logs, test results. Pure: no input or output, no clock of its own, no async.

pub mod results;
