//! A deployment of its own: N `gantry-producer` and M `gantry-worker` processes over real servers, with a load balancer in
//! front of the API (`front`) and one in front of the worker API (`back`). Each process can be killed, frozen, stopped
//! and started again.

mod balancer;
mod process;
mod servers;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures::TryStreamExt as _;
use gantry_api_types::fleet::WorkerStatus;
use gantry_client::{ApiClient, RunFilter, Transport};
use gantry_domain::id::{DispatchId, OrganizationId, RunId};
use gantry_domain::identity::PasswordHash;
use gantry_domain::run::RunState;
use gantry_domain::spec::Pool;
use gantry_domain::time::{Clock as _, SystemClock};
use gantry_producer::services::founding;
use gantry_queue::{Queue as _, RabbitOptions, RabbitQueue};
use gantry_store::mongo::{MongoOptions, MongoStores};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use tempfile::TempDir;

pub use balancer::Balancer;
pub use process::Process;
pub use servers::{Addresses, OwnNames, endpoint, through};

use crate::{binary, eventually};

/// Leases short enough that a test sees them end, and no end to what one organization may ask: a test asks more in a second
/// than people do in a minute.
const OF_PRODUCERS: [(&str, &str); 11] = [
    ("GANTRY_LEASES_LEASE", "3s"),
    ("GANTRY_LEASES_HEARTBEAT", "500ms"),
    ("GANTRY_LEASES_FENCE", "2500ms"),
    ("GANTRY_LEASES_REAPER_PERIOD", "500ms"),
    ("GANTRY_LEASES_SETTLE", "1s"),
    ("GANTRY_LEASES_REPUBLISH_AFTER", "2s"),
    ("GANTRY_RATE_LIMITS_ORGANIZATION", "0"),
    ("GANTRY_RATE_LIMITS_RUN_CREATION", "0"),
    ("GANTRY_RATE_LIMITS_ADDRESS", "0"),
    ("GANTRY_DRAIN_DELAY", "200ms"),
    ("GANTRY_DRAIN_GRACE", "5s"),
];
const OF_WORKERS: [(&str, &str); 3] =
    [("GANTRY_DRAIN_GRACE", "10s"), ("GANTRY_DISK_PAUSE_BELOW", "1"), ("GANTRY_DISK_PRUNE_BELOW", "0")];
/// The lease of these deployments.
pub const LEASE: Duration = Duration::from_secs(3);

/// What a deployment is made of.
pub struct Plan {
    pub producers: usize,
    pub workers: usize,
    pub slots: u32,
    pub executor: &'static str,
    pub addresses: Addresses,
    /// Artifacts and sealed logs lie in a directory that all producers see, instead of in the store's database.
    pub blobs_in_directory: bool,
    /// Variables over the usual ones.
    pub of_producers: Vec<(String, String)>,
    pub of_workers: Vec<(String, String)>,
}

impl Plan {
    /// Two of each, with the fake executor.
    pub fn over(addresses: Addresses) -> Self {
        Self {
            producers: 2,
            workers: 2,
            slots: 4,
            executor: "fake",
            addresses,
            blobs_in_directory: false,
            of_producers: Vec::new(),
            of_workers: Vec::new(),
        }
    }

    #[must_use]
    pub fn of(self, producers: usize, workers: usize) -> Self {
        Self { producers, workers, ..self }
    }

    /// With this variable for producers.
    #[must_use]
    pub fn producers_with(mut self, variable: &str, value: &str) -> Self {
        self.of_producers.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// With this variable for workers.
    #[must_use]
    pub fn workers_with(mut self, variable: &str, value: &str) -> Self {
        self.of_workers.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// With leases that last even where a machine has too much to do: for tests that are not about losing them.
    #[must_use]
    pub fn patient(self) -> Self {
        self.producers_with("GANTRY_LEASES_LEASE", "20s")
            .producers_with("GANTRY_LEASES_HEARTBEAT", "1s")
            .producers_with("GANTRY_LEASES_FENCE", "16s")
    }

    /// With containers of the shared engine.
    #[must_use]
    pub fn with_docker(self) -> Self {
        Self { executor: "docker", ..self }
    }
}

/// A producer, and where it listens while it runs.
pub struct Producer {
    pub process: Process,
    at: Option<Listening>,
}

#[derive(Clone, Copy)]
struct Listening {
    public: SocketAddr,
    workers: SocketAddr,
}

/// A running deployment; everything goes when it is dropped.
pub struct Cluster {
    pub producers: Vec<Producer>,
    pub workers: Vec<Process>,
    /// In front of the API.
    pub front: Balancer,
    /// In front of the worker API.
    pub back: Balancer,
    pub key: String,
    /// What its names at the servers begin with.
    pub names: OwnNames,
    plan: Plan,
    token: String,
    signing_keys: String,
    // Dropped last: processes write their logs there.
    dir: TempDir,
}

impl Cluster {
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("gantry-cluster-").tempdir()?;
        let random = || format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let mut cluster = Self {
            producers: Vec::new(),
            workers: Vec::new(),
            front: Balancer::start().await?,
            back: Balancer::start().await?,
            key: binary::new_api_key()?,
            names: OwnNames::new(),
            token: random(),
            signing_keys: binary::new_signing_key()?,
            plan,
            dir,
        };
        for i in 0..cluster.plan.producers {
            let environment = cluster.producer_environment();
            let name = format!("producer-{i}");
            let process = Process::new(&name, binary::gantry_producer(), cluster.dir.path(), environment);
            cluster.producers.push(Producer { process, at: None });
            cluster.start_producer(i)?;
        }
        for _ in 0..cluster.plan.workers {
            cluster.add_worker(&[])?;
        }
        cluster.workers_online(cluster.plan.workers).await;
        Ok(cluster)
    }

    /// A directory for a test's own files.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// A client of the API, through whichever producer answers.
    pub fn client(&self) -> ApiClient {
        self.client_at(self.front.address())
    }

    /// A client of this producer alone.
    pub fn client_of(&self, producer: usize) -> ApiClient {
        self.client_at(self.producers[producer].at.expect("a running producer").public)
    }

    fn client_at(&self, address: SocketAddr) -> ApiClient {
        let transport = Transport::http(&format!("http://{address}")).expect("a plain address");
        ApiClient::new(transport, &self.key)
    }

    /// Where this producer's API is.
    pub fn public_address(&self, producer: usize) -> SocketAddr {
        self.producers[producer].at.expect("a running producer").public
    }

    /// The sum of a metric, whatever its labels, over all producers that run.
    pub async fn counted(&self, metric: &str) -> anyhow::Result<f64> {
        let client = HttpClient::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let mut sum = 0.0;
        for at in self.producers.iter().filter_map(|producer| producer.at) {
            let answer = client.get(format!("http://{}/metrics", at.public).parse()?).await?;
            anyhow::ensure!(answer.status().is_success(), "/metrics: {}", answer.status());
            let text = answer.into_body().collect().await?.to_bytes();
            for line in String::from_utf8_lossy(&text).lines() {
                let of_it = line.strip_prefix(metric).filter(|rest| rest.starts_with([' ', '{']));
                sum += of_it.and_then(|rest| rest.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0.0);
            }
        }
        Ok(sum)
    }

    /// Where this producer's worker API is.
    pub fn worker_address(&self, producer: usize) -> SocketAddr {
        self.producers[producer].at.expect("a running producer").workers
    }

    pub fn start_producer(&mut self, i: usize) -> anyhow::Result<()> {
        let producer = &mut self.producers[i];
        let line = producer.process.start(true)?;
        producer.at = Some(listening(&line).with_context(|| format!("it announced {line:?}"))?);
        self.lead();
        Ok(())
    }

    /// kill -9. Balancers notice at the next connection, as real ones do.
    pub fn kill_producer(&mut self, i: usize) -> anyhow::Result<()> {
        self.producers[i].process.kill()?;
        self.producers[i].at = None;
        self.lead();
        Ok(())
    }

    /// SIGTERM, and its end within `limit`.
    pub async fn stop_producer(&mut self, i: usize, limit: Duration) -> anyhow::Result<()> {
        self.producers[i].process.terminate()?;
        let producer = &mut self.producers[i];
        let status = tokio::task::block_in_place(|| producer.process.wait(limit))?;
        anyhow::ensure!(status.success(), "it ended with {status}:\n{}", producer.process.log());
        producer.at = None;
        self.lead();
        Ok(())
    }

    fn lead(&self) {
        let at: Vec<Listening> = self.producers.iter().filter_map(|producer| producer.at).collect();
        self.front.lead_to(at.iter().map(|at| at.public).collect());
        self.back.lead_to(at.iter().map(|at| at.workers).collect());
    }

    /// Starts one more worker, with these variables over the usual ones.
    pub fn add_worker(&mut self, more: &[(&str, String)]) -> anyhow::Result<()> {
        let mut environment = self.common_environment(&OF_WORKERS);
        let producer = format!("http://{}", self.back.address());
        let name = format!("worker-{}", self.workers.len());
        let mut set = |name: &str, value: &str| environment.push((name.to_owned(), value.to_owned()));
        set("GANTRY_PRODUCER_URL", &producer);
        set("GANTRY_WORKER_TOKEN", &self.token);
        set("GANTRY_EXECUTOR", self.plan.executor);
        // The engine that tests share filters nothing.
        set("GANTRY_ALLOW_UNVERIFIED_EGRESS", "true");
        set("GANTRY_SLOTS", &self.plan.slots.to_string());
        set("GANTRY_NAME", &name);
        set("GANTRY_LISTEN", "127.0.0.1:0");
        set("GANTRY_QUEUE", &self.plan.addresses.amqp);
        for (name, value) in &self.plan.of_workers {
            set(name, value);
        }
        for (name, value) in more {
            set(name, value);
        }
        let mut process = Process::new(&name, binary::gantry_worker(), self.dir.path(), environment);
        process.start(false)?;
        self.workers.push(process);
        Ok(())
    }

    /// Waits until this many workers are online.
    pub async fn workers_online(&self, count: usize) {
        let client = self.client();
        eventually("the workers online", || async {
            let workers = client.workers().await.ok()?.items;
            let online = workers.iter().filter(|worker| worker.status == WorkerStatus::Online).count();
            (online >= count).then_some(())
        })
        .await;
    }

    /// All runs there are.
    pub async fn runs(&self) -> anyhow::Result<Vec<gantry_api_types::run::Run>> {
        let filter = RunFilter { limit: Some(100), ..RunFilter::default() };
        Ok(self.client().all_runs(filter).try_collect().await?)
    }

    /// A client of another organization, which only the store can be told of so far.
    pub async fn another_organization(&self) -> anyhow::Result<ApiClient> {
        let stores = self.store().await?;
        let key = binary::new_api_key()?;
        let email = format!("{}@example.com", OrganizationId::new()).parse()?;
        let password = PasswordHash::from_phc("none");
        let other = founding::begin("another", email, password, &key, SystemClock.now());
        let parts = stores.stores();
        parts.users.add(&other.user).await?;
        parts.organizations.found(&other.organization).await?;
        parts.keys.add(&other.key).await?;
        stores.close().await;
        Ok(ApiClient::new(Transport::http(&format!("http://{}", self.front.address()))?, &key))
    }

    /// The dispatch of each of these runs, once they are queued.
    pub async fn dispatches(&self, runs: &[RunId]) -> anyhow::Result<Vec<(RunId, DispatchId)>> {
        let store = self.store().await?;
        let mut found = Vec::new();
        for &run in runs {
            let dispatch = eventually("a queued run", || async {
                match store.stores().runs.find(run).await.ok()??.state {
                    RunState::Queued { dispatch } => Some(dispatch),
                    _ => None,
                }
            })
            .await;
            found.push((run, dispatch));
        }
        store.close().await;
        Ok(found)
    }

    /// What the producers write to, for what the API does not show.
    async fn store(&self) -> anyhow::Result<MongoStores> {
        let uri = self.plan.addresses.store(&self.names);
        Ok(gantry_store::mongo::connect(MongoOptions::new(uri)).await?)
    }

    /// What `gantry-producer` prints for these arguments where the producers run, with these sealing keys.
    pub fn producer_says(&self, arguments: &[&str], sealing_keys: &str) -> anyhow::Result<String> {
        let output = std::process::Command::new(binary::gantry_producer())
            .args(arguments)
            .env_clear()
            .envs(self.producer_environment())
            .env("GANTRY_SEALING_KEYS", sealing_keys)
            .output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The broker's side of this deployment.
    pub async fn queue(&self) -> anyhow::Result<RabbitQueue> {
        let mut options = RabbitOptions::new(&self.plan.addresses.amqp);
        options.prefix = self.names.prefix().to_owned();
        Ok(RabbitQueue::connect(options).await?)
    }

    /// Waits until no message of the default pool is left at the broker.
    pub async fn broker_is_empty(&self) {
        let queue = self.queue().await.expect("the broker");
        eventually("the broker's queue empty", || async {
            (queue.depth(&Pool::default()).await.ok()? == 0).then_some(())
        })
        .await;
        queue.close().await;
    }

    fn common_environment(&self, usual: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut environment: Vec<(String, String)> =
            usual.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        environment.push(("HOME".to_owned(), self.dir.path().display().to_string()));
        environment.push(("GANTRY_QUEUE_PREFIX".to_owned(), self.names.prefix().to_owned()));
        environment
    }

    fn producer_environment(&self) -> Vec<(String, String)> {
        let addresses = &self.plan.addresses;
        let mut environment = self.common_environment(&OF_PRODUCERS);
        let mut set = |name: &str, value: &str| environment.push((name.to_owned(), value.to_owned()));
        set("GANTRY_LISTEN", "127.0.0.1:0");
        set("GANTRY_WORKER_LISTEN", "127.0.0.1:0");
        set("GANTRY_WORKER_TOKEN", &self.token);
        set("GANTRY_SIGNING_KEYS", &self.signing_keys);
        set("GANTRY_BOOTSTRAP_API_KEY", &self.key);
        set("GANTRY_STORE", &addresses.store(&self.names));
        set("GANTRY_QUEUE", &addresses.amqp);
        if self.plan.blobs_in_directory {
            set("GANTRY_BLOBS", &format!("file://{}", self.dir.path().join("blobs").display()));
        }
        if let Some(redis) = &addresses.redis {
            set("GANTRY_REDIS", redis);
            set("GANTRY_REDIS_PREFIX", self.names.prefix());
        }
        for (name, value) in &self.plan.of_producers {
            set(name, value);
        }
        environment
    }
}

/// `listening on ADDRESS, for workers on ADDRESS`
fn listening(line: &str) -> Option<Listening> {
    let (public, workers) = line.trim().strip_prefix("listening on ")?.split_once(", for workers on ")?;
    Some(Listening { public: public.parse().ok()?, workers: workers.parse().ok()? })
}
