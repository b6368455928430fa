//! Logs of attempts: taken in, followed live, and kept.
//!
//! Bytes first go into the store as chunks. While somebody follows a run, one task of the [`hub`] reads what is new and
//! encodes it once for all followers. Long logs of ended attempts are [`sealing`]ed into one indexed blob each, and every
//! reader changes over from chunks to blob without noticing ([`reader`]).

mod append;
mod encode;
pub mod follower;
mod frames;
mod hub;
mod reader;
mod ring;
mod sealed;
pub mod sealing;
pub mod text;

use std::sync::Arc;

use gantry_blobs::Blobs;
use gantry_bus::Bus;
use gantry_service_kit::shutdown::Shutdown;
use gantry_store::Stores;

use self::append::Turns;
use self::hub::Hub;
use self::text::Outlines;
use crate::config::ProducerConfig;
use crate::state::Parts;

/// Everything about logs in one producer. Clones are the same service.
#[derive(Clone)]
pub struct LogService {
    stores: Stores,
    blobs: Arc<dyn Blobs>,
    bus: Arc<dyn Bus>,
    /// Of one attempt, with room for system lines.
    max_bytes: u64,
    turns: Arc<Turns>,
    hub: Arc<Hub>,
    outlines: Arc<Outlines>,
    shutdown: Shutdown,
}

impl LogService {
    pub fn new(parts: &Parts, config: &ProducerConfig, shutdown: Shutdown) -> Self {
        Self {
            stores: parts.stores.clone(),
            blobs: parts.blobs.clone(),
            bus: parts.bus.clone(),
            max_bytes: config.limits.log_bytes.saturating_add(append::SYSTEM_BYTES),
            turns: Arc::default(),
            hub: Arc::default(),
            outlines: Arc::default(),
            shutdown,
        }
    }
}
