//! Runs that do nothing, through the whole path, as many as possible.

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use futures::future::try_join_all;
use gantry_api_types::run::Run;
use gantry_client::{ApiClient, RunFilter};
use gantry_domain::time::{Clock as _, SystemClock};
use gantry_store::sqlite::{self, SqliteOptions};
use gantry_tests::{Installation, Up};

use crate::accept::no_op;
use crate::samples::{Series, millis, quantile};
use crate::stored::pending_run;

pub async fn measure(up: &Up, series: &mut Series) -> anyhow::Result<()> {
    let (rate, latencies) = drive(up, 32, 4000).await?;
    series.add("runs per s, 32 clients", rate);
    series.add("accept p50 loaded ms", quantile(&latencies, 0.5).unwrap_or(f64::NAN));
    series.add("accept p99 loaded ms", quantile(&latencies, 0.99).unwrap_or(f64::NAN));
    let (rate, _) = drive(up, 128, 8000).await?;
    series.add("runs per s, 128 clients", rate);
    Ok(())
}

/// `clients` connections submit `count` runs one after the other each; the clock stops when all results were read back.
async fn drive(up: &Up, clients: usize, count: usize) -> anyhow::Result<(f64, Vec<f64>)> {
    let clients: Vec<_> = (0..clients).map(|_| up.client()).collect::<Result<_, _>>()?;
    let since = SystemClock.now();
    let begun = Instant::now();
    let share = count / clients.len();
    let submitted = try_join_all(clients.iter().map(|client| submit(client, share))).await?;
    let accepted = submitted.iter().map(Vec::len).sum::<usize>();
    loop {
        let depths = clients[0].queue().await?.pools;
        if depths.iter().all(|depth| depth.backlog == 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let filter = RunFilter { created_from: Some(since), limit: Some(100), ..RunFilter::default() };
    let runs: Vec<Run> = clients[0].all_runs(filter).try_collect().await?;
    let elapsed = begun.elapsed().as_secs_f64();
    let over = runs.iter().filter(|run| run.status.is_final()).count();
    anyhow::ensure!(over == accepted, "{over} of {accepted} results were read back");
    let latencies: Vec<f64> = submitted.into_iter().flatten().collect();
    Ok((accepted as f64 / elapsed, latencies))
}

async fn submit(client: &ApiClient, count: usize) -> anyhow::Result<Vec<f64>> {
    let mut latencies = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        client.create_run(&no_op(), None).await?;
        latencies.push(millis(begun.elapsed()));
    }
    Ok(latencies)
}

/// Whether dispatching costs more when much is waiting.
pub async fn pending(series: &mut Series) -> anyhow::Result<()> {
    let (few, _) = drain(1_000).await?;
    series.add("pending 1000 ms per run", few);
    let (many, memory) = drain(100_000).await?;
    series.add("pending 100000 ms per run", many);
    series.add("pending 100000 MiB", memory);
    Ok(())
}

/// Milliseconds per run over the first thousand of `count` pending runs, and peak memory in MiB.
async fn drain(count: u64) -> anyhow::Result<(f64, f64)> {
    let installation = Installation::new("fake")?.set("GANTRY_SLOTS", "64").set("GANTRY_LOG_FILTER", "warn");
    installation.up()?.stop()?;
    let store = sqlite::open(SqliteOptions::new(installation.data_dir().join("gantry.db")))?;
    let stores = store.stores();
    let organization = stores.auth.first_organization().await?.map(|organization| organization.id);
    let organization = organization.ok_or_else(|| anyhow::anyhow!("no organization"))?;
    let now = SystemClock.now();
    for from in (1..=count).step_by(10_000) {
        let to = (from + 10_000).min(count + 1);
        stores.runs.import((from..to).map(|number| pending_run(organization, number, now)).collect()).await?;
    }
    store.close().await;
    let up = installation.up()?;
    let client = up.client()?;
    let filter = RunFilter {
        statuses: vec![gantry_api_types::run::Status::Passed],
        limit: Some(100),
        ..RunFilter::default()
    };
    loop {
        let queue = client.queue().await?.pools;
        let left: u64 = queue.iter().map(|depth| depth.backlog).sum();
        if left + 1000 <= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let memory = up.peak_memory()? as f64 / f64::from(1 << 20);
    let mut ends: Vec<_> = client
        .all_runs(filter)
        .try_collect::<Vec<_>>()
        .await?
        .into_iter()
        .filter_map(|run| run.finished_at)
        .collect();
    up.kill()?;
    ends.sort();
    ends.truncate(1000);
    let (Some(first), Some(last)) = (ends.first(), ends.last()) else { anyhow::bail!("nothing ended") };
    Ok((millis(last.since(*first)) / (ends.len() - 1) as f64, memory))
}
