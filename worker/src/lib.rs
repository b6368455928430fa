//! A worker: takes runs from its pool's queue and carries them out on an executor.
//!
//! It holds no credentials of the store. All it knows of a run comes with a lease from the producer, all it says goes back
//! under that lease, and once the lease is over (or may be: nobody answered its heartbeats) it removes what it made and
//! says nothing more. So a worker can be killed, stopped, cut off or duplicated at any moment without a run being
//! recorded twice.

mod backoff;
mod collect;
mod config;
mod consumer;
mod contact;
mod disk;
mod engine;
mod finish;
mod heartbeat;
mod lease;
mod leftovers;
mod log_pipeline;
mod log_sender;
pub mod mask;
mod metrics;
pub mod process;
mod producer;
mod progress;
mod run_attempt;
mod sandbox;
mod shared;
mod steps;
mod trace;
mod worker;

pub use config::{Bounds, WorkerConfig};
pub use contact::Contact;
pub use disk::{DiskProbe, DiskSpace, DiskWatch};
pub use producer::{Producer, ProducerError};
pub use worker::{Worker, WorkerParts};
