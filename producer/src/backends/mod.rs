//! Which backends a producer works with: chosen by configuration alone, connected in one place. Each is an enum with its
//! data, so that one that is half configured cannot be written.

mod blobs;
mod connect;
mod queue;
mod sharing;
mod store;

use std::path::Path;

use gantry_service_kit::config::Source;

pub use blobs::BlobsConfig;
pub use connect::{ConnectError, Connected, connect};
pub use queue::QueueConfig;
pub use sharing::SharingConfig;
pub use store::StoreConfig;

/// All backends of a producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendConfig {
    pub store: StoreConfig,
    pub queue: QueueConfig,
    pub sharing: SharingConfig,
    pub blobs: BlobsConfig,
}

/// Who works with the backends, which decides what can be chosen and what is chosen when nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Composition<'a> {
    /// `gantry up`: one process with a directory of its own. Everything may be embedded, and is by default.
    OneProcess { data_dir: &'a Path },
    /// Producers and workers of their own: what they share must be a server.
    Deployment,
}

impl BackendConfig {
    /// Reads `store`, `queue`, `redis` and `blobs`; errors are kept in `source`.
    pub fn read(source: &mut Source, composition: Composition<'_>) -> Self {
        if composition == Composition::Deployment {
            // Not for `gantry up`: on a developer's machine they may be about something else.
            for (key, alias) in [("store", "MONGO_URI"), ("queue", "RABBITMQ_URL"), ("redis", "REDIS_URL")] {
                source.alias(key, alias);
            }
        }
        let store = StoreConfig::read(source, composition);
        let queue = QueueConfig::read(source, composition);
        let sharing = SharingConfig::read(source);
        let blobs = BlobsConfig::read(source, composition, &store);
        Self { store, queue, sharing, blobs }
    }

    /// Whether nobody else can be at work on the store, when `locked` is a directory of this process alone.
    pub fn is_alone(&self, locked: &Path) -> bool {
        matches!(&self.store, StoreConfig::Sqlite { path } if path.starts_with(locked))
    }
}

#[cfg(test)]
mod tests;
