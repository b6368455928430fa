//! Every step of an attempt, cut by everything that may cut it: the right end is told, nothing is left on the engine, and
//! the worker goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use gantry_api_types::worker::Observation;
use gantry_executor::fake::{FakeExecutor, Gate, Verb};
use gantry_queue::ControlMessage;
use support::producer::{Call, Fault, Work};
use support::{World, config, key};
use tokio::time::Instant;

use gantry_domain::id::RunId;

/// Where an attempt stands when it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Preparing,
    Starting,
    Running,
    /// Running, and deaf to polite signals.
    RunningDeaf,
    /// The producer takes no output, and the command waits to be rid of more.
    Slowed,
    /// Ended, but the producer does not take its last output.
    ReadingTheRest,
    ReportingAnalyzing,
    Uploading,
}

const STEPS: [Step; 8] = [
    Step::Preparing,
    Step::Starting,
    Step::Running,
    Step::RunningDeaf,
    Step::Slowed,
    Step::ReadingTheRest,
    Step::ReportingAnalyzing,
    Step::Uploading,
];

impl Step {
    /// A run that stands at this step, and a gate that would let it go on.
    async fn reach(self, world: &World) -> (RunId, Gate) {
        let gate = Gate::new();
        let hold = |call| world.producer.fault(call, Fault::Held(gate.clone()));
        let words: &[&str] = match self {
            Self::Preparing => &["fake:hang-prepare"],
            Self::Starting => &["true"],
            Self::Running => &["fake:out=hi\n", "fake:hang"],
            Self::RunningDeaf => &["fake:out=hi\n", "fake:ignore-stop", "fake:hang"],
            Self::Slowed => &["fake:fill=10000000"],
            // More than is held on the way to the producer (four chunks), less than that and what the pipe holds.
            Self::ReadingTheRest => &["fake:fill=1114112"],
            Self::ReportingAnalyzing | Self::Uploading => &["fake:write=reports/a=1"],
        };
        let call = match self {
            Self::Preparing | Self::Running | Self::RunningDeaf => None,
            Self::Starting => Some(Call::Starting),
            Self::Slowed | Self::ReadingTheRest => Some(Call::Logs),
            Self::ReportingAnalyzing => Some(Call::Analyzing),
            Self::Uploading => Some(Call::Artifacts),
        };
        // A call that is not answered gives up after its bound and comes again.
        (0..100).filter_map(|_| call).for_each(hold);
        let run = world.submit(Work::new(words)).await;
        let called = |verb| world.executor.calls_for(key(run)).contains(&verb);
        let asked = |call| world.producer.calls_of(run).contains(&call);
        world
            .until("the step", || {
                let there = match self {
                    Self::Preparing => called(Verb::Prepare),
                    Self::Starting => asked(Call::Starting),
                    Self::Running | Self::RunningDeaf => called(Verb::Wait) && asked(Call::Logs),
                    Self::Slowed | Self::ReadingTheRest => called(Verb::Wait) && asked(Call::Logs),
                    Self::ReportingAnalyzing => asked(Call::Analyzing),
                    Self::Uploading => asked(Call::Artifacts),
                };
                there.then_some(())
            })
            .await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        (run, gate)
    }

    fn command_has_ended(self) -> bool {
        matches!(self, Self::ReadingTheRest | Self::ReportingAnalyzing | Self::Uploading)
    }

    fn may_count_as_started(self) -> bool {
        self != Self::Preparing
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Control,
    Heartbeat,
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_is_gone_within_seconds_at_every_step() {
    for step in STEPS {
        for word in [Word::Control, Word::Heartbeat] {
            let world = World::start();
            let (run, gate) = step.reach(&world).await;
            let asked_at = Instant::now();
            match word {
                Word::Control => {
                    world.queue.broadcast(ControlMessage::Cancel { run, attempt: 1 }).await.unwrap();
                }
                Word::Heartbeat => world.producer.cancel(run),
            }
            world.until_clean().await;
            let took = asked_at.elapsed();
            let heartbeat = if word == Word::Heartbeat { 5 } else { 0 };
            // The grace of three seconds, and two for last words.
            assert!(
                took <= Duration::from_millis(1000 * (heartbeat + 5) + 100),
                "{step:?} {word:?}: {took:?}"
            );
            gate.open();
            let end = world.ended(run).await;
            assert_eq!(end.observed, Observation::Cancelled, "{step:?} {word:?}");
            assert_eq!(world.producer.live_at_finish(run), 0, "{step:?}: removed before it was told");
            world.still_works().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_lease_was_taken_away_is_removed_and_nothing_is_told() {
    for step in STEPS {
        let world = World::start();
        let (run, gate) = step.reach(&world).await;
        world.producer.take_lease(run);
        world.until_clean().await;
        gate.open();
        let told = world.producer.calls_of(run).len();
        world.still_works().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.producer.finish_of(run), None, "{step:?}");
        assert_eq!(world.producer.calls_of(run).len(), told, "{step:?}: it went on talking");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_answer_ends_the_attempt_whichever_call_it_answers() {
    for call in [Call::Starting, Call::Analyzing, Call::Logs, Call::Artifacts, Call::Finish] {
        let world = World::start();
        world.producer.fault(call, Fault::Stale);
        let words = ["fake:out=hi\n", "fake:write=reports/a=1", "fake:sleep=1000", "fake:exit=1"];
        let run = world.submit(Work::new(&words)).await;
        world.until("the call", || world.producer.calls_of(run).contains(&call).then_some(())).await;
        world.until_clean().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.producer.calls_of(run).last(), Some(&call), "{call:?}: it went on talking");
        assert_eq!(world.producer.finish_of(run), None, "{call:?}");
        world.still_works().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_nobody_answers_fences_itself_before_its_leases_end() {
    for step in STEPS {
        let world = World::start();
        let (run, gate) = step.reach(&world).await;
        let asked_at = Instant::now();
        world.producer.set_down(true);
        world.until_clean().await;
        let took = asked_at.elapsed();
        // 40 s after the last answered heartbeat was sent, which was at most one period ago.
        assert!(took >= Duration::from_secs(34) && took < Duration::from_secs(41), "{step:?}: {took:?}");
        gate.open();
        world.producer.set_down(false);
        world.still_works().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(world.producer.finish_of(run), None, "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_fence_costs_no_run() {
    for step in STEPS {
        let world = World::start();
        let (run, gate) = step.reach(&world).await;
        world.producer.set_down(true);
        tokio::time::sleep(Duration::from_secs(25)).await;
        world.producer.set_down(false);
        gate.open();
        if !matches!(step, Step::Preparing | Step::Running | Step::RunningDeaf) {
            assert_eq!(
                world.ended(run).await.observed,
                Observation::Exited { code: 0, oom_killed: false },
                "{step:?}"
            );
        } else {
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert_eq!(world.executor.live(), 1, "{step:?}: it was ended for nothing");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_cannot_be_told_is_told_later() {
    let world = World::start();
    let run = world.submit(Work::new(&["fake:sleep=1000", "fake:exit=4"])).await;
    world.until("the start", || world.executor.calls_for(key(run)).contains(&Verb::Wait).then_some(())).await;
    world.producer.set_down(true);
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(world.executor.live(), 0, "the engine does not wait for the producer");
    world.producer.set_down(false);
    assert_eq!(world.ended(run).await.observed, Observation::Exited { code: 4, oom_killed: false });
    world.still_works().await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_hands_back_what_does_not_end_in_its_grace() {
    for step in STEPS {
        let mut config = config(2);
        config.drain_grace = Duration::from_secs(20);
        let world = World::with(config, FakeExecutor::new());
        let (run, gate) = step.reach(&world).await;
        let (producer, executor) = (world.producer.clone(), world.executor.clone());
        let asked_at = Instant::now();
        let ungate = async {
            tokio::time::sleep(Duration::from_secs(21)).await;
            gate.open();
        };
        let (drained, ()) = tokio::join!(world.shut_down(), ungate);
        assert!(drained.is_clean(), "{step:?}: {drained:?}");
        let took = asked_at.elapsed();
        let end =
            producer.finish_of(run).unwrap_or_else(|| panic!("{step:?}: not told; {:?}", producer.calls()));
        if step.command_has_ended() {
            assert_eq!(end.observed, Observation::Exited { code: 0, oom_killed: false }, "{step:?}");
        } else {
            assert_eq!(end.observed, Observation::HandedBack, "{step:?}");
        }
        if step.may_count_as_started() {
            assert!(took >= Duration::from_secs(20) && took < Duration::from_secs(40), "{step:?}: {took:?}");
        }
        assert_eq!(executor.live(), 0, "{step:?}");
        assert_eq!(producer.calls().last().map(|(call, _)| *call), Some(Call::Leave), "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_a_run_end_by_itself_in_its_grace() {
    let world = World::start();
    let run = world.submit(Work::new(&["fake:sleep=10000", "fake:exit=2"])).await;
    world.until("the start", || world.executor.calls_for(key(run)).contains(&Verb::Wait).then_some(())).await;
    let producer = world.producer.clone();
    let asked_at = Instant::now();
    assert!(world.shut_down().await.is_clean());
    assert!(asked_at.elapsed() < Duration::from_secs(11), "it waited for nothing: {:?}", asked_at.elapsed());
    let end = producer.finish_of(run).unwrap();
    assert_eq!(end.observed, Observation::Exited { code: 2, oom_killed: false });
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_bounded_when_nobody_answers() {
    let mut config = config(2);
    config.drain_grace = Duration::from_secs(5);
    let world = World::with(config, FakeExecutor::new());
    let (_, _gate) = Step::Running.reach(&world).await;
    let executor = world.executor.clone();
    world.producer.set_down(true);
    let asked_at = Instant::now();
    let _ = world.shut_down().await;
    assert!(asked_at.elapsed() < Duration::from_secs(30), "{:?}", asked_at.elapsed());
    assert_eq!(executor.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_before_anybody_answers_ends_at_once() {
    let executor = std::sync::Arc::new(FakeExecutor::new());
    let producer = std::sync::Arc::new(support::producer::ScriptedProducer::new(executor.clone()));
    producer.set_down(true);
    let queue = std::sync::Arc::new(gantry_queue::EmbeddedQueue::new());
    let world = World::of(config(2), executor.clone(), executor, producer, queue);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let asked_at = Instant::now();
    assert!(world.shut_down().await.is_clean());
    assert!(asked_at.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_future_is_dropped_leaves_nothing_behind() {
    let world = World::start();
    let (run, _gate) = Step::Running.reach(&world).await;
    world.worker.abort();
    world.until_clean().await;
    let end = world.ended(run).await;
    assert_eq!(end.observed, Observation::HandedBack);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_nobody_takes_holds_its_slot_for_a_while_only() {
    let world = World::with(config(1), FakeExecutor::new());
    (0..10_000).for_each(|_| world.producer.fault(Call::Finish, Fault::Unreachable));
    let run = world.submit(Work::new(&["true"])).await;
    world.until("the end to be told", || (world.producer.count(Call::Finish) > 0).then_some(())).await;
    // Heartbeats are answered all the while: no fence ends this.
    tokio::time::sleep(Duration::from_secs(1200)).await;
    let beat = world.producer.heartbeats().pop().unwrap();
    assert_eq!((beat.busy, beat.leases), (0, Vec::new()));
    assert_eq!(world.producer.finish_of(run), None, "its lease is left to run out");
    world.until_clean().await;
}
