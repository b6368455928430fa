//! A deployment whose every process has a line of its own to the others, on which it is dressed as some version.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_api_types::fleet::WorkerStatus;
use gantry_api_types::request::{CreateRun, Priority};
use gantry_api_types::run::Status;
use gantry_domain::id::RunId;
use gantry_tests::cluster::{Addresses, Cluster, Plan, endpoint, through};
use gantry_tests::faults::{Load, Promise, effects_file, fake_run};
use gantry_tests::{PATIENCE, eventually};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use lapin::options::BasicGetOptions;
use lapin::{Connection, ConnectionProperties};
use tokio::sync::watch;
use tokio::task::{JoinHandle, block_in_place};

use crate::broker_line::BrokerLine;
use crate::documents::Documents;
use crate::dress::Version;
use crate::worker_line::{Producers, WorkerLine};

/// Cancelling reaches a container within a second; this machine may have other things to do.
const CANCELLED_WITHIN: Duration = Duration::from_secs(10);
const ENDS_WITHIN: Duration = Duration::from_secs(20);

struct WorkerOf {
    version: Version,
    line: WorkerLine,
    /// Where its metrics are.
    listens: String,
    _broker: BrokerLine,
}

pub struct Fleet {
    pub cluster: Cluster,
    pub effects: PathBuf,
    pub promised: BTreeMap<String, Promise>,
    /// From each producer to the broker.
    pub of_producers: Vec<BrokerLine>,
    workers: Vec<WorkerOf>,
    versions: Vec<Version>,
    producers: Arc<Producers>,
    documents: Documents,
    amqp: String,
    next: u64,
}

/// Alters documents until it is told to stop.
pub struct Altering {
    stop: watch::Sender<bool>,
    task: JoinHandle<u64>,
}

impl Altering {
    /// How many were altered.
    pub async fn stop(self) -> u64 {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

impl Fleet {
    /// Two producers of this version, and no workers.
    pub async fn start(version: Version) -> Self {
        let addresses = Addresses::private();
        let amqp = addresses.amqp.clone();
        let mut cluster = Cluster::start(Plan::over(addresses.clone()).of(2, 0).patient()).await.unwrap();
        let documents = Documents::of(&addresses.store(&cluster.names)).await;
        let mut of_producers = Vec::new();
        for i in 0..2 {
            let line = BrokerLine::start(endpoint(&amqp).unwrap().to_owned(), version).await;
            cluster.kill_producer(i).unwrap();
            let uri = through(&amqp, line.address()).unwrap();
            cluster.producers[i].process.set("GANTRY_QUEUE", &uri);
            cluster.start_producer(i).unwrap();
            of_producers.push(line);
        }
        let effects = effects_file(cluster.scratch());
        let fleet = Self {
            cluster,
            effects,
            promised: BTreeMap::new(),
            of_producers,
            workers: Vec::new(),
            versions: vec![version; 2],
            producers: Arc::default(),
            documents,
            amqp,
            next: 1_000_000,
        };
        fleet.tell_lines();
        fleet
    }

    fn tell_lines(&self) {
        let running = (0..2).filter(|&i| self.cluster.producers[i].process.is_running());
        let at = running.map(|i| (self.cluster.worker_address(i), self.versions[i]));
        self.producers.are(at.collect());
    }

    /// Without a restart: what changes is how they answer.
    pub fn producers_are(&mut self, version: Version) {
        self.versions = vec![version; 2];
        self.tell_lines();
    }

    /// Its number.
    pub async fn add_worker(&mut self, version: Version) -> usize {
        let line = WorkerLine::start(version, Arc::clone(&self.producers)).await;
        let broker = BrokerLine::start(endpoint(&self.amqp).unwrap().to_owned(), version).await;
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let more = [
            ("GANTRY_PRODUCER_URL", line.url()),
            ("GANTRY_QUEUE", through(&self.amqp, broker.address()).unwrap()),
            ("GANTRY_LISTEN", free.to_string()),
        ];
        self.cluster.add_worker(&more).unwrap();
        self.workers.push(WorkerOf { version, line, listens: format!("http://{free}"), _broker: broker });
        self.workers.len() - 1
    }

    pub async fn restart_worker(&mut self, i: usize, version: Version) {
        self.cluster.workers[i].terminate().unwrap();
        let status = block_in_place(|| self.cluster.workers[i].wait(ENDS_WITHIN)).unwrap();
        assert!(status.success(), "{status}: {}", self.cluster.workers[i].log());
        self.workers[i].version = version;
        self.workers[i].line.worker_is(version);
        self.cluster.workers[i].start(false).unwrap();
        self.becomes(i, WorkerStatus::Online).await;
    }

    pub async fn restart_producer(&mut self, i: usize, version: Version) {
        self.cluster.stop_producer(i, ENDS_WITHIN).await.unwrap();
        self.of_producers[i].program_is(version);
        self.cluster.start_producer(i).unwrap();
        self.versions[i] = version;
        self.tell_lines();
    }

    /// A short run.
    pub async fn submit(&mut self, sleep_ms: u64) -> RunId {
        self.next += 1;
        let (request, promise) = fake_run(self.next, Duration::from_millis(sleep_ms), &self.effects);
        // Before all others: how long they wait is no matter here.
        let request = CreateRun { priority: Some(Priority::High), ..request };
        let run = self.cluster.client().create_run(&request, None).await.unwrap();
        self.promised.insert(run.id.clone(), promise);
        run.id.parse().unwrap()
    }

    pub async fn passes(&self, run: RunId) {
        let client = self.cluster.client();
        eventually("a run passes", || async {
            let run = client.get_run(run).await.ok()?;
            assert!(!run.status.is_final() || run.status == Status::Passed, "{run:?}");
            (run.status == Status::Passed).then_some(())
        })
        .await;
    }

    /// Runs are accepted and carried out by whoever there is, and can be cancelled.
    pub async fn goes_on(&mut self, load: &Load) {
        let accepted = load.accepted();
        for _ in 0..3 {
            let run = self.submit(10).await;
            self.passes(run).await;
        }
        self.cancels().await;
        self.mixes().await;
        eventually("more runs are accepted", || async { (load.accepted() > accepted).then_some(()) }).await;
    }

    async fn cancels(&mut self) {
        let long = self.submit(600_000).await;
        self.promised.remove(&long.to_string());
        let client = self.cluster.client();
        let reaches = async |wanted: Status| {
            eventually("a run to cancel", || async {
                client.get_run(long).await.ok().filter(|run| run.status == wanted)
            })
            .await
        };
        reaches(Status::Running).await;
        let begun = Instant::now();
        client.cancel_run(long).await.unwrap();
        reaches(Status::Cancelled).await;
        assert!(begun.elapsed() < CANCELLED_WITHIN, "cancelled after {:?}", begun.elapsed());
        client.delete_run(long).await.unwrap();
    }

    /// Writes these records over theirs; what was there.
    pub async fn make_unreadable(&self, runs: &[RunId], records: [&str; 2]) -> Vec<String> {
        let mut kept = Vec::new();
        for (run, record) in runs.iter().zip(records) {
            kept.push(self.documents.run_record(*run).await);
            self.documents.write_run_record(*run, record).await;
        }
        kept
    }

    pub async fn make_readable(&self, runs: &[RunId], records: &[String]) {
        for (run, record) in runs.iter().zip(records) {
            self.documents.write_run_record(*run, record).await;
        }
    }

    /// Through either producer, and counted by both; to nobody else.
    pub async fn lists_unreadable(&self, runs: &[RunId]) {
        let mut expected: Vec<_> = runs.iter().map(RunId::to_string).collect();
        expected.sort();
        for i in 0..2 {
            let client = self.cluster.client_of(i);
            let listed = eventually("what cannot be read is listed", || async {
                let items = client.set_aside().await.ok()?.items;
                let mut ids: Vec<_> = items.iter().map(|item| item.id.clone()).collect();
                ids.sort();
                (ids == expected).then_some(items)
            })
            .await;
            assert!(listed.iter().all(|item| item.kind == "run" && !item.why.is_empty()), "{listed:?}");
            assert_eq!(listed.iter().any(|item| item.why.contains("version 2")), !runs.is_empty());
            if !runs.is_empty() {
                eventually("what cannot be read is counted", || async {
                    let at = format!("http://{}", self.cluster.public_address(i));
                    let counted = counter(&at, "gantry_store_unreadable_total{kind=\"run\"").await;
                    assert!(counted <= runs.len() as f64, "{counted}");
                    (counted == runs.len() as f64).then_some(())
                })
                .await;
            }
            let shown = client.get_run(RunId::new()).await.unwrap_err();
            assert!(shown.is_not_found(), "others are answered: {shown}");
        }
        let stranger = self.cluster.another_organization().await.unwrap();
        assert_eq!(stranger.set_aside().await.unwrap().items, []);
    }

    pub fn alter_documents(&self) -> Altering {
        let documents = self.documents.clone();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut altered = 0;
            while !*stopped.borrow() {
                for version in [Version::Newer, Version::Older] {
                    altered += documents.alter(version).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            altered
        });
        Altering { stop, task }
    }

    /// Every worker that the producers understand did each step of a run with each of them, as the versions they are now.
    async fn mixes(&mut self) {
        self.keeps_busy_until("every step of every worker with every producer", |fleet| {
            let mut understood =
                fleet.workers.iter().filter(|worker| worker.version != Version::NextProtocol);
            understood.all(|worker| {
                let answered = worker.line.answered();
                fleet.versions.iter().all(|producer| {
                    ["claim", "state", "logs", "finish"]
                        .iter()
                        .all(|step| answered.contains_key(&((*step).to_owned(), worker.version, *producer)))
                })
            })
        })
        .await;
    }

    /// Submits runs through whichever producer's turn it is, long enough that their start is told.
    pub async fn keeps_busy_until(&mut self, what: &str, met: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !met(self) {
            assert!(Instant::now() < deadline, "never: {what}");
            let run = self.submit(150).await;
            self.passes(run).await;
        }
    }

    /// Run messages of both versions went through the broker.
    pub fn has_published(&self) {
        for version in [Version::Older, Version::Newer] {
            let passed: u64 = self.of_producers.iter().map(|line| line.passed(version)).sum();
            assert!(passed > 0, "no message of {version:?}");
        }
    }

    /// Counted by the workers in their present lives.
    pub async fn unreadable_messages(&self) -> f64 {
        let mut sum = 0.0;
        for worker in &self.workers {
            sum += counter(&worker.listens, "gantry_queue_unreadable_total{").await;
        }
        sum
    }

    /// Bodies of all messages that were set aside.
    pub async fn take_dead(&self, expected: usize) -> Vec<Vec<u8>> {
        let connection = Connection::connect(&self.amqp, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let queue = format!("{}.dead", self.cluster.names.prefix());
        let mut dead = Vec::new();
        loop {
            let taken = channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true });
            match taken.await.unwrap() {
                Some(message) => dead.push(message.delivery.data.clone()),
                None if dead.len() >= expected => break,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        connection.close(200, "done".into()).await.unwrap();
        dead
    }

    async fn shown(&self, i: usize) -> Option<(WorkerStatus, String)> {
        let workers = self.cluster.client().workers().await.ok()?.items;
        let name = self.cluster.workers[i].name();
        let mut lives = workers.into_iter().filter(|worker| worker.name == name);
        let shown = lives.find(|worker| worker.status != WorkerStatus::Offline)?;
        Some((shown.status, shown.paused.unwrap_or_default()))
    }

    pub async fn status_of(&self, i: usize) -> Option<WorkerStatus> {
        Some(self.shown(i).await?.0)
    }

    /// What is noted beside the status.
    pub async fn becomes(&self, i: usize, status: WorkerStatus) -> String {
        eventually("a worker's status", || async {
            self.shown(i).await.filter(|shown| shown.0 == status).map(|shown| shown.1)
        })
        .await
    }

    /// It carries out runs.
    pub async fn works(&mut self, i: usize) {
        let ended = |fleet: &Self| -> u64 {
            let answered = fleet.workers[i].line.answered();
            answered.iter().filter(|((verb, ..), _)| verb == "finish").map(|(_, count)| count).sum()
        };
        let before = ended(self);
        eventually("a worker ends a run", || async { (ended(self) > before).then_some(()) }).await;
    }
}

/// The sum of a counter's series that begin so; 0 where nothing was counted.
async fn counter(at: &str, series: &str) -> f64 {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(format!("{at}/metrics").parse().unwrap()).await.unwrap();
    assert!(answer.status().is_success(), "{at}: {}", answer.status());
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let values =
        text.lines().filter(|line| line.starts_with(series)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().unwrap()).sum()
}
