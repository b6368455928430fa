//! A thousand followers on one producer, and what producer and worker cost while nothing happens.

use std::time::Duration;

use gantry_tests::cluster::Addresses;

use crate::distributed::servers::{deployment, remove};
use crate::followers;
use crate::idle::processor_seconds;
use crate::samples::{Series, quantile};

pub async fn followers(addresses: &Addresses, series: &mut Series) -> anyhow::Result<()> {
    let cluster = deployment(addresses, (1, 4), "docker", &[]).await?;
    let client = cluster.client_of(0);
    let address = cluster.public_address(0).to_string();
    let ages = followers::watch(&client, &address, &cluster.key, "sh").await?;
    series.add("cluster followers p99 ms", quantile(&ages, 0.99).unwrap_or(f64::NAN));
    remove(addresses, cluster).await
}

/// How often, and how long each time, processor time is looked at.
const LOOKS: usize = 3;
const EACH: Duration = Duration::from_secs(10);

pub async fn idle(addresses: &Addresses, series: &mut Series) -> anyhow::Result<()> {
    let cluster = deployment(addresses, (1, 4), "docker", &[]).await?;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let processes = [("producer", &cluster.producers[0].process), ("worker", &cluster.workers[0])];
    for _ in 0..LOOKS {
        let mut before = Vec::new();
        for (_, process) in processes {
            before.push(processor_seconds(process.pid().unwrap_or_default())?);
        }
        tokio::time::sleep(EACH).await;
        for ((name, process), before) in processes.iter().zip(before) {
            let used = processor_seconds(process.pid().unwrap_or_default())? - before;
            series.add(format!("{name} idle cpu percent"), 100.0 * used / EACH.as_secs_f64());
            series.add(format!("{name} idle MiB"), process.memory()? as f64 / f64::from(1 << 20));
        }
    }
    remove(addresses, cluster).await
}
