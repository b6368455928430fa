//! What a worker does with a run that nothing disturbs, and how its end is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use gantry_api_types::worker::Observation;
use gantry_domain::log::LogStream;
use gantry_executor::ExecutorError;
use gantry_executor::fake::{FakeExecutor, Verb};
use support::producer::{Call, Fault, Work};
use support::{World, config, key};

#[tokio::test(start_paused = true)]
async fn a_run_that_says_nothing_takes_three_calls() {
    let world = World::start();
    let run = world.submit(Work::new(&["true"])).await;
    let end = world.ended(run).await;
    assert_eq!(end.observed, Observation::Exited { code: 0, oom_killed: false });
    assert_eq!((end.log_end, end.log_truncated, end.warnings), (0, false, vec![]));
    world.until_clean().await;
    assert_eq!(world.producer.calls_of(run), [Call::Claim, Call::Starting, Call::Finish]);
}

#[tokio::test(start_paused = true)]
async fn output_files_and_end_arrive_in_order() {
    let world = World::start();
    let words = [
        "fake:progress=pulling",
        "fake:out=hello\n",
        "fake:err=oops\n",
        "fake:write=reports/j.xml=<x/>",
        "fake:exit=3",
    ];
    let run = world.submit(Work::new(&words)).await;
    let end = world.ended(run).await;
    assert_eq!(end.observed, Observation::Exited { code: 3, oom_killed: false });
    assert_eq!(end.log_end, world.producer.log_of(run).len() as u64);
    assert_eq!(world.producer.stream_of(run, LogStream::Stdout), "hello\n");
    assert_eq!(world.producer.stream_of(run, LogStream::Stderr), "oops\n");
    let system = world.producer.stream_of(run, LogStream::System);
    let lines: Vec<&str> = system.lines().collect();
    assert_eq!(lines[..2], ["pulling", "started"], "{system}");
    assert!(lines[2].starts_with("collecting") && lines[3].starts_with("collected 1 file, "), "{system}");
    assert_eq!(lines[4], "a problem");
    assert!(lines[5].starts_with("exit code 3 after"), "{system}");
    let tar = world.producer.artifacts_of(run).unwrap();
    assert!(tar.starts_with(b"reports/j.xml\0"));
    let calls: Vec<_> = world.producer.calls_of(run).into_iter().filter(|call| *call != Call::Logs).collect();
    assert_eq!(calls, [Call::Claim, Call::Starting, Call::Analyzing, Call::Artifacts, Call::Finish]);
    world.until_clean().await;
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_command_is_told_as_it_was_seen() {
    let infrastructure = |detail: &str| Observation::Infrastructure { detail: detail.to_owned() };
    let told = |error: &str| format!("the fake executor was told to fail with {error}");
    let cases = [
        (vec!["fake:oom"], Observation::Exited { code: 137, oom_killed: true }),
        (vec!["fake:signal=9"], Observation::Exited { code: 137, oom_killed: false }),
        (
            vec!["fake:prepare=image_not_found"],
            Observation::ImageNotFound { detail: told("image_not_found") },
        ),
        (vec!["fake:prepare=image_denied"], Observation::ImageDenied { detail: told("image_denied") }),
        (
            vec!["fake:prepare=registry_unreachable"],
            Observation::RegistryUnreachable { detail: told("registry_unreachable") },
        ),
        (vec!["fake:prepare=infrastructure"], infrastructure(&told("infrastructure"))),
        (vec!["fake:prepare=unsupported"], Observation::BadCommand { detail: told("unsupported") }),
        (vec!["fake:start=bad_command"], Observation::BadCommand { detail: told("bad_command") }),
        (vec!["fake:start=infrastructure"], infrastructure(&told("infrastructure"))),
        (vec!["fake:wait=infrastructure"], infrastructure(&told("infrastructure"))),
        (vec!["fake:out=x", "fake:wait=infrastructure"], infrastructure(&told("infrastructure"))),
    ];
    let world = World::start();
    for (words, observed) in cases {
        let run = world.submit(Work::new(&words)).await;
        assert_eq!(world.ended(run).await.observed, observed, "{words:?}");
        let exited = matches!(observed, Observation::Exited { .. });
        assert!(exited || world.producer.live_at_finish(run) == 0, "{words:?}: told before it was removed");
        world.until_clean().await;
    }
}

#[tokio::test(start_paused = true)]
async fn files_are_collected_after_a_failure_and_after_the_time_limit() {
    let world = World::start();
    for words in [vec!["fake:write=reports/a=1", "fake:exit=1"], vec!["fake:write=reports/a=1", "fake:hang"]]
    {
        let run = world.submit(Work { timeout_seconds: 5, ..Work::new(&words) }).await;
        world.ended(run).await;
        assert!(world.producer.artifacts_of(run).is_some(), "{words:?}");
        world.until_clean().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_ends_a_command_that_does_not_want_to() {
    let world = World::start();
    let run =
        world.submit(Work { timeout_seconds: 5, ..Work::new(&["fake:ignore-stop", "fake:hang"]) }).await;
    let end = world.ended(run).await;
    assert_eq!(end.observed, Observation::TimedOut { limit_seconds: 5 });
    let took = Duration::from_millis(end.execute_ms.unwrap());
    assert!((5..6).contains(&took.as_secs()), "{took:?}");
    assert_eq!(world.producer.live_at_finish(run), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_run_and_not_the_worker() {
    let executor = FakeExecutor::scripted(|spec| {
        assert!(!support::words(spec).contains(&"panic".to_owned()), "as the test wants it");
        Default::default()
    });
    let world = World::with(config(1), executor);
    let run = world.submit(Work::new(&["panic"])).await;
    assert!(matches!(world.ended(run).await.observed, Observation::Infrastructure { .. }));
    world.still_works().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_removed_at_first_is_removed_later() {
    let world = World::start();
    for _ in 0..2 {
        world.executor.fail_next(Verb::Destroy, ExecutorError::Infrastructure("busy".to_owned()));
    }
    let run = world.submit(Work::new(&["true"])).await;
    world.ended(run).await;
    world.until_clean().await;
    assert!(world.executor.calls_for(key(run)).iter().filter(|verb| **verb == Verb::Destroy).count() >= 3);
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_collected_are_a_warning() {
    let world = World::start();
    world.executor.fail_next(Verb::Collect, ExecutorError::Infrastructure("the engine went away".to_owned()));
    let run = world.submit(Work::new(&["fake:write=reports/a=1"])).await;
    let end = world.ended(run).await;
    assert_eq!(end.observed, Observation::Exited { code: 0, oom_killed: false });
    assert_eq!(end.warnings[0].0, "artifacts_missing");
    assert!(end.warnings[0].1.contains("the engine went away"));
    assert!(world.producer.stream_of(run, LogStream::System).contains("the engine went away"));
}

#[tokio::test(start_paused = true)]
async fn files_survive_a_producer_that_is_away_for_a_while() {
    let world = World::start();
    for _ in 0..12 {
        world.producer.fault(Call::Artifacts, Fault::Unreachable);
    }
    let run = world.submit(Work::new(&["fake:write=reports/a=1"])).await;
    let end = world.ended(run).await;
    assert_eq!(end.warnings, []);
    assert!(world.producer.artifacts_of(run).is_some());
}
