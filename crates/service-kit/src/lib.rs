//! What every service of Gantry needs and none of them is about: a typed configuration that reports all its errors at
//! once, logs and metrics, a shutdown that is bounded and says what did not end, an HTTP server that slow or silent
//! peers can't occupy, and the driver of reconcilers.
//!
//! It knows nothing of runs, so that a change in the domain never touches how a process lives and dies.

pub mod config;
pub mod http;
pub mod reconciler;
pub mod shutdown;
pub mod telemetry;
