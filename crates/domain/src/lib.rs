//! What Gantry talks about, and the rules that hold whatever the backend: ids, runs and their state machine,
//! specifications, leases, logs, test results; projects; people, organizations and what they may do. Pure: no input or output, no async; time is handed in.

pub mod attempt;
pub mod event;
pub mod id;
pub mod identity;
pub mod image;
pub mod log;
pub mod permission;
pub mod project;
pub mod reason;
pub mod results;
pub mod role;
pub mod run;
pub mod spec;
pub mod time;
pub mod trace;
pub mod worker;
