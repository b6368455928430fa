//! From a container's standard output into the store and to a follower.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, RemoveContainerOptions, StartContainerOptions,
};
use futures::{StreamExt as _, TryStreamExt as _};
use gantry_api_types::log::Stream;
use gantry_api_types::request::CreateRun;
use gantry_client::LogItem;
use gantry_domain::id::RunId;
use gantry_tests::Installation;

use crate::containers::IMAGE;
use crate::samples::{Series, millis, quantile};

/// Two million lines of a hundred bytes, from a source that costs next to nothing itself.
const COMMAND: [&str; 3] = ["sh", "-c", SCRIPT];
const SCRIPT: &str = "line=$(printf 'x%.0s' $(seq 99)); yes $line | head -c 1000000 > lines; \
    for i in $(seq 200); do cat lines; done";
const BYTES: f64 = 200e6;

pub async fn measure(series: &mut Series) -> anyhow::Result<()> {
    series.add("bare attach MB per s", bare_attach().await?);
    series.add("log MB per s", followed("docker").await?);
    series.add("process log MB per s", followed("process").await?);
    series.add("line latency p99 ms", line_latency().await?);
    Ok(())
}

/// The engine's own stream, read and thrown away.
async fn bare_attach() -> anyhow::Result<f64> {
    let docker = Docker::connect_with_unix_defaults()?.negotiate_version().await?;
    let body = ContainerCreateBody {
        image: Some(IMAGE.into()),
        cmd: Some(COMMAND.map(str::to_owned).to_vec()),
        host_config: Some(HostConfig {
            network_mode: Some("none".into()),
            log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
            ..HostConfig::default()
        }),
        attach_stdout: Some(true),
        ..Default::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await?.id;
    let attach = AttachContainerOptions { stdout: true, stderr: true, stream: true, ..Default::default() };
    let mut attached = docker.attach_container(&id, Some(attach)).await?;
    docker.start_container(&id, None::<StartContainerOptions>).await?;
    let (mut begun, mut bytes) = (None, 0);
    while let Some(piece) = attached.output.next().await {
        begun.get_or_insert_with(Instant::now);
        bytes += piece?.into_bytes().len();
    }
    let elapsed = begun.map_or(f64::NAN, |begun| begun.elapsed().as_secs_f64());
    docker.remove_container(&id, Some(RemoveContainerOptions { force: true, ..Default::default() })).await?;
    anyhow::ensure!(bytes as f64 == BYTES, "the engine gave {bytes} bytes");
    Ok(BYTES / 1e6 / elapsed)
}

/// Stored and followed at once: from the first byte that the follower sees until the run is over, everything stored.
async fn followed(executor: &str) -> anyhow::Result<f64> {
    let installation =
        Installation::new(executor)?.set("GANTRY_LIMITS_LOG", "1GiB").set("GANTRY_LOG_FILTER", "warn");
    let up = installation.up()?;
    let client = up.client()?;
    let request = CreateRun {
        image: Some(IMAGE.into()),
        command: Some(COMMAND.map(str::to_owned).to_vec()),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    };
    let id: RunId = client.create_run(&request, None).await?.id.parse()?;
    let mut log = Box::pin(client.follow(id, None));
    let (mut begun, mut bytes) = (None, 0);
    while let Some(item) = log.try_next().await? {
        if let LogItem::Log(event) = item
            && event.stream == Stream::Stdout
        {
            begun.get_or_insert_with(Instant::now);
            bytes += event.bytes().map_or(0, |bytes| bytes.len());
        }
    }
    let elapsed = begun.map_or(f64::NAN, |begun| begun.elapsed().as_secs_f64());
    anyhow::ensure!(bytes as f64 == BYTES, "the follower saw {bytes} bytes");
    up.stop()?;
    Ok(BYTES / 1e6 / elapsed)
}

/// How old a line is when a follower sees it: a hundred lines a second that carry the time they were written at.
async fn line_latency() -> anyhow::Result<f64> {
    let installation = Installation::new("process")?.set("GANTRY_LOG_FILTER", "warn");
    let up = installation.up()?;
    let client = up.client()?;
    let script = "for i in {1..500}; do echo $EPOCHREALTIME; sleep 0.01; done";
    let request = CreateRun {
        command: Some(["bash", "-c", script].map(str::to_owned).to_vec()),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    };
    let id: RunId = client.create_run(&request, None).await?.id.parse()?;
    let mut log = Box::pin(client.follow(id, None));
    let mut samples = Vec::new();
    while let Some(item) = log.try_next().await? {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        if let LogItem::Log(event) = item
            && event.stream == Stream::Stdout
        {
            let lines = event.text.unwrap_or_default();
            let written = lines.lines().filter_map(|line| line.parse::<f64>().ok());
            samples.extend(written.map(|written| millis(now) - written * 1000.0));
        }
    }
    anyhow::ensure!(samples.len() == 500, "{} of 500 lines were seen", samples.len());
    up.stop()?;
    Ok(quantile(&samples, 0.99).unwrap_or(f64::NAN))
}
