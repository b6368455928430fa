//! Submitters that go on through every fault: what was not answered is submitted again under the same key, so that each
//! `202` is known, and nothing else is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gantry_api_types::request::{CreateRun, Retries};
use gantry_client::ApiClient;
use rand::RngExt as _;
use tokio::task::JoinSet;

use crate::PATIENCE;

/// What was promised about a run that was accepted.
#[derive(Debug, Clone)]
pub struct Promise {
    pub at_most_once: bool,
    /// Exactly what the log of its deciding attempt holds.
    pub log: String,
}

/// An empty file for effects.
pub fn effects_file(dir: &Path) -> PathBuf {
    let path = dir.join("count.effects");
    std::fs::write(&path, "").expect("a file for effects");
    path
}

/// The `i`th run: takes `sleep`, leaves one effect, prints two lines. Every fourth may be started once only.
pub fn fake_run(i: u64, sleep: Duration, effects: &Path) -> (CreateRun, Promise) {
    let words = [
        format!("fake:out=begin {i}\\n"),
        format!("fake:sleep={}", sleep.as_millis()),
        format!("fake:effect={}", effects.display()),
        format!("fake:out=end {i}\\n"),
    ];
    let at_most_once = i.is_multiple_of(4);
    let request = CreateRun {
        image: Some("fake:1".into()),
        command: Some(words.to_vec()),
        artifacts: Some(vec![]),
        at_most_once: Some(at_most_once),
        retries: Some(Retries { max_lost: Some(10), ..Retries::default() }),
        ..CreateRun::default()
    };
    (request, Promise { at_most_once, log: format!("begin {i}\nend {i}\n") })
}

/// Submitters at work.
pub struct Load {
    shared: Arc<Shared>,
    submitters: JoinSet<()>,
}

struct Shared {
    clients: Vec<ApiClient>,
    effects: PathBuf,
    sleep_ms: (u64, u64),
    pause: Duration,
    limit: Option<u64>,
    next: AtomicU64,
    stop: AtomicBool,
    promised: Mutex<BTreeMap<String, Promise>>,
    latencies: Mutex<Vec<Duration>>,
    refused: AtomicU64,
}

impl Load {
    /// `submitters` of them, each with a pause between runs that sleep for a random time of `sleep_ms`. They go on until
    /// told to stop, or until `limit` runs are accepted.
    pub fn start(
        clients: Vec<ApiClient>,
        submitters: usize,
        effects: &Path,
        sleep_ms: (u64, u64),
        pause: Duration,
        limit: Option<u64>,
    ) -> Self {
        let shared = Arc::new(Shared {
            clients,
            effects: effects.to_owned(),
            sleep_ms,
            pause,
            limit,
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            promised: Mutex::default(),
            latencies: Mutex::default(),
            refused: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for number in 0..submitters {
            tasks.spawn(Arc::clone(&shared).submit(number));
        }
        Self { shared, submitters: tasks }
    }

    pub fn accepted(&self) -> usize {
        self.shared.promised().len()
    }

    /// Lets everything that was begun be answered; what was promised, and how long each accepting call took.
    pub async fn stop(mut self) -> (BTreeMap<String, Promise>, Vec<Duration>) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.finished().await;
        let promised = self.shared.promised().clone();
        let latencies = self.shared.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (promised, latencies)
    }

    /// Waits until the limit is reached.
    pub async fn finished(&mut self) {
        while let Some(ended) = self.submitters.join_next().await {
            if let Err(error) = ended {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Answers so far that were not 202, and calls without an answer.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn promised(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Promise>> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn submit(self: Arc<Self>, number: usize) {
        while !self.stop.load(Ordering::SeqCst) {
            let i = self.next.fetch_add(1, Ordering::SeqCst);
            if self.limit.is_some_and(|limit| i >= limit) {
                return;
            }
            let sleep = rand::rng().random_range(self.sleep_ms.0..=self.sleep_ms.1);
            let (request, promise) = fake_run(i, Duration::from_millis(sleep), &self.effects);
            let id = self.accepted(number, i, &request).await;
            let again = self.promised().insert(id.clone(), promise);
            assert!(again.is_none(), "two keys, one run: {id}");
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Repeats the request under its key until it is accepted.
    async fn accepted(&self, number: usize, i: u64, request: &CreateRun) -> String {
        let key = format!("load-{i}");
        let deadline = Instant::now() + 2 * PATIENCE;
        let mut turn = number;
        loop {
            let client = &self.clients[turn % self.clients.len()];
            turn += 1;
            let asked = Instant::now();
            let error = match client.create_run(request, Some(&key)).await {
                Ok(run) => {
                    let took = asked.elapsed();
                    self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                    return run.id;
                }
                Err(error) => error,
            };
            self.refused.fetch_add(1, Ordering::SeqCst);
            // Only what says "try again" may answer a request that is right.
            let status = error.status().map(|status| status.as_u16());
            assert!(matches!(status, None | Some(409 | 429 | 502 | 503 | 504)), "{status:?}: {error}");
            if status == Some(503) {
                assert!(error.retry_after().is_some(), "503 without Retry-After: {error}");
            }
            assert!(Instant::now() < deadline, "never accepted: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
