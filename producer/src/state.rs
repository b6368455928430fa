//! What every handler and reconciler works with.

use std::sync::Arc;

use gantry_blobs::Blobs;
use gantry_bus::Bus;
use gantry_domain::event::{Change, Event};
use gantry_domain::id::InstallationId;
use gantry_domain::run::Run;
use gantry_domain::spec::Pool;
use gantry_domain::time::{Clock, Timestamp};
use gantry_queue::Queue;
use gantry_ratelimit::Limiter;
use gantry_service_kit::reconciler::{Statuses, Wake};
use gantry_service_kit::shutdown::{Shutdown, TaskGroup};
use gantry_service_kit::telemetry::Metrics;
use gantry_store::Stores;
use tokio::sync::OnceCell;

use crate::artifacts::ArtifactService;
use crate::config::ProducerConfig;
use crate::http::AddressLimit;
use crate::logs::LogService;
use crate::services::allowances::Allowances;
use crate::services::broker::Broker;
use crate::services::census::Census;
use crate::services::fleet::Fleet;
use crate::services::idempotency::InFlight;
use crate::services::identity::IdentityService;
use crate::services::projects::Projects;
use crate::services::queued::Queued;
use crate::services::recent::Recent;
use crate::services::room::Room;
use crate::worker_tokens::WorkerTokens;

/// The parts a producer is built from; which backends they are is not its business.
#[derive(Clone)]
pub struct Parts {
    pub stores: Stores,
    pub blobs: Arc<dyn Blobs>,
    pub queue: Arc<dyn Queue>,
    pub bus: Arc<dyn Bus>,
    pub limiter: Arc<dyn Limiter>,
    pub clock: Arc<dyn Clock>,
}

/// Shared by everything in one producer.
pub struct App {
    pub parts: Parts,
    pub config: ProducerConfig,
    pub fleet: Fleet,
    pub broker: Broker,
    pub identity: IdentityService,
    pub allowances: Allowances,
    pub queued: Queued,
    /// How often one address may call, if that has an end.
    pub addresses: Option<AddressLimit>,
    pub in_flight: InFlight,
    pub projects: Projects,
    pub recent: Recent,
    pub room: Room,
    pub census: Census,
    pub logs: LogService,
    pub artifacts: ArtifactService,
    pub wakes: Wakes,
    /// Owns what goes on after its request was answered; set once the reconcilers run.
    pub tasks: OnceCell<TaskGroup>,
    pub statuses: OnceCell<Statuses>,
    pub metrics: Option<Metrics>,
    pub shutdown: Shutdown,
    pub installation: InstallationId,
    /// What the worker API accepts as credentials.
    pub worker_tokens: WorkerTokens,
    /// Triggered when this replica is about to end, and not ready any more.
    pub retired: Shutdown,
}

/// Asks reconcilers for a pass soon.
#[derive(Default)]
pub struct Wakes {
    pub dispatch: Wake,
    pub due: Wake,
    pub seal: Wake,
}

impl App {
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// A run waits for its turn in this pool.
    pub fn run_waits(&self, pool: &Pool) {
        self.room.waits(pool);
        self.wakes.dispatch.wake();
    }

    /// Tells live views that the run changed.
    pub fn tell(&self, run: &Run) {
        self.parts.bus.publish(Event {
            organization: run.organization,
            run: run.id,
            change: Change::Run,
            version: Some(run.version),
        });
    }
}
