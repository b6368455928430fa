//! What a worker needs before it can begin. Whatever is not there yet is waited for: workers, producers, brokers and engines
//! are started in any order.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use gantry_client::WorkerClient;
use gantry_domain::id::{InstallationId, WorkerId};
use gantry_executor::docker::{DockerExecutor, DockerOptions};
use gantry_executor::fake::FakeExecutor;
use gantry_executor::{Executor, ExecutorError, Owner};

use super::config::{ExecutorChoice, ServiceConfig};
use super::health::Stage;
use crate::backoff::Backoff;

/// The executor, and the same as a Docker executor if it is one.
#[derive(Clone)]
pub(super) struct Engine {
    pub executor: Arc<dyn Executor>,
    pub docker: Option<Arc<DockerExecutor>>,
}

/// Whose worker this is: the producer knows.
pub(super) async fn installation(client: &WorkerClient, stage: &Stage) -> InstallationId {
    let ask = || async { client.hello().await.map(|welcome| welcome.installation) };
    until_done("the producer", stage, ask).await
}

/// Connects to the engine.
pub(super) async fn engine(
    config: &ServiceConfig,
    owner: Owner,
    stage: &Stage,
) -> Result<Engine, ExecutorError> {
    match config.executor {
        ExecutorChoice::Fake => Ok(Engine { executor: Arc::new(FakeExecutor::new()), docker: None }),
        ExecutorChoice::Docker => {
            let connect = || async {
                let mut options = DockerOptions {
                    slots: config.slots,
                    filtered_egress: !config.allow_unverified_egress,
                    ..DockerOptions::new(&config.docker_host, owner)
                };
                options.pull.no_progress = config.pull_no_progress;
                match DockerExecutor::connect(options).await {
                    // It will not come to be another engine.
                    Err(error @ ExecutorError::Unsupported(_)) => Ok(Err(error)),
                    connected => connected.map(Ok),
                }
            };
            let docker = Arc::new(until_done("the Docker engine", stage, connect).await?);
            Ok(Engine { executor: docker.clone(), docker: Some(docker) })
        }
    }
}

/// A new name for every process: what a former one left is told apart from what this one does.
pub(super) fn owner(installation: InstallationId) -> Owner {
    Owner { installation, worker: WorkerId::new() }
}

/// Tries until it succeeds; every new reason is logged once.
async fn until_done<T, E: Display, F: Future<Output = Result<T, E>>>(
    what: &'static str,
    stage: &Stage,
    mut attempt: impl FnMut() -> F,
) -> T {
    let mut backoff = Backoff::new();
    let mut told = String::new();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => {
                let error = error.to_string();
                if told != error {
                    tracing::warn!(error, "waiting for {what}");
                    stage.waiting_for(what, &error);
                    told = error;
                }
                backoff.wait().await;
            }
        }
    }
}
