//! `gantry-producer`: a producer as a process of its own. Configuration, backends, two listeners, and an orderly end.

mod admin;
mod args;
mod bootstrap;
pub mod config;
mod follow;

use std::fmt::Display;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use gantry_domain::time::SystemClock;
use gantry_service_kit::http::{ServeOptions, listen, probe, serve};
use gantry_service_kit::shutdown::{Shutdown, TaskGroup};
use gantry_service_kit::telemetry::{Metrics, Telemetry};

use self::args::{Args, Command, ConfigCommand};
use self::config::ServiceConfig;
use crate::Producer;
use crate::backends;
use crate::services::credentials::key::{SealingKey, SigningKey};
use crate::services::{credentials, rotation};

/// On answering a health check.
const PROBE: Duration = Duration::from_secs(5);

/// Reads the arguments and does what they say.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let file = args.config.as_deref();
    match args.command {
        None => run(async {
            let (config, _) = config::load(file)?;
            let telemetry = Telemetry::start(&config.telemetry, "gantry-producer");
            let served = serve_until_told(config).await;
            telemetry.close().await;
            served?;
            Ok(ExitCode::SUCCESS)
        }),
        Some(Command::Config { command: ConfigCommand::Check }) => check(file),
        Some(Command::Health { ready }) => run(health(file, ready)),
        Some(Command::NewKey) => say(&credentials::new_api_key()),
        Some(Command::NewToken) => say(&credentials::new_token()),
        Some(Command::NewSigningKey) => new_key(|name| SigningKey::random(name).to_config().to_string()),
        Some(Command::User { command }) => run(admin::user(file, command)),
        Some(Command::Organization { command }) => run(admin::organization(file, command)),
        Some(Command::NewSealingKey) => new_key(|name| SealingKey::random(name).to_config().to_string()),
        Some(Command::RotateSecrets) => run(rotate_secrets(file)),
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
    let _ = writeln!(std::io::stderr().lock(), "gantry-producer: {text}");
    ExitCode::FAILURE
}

/// A key with a name of its own: two keys of one name cannot be told apart.
fn new_key<N: FromStr<Err: Display>>(key: impl FnOnce(N) -> String) -> ExitCode {
    match format!("k{:08x}", rand::random::<u32>()).parse() {
        Ok(name) => say(&key(name)),
        Err(error) => fail(&format!("{error}")),
    }
}

async fn rotate_secrets(file: Option<&std::path::Path>) -> anyhow::Result<ExitCode> {
    let (config, _) = config::load(file)?;
    let sealer =
        config.producer.sealer.context("`sealing_keys` is not set: there is nothing to rotate to")?;
    let clock = Arc::new(SystemClock);
    let connected = backends::connect(&config.backends, clock, config.store_patience).await?;
    let parts = connected.parts.clone();
    let rotated = rotation::rotate(&*parts.stores.projects, &sealer, || parts.clock.now()).await;
    drop(parts);
    connected.close().await;
    let rotation = rotated?;
    if rotation.is_complete() { Ok(say(&rotation.to_string())) } else { Ok(fail(&rotation.to_string())) }
}

fn check(file: Option<&std::path::Path>) -> ExitCode {
    match config::load(file) {
        Ok((_, effective)) => say(effective.to_string().trim_end()),
        Err(errors) => fail(&errors.to_string()),
    }
}

/// For a container's health check: only the address matters, so other settings may be whatever they are.
async fn health(file: Option<&std::path::Path>, ready: bool) -> anyhow::Result<ExitCode> {
    let path = if ready { "/health/ready" } else { "/health/live" };
    let (status, answer) = probe(config::listen_address(file), path, PROBE).await?;
    say(answer.trim_end());
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Serves until SIGINT or SIGTERM.
async fn serve_until_told(config: ServiceConfig) -> anyhow::Result<()> {
    let signals = Shutdown::on_signals().context("can't listen for signals")?;
    // Bound before anything is waited for: an address that is taken is told at once.
    let public = listen(config.listen).await?;
    let workers = listen(config.worker_listen).await?;
    let metrics = Metrics::install()?;

    let connecting = backends::connect(&config.backends, Arc::new(SystemClock), config.store_patience);
    let connected = match signals.interrupts(connecting).await {
        None => return Ok(()),
        Some(connected) => connected?,
    };
    bootstrap::ensure(&connected.parts, config.bootstrap_key.as_ref()).await?;

    let serving = Shutdown::new();
    let producer = Producer::new(
        config.producer.clone(),
        connected.parts.clone(),
        config.worker_tokens.clone(),
        Some(metrics.clone()),
        serving.clone(),
    )
    .await?;
    let tasks = TaskGroup::new();
    producer.spawn_reconcilers(&tasks);
    tasks.spawn("metrics", metrics.keep_up(serving.clone()));
    if let Some(file) = config.worker_token_file.clone() {
        let tokens = config.worker_tokens.clone();
        let take = move |text: &str| tokens.reload(text);
        tasks.spawn("worker tokens", follow::follow("worker tokens", file, serving.clone(), take));
    }
    if let Some(file) = config.signing_keys_file.clone() {
        let app = producer.app().clone();
        let take = move |text: &str| app.identity.keys.reload(text).map_err(|error| error.to_string());
        tasks.spawn("signing keys", follow::follow("signing keys", file, serving.clone(), take));
    }
    let options = ServeOptions { drain: config.drain_grace, ..ServeOptions::default() };
    let serves = |listener, router| serve(listener, router, options.clone(), serving.clone());
    announce(public.local_addr()?, workers.local_addr()?);
    let servers = async {
        tokio::join!(serves(public, producer.public_router()), serves(workers, producer.worker_router()))
    };
    let ending = async {
        signals.triggered().await;
        producer.retire();
        tracing::info!(delay = ?config.drain_delay, "not ready any more; requests are still served");
        tokio::time::sleep(config.drain_delay).await;
        serving.trigger();
    };
    tokio::join!(servers, ending);
    for name in tasks.drain(config.drain_grace).await.unfinished {
        tracing::warn!(task = name, "did not end in time");
    }
    drop(producer);
    connected.close().await;
    tracing::info!("ended in order");
    Ok(())
}

/// Machines that start it on free ports read where they are.
fn announce(public: SocketAddr, workers: SocketAddr) {
    tracing::info!(%public, %workers, version = env!("CARGO_PKG_VERSION"), "the producer serves");
    let _ = writeln!(std::io::stdout().lock(), "listening on {public}, for workers on {workers}");
}
