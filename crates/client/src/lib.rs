//! The one way to talk to a producer: typed calls of the public API ([`ApiClient`]) and of the worker protocol
//! ([`WorkerClient`]), over a socket or within the process ([`Transport`]), so that the command line, the worker, the
//! end-to-end tests and the embedded mode share every line of it.
//!
//! Calls are made once: whether to try again is the caller's decision, with [`retry()`] at hand. Only the live streams
//! reconnect by themselves, because only they know where to go on.

mod api;
mod call;
mod error;
mod events;
mod follow;
mod health;
mod identity;
mod projects;
mod query;
mod retry;
mod sse;
mod subscription;
mod transport;
mod worker;

pub use api::ApiClient;
pub use call::{ByteRange, ByteStream};
pub use error::{ClientError, TransportError};
pub use events::Change;
pub use follow::{LogItem, LogPosition};
pub use query::{LogQuery, RunFilter, TestFilter};
pub use retry::{RetryPolicy, retry};
pub use subscription::Patience;
pub use transport::{Body, BoxError, InvalidBaseUrl, Transport};
pub use worker::WorkerClient;
