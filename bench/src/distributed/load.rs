//! Runs that do nothing, through the whole deployment, and what they cost the store.

use futures::TryStreamExt as _;
use gantry_api_types::run::Run;
use gantry_client::{ApiClient, RunFilter};
use gantry_domain::id::RunId;
use gantry_domain::time::Timestamp;
use gantry_tests::cluster::Addresses;

use crate::accept::{no_op, one_by_one};
use crate::distributed::servers::{Commands, PerRun, Written, deployment, remove};
use crate::report::distributed::GANTRY;
use crate::samples::{Series, quantile};
use crate::work::{self, Client};

/// Runs for each measurement of throughput.
const COUNT: usize = 3200;
const IDLE: usize = 60;

pub async fn measure(addresses: &Addresses, series: &mut Series) -> anyhow::Result<()> {
    let cluster = deployment(addresses, (2, 64), "fake", &[]).await?;
    let client = || Ok(Gantry(cluster.client_of(0)));

    work::measure(GANTRY, series, COUNT, client).await?;

    let few: Vec<Gantry> = (0..32).map(|_| client()).collect::<anyhow::Result<_>>()?;
    let mut commands = Commands::so_far(addresses).await?;
    let mut written = Written::so_far(&cluster).await?;
    work::throughput(&few, COUNT).await?;
    let counters = commands.per_run(COUNT).await?.counters;
    series.add("documents written per run, 32 clients", written.per_run(&cluster, COUNT).await? + counters);
    drop(few);

    let (accepts, stored) = one_by_one(&cluster.client_of(0), IDLE).await?;
    // The first is run again when the event stream was not open yet: at most one more than counted.
    let PerRun { writes, all, .. } = commands.per_run(IDLE + 1).await?;
    series.add("cluster accept p50 ms", quantile(&accepts, 0.5).unwrap_or(f64::NAN));
    series.add("cluster stored p50 ms", quantile(&stored, 0.5).unwrap_or(f64::NAN));
    series.add("cluster stored p99 ms", quantile(&stored, 0.99).unwrap_or(f64::NAN));
    series.add("durable writes per run", writes);
    series.add("store commands per run", all);

    let many: Vec<Gantry> = (0..128).map(|_| client()).collect::<anyhow::Result<_>>()?;
    commands.per_run(1).await?;
    written.per_run(&cluster, 1).await?;
    let (rate, _) = work::throughput(&many, COUNT).await?;
    let PerRun { writes, all, counters } = commands.per_run(COUNT).await?;
    series.add("documents written per run, 128 clients", written.per_run(&cluster, COUNT).await? + counters);
    series.add("cluster runs per s, 128 clients", rate);
    series.add("durable writes per run, loaded", writes);
    series.add("store commands per run, loaded", all);
    drop(many);
    remove(addresses, cluster).await
}

/// A client of the API, as a peer is measured.
struct Gantry(ApiClient);

impl Client for Gantry {
    type Job = (RunId, Timestamp);

    async fn submit(&self) -> anyhow::Result<Self::Job> {
        let run = self.0.create_run(&no_op(), None).await?;
        Ok((run.id.parse()?, run.created_at))
    }

    async fn result(&self, (run, _): &Self::Job) -> anyhow::Result<()> {
        let mut events = Box::pin(self.0.run_events(*run));
        while let Some(run) = events.try_next().await? {
            if run.status.is_final() {
                return passed(&run);
            }
        }
        anyhow::bail!("the events of {run} ended early")
    }

    async fn results(&self, jobs: &[Self::Job]) -> anyhow::Result<()> {
        while self.0.queue().await?.pools.iter().any(|depth| depth.backlog > 0) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let since = jobs.iter().map(|(_, created)| *created).min();
        let filter = RunFilter { created_from: since, limit: Some(100), ..RunFilter::default() };
        let runs: Vec<Run> = self.0.all_runs(filter).try_collect().await?;
        runs.iter().try_for_each(passed)?;
        anyhow::ensure!(runs.len() >= jobs.len(), "{} of {} results were read back", runs.len(), jobs.len());
        Ok(())
    }
}

fn passed(run: &Run) -> anyhow::Result<()> {
    anyhow::ensure!(
        run.status.as_str() == "passed",
        "{} is {}: {:?}",
        run.id,
        run.status.as_str(),
        run.reason
    );
    Ok(())
}
