//! The work that Gantry and its peers are compared by: jobs that do nothing, from HTTP request to result read back.

use std::time::{Duration, Instant};

use futures::future::try_join_all;

use crate::samples::{Series, millis, quantile};

/// One client of a system that takes jobs. Each has connections of its own.
pub trait Client {
    type Job;

    /// Returns when the system has the job as durably as it ever will.
    async fn submit(&self) -> anyhow::Result<Self::Job>;

    /// Waits until the job's result is stored, and reads it back.
    async fn result(&self, job: &Self::Job) -> anyhow::Result<()>;

    /// Waits until all these results are stored, and reads them back in pages.
    async fn results(&self, jobs: &[Self::Job]) -> anyhow::Result<()>;
}

/// Between two jobs of an idle system.
const QUIET: Duration = Duration::from_millis(100);
/// Jobs before the clock runs: connections are made, code is loaded.
const WARM_UP: usize = 320;
const CLIENTS: usize = 32;

/// Throughput with 32 clients, and how long one waits for a result, alone and among 32. Names begin with `system`.
pub async fn measure<C: Client>(
    system: &str,
    series: &mut Series,
    count: usize,
    connect: impl Fn() -> anyhow::Result<C>,
) -> anyhow::Result<()> {
    let clients: Vec<C> = (0..CLIENTS).map(|_| connect()).collect::<Result<_, _>>()?;
    throughput(&clients, WARM_UP).await?;
    let (rate, accepts) = throughput(&clients, count).await?;
    series.add(format!("{system}: jobs per s, 32 clients"), rate);
    quantiles(series, &format!("{system}: accept loaded"), &accepts);
    let alone = latencies(&clients[..1], 60, QUIET).await?;
    quantiles(series, &format!("{system}: result alone"), &alone);
    let together = latencies(&clients, 20, Duration::ZERO).await?;
    quantiles(series, &format!("{system}: result of 32"), &together);
    Ok(())
}

fn quantiles(series: &mut Series, name: &str, samples: &[f64]) {
    series.add(format!("{name} p50 ms"), quantile(samples, 0.5).unwrap_or(f64::NAN));
    series.add(format!("{name} p99 ms"), quantile(samples, 0.99).unwrap_or(f64::NAN));
}

/// All clients submit as fast as they are answered; the clock stops when all results were read back. Jobs per second,
/// and how long each submission took.
pub async fn throughput<C: Client>(clients: &[C], count: usize) -> anyhow::Result<(f64, Vec<f64>)> {
    let share = count / clients.len();
    let begun = Instant::now();
    let submitted = try_join_all(clients.iter().map(|client| async move {
        let (mut jobs, mut samples) = (Vec::with_capacity(share), Vec::with_capacity(share));
        for _ in 0..share {
            let begun = Instant::now();
            jobs.push(client.submit().await?);
            samples.push(millis(begun.elapsed()));
        }
        anyhow::Ok((jobs, samples))
    }))
    .await?;
    let (jobs, samples): (Vec<_>, Vec<_>) = submitted.into_iter().unzip();
    let jobs: Vec<C::Job> = jobs.into_iter().flatten().collect();
    clients[0].results(&jobs).await?;
    Ok((jobs.len() as f64 / begun.elapsed().as_secs_f64(), samples.concat()))
}

/// Each client submits one job after the other, waiting for each result; milliseconds from submission to result.
async fn latencies<C: Client>(clients: &[C], each: usize, pause: Duration) -> anyhow::Result<Vec<f64>> {
    let samples = try_join_all(clients.iter().map(|client| async move {
        let mut samples = Vec::with_capacity(each);
        for _ in 0..each {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let begun = Instant::now();
            let job = client.submit().await?;
            client.result(&job).await?;
            samples.push(millis(begun.elapsed()));
        }
        anyhow::Ok(samples)
    }))
    .await?;
    Ok(samples.concat())
}
