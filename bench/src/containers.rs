//! What Gantry adds to a container: the same engine calls in a bare loop, at the same concurrency, in the same round.

use std::time::Instant;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Ipam, IpamConfig, NetworkCreateRequest,
};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, InspectContainerOptions, RemoveContainerOptions,
    StartContainerOptions, WaitContainerOptions,
};
use futures::future::try_join_all;
use futures::{StreamExt as _, TryStreamExt as _};
use gantry_api_types::request::{CreateRun, Resources};
use gantry_client::ApiClient;
use gantry_domain::id::RunId;
use gantry_tests::{Installation, Up};

use crate::samples::{Series, millis, quantile};

pub const IMAGE: &str = "busybox:1.36";
/// Containers each task starts one after the other.
const EACH: usize = 8;
const CONCURRENCY: [(usize, &str, &str); 3] = [
    (1, "bare loop 1 ms", "container overhead 1 ms"),
    (2, "bare loop 2 ms", "container overhead 2 ms"),
    (4, "bare loop 4 ms", "container overhead 4 ms"),
];

pub async fn measure(series: &mut Series) -> anyhow::Result<()> {
    let docker = Docker::connect_with_unix_defaults()?.negotiate_version().await?;
    let networks = networks(&docker, 4).await?;
    let installation = Installation::new("docker")?.set("GANTRY_SLOTS", "4").set("GANTRY_LOG_FILTER", "warn");
    let up = installation.up()?;
    // The first run of each slot waits for the slot's network.
    through_gantry(&up, 4, 2).await?;
    for (tasks, bare_name, overhead_name) in CONCURRENCY {
        let bare = bare(&docker, &networks, tasks).await?;
        let gantry = through_gantry(&up, tasks, EACH).await?;
        series.add(bare_name, bare);
        series.add(overhead_name, gantry - bare);
    }
    let without = once(&docker, "none").await?;
    series.add("bare loop without network ms", without);
    up.stop()?;
    for network in networks {
        docker.remove_network(&network).await?;
    }
    Ok(())
}

async fn networks(docker: &Docker, count: u8) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for i in 0..count {
        let name = format!("gantry-bench-{}-{i}", std::process::id());
        let subnet = format!("10.212.200.{}/28", i * 16);
        let config = IpamConfig { subnet: Some(subnet), ..IpamConfig::default() };
        let ipam = Ipam { config: Some(vec![config]), ..Ipam::default() };
        let request = NetworkCreateRequest { name: name.clone(), ipam: Some(ipam), ..Default::default() };
        docker.create_network(request).await?;
        names.push(name);
    }
    Ok(names)
}

/// The median of one whole loop, `tasks` of them side by side.
async fn bare(docker: &Docker, networks: &[String], tasks: usize) -> anyhow::Result<f64> {
    let loops = networks.iter().take(tasks).map(|network| async move {
        let mut samples = Vec::new();
        for _ in 0..EACH {
            samples.push(once(docker, network).await?);
        }
        anyhow::Ok(samples)
    });
    let samples: Vec<f64> = try_join_all(loops).await?.concat();
    Ok(quantile(&samples, 0.5).unwrap_or(f64::NAN))
}

/// create, attach, start, wait, inspect, remove: what an executor must do, with the limits it sets.
async fn once(docker: &Docker, network: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let host = HostConfig {
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges:true".into()]),
        pids_limit: Some(512),
        memory: Some(512 << 20),
        memory_swap: Some(512 << 20),
        nano_cpus: Some(1_000_000_000),
        network_mode: Some(network.to_owned()),
        log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
        init: Some(true),
        ..HostConfig::default()
    };
    let body = ContainerCreateBody {
        image: Some(IMAGE.into()),
        cmd: Some(vec!["/bin/true".into()]),
        host_config: Some(host),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..Default::default()
    };
    let id = docker.create_container(None::<CreateContainerOptions>, body).await?.id;
    let attach = AttachContainerOptions { stdout: true, stderr: true, stream: true, ..Default::default() };
    let mut attached = docker.attach_container(&id, Some(attach)).await?;
    docker.start_container(&id, None::<StartContainerOptions>).await?;
    while attached.output.next().await.is_some() {}
    let wait = WaitContainerOptions { condition: "not-running".into() };
    Box::pin(docker.wait_container(&id, Some(wait))).try_next().await?;
    docker.inspect_container(&id, None::<InspectContainerOptions>).await?;
    let remove = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    docker.remove_container(&id, Some(remove)).await?;
    Ok(millis(begun.elapsed()))
}

/// A run of `/bin/true` in a container.
fn truth() -> CreateRun {
    CreateRun {
        image: Some(IMAGE.into()),
        command: Some(vec!["/bin/true".into()]),
        artifacts: Some(vec![]),
        resources: Some(Resources { cpus: Some(1.0), memory_mb: Some(512), pids: Some(512) }),
        ..CreateRun::default()
    }
}

async fn through_gantry(up: &Up, tasks: usize, each: usize) -> anyhow::Result<f64> {
    let client = up.client()?;
    let loops = (0..tasks).map(|_| async {
        let mut samples = Vec::new();
        for _ in 0..each {
            let begun = Instant::now();
            finished(&client, truth()).await?;
            samples.push(millis(begun.elapsed()));
        }
        anyhow::Ok(samples)
    });
    let samples: Vec<f64> = try_join_all(loops).await?.concat();
    Ok(quantile(&samples, 0.5).unwrap_or(f64::NAN))
}

/// Submits a run and hears of its end.
pub async fn finished(client: &ApiClient, request: CreateRun) -> anyhow::Result<gantry_api_types::run::Run> {
    let id: RunId = client.create_run(&request, None).await?.id.parse()?;
    let mut events = Box::pin(client.run_events(id));
    while let Some(run) = events.try_next().await? {
        if run.status.is_final() {
            let status = run.status.as_str();
            anyhow::ensure!(status == "passed", "{id} ended {status}: {:?}", run.reason);
            return Ok(run);
        }
    }
    anyhow::bail!("the events of {id} ended early")
}
