//! Which executor `gantry up` uses, and what it says about that.

use std::sync::Arc;

use anyhow::bail;
use gantry_domain::worker::ExecutorKind;
use gantry_executor::docker::{DockerExecutor, DockerOptions};
use gantry_executor::fake::FakeExecutor;
use gantry_executor::process::{ProcessExecutor, ProcessOptions, ShimProgram};
use gantry_executor::{Executor, Owner};

use super::config::{ExecutorChoice, UpConfig};
use crate::data_dir::DataDir;

/// The chosen executor.
pub struct Chosen {
    pub executor: Arc<dyn Executor>,
    pub docker: Option<Arc<DockerExecutor>>,
    /// A sentence for the person who started it.
    pub says: String,
}

impl Chosen {
    pub fn kind(&self) -> ExecutorKind {
        self.executor.kind()
    }
}

pub async fn choose(config: &UpConfig, dir: &DataDir, owner: Owner) -> anyhow::Result<Chosen> {
    let host = &config.docker_host;
    match config.executor {
        ExecutorChoice::Process => process(dir, owner, "Runs are processes of this machine.".to_owned()),
        ExecutorChoice::Fake => Ok(Chosen {
            executor: Arc::new(FakeExecutor::new()),
            docker: None,
            says: "Runs are only pretended (fake executor).".to_owned(),
        }),
        ExecutorChoice::Docker | ExecutorChoice::Auto => {
            let options = DockerOptions { slots: config.slots, ..DockerOptions::new(host, owner) };
            match docker(options).await {
                Ok(chosen) => Ok(chosen),
                Err(error) if config.executor == ExecutorChoice::Auto => process(
                    dir,
                    owner,
                    format!(
                        "No Docker engine answers at {host} ({error}), so runs are processes of this machine; \
                         start an engine and `gantry up` again for containers."
                    ),
                ),
                Err(error) => bail!(
                    "no Docker engine answers at {host} ({error}): start one, set DOCKER_HOST, or use --executor process"
                ),
            }
        }
    }
}

async fn docker(options: DockerOptions) -> Result<Chosen, gantry_executor::ExecutorError> {
    let docker = Arc::new(DockerExecutor::connect(options).await?);
    let engine = docker.check().await?;
    Ok(Chosen {
        executor: docker.clone(),
        docker: Some(docker),
        says: format!("Runs are containers of {engine}."),
    })
}

fn process(dir: &DataDir, owner: Owner, says: String) -> anyhow::Result<Chosen> {
    let options = ProcessOptions {
        root: dir.join("work"),
        owner,
        shim: ShimProgram::this_program([crate::args::SHIM]),
    };
    Ok(Chosen { executor: Arc::new(ProcessExecutor::new(options)?), docker: None, says })
}
