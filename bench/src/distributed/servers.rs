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
    so_far: Counted,
}

#[derive(Clone, Copy)]
struct Counted {
    writes: i64,
    all: i64,
    counters: i64,
}

/// Commands that a run cost.
pub struct PerRun {
    pub writes: f64,
    pub all: f64,
    /// Those that number runs, one for all that are accepted together.
    pub counters: f64,
}

const WRITES: [&str; 4] = ["insert", "update", "findAndModify", "delete"];
const READS: [&str; 4] = ["find", "aggregate", "count", "getMore"];

impl Commands {
    pub async fn so_far(addresses: &Addresses) -> anyhow::Result<Self> {
        let client = Client::with_uri_str(&addresses.mongo).await?;
        let so_far = counted(&client).await?;
        Ok(Self { client, so_far })
    }

    /// Per run, since the last call or the start.
    pub async fn per_run(&mut self, runs: usize) -> anyhow::Result<PerRun> {
        let before = std::mem::replace(&mut self.so_far, counted(&self.client).await?);
        let per_run = |of: fn(&Counted) -> i64| (of(&self.so_far) - of(&before)) as f64 / runs as f64;
        Ok(PerRun {
            writes: per_run(|counted| counted.writes),
            all: per_run(|counted| counted.all),
            counters: per_run(|counted| counted.counters),
        })
    }
}

async fn counted(client: &Client) -> anyhow::Result<Counted> {
    let status = client.database("admin").run_command(doc! { "serverStatus": 1 }).await?;
    let commands = status.get_document("metrics")?.get_document("commands")?;
    let of = |names: [&str; 4]| names.iter().map(|name| total(commands, name)).sum::<i64>();
    let counters = total(commands, "findAndModify");
    Ok(Counted { writes: of(WRITES), all: of(WRITES) + of(READS), counters })
}

fn total(commands: &Document, name: &str) -> i64 {
    let Ok(command) = commands.get_document(name) else { return 0 };
    command.get_i64("total").or_else(|_| command.get_i32("total").map(i64::from)).unwrap_or(0)
}

/// Runs that a producer inserted and changed, by its own count: many travel in one command.
pub struct Written(f64);

impl Written {
    pub async fn so_far(cluster: &Cluster) -> anyhow::Result<Self> {
        let mut written = 0.0;
        for operation in ["runs.accept", "runs.transition"] {
            let metric =
                format!("gantry_store_call_seconds_count{{operation=\"{operation}\",result=\"ok\"}}");
            written += cluster.counted(&metric).await?;
        }
        Ok(Self(written))
    }

    /// Per run, since the last call or the start.
    pub async fn per_run(&mut self, cluster: &Cluster, runs: usize) -> anyhow::Result<f64> {
        let now = Self::so_far(cluster).await?;
        let before = std::mem::replace(self, now);
        Ok((self.0 - before.0) / runs as f64)
    }
}
