//! A worker under test: its executor is the fake, its producer is scripted.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod producer;

use std::sync::Arc;
use std::time::Duration;

use gantry_api_types::worker::Finish;
use gantry_domain::id::{DispatchId, RunId};
use gantry_domain::spec::Pool;
use gantry_domain::time::SystemClock;
use gantry_executor::fake::FakeExecutor;
use gantry_executor::{AttemptKey, AttemptSpec, Executor};
use gantry_queue::{EmbeddedQueue, Queue, RunMessage};
use gantry_service_kit::shutdown::{Drained, Shutdown};
use gantry_worker::{Worker, WorkerConfig, WorkerParts};
use tokio::task::JoinHandle;

use self::producer::{ScriptedProducer, Work};

/// Virtual time: far above everything a test waits for.
const GENEROUS: Duration = Duration::from_secs(3600);

pub struct World {
    pub producer: Arc<ScriptedProducer>,
    pub queue: Arc<dyn Queue>,
    pub executor: Arc<FakeExecutor>,
    pub shutdown: Shutdown,
    pub worker: JoinHandle<Drained>,
}

pub fn config(slots: u32) -> WorkerConfig {
    WorkerConfig::new("under-test", Pool::default(), slots)
}

impl World {
    /// A worker with two slots whose attempts do what their command words spell.
    pub fn start() -> Self {
        Self::with(config(2), FakeExecutor::new())
    }

    pub fn with(config: WorkerConfig, executor: FakeExecutor) -> Self {
        Self::on(config, executor, Arc::new(EmbeddedQueue::new()))
    }

    pub fn on(config: WorkerConfig, executor: FakeExecutor, queue: Arc<dyn Queue>) -> Self {
        let executor = Arc::new(executor);
        let producer = Arc::new(ScriptedProducer::new(Arc::clone(&executor)));
        Self::of(config, executor.clone(), executor, producer, queue)
    }

    /// `acting` is what the worker sees of `executor`.
    pub fn of(
        config: WorkerConfig,
        executor: Arc<FakeExecutor>,
        acting: Arc<dyn Executor>,
        producer: Arc<ScriptedProducer>,
        queue: Arc<dyn Queue>,
    ) -> Self {
        let parts = WorkerParts {
            producer: producer.clone(),
            queue: Arc::clone(&queue),
            executor: acting,
            clock: Arc::new(SystemClock),
        };
        let shutdown = Shutdown::new();
        let worker = tokio::spawn(Worker::new(parts, config).run(shutdown.clone()));
        Self { producer, queue, executor, shutdown, worker }
    }

    /// Queues a run and announces it.
    pub async fn submit(&self, work: Work) -> RunId {
        let (run, dispatch) = self.producer.queue_run(work);
        self.announce(run, dispatch).await;
        run
    }

    pub async fn announce(&self, run: RunId, dispatch: DispatchId) {
        let message = RunMessage { run, dispatch, trace: Default::default() };
        self.queue.publish(&Pool::default(), message).await.unwrap();
    }

    pub async fn ended(&self, run: RunId) -> Finish {
        self.until("the run to end", || self.producer.finish_of(run)).await
    }

    /// Polls in virtual time.
    pub async fn until<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let poll = async {
            loop {
                if let Some(found) = condition() {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(GENEROUS, poll).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}; calls so far: {:?}", self.producer.calls()),
        }
    }

    pub async fn until_clean(&self) {
        self.until("every trace to be removed", || (self.executor.live() == 0).then_some(())).await;
    }

    /// The worker is as good as new: it takes another run, and leaves nothing.
    pub async fn still_works(&self) {
        for _ in 0..3 {
            let run = self.submit(Work::new(&["true"])).await;
            self.ended(run).await;
        }
        self.until_clean().await;
    }

    /// It takes another run beside what goes on.
    pub async fn still_works_beside(&self) {
        let run = self.submit(Work::new(&["true"])).await;
        self.ended(run).await;
    }

    pub async fn shut_down(self) -> Drained {
        self.shutdown.trigger();
        self.worker.await.unwrap()
    }
}

pub fn key(run: RunId) -> AttemptKey {
    AttemptKey { run, attempt: 1 }
}

pub fn words(spec: &AttemptSpec) -> Vec<String> {
    spec.command.clone().unwrap_or_default()
}
