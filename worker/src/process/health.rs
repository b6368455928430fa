//! How a worker is, for probes and people.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gantry_api_types::system::{Dependency, Health, HealthStatus};
use gantry_domain::spec::Pool;
use gantry_queue::Queue;
use gantry_service_kit::http::Readiness;
use gantry_service_kit::shutdown::Shutdown;

use super::start::Engine;
use crate::contact::Contact;

/// On asking one dependency.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// A producer that did not answer for this long is missed. Heartbeats are some seconds apart.
const SILENCE: Duration = Duration::from_secs(20);

/// How far the worker is. Clones are the same.
#[derive(Clone)]
pub(super) struct Stage {
    now: Arc<Mutex<Now>>,
    ending: Shutdown,
}

enum Now {
    Waiting { what: &'static str, error: String },
    Working(Working),
}

/// What is asked how it is.
#[derive(Clone)]
pub(super) struct Working {
    pub contact: Arc<Contact>,
    pub queue: Arc<dyn Queue>,
    pub pool: Pool,
    pub engine: Engine,
}

impl Stage {
    /// `ending` is triggered when the worker takes no more runs.
    pub fn new(ending: Shutdown) -> Self {
        let now = Now::Waiting { what: "the producer", error: "not asked yet".to_owned() };
        Self { now: Arc::new(Mutex::new(now)), ending }
    }

    pub fn waiting_for(&self, what: &'static str, error: &str) {
        self.set(Now::Waiting { what, error: error.to_owned() });
    }

    pub fn working(&self, working: Working) {
        self.set(Now::Working(working));
    }

    fn set(&self, now: Now) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    pub async fn readiness(self) -> Readiness {
        let begun = match &*self.now.lock().unwrap_or_else(PoisonError::into_inner) {
            Now::Waiting { what, error } => Err(down(what, error.clone())),
            Now::Working(working) => Ok(working.clone()),
        };
        let dependencies = match begun {
            Err(missing) => vec![missing],
            Ok(working) => working.check().await,
        };
        let status = if self.ending.is_triggered() {
            HealthStatus::Retiring
        } else if dependencies.iter().all(|dependency| dependency.up) {
            HealthStatus::Ok
        } else {
            HealthStatus::Down
        };
        let ready = status == HealthStatus::Ok;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let health = Health { ready, status, version, dependencies };
        Readiness { ready, document: serde_json::to_string(&health).unwrap_or_default() }
    }
}

fn up(name: &str) -> Dependency {
    Dependency { name: name.to_owned(), up: true, required: true, detail: None }
}

fn down(name: &str, detail: String) -> Dependency {
    Dependency { name: name.to_owned(), up: false, required: true, detail: Some(detail) }
}

impl Working {
    async fn check(&self) -> Vec<Dependency> {
        let producer = match self.contact.silent_for() {
            Some(silence) if silence < SILENCE => up("producer"),
            Some(silence) => down("producer", format!("has not answered for {} s", silence.as_secs())),
            None => down("producer", "has not answered yet".to_owned()),
        };
        let (queue, engine) = tokio::join!(
            bounded("queue", async { self.queue.depth(&self.pool).await.map(drop) }),
            bounded("engine", async { self.engine.executor.check().await.map(drop) }),
        );
        vec![producer, queue, engine]
    }
}

async fn bounded<E: std::fmt::Display>(name: &str, check: impl Future<Output = Result<(), E>>) -> Dependency {
    match tokio::time::timeout(CHECK_TIMEOUT, check).await {
        Ok(Ok(())) => up(name),
        Ok(Err(error)) => down(name, error.to_string()),
        Err(_) => down(name, format!("does not answer within {} s", CHECK_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use gantry_executor::fake::FakeExecutor;
    use gantry_queue::EmbeddedQueue;

    use super::*;

    async fn health(stage: &Stage) -> Health {
        let readiness = stage.clone().readiness().await;
        let health: Health = serde_json::from_str(&readiness.document).unwrap();
        assert_eq!(health.ready, readiness.ready);
        health
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_named() {
        let ending = Shutdown::new();
        let stage = Stage::new(ending.clone());
        stage.waiting_for("the Docker engine", "no such socket");
        let waiting = health(&stage).await;
        assert_eq!((waiting.ready, waiting.dependencies[0].name.as_str()), (false, "the Docker engine"));

        let (contact, queue) = (Arc::new(Contact::default()), Arc::new(EmbeddedQueue::new()));
        let engine = Engine { executor: Arc::new(FakeExecutor::new()), docker: None };
        stage.working(Working {
            contact: contact.clone(),
            queue: queue.clone(),
            pool: Pool::default(),
            engine,
        });
        assert!(!health(&stage).await.ready, "not registered yet");
        contact.answered();
        assert!(health(&stage).await.ready);
        tokio::time::sleep(SILENCE).await;
        let silent = health(&stage).await;
        let missing: Vec<_> = silent.dependencies.iter().filter(|dependency| !dependency.up).collect();
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].name, "producer");

        contact.answered();
        ending.trigger();
        assert_eq!(health(&stage).await.status, HealthStatus::Retiring);
    }
}
