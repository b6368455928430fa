//! `gantry up`: the whole product in one process. The same producer and worker as in a cluster, on SQLite, an embedded
//! queue, a local bus and a directory of blobs unless servers are configured; the worker reaches the producer through the
//! same client, without a socket in between.

pub mod config;
mod executor;
mod first_start;
mod people;
mod sealing;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gantry_client::{Transport, WorkerClient};
use gantry_domain::id::WorkerId;
use gantry_domain::spec::Pool;
use gantry_domain::time::SystemClock;
use gantry_domain::worker::ExecutorKind;
use gantry_executor::Owner;
use gantry_executor::docker::DockerExecutor;
use gantry_producer::Producer;
use gantry_producer::backends::{self, QueueConfig};
use gantry_producer::services::credentials;
use gantry_service_kit::http::{ServeOptions, listen, serve};
use gantry_service_kit::shutdown::{Shutdown, TaskGroup};
use gantry_service_kit::telemetry::{Metrics, Telemetry, trace};
use gantry_worker::{DiskProbe, DiskSpace, DiskWatch, Worker, WorkerConfig, WorkerParts};

use crate::args::UpArgs;
use crate::data_dir::DataDir;
use config::UpConfig;

/// For requests in flight once the worker has stopped.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until SIGINT or SIGTERM.
pub async fn run(args: UpArgs) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(&args)?;
    let telemetry = Telemetry::start(&config.telemetry, "gantry");
    let signals = Shutdown::on_signals().context("can't listen for signals")?;
    let ended = Box::pin(up(config, signals)).await;
    telemetry.close().await;
    ended.map(|()| ExitCode::SUCCESS)
}

async fn up(config: UpConfig, signals: Shutdown) -> anyhow::Result<()> {
    let dir = DataDir::open(&config.data_dir)?;
    let listener = listen(config.listen).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let metrics = Metrics::install()?;

    let clock = Arc::new(SystemClock);
    let connecting = backends::connect(&config.backends, clock.clone(), config.store_patience);
    let connected = match signals.interrupts(connecting).await {
        None => return Ok(()),
        Some(connected) => connected?,
    };
    let parts = connected.parts.clone();
    let first = first_start::ensure(&parts.stores, &*clock, &dir, &url).await?;
    let owner = Owner {
        installation: parts.stores.auth.installation().await?,
        worker: dir.id("worker-id", WorkerId::new)?,
    };
    let chosen = executor::choose(&config, &dir, owner).await?;

    let mut producer_config = config.producer.clone();
    producer_config.executor = Some(chosen.kind());
    let sealer = match producer_config.sealer.take() {
        Some(configured) => configured,
        None => sealing::of_directory(&dir)?,
    };
    sealing::rotate(&parts.stores, &sealer, &*clock).await?;
    producer_config.sealer = Some(sealer);
    // The producer outlives the worker: it takes in the last reports.
    let serving = Shutdown::new();
    people::settle(&mut producer_config.identity, &dir, &url)?;
    let worker_token = credentials::new_token();
    let producer =
        Producer::new(producer_config, parts.clone(), &*worker_token, Some(metrics.clone()), serving.clone())
            .await?;
    // The lock on the data directory proves that nobody else works with the store in it.
    if config.backends.is_alone(dir.path()) {
        producer.recover_alone().await.map_err(|error| anyhow::anyhow!(error.detail))?;
    }
    if config.backends.queue == QueueConfig::Embedded {
        producer.publish_again().await.map_err(|error| anyhow::anyhow!(error.detail))?;
    }

    let tasks = TaskGroup::new();
    producer.spawn_reconcilers(&tasks);
    tasks.spawn("metrics", metrics.keep_up(serving.clone()));
    if let Some(docker) = chosen.docker.clone() {
        tasks.spawn("networks", async move {
            if let Err(error) = docker.warm_up().await {
                tracing::warn!(%error, "networks are made when they are needed");
            }
        });
    }

    let transport = Transport::in_process(producer.worker_router()).with_headers(trace::propagate);
    let client = WorkerClient::new(transport, &worker_token);
    let worker = Worker::new(
        WorkerParts {
            producer: Arc::new(client),
            queue: parts.queue.clone(),
            executor: chosen.executor.clone(),
            clock,
        },
        worker_config(&config, &dir, owner.worker, chosen.docker.clone()),
    );
    let server = tokio::spawn({
        let serving = serving.clone();
        serve(
            listener,
            producer.public_router(),
            ServeOptions { drain: DRAIN, ..ServeOptions::default() },
            serving,
        )
    });
    greet(config.slots, &dir, &url, &chosen, first.as_ref());

    let left = worker.run(signals.clone()).await.unfinished;
    let asked = signals.is_triggered();
    if !left.is_empty() {
        tracing::warn!(?left, "not cleaned up in time: the next start does it");
    }
    serving.trigger();
    server.await.context("the HTTP server broke down")?;
    let drained = tasks.drain(DRAIN).await;
    for name in drained.unfinished {
        tracing::warn!(task = name, "did not end in time");
    }
    if let Some(docker) = &chosen.docker
        && let Err(error) = docker.close().await
    {
        tracing::warn!(%error, "networks are left for the next start");
    }
    drop((producer, parts));
    connected.close().await;
    // Whoever supervises this process starts it again then.
    anyhow::ensure!(asked, "a part of Gantry failed, as its log says: everything was shut down in order");
    Ok(())
}

fn worker_config(
    config: &UpConfig,
    dir: &DataDir,
    id: WorkerId,
    docker: Option<Arc<DockerExecutor>>,
) -> WorkerConfig {
    let own = DiskProbe::of_path(dir.path());
    // Whichever disk is shorter of space: the engine's or that of the data directory.
    let probe = DiskProbe::new(move || {
        let engine = docker.as_ref().and_then(|docker| docker.disk_space());
        let engine = engine.map(|space| DiskSpace { free: space.free, total: space.total });
        [own.measure(), engine].into_iter().flatten().min_by_key(|space| space.free)
    });
    let watch = DiskWatch {
        pause_below: config.disk_pause_below,
        prune_below: config.disk_prune_below,
        ..DiskWatch::new(probe)
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    WorkerConfig {
        id,
        drain_grace: config.drain_grace,
        disk: Some(watch),
        ..WorkerConfig::new(host.trim(), Pool::default(), config.slots)
    }
}

fn greet(
    slots: u32,
    dir: &DataDir,
    url: &str,
    chosen: &executor::Chosen,
    first: Option<&first_start::FirstStart>,
) {
    use std::io::Write as _;
    let mut out = anstream::stdout().lock();
    let mut say = |line: String| {
        let _ = writeln!(out, "{line}");
    };
    say(format!("Gantry {} is up at {url}", env!("CARGO_PKG_VERSION")));
    say(format!("  {} {slots} at a time.", chosen.says));
    say(format!("  Data: {}   API reference: {url}/api/docs", dir.path().display()));
    if let Some(first) = first {
        say(String::new());
        say("  First start. Shown once, so keep it:".to_owned());
        say(format!("    sign-in   {}   {}", first.email, first.password));
        say(format!(
            "    API key   in {} (for commands on this machine)",
            dir.join("credentials.json").display()
        ));
    }
    say(String::new());
    let example = match chosen.kind() {
        ExecutorKind::Docker => "gantry run --image busybox:1.36 -- sh -c 'echo hello from Gantry'",
        ExecutorKind::Process | ExecutorKind::Fake => "gantry run -- sh -c 'echo hello from Gantry'",
    };
    say(format!("  Try, in another terminal:  {example}"));
    say("  Stop with Ctrl-C.".to_owned());
    let _ = out.flush();
}
