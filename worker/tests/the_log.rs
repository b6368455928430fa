//! What of a command's output arrives at the producer, and when.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use gantry_api_types::worker::Observation;
use gantry_domain::log::{LogStream, MAX_CHUNK_BYTES};
use gantry_executor::fake::{FakeExecutor, Gate, Script};
use support::producer::{Call, Fault, Work};
use support::{World, config};
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_line_arrives_while_the_command_goes_on() {
    let gate = Gate::new();
    let held = gate.clone();
    let executor = FakeExecutor::scripted(move |_| Script::default().prints("hello\n").holds(&held));
    let world = World::with(config(1), executor);
    let run = world.submit(Work::new(&[])).await;
    let begun = Instant::now();
    world.until("the line", || world.producer.log_of(run).ends_with(b"hello\n").then_some(())).await;
    assert!(begun.elapsed() <= Duration::from_millis(150), "{:?}", begun.elapsed());
    gate.open();
    world.ended(run).await;
}

#[tokio::test(start_paused = true)]
async fn pull_progress_arrives_while_it_is_prepared() {
    let world = World::start();
    let run = world.submit(Work::new(&["fake:progress=1 of 3 layers", "fake:hang-prepare"])).await;
    world.until("the line", || world.producer.log_of(run).ends_with(b"layers\n").then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn secrets_never_leave_the_worker_however_they_are_cut() {
    let world = World::start();
    let words = [
        "fake:out=a hunter",
        "fake:err=other hun",
        "fake:out=22-long b\n",
        "fake:err=ter22-long\n",
        "fake:sleep=500",
        "fake:out=hunter22",
    ];
    let masked = vec!["hunter22-long".to_owned(), "hunter22".to_owned()];
    let run = world.submit(Work { masked, ..Work::new(&words) }).await;
    world.ended(run).await;
    assert_eq!(world.producer.stream_of(run, LogStream::Stdout), "a *** b\n***");
    assert_eq!(world.producer.stream_of(run, LogStream::Stderr), "other ***\n");
}

#[tokio::test(start_paused = true)]
async fn secrets_in_gantrys_own_lines_are_masked_and_lines_stay_lines() {
    let world = World::start();
    let masked = vec!["image_denied".to_owned()];
    let run = world
        .submit(Work {
            masked,
            ..Work::new(&["fake:progress=one\nforged\r\u{1b}[31m", "fake:prepare=image_denied"])
        })
        .await;
    let end = world.ended(run).await;
    let detail = "the fake executor was told to fail with ***".to_owned();
    assert_eq!(end.observed, Observation::ImageDenied { detail }, "nor in the reason");
    let system = world.producer.stream_of(run, LogStream::System);
    assert_eq!(system, "one forged  [31m\nthe fake executor was told to fail with ***\n");
}

#[tokio::test(start_paused = true)]
async fn the_limit_cuts_the_log_visibly_and_not_the_command() {
    let world = World::start();
    for (limit, filled) in [(1 << 20, 10 << 20), (1000, 1001), (5, 1 << 20)] {
        let fill = format!("fake:fill={filled}");
        let run = world.submit(Work { log_limit_bytes: limit, ..Work::new(&[&fill, "fake:exit=7"]) }).await;
        let end = world.ended(run).await;
        assert_eq!(end.observed, Observation::Exited { code: 7, oom_killed: false });
        assert!(end.log_truncated);
        assert_eq!(world.producer.stream_of(run, LogStream::Stdout).len() as u64, limit);
        let system = world.producer.stream_of(run, LogStream::System);
        assert_eq!(system.matches("reached: the rest is not kept").count(), 1, "{system}");
        assert!(system.lines().last().unwrap().starts_with("exit code 7"), "{system}");
        assert_eq!(end.log_end, world.producer.log_of(run).len() as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_of_exactly_the_limit_is_whole() {
    let world = World::start();
    let run = world.submit(Work { log_limit_bytes: 1000, ..Work::new(&["fake:fill=1000"]) }).await;
    let end = world.ended(run).await;
    assert!(!end.log_truncated);
    assert_eq!(world.producer.stream_of(run, LogStream::Stdout).len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_slow_producer_slows_the_command_and_not_the_worker() {
    let gate = Gate::new();
    let world = World::with(config(2), FakeExecutor::new());
    world.producer.fault(Call::Logs, Fault::Held(gate.clone()));
    let run = world.submit(Work::new(&["fake:fill=20000000"])).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.producer.calls_of(run).iter().filter(|call| **call == Call::Logs).count(), 1);
    world.still_works_beside().await;
    gate.open();
    let end = world.ended(run).await;
    assert_eq!(world.producer.stream_of(run, LogStream::Stdout).len(), 20_000_000);
    assert_eq!(end.log_end, world.producer.log_of(run).len() as u64);
}

#[tokio::test(start_paused = true)]
async fn an_appended_chunk_whose_answer_was_lost_is_not_stored_twice() {
    let world = World::start();
    for _ in 0..3 {
        world.producer.fault(Call::Logs, Fault::LostReply);
    }
    let run = world.submit(Work::new(&["fake:fill=3000000", "fake:out=end"])).await;
    let end = world.ended(run).await;
    let log = world.producer.stream_of(run, LogStream::Stdout);
    assert!(log.len() == 3_000_003 && log.ends_with("xend"), "{}", log.len());
    assert_eq!(end.log_end, world.producer.log_of(run).len() as u64);
    assert_eq!(end.warnings, []);
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_costs_the_rest_of_the_log_and_says_so() {
    let world = World::start();
    world.producer.fault(Call::Logs, Fault::Refused);
    let run = world
        .submit(Work::new(&["fake:out=gone\n", "fake:sleep=1000", "fake:out=too\n", "fake:exit=9"]))
        .await;
    let end = world.ended(run).await;
    assert_eq!(end.observed, Observation::Exited { code: 9, oom_killed: false });
    assert_eq!((end.log_end, end.warnings[0].0.as_str()), (0, "log_incomplete"));
}

#[tokio::test(start_paused = true)]
async fn characters_are_whole_in_every_piece() {
    let text = "äöü€😀".repeat(50_000);
    let printed = text.clone();
    let executor = FakeExecutor::scripted(move |_| {
        let mut script = Script::default();
        for piece in printed.as_bytes().chunks(4099) {
            script = script.prints(piece.to_vec());
        }
        script
    });
    let world = World::with(config(1), executor);
    let run = world.submit(Work::new(&[])).await;
    world.ended(run).await;
    assert_eq!(world.producer.stream_of(run, LogStream::Stdout), text);
    let cut =
        world.producer.pieces_of(run).iter().filter(|piece| std::str::from_utf8(piece).is_err()).count();
    assert_eq!(cut, 0);
    assert!(text.len() > 2 * MAX_CHUNK_BYTES, "the text is cut at all");
}
