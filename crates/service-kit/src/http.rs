//! The HTTP server: our own loop over hyper, because the ready-made one lets peers that say nothing, or one byte at a
//! time, hold connections for ever. What a peer may cost is bounded here; what it may ask for is the router's business.
//!
//! - A connection that does not complete a request's head in time is closed, as is one that stays idle between requests
//!   or does not read its answer.
//! - At the cap the connection that has been silent longest gives way to the new one; a request in flight never does.
//! - A request body that stalls or drips fails with [`BodyTimedOut`]; an answer may last as long as it likes.
//! - At shutdown running requests get a bounded time, and event streams end themselves with a `retry:` hint.

mod connection;
mod event_stream;
mod listen;
mod operations;
mod probe;
mod request_body;
mod server;

use std::time::Duration;

pub use listen::{ListenError, listen};
pub use operations::{Readiness, operations};
pub use probe::{ProbeError, probe};
pub use request_body::BodyTimedOut;
pub use server::{Served, serve};

/// The bounds of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// At this many, the oldest silent connection is closed for a new one; when all are busy, new ones wait.
    pub max_connections: usize,
    /// For a complete request head, from the connection's start or from the head's first byte.
    pub header_timeout: Duration,
    /// Between requests. Longer than the idle time of common proxies (60 s), so that they close first.
    pub idle_timeout: Duration,
    /// For the next piece of a request body.
    pub body_idle_timeout: Duration,
    /// Bytes per second that a request body must average once it made us wait `body_idle_timeout` in all; 0 is no minimum.
    pub min_body_rate: u64,
    /// For the peer to take any byte of an answer that is ready.
    pub write_stall_timeout: Duration,
    /// For requests in flight at shutdown.
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_idle_timeout: Duration::from_secs(30),
            min_body_rate: 1_024,
            write_stall_timeout: Duration::from_secs(120),
            drain: Duration::from_secs(20),
        }
    }
}

#[cfg(test)]
mod tests;
