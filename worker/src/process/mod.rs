//! `gantry-worker`: a worker as a process of its own. It knows the broker, the worker API of the producers and its engine,
//! and nothing else.

mod args;
pub mod config;
mod health;
mod start;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use gantry_client::{Transport, WorkerClient};
use gantry_domain::time::SystemClock;
use gantry_executor::Owner;
use gantry_queue::{Queue, RabbitQueue};
use gantry_service_kit::http::{ServeOptions, listen, operations, probe, serve};
use gantry_service_kit::shutdown::{Shutdown, TaskGroup};
use gantry_service_kit::telemetry::{Metrics, Telemetry, trace};

use self::args::{Args, Command, ConfigCommand};
use self::config::ServiceConfig;
use self::health::{Stage, Working};
use self::start::Engine;
use crate::{DiskProbe, DiskSpace, DiskWatch, Worker, WorkerConfig, WorkerParts};

/// On answering a health check.
const PROBE: Duration = Duration::from_secs(5);
/// For what is in flight at the very end.
const DRAIN: Duration = Duration::from_secs(5);

/// Reads the arguments and does what they say.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let file = args.config.as_deref();
    match args.command {
        None => run(async {
            let (config, _) = config::load(file)?;
            let telemetry = Telemetry::start(&config.telemetry, "gantry-worker");
            let ended = Box::pin(work_until_told(config)).await;
            telemetry.close().await;
            ended.map(|()| ExitCode::SUCCESS)
        }),
        Some(Command::Config { command: ConfigCommand::Check }) => match config::load(file) {
            Ok((_, effective)) => say(effective.to_string().trim_end()),
            Err(errors) => fail(&errors.to_string()),
        },
        Some(Command::Health { ready }) => run(async move {
            let path = if ready { "/health/ready" } else { "/health/live" };
            let (status, answer) = probe(config::listen_address(file), path, PROBE).await?;
            say(answer.trim_end());
            Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }),
    }
}

fn run(work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(work));
    result.unwrap_or_else(|error| fail(&format!("{error:#}")))
}

fn say(text: &str) -> ExitCode {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "gantry-worker: {text}");
    ExitCode::FAILURE
}

/// Works until SIGINT or SIGTERM.
async fn work_until_told(config: ServiceConfig) -> anyhow::Result<()> {
    let signals = Shutdown::on_signals().context("can't listen for signals")?;
    for name in &config.ignored {
        tracing::warn!("{name} is ignored: workers hold no credentials of stores");
    }
    if config.allow_unverified_egress {
        tracing::warn!("allow_unverified_egress is set: runs may reach whatever their engine can");
    }
    let listener = listen(config.listen).await?;
    say(&format!("listening on {}", listener.local_addr()?));
    let metrics = Metrics::install()?;
    let transport = Transport::http(&config.producer_url)?.with_headers(trace::propagate);
    let client = WorkerClient::new(transport, config.worker_token.expose());
    let queue: Arc<dyn Queue> = Arc::new(RabbitQueue::connect(config.queue.clone()).await?);

    let stage = Stage::new(signals.clone());
    let serving = Shutdown::new();
    let tasks = TaskGroup::new();
    let asked = stage.clone();
    let router = operations(metrics.clone(), move || asked.clone().readiness());
    let options = ServeOptions { drain: DRAIN, ..ServeOptions::default() };
    let server = serve(listener, router, options, serving.clone());
    tasks.spawn("health", async move {
        server.await;
    });
    tasks.spawn("metrics", metrics.keep_up(serving.clone()));

    let worked = Box::pin(work(&config, client, queue.clone(), &stage, &tasks, &signals)).await;
    queue.close().await;
    serving.trigger();
    for name in tasks.drain(DRAIN).await.unfinished {
        tracing::warn!(task = name, "did not end in time");
    }
    worked?;
    // Whoever supervises this process starts it again then.
    anyhow::ensure!(signals.is_triggered(), "a part of the worker failed, as its log says");
    tracing::info!("ended in order");
    Ok(())
}

async fn work(
    config: &ServiceConfig,
    client: WorkerClient,
    queue: Arc<dyn Queue>,
    stage: &Stage,
    tasks: &TaskGroup,
    signals: &Shutdown,
) -> anyhow::Result<()> {
    let prepare = async {
        let owner = start::owner(start::installation(&client, stage).await);
        start::engine(config, owner, stage).await.map(|engine| (owner, engine))
    };
    let (owner, engine) = match signals.interrupts(Box::pin(prepare)).await {
        None => return Ok(()),
        Some(prepared) => prepared?,
    };
    if let Some(docker) = engine.docker.clone() {
        tasks.spawn("networks", async move {
            if let Err(error) = docker.warm_up().await {
                tracing::warn!(%error, "networks are made when they are needed");
            }
        });
    }
    let parts = WorkerParts {
        producer: Arc::new(client),
        queue: queue.clone(),
        executor: engine.executor.clone(),
        clock: Arc::new(SystemClock),
    };
    let worker = Worker::new(parts, worker_config(config, owner, &engine));
    let contact = worker.contact();
    stage.working(Working { contact, queue, pool: config.pool.clone(), engine: engine.clone() });
    let left = worker.run(signals.clone()).await.unfinished;
    if !left.is_empty() {
        tracing::warn!(?left, "not cleaned up in time: another worker of this engine does it");
    }
    if let Some(docker) = engine.docker
        && let Err(error) = docker.close().await
    {
        tracing::warn!(%error, "networks are left on the engine");
    }
    Ok(())
}

fn worker_config(config: &ServiceConfig, owner: Owner, engine: &Engine) -> WorkerConfig {
    let disk = engine.docker.clone().map(|docker| {
        let probe = DiskProbe::new(move || {
            docker.disk_space().map(|space| DiskSpace { free: space.free, total: space.total })
        });
        DiskWatch {
            pause_below: config.disk_pause_below,
            prune_below: config.disk_prune_below,
            ..DiskWatch::new(probe)
        }
    });
    WorkerConfig {
        id: owner.worker,
        drain_grace: config.drain_grace,
        disk,
        ..WorkerConfig::new(&*config.name, config.pool.clone(), config.slots)
    }
}
