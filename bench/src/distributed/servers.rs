//! The deployment that is measured: real producers and workers with their usual settings, on the servers that tests share.

use gantry_tests::cluster::{Addresses, Cluster, Plan};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::ShortString;
use lapin::{Connection, ConnectionProperties};
use mongodb::Client;
use mongodb::bson::{Document, doc};

/// What the harness shortens for tests, put back to what a deployment has.
const USUAL: [(&str, &str); 6] = [
    ("GANTRY_LEASES_LEASE", "45s"),
    ("GANTRY_LEASES_HEARTBEAT", "5s"),
    ("GANTRY_LEASES_FENCE", "40s"),
    ("GANTRY_LEASES_REAPER_PERIOD", "5s"),
    ("GANTRY_LEASES_SETTLE", "15s"),
    ("GANTRY_LEASES_REPUBLISH_AFTER", "60s"),
];
/// As elsewhere in this benchmark: what goes well is not logged.
const QUIET: (&str, &str) = ("GANTRY_LOG_FILTER", "warn");

/// One producer and so many workers with so many slots each. Both are called directly, not through the harness's balancers.
pub async fn deployment(
    addresses: &Addresses,
    (workers, slots): (usize, u32),
    executor: &'static str,
    settings: &[(&'static str, &str)],
) -> anyhow::Result<Cluster> {
    let mut plan = Plan { executor, slots, ..Plan::over(addresses.clone()) }.of(1, 0);
    plan = plan.producers_with(QUIET.0, QUIET.1).workers_with(QUIET.0, QUIET.1);
    for (variable, value) in USUAL.iter().chain(settings) {
        plan = plan.producers_with(variable, value);
    }
    let mut cluster = Cluster::start(plan).await?;
    let producer = format!("http://{}", cluster.worker_address(0));
    for _ in 0..workers {
        cluster.add_worker(&[("GANTRY_PRODUCER_URL", producer.clone())])?;
    }
    cluster.workers_online(workers).await;
    Ok(cluster)
}

/// Ends it, and removes what it left at the servers.
pub async fn remove(addresses: &Addresses, cluster: Cluster) -> anyhow::Result<()> {
    let prefix = cluster.names.prefix().to_owned();
    drop(cluster);
    Client::with_uri_str(&addresses.mongo).await?.database(&prefix).drop().await?;
    let connection = Connection::connect(&addresses.amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for queue in ["runs.default", "dead"] {
        let queue = ShortString::from(format!("{prefix}.{queue}"));
        channel.queue_delete(queue, QueueDeleteOptions::default()).await?;
    }
    for exchange in ["dead", "control"] {
        let exchange = ShortString::from(format!("{prefix}.{exchange}"));
        channel.exchange_delete(exchange, ExchangeDeleteOptions::default()).await?;
    }
    Ok(connection.close(200, ShortString::from("done")).await?)
}

/// What the store's server counts by itself, in its status: commands that write, and all that concern data.
pub struct Commands {
    client: Client,
    writes: i64,
    all: i64,
}

const WRITES: [&str; 4] = ["insert", "update", "findAndModify", "delete"];
const READS: [&str; 4] = ["find", "aggregate", "count", "getMore"];

impl Commands {
    pub async fn so_far(addresses: &Addresses) -> anyhow::Result<Self> {
        let client = Client::with_uri_str(&addresses.mongo).await?;
        let (writes, all) = counted(&client).await?;
        Ok(Self { client, writes, all })
    }

    /// Per run, since the last call or the start: writes, and all.
    pub async fn per_run(&mut self, runs: usize) -> anyhow::Result<(f64, f64)> {
        let before = (self.writes, self.all);
        (self.writes, self.all) = counted(&self.client).await?;
        let per_run = |now: i64, then: i64| (now - then) as f64 / runs as f64;
        Ok((per_run(self.writes, before.0), per_run(self.all, before.1)))
    }
}

async fn counted(client: &Client) -> anyhow::Result<(i64, i64)> {
    let status = client.database("admin").run_command(doc! { "serverStatus": 1 }).await?;
    let commands = status.get_document("metrics")?.get_document("commands")?;
    let of = |names: [&str; 4]| names.iter().map(|name| total(commands, name)).sum::<i64>();
    Ok((of(WRITES), of(WRITES) + of(READS)))
}

fn total(commands: &Document, name: &str) -> i64 {
    let Ok(command) = commands.get_document(name) else { return 0 };
    command.get_i64("total").or_else(|_| command.get_i32("total").map(i64::from)).unwrap_or(0)
}
