//! What must reach a run in time: a cancel, and another worker when its own is gone.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use gantry_api_types::request::CreateRun;
use gantry_api_types::run::{Run, Status};
use gantry_client::ApiClient;
use gantry_domain::id::RunId;
use gantry_tests::cluster::Addresses;

use crate::distributed::servers::{deployment, remove};
use crate::samples::{Series, millis, quantile};

const CANCELS: usize = 100;
/// Short, so that a round does not wait for long; everything else is as usual.
const LEASE: Duration = Duration::from_secs(10);

/// Goes on until it is stopped.
fn endless() -> CreateRun {
    CreateRun {
        image: Some("none:1".into()),
        command: Some(vec!["fake:hang".into()]),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    }
}

/// Waits for a state of the run that is looked for.
async fn seen(client: &ApiClient, run: RunId, wanted: impl Fn(&Run) -> bool) -> anyhow::Result<Run> {
    let mut events = Box::pin(client.run_events(run));
    while let Some(run) = events.try_next().await? {
        if wanted(&run) {
            return Ok(run);
        }
        anyhow::ensure!(!run.status.is_final(), "{} ended {}", run.id, run.status.as_str());
    }
    anyhow::bail!("the events of {run} ended early")
}

/// From the request until the run is seen to be cancelled, which it is once its executor has stopped it: an upper bound
/// of how long the cancel takes to reach it.
pub async fn cancel(addresses: &Addresses, series: &mut Series) -> anyhow::Result<()> {
    let cluster = deployment(addresses, (2, 4), "fake", &[]).await?;
    let client = cluster.client_of(0);
    let mut samples = Vec::new();
    for _ in 0..CANCELS {
        let run: RunId = client.create_run(&endless(), None).await?.id.parse()?;
        seen(&client, run, |run| run.status == Status::Running && run.started_at.is_some()).await?;
        let mut events = Box::pin(client.run_events(run));
        events.try_next().await?.context("no event of a run")?;
        let begun = Instant::now();
        client.cancel_run(run).await?;
        while let Some(run) = events.try_next().await?
            && run.status != Status::Cancelled
        {}
        samples.push(millis(begun.elapsed()));
    }
    series.add("cluster cancel p50 ms", quantile(&samples, 0.5).unwrap_or(f64::NAN));
    series.add("cluster cancel p99 ms", quantile(&samples, 0.99).unwrap_or(f64::NAN));
    remove(addresses, cluster).await
}

/// From the kill of a run's worker until the run is under way on the other one.
pub async fn restart(addresses: &Addresses, series: &mut Series) -> anyhow::Result<()> {
    let settings = [
        ("GANTRY_LEASES_LEASE", "10s"),
        ("GANTRY_LEASES_HEARTBEAT", "2s"),
        ("GANTRY_LEASES_FENCE", "8s"),
        ("GANTRY_LEASES_SETTLE", "1s"),
    ];
    let mut cluster = deployment(addresses, (2, 1), "fake", &settings).await?;
    let client = cluster.client_of(0);
    let run: RunId = client.create_run(&endless(), None).await?.id.parse()?;
    let running = |run: &Run| run.status == Status::Running && run.started_at.is_some();
    seen(&client, run, running).await?;
    let attempts = client.attempts(run).await?.items;
    let worker = &attempts.first().context("no attempt")?.worker;
    let known = client.workers().await?.items;
    let name = &known.iter().find(|known| known.id == *worker).context("an unknown worker")?.name;
    let holder = cluster.workers.iter_mut().find(|worker| worker.name() == name).context("no such worker")?;
    // A heartbeat is anywhere in its period.
    tokio::time::sleep(Duration::from_secs_f64(rand::random::<f64>() * 2.0)).await;
    let begun = Instant::now();
    holder.kill()?;
    seen(&client, run, |run| run.attempt == 2 && running(run)).await?;
    series.add("cluster restart s", begun.elapsed().as_secs_f64());
    series.add("cluster lease s", LEASE.as_secs_f64());
    remove(addresses, cluster).await
}
