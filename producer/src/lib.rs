//! The producer: accepts runs, dispatches them fairly, grants and watches leases, takes in logs and results, and shows
//! all of it. Stateless but for caches: any number of replicas may share the same store.
//!
//! `routes` maps HTTP to `services` (what can be done) and never the other way round; `background` keeps the promises
//! that no request keeps.

pub mod access;
pub mod artifacts;
pub mod backends;
pub mod background;
mod believed;
pub mod config;
pub mod error;
pub mod extract;
pub mod http;
pub mod logs;
mod metrics;
mod pace;
pub mod process;
pub mod routes;
pub mod services;
mod sse;
pub mod state;
mod trace;
pub mod worker_tokens;

use std::sync::Arc;

use axum::Router;
use gantry_queue::Measured;
use gantry_service_kit::shutdown::{Shutdown, TaskGroup};
use gantry_service_kit::telemetry::Metrics;
use gantry_store::StoreError;
use tokio::sync::OnceCell;

use crate::config::ProducerConfig;
use crate::services::identity::{IdentityError, IdentityService};
use crate::state::{App, Parts, Wakes};
use crate::worker_tokens::WorkerTokens;

/// Why a producer cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// A producer, ready to serve.
#[derive(Clone)]
pub struct Producer {
    app: Arc<App>,
}

impl Producer {
    /// Takes the parts together. `worker_tokens` is what workers must present.
    pub async fn new(
        config: ProducerConfig,
        parts: Parts,
        worker_tokens: impl Into<WorkerTokens>,
        metrics: Option<Metrics>,
        shutdown: Shutdown,
    ) -> Result<Self, StartError> {
        self::metrics::describe();
        let parts = Parts { stores: parts.stores.measured(), queue: Measured::over(parts.queue), ..parts };
        let installation = parts.stores.auth.installation().await?;
        let identity = IdentityService::new(&config.identity, installation, parts.clock.clone())?;
        let app = App {
            fleet: services::fleet::Fleet::new(&config.leases),
            broker: services::broker::Broker::default(),
            identity,
            allowances: services::allowances::Allowances::default(),
            queued: services::queued::Queued::default(),
            addresses: (config.rate_limits.address)
                .and_then(|limit| http::AddressLimit::new(limit, config.http.trusted_proxies)),
            in_flight: services::idempotency::InFlight::default(),
            projects: services::projects::Projects::default(),
            recent: services::recent::Recent::default(),
            room: services::room::Room::default(),
            census: services::census::Census::default(),
            logs: logs::LogService::new(&parts, &config, shutdown.clone()),
            artifacts: artifacts::ArtifactService::new(&parts),
            wakes: Wakes::default(),
            tasks: OnceCell::new(),
            statuses: OnceCell::new(),
            metrics,
            shutdown,
            installation,
            worker_tokens: worker_tokens.into(),
            retired: Shutdown::new(),
            parts,
            config,
        };
        Ok(Self { app: Arc::new(app) })
    }

    /// For a start that knows to be alone (embedded mode holds a lock): no former worker can still be at work. Ends every
    /// lease, so that nothing waits for it to run out.
    pub async fn recover_alone(&self) -> Result<(), error::ApiError> {
        background::recovery::recover_alone(&self.app).await
    }

    /// For a start with a queue that begins empty: publishes what was queued, so that nothing waits to be missed.
    pub async fn publish_again(&self) -> Result<(), error::ApiError> {
        background::recovery::publish_again(&self.app).await
    }

    /// Tells load balancers to send nothing more: it is not ready from now on, and goes on serving until the shutdown.
    pub fn retire(&self) {
        self.app.retired.trigger();
    }

    /// What handlers and reconcilers work with: for driving single passes.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Starts the reconcilers in `group`; they end with the shutdown.
    pub fn spawn_reconcilers(&self, group: &TaskGroup) {
        background::spawn(&self.app, group);
        self.app.identity.spawn(group, &self.app.shutdown);
    }

    /// The public API, health, metrics and reference.
    pub fn public_router(&self) -> Router {
        routes::public(self.app.clone())
    }

    /// The worker API; never to be exposed beside the public one.
    pub fn worker_router(&self) -> Router {
        routes::worker(self.app.clone())
    }
}

/// The OpenAPI document, as committed in `openapi.json`.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes::openapi()
}
