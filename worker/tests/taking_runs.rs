//! How messages are taken, claimed and acknowledged.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use gantry_api_types::worker::{AttemptRef, Observation};
use gantry_domain::id::{DispatchId, RunId};
use gantry_domain::spec::Pool;
use gantry_executor::fake::{FakeExecutor, Verb};
use gantry_executor::{AttemptKey, ExecutorError};
use gantry_queue::{
    Consumer, ControlMessage, Delivery, EmbeddedQueue, Queue, QueueError, Receipt, RunMessage,
};
use gantry_worker::{DiskProbe, DiskSpace, DiskWatch};
use support::producer::{Call, Fault, Work};
use support::{World, config, key};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Begun,
    Taken,
    Paused,
    Acked,
}

/// The embedded queue, seen from outside.
struct Watched {
    queue: EmbeddedQueue,
    events: Arc<Mutex<Vec<Event>>>,
}

struct WatchedConsumer {
    consumer: Box<dyn Consumer>,
    events: Arc<Mutex<Vec<Event>>>,
}

struct WatchedReceipt {
    delivery: Delivery,
    events: Arc<Mutex<Vec<Event>>>,
}

#[async_trait]
impl Queue for Watched {
    async fn publish(&self, pool: &Pool, message: RunMessage) -> Result<(), QueueError> {
        self.queue.publish(pool, message).await
    }
    async fn consume(&self, pool: &Pool) -> Result<Box<dyn Consumer>, QueueError> {
        let consumer = self.queue.consume(pool).await?;
        self.events.lock().unwrap().push(Event::Begun);
        Ok(Box::new(WatchedConsumer { consumer, events: self.events.clone() }))
    }
    async fn depth(&self, pool: &Pool) -> Result<u64, QueueError> {
        self.queue.depth(pool).await
    }
    async fn unreadable(&self) -> Result<u64, QueueError> {
        self.queue.unreadable().await
    }
    async fn broadcast(&self, message: ControlMessage) -> Result<(), QueueError> {
        self.queue.broadcast(message).await
    }
    async fn control(&self) -> Result<BoxStream<'static, ControlMessage>, QueueError> {
        self.queue.control().await
    }
    async fn close(&self) {
        self.queue.close().await;
    }
}

#[async_trait]
impl Consumer for WatchedConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.consumer.next().await?;
        self.events.lock().unwrap().push(Event::Taken);
        let receipt = WatchedReceipt { delivery, events: self.events.clone() };
        Some(Delivery::new(receipt.delivery.message.clone(), Box::new(receipt)))
    }
    async fn pause(&mut self) {
        self.events.lock().unwrap().push(Event::Paused);
        self.consumer.pause().await;
    }
}

#[async_trait]
impl Receipt for WatchedReceipt {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        self.events.lock().unwrap().push(Event::Acked);
        self.delivery.ack().await
    }
}

async fn depth(world: &World) -> u64 {
    world.queue.depth(&Pool::default()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_consumer_is_paused_before_the_message_that_fills_the_last_slot_is_acknowledged() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let queue = Arc::new(Watched { queue: EmbeddedQueue::new(), events: events.clone() });
    let world = World::on(config(2), FakeExecutor::new(), queue);
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(world.submit(Work::new(&["fake:sleep=60000"])).await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    use Event::{Acked, Begun, Paused, Taken};
    assert_eq!(*events.lock().unwrap(), [Begun, Taken, Acked, Taken, Paused, Acked]);
    assert_eq!(depth(&world).await, 1, "the third run stays where other workers can take it");
    for run in runs {
        world.ended(run).await;
    }
}

/// A broker gives each consumer one message at a time, and a claim takes a while.
#[tokio::test(start_paused = true)]
async fn a_worker_with_many_slots_has_several_consumers() {
    for (slots, consumers) in [(1, 1), (7, 1), (8, 2), (64, 4)] {
        let events = Arc::new(Mutex::new(Vec::new()));
        let queue = Arc::new(Watched { queue: EmbeddedQueue::new(), events: events.clone() });
        let world = World::on(config(slots), FakeExecutor::new(), queue);
        let run = world.submit(Work::new(&["true"])).await;
        world.ended(run).await;
        let begun = events.lock().unwrap().iter().filter(|event| **event == Event::Begun).count();
        assert_eq!(begun, consumers, "{slots} slots");
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_slot_is_free_for_stays_where_other_workers_can_take_it() {
    let world = World::with(config(16), FakeExecutor::new());
    let mut runs = Vec::new();
    for _ in 0..24 {
        runs.push(world.submit(Work::new(&["fake:sleep=60000"])).await);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!((world.executor.live(), depth(&world).await), (16, 8));
    for run in runs {
        world.ended(run).await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_runs_than_slots_run_at_once_and_each_in_its_own_slot() {
    let world = World::with(config(3), FakeExecutor::new());
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(world.submit(Work::new(&["fake:sleep=1000"])).await);
    }
    let mut most = 0;
    for run in runs {
        most = most.max(world.executor.live());
        world.ended(run).await;
    }
    assert_eq!(most, 3);
    let mut slots: Vec<u32> = world.executor.specs().iter().take(3).map(|spec| spec.slot).collect();
    slots.sort_unstable();
    assert_eq!(slots, [0, 1, 2]);
    assert!(world.executor.specs().iter().all(|spec| spec.slot < 3));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_duplicates_of_a_message_are_one_execution() {
    let world = World::start();
    let (run, dispatch) = world.producer.queue_run(Work::new(&["fake:sleep=100"]));
    for _ in 0..100 {
        world.announce(run, dispatch).await;
    }
    world.ended(run).await;
    world.announce(run, dispatch).await;
    world.announce(RunId::new(), DispatchId::new()).await;
    world.still_works().await;
    assert_eq!(depth(&world).await, 0);
    assert_eq!(world.producer.grants_of(run), 1);
    assert_eq!(world.executor.calls_for(key(run)).iter().filter(|verb| **verb == Verb::Start).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_asked_again_under_its_id() {
    let world = World::start();
    world.producer.fault(Call::Claim, Fault::LostReply);
    let run = world.submit(Work::new(&["true"])).await;
    assert_eq!(world.ended(run).await.observed, Observation::Exited { code: 0, oom_killed: false });
    assert_eq!(world.producer.grants_of(run), 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_back_when_nobody_answers_its_claim_and_keeps_the_claims_id() {
    let world = World::start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.producer.fault(Call::Claim, Fault::LostReply);
    let run = world.submit(Work::new(&["true"])).await;
    world.until("the claim", || world.producer.calls_of(run).contains(&Call::Claim).then_some(())).await;
    world.producer.set_down(true);
    // Long enough that the message went back and was taken again, more than once.
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(depth(&world).await, 1);
    world.producer.set_down(false);
    assert_eq!(world.ended(run).await.observed, Observation::Exited { code: 0, oom_killed: false });
    assert_eq!(world.producer.grants_of(run), 1);
}

#[tokio::test(start_paused = true)]
async fn the_start_of_a_run_that_may_be_repeated_is_told_while_it_runs_if_that_takes_a_while() {
    let world = World::start();
    let repeatable = |words: &[&str]| Work { start_first: false, artifacts: vec![], ..Work::new(words) };
    let short = world.submit(repeatable(&["fake:sleep=20"])).await;
    let end = world.ended(short).await;
    assert!(end.no_log && end.execute_ms.is_some(), "{end:?}");
    assert_eq!(world.producer.calls_of(short), [Call::Claim, Call::Finish]);

    // Nobody answers at its start: that holds nothing up.
    world.producer.fault(Call::Starting, Fault::Unreachable);
    let long = world.submit(repeatable(&["fake:out=hi\n", "fake:sleep=5000"])).await;
    let end = world.ended(long).await;
    assert!(!end.no_log && end.log_end > 0, "{end:?}");
    let calls = world.producer.calls_of(long);
    assert_eq!(calls.iter().filter(|call| **call == Call::Starting).count(), 2, "{calls:?}");

    let first = world.submit(Work { start_first: true, ..repeatable(&["fake:sleep=20"]) }).await;
    world.ended(first).await;
    assert_eq!(world.producer.calls_of(first), [Call::Claim, Call::Starting, Call::Finish]);
}

#[tokio::test(start_paused = true)]
async fn what_the_answer_to_a_late_start_says_counts() {
    let world = World::start();
    let work = Work { start_first: false, ..Work::new(&["fake:hang"]) };
    world.producer.fault(Call::Starting, Fault::Stale);
    let lost = world.submit(work.clone()).await;
    world.until("the start", || world.producer.calls_of(lost).contains(&Call::Starting).then_some(())).await;
    world.until_clean().await;
    assert!(world.producer.finish_of(lost).is_none());
    let cancelled = world.submit(work).await;
    world
        .until("the claim", || world.producer.calls_of(cancelled).contains(&Call::Claim).then_some(()))
        .await;
    world.producer.cancel(cancelled);
    assert_eq!(world.ended(cancelled).await.observed, Observation::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_refused_claim_is_forgotten() {
    let world = World::start();
    world.producer.fault(Call::Claim, Fault::Refused);
    world.submit(Work::new(&["true"])).await;
    world.still_works().await;
    assert_eq!(depth(&world).await, 0);
}

#[tokio::test(start_paused = true)]
async fn every_call_may_fail_a_few_times_or_lose_its_answer() {
    for fault in [Fault::Unreachable, Fault::LostReply] {
        for call in [
            Call::Register,
            Call::Claim,
            Call::Starting,
            Call::Logs,
            Call::Analyzing,
            Call::Artifacts,
            Call::Finish,
        ] {
            let executor = Arc::new(FakeExecutor::new());
            let producer = Arc::new(support::producer::ScriptedProducer::new(executor.clone()));
            let repeats = if matches!(fault, Fault::LostReply) { 1 } else { 3 };
            for _ in 0..repeats {
                producer.fault(call, fault.clone());
            }
            let queue = Arc::new(EmbeddedQueue::new());
            let world = World::of(config(1), executor.clone(), executor, producer, queue);
            let words = [
                "fake:out=one\n",
                "fake:sleep=200",
                "fake:out=two\n",
                "fake:write=reports/a=1",
                "fake:exit=1",
            ];
            let run = world.submit(Work::new(&words)).await;
            let end = world.ended(run).await;
            assert_eq!(
                end.observed,
                Observation::Exited { code: 1, oom_killed: false },
                "{call:?} {fault:?}"
            );
            let log = String::from_utf8(world.producer.log_of(run)).unwrap();
            assert!(
                log.matches("one\n").count() == 1 && log.matches("two\n").count() == 1,
                "{call:?}: {log}"
            );
            assert_eq!(end.log_end, log.len() as u64);
            assert!(world.producer.artifacts_of(run).is_some(), "{call:?} {fault:?}");
            world.still_works().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_name_what_is_held_and_how_much_is_busy() {
    let world = World::start();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let run = world.submit(Work::new(&["fake:sleep=7000"])).await;
    world.ended(run).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let beats = world.producer.heartbeats();
    let shape: Vec<_> = beats.iter().map(|beat| (beat.busy, beat.leases.len())).collect();
    assert_eq!(shape, [(0, 0), (1, 1), (0, 0)]);
    assert_eq!(beats[1].leases[0].run, run);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_forgotten_registers_again() {
    let world = World::start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.producer.forget_worker();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let registered = world.producer.registered();
    assert_eq!(registered.len(), 2);
    assert_eq!(registered[0].worker, registered[1].worker);
}

#[tokio::test(start_paused = true)]
async fn a_drained_worker_takes_no_runs_until_it_may_again() {
    let world = World::start();
    world.producer.set_draining(true);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let run = world.submit(Work::new(&["true"])).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(world.producer.calls_of(run).is_empty());
    world.producer.set_draining(false);
    world.ended(run).await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_disk_space_takes_no_runs_says_why_and_recovers() {
    let free = Arc::new(Mutex::new(12_u64));
    let probe = free.clone();
    let mut config = config(2);
    config.disk = Some(DiskWatch::new(DiskProbe::new(move || {
        Some(DiskSpace { free: *probe.lock().unwrap(), total: 100 })
    })));
    let world = World::with(config, FakeExecutor::new());
    let run = world.submit(Work::new(&["true"])).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(world.producer.calls_of(run).is_empty());
    let paused = world.producer.heartbeats().last().and_then(|beat| beat.paused.clone()).unwrap();
    assert!(paused.contains("12 %"), "{paused}");
    *free.lock().unwrap() = 50;
    world.ended(run).await;
    world
        .until("a heartbeat", || world.producer.heartbeats().last().filter(|b| b.paused.is_none()).cloned())
        .await;
    assert_eq!(world.producer.heartbeats().last().unwrap().disk_free_bytes, Some(50));
}

#[tokio::test(start_paused = true)]
async fn leftovers_go_when_the_producer_says_that_they_are_over() {
    let executor = FakeExecutor::new();
    let (over, going_on) =
        (AttemptKey { run: RunId::new(), attempt: 2 }, AttemptKey { run: RunId::new(), attempt: 1 });
    executor.leave_behind(over);
    executor.leave_behind(going_on);
    executor.fail_next(Verb::Leftovers, ExecutorError::Infrastructure("not yet".to_owned()));
    let world = World::with(config(2), executor);
    world.producer.declare_over(AttemptRef { run: over.run, attempt: over.attempt });
    let own = world.submit(Work::new(&["fake:sleep=300000"])).await;
    world.producer.declare_over(AttemptRef { run: own, attempt: 1 });
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(world.executor.calls_for(over), [Verb::Destroy]);
    assert_eq!(world.executor.calls_for(going_on), []);
    assert_eq!(world.ended(own).await.observed, Observation::Exited { code: 0, oom_killed: false });
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_does_not_end_what_runs() {
    let world = World::start();
    let run = world.submit(Work::new(&["fake:sleep=20000"])).await;
    world.until("the start", || world.executor.calls_for(key(run)).contains(&Verb::Wait).then_some(())).await;
    world.queue.close().await;
    assert_eq!(world.ended(run).await.observed, Observation::Exited { code: 0, oom_killed: false });
    assert!(world.shut_down().await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn no_run_is_taken_while_the_engine_does_not_answer() {
    let world = World::start();
    world.still_works().await;
    for _ in 0..20 {
        world.executor.fail_next(Verb::Check, ExecutorError::Infrastructure("the engine is gone".into()));
    }
    let failed = world.submit(Work::new(&["fake:sleep=10", "fake:wait=infrastructure"])).await;
    assert!(matches!(world.ended(failed).await.observed, Observation::Infrastructure { .. }));
    let waiting = world.submit(Work::new(&["true"])).await;
    // It is looked at every second: the twenty failures last that long.
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(world.executor.calls_for(key(waiting)).is_empty(), "a run was taken");
    assert!(world.producer.paused().is_some_and(|why| why.contains("engine")), "the fleet is not told why");
    world.ended(waiting).await;
    world.still_works().await;
}
