//! Live streams over connections that end, break, fall silent, or repeat themselves.

use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use gantry_api_types::run::{Run, Status};
use gantry_client::{ApiClient, Change, ClientError, LogItem, LogPosition, Patience};
use gantry_domain::id::RunId;

use crate::scripted::Script;

const RUN: RunId = RunId::from_u128(7);

fn run(status: &str) -> String {
    let none = serde_json::Value::Null;
    serde_json::json!({
        "id": RUN.to_string(), "number": 1, "status": status, "reason": none, "project": none, "image": "busybox",
        "command": none, "folder": none, "environment": none, "group": none, "labels": {}, "pool": "default",
        "priority": "normal", "trigger": {"kind": "api", "actor": "system", "rerun_of": none, "ci": none},
        "attempt": 1, "max_attempts": 1, "exit_code": 0, "created_at": "2026-01-01T00:00:00Z", "queued_at": none,
        "started_at": none, "finished_at": none, "duration_ms": 1, "worker": none,
        "tests": {"total": 0, "passed": 0, "failed": 0, "skipped": 0, "flaky": 0},
        "artifacts": {"count": 0, "bytes": 0}, "log_bytes": 0, "waiting": none, "warnings": [], "cancelling": false,
        "links": {"self": "", "web": ""},
        "spec": {"base_url": none, "variables": {}, "secrets": [], "timeout_seconds": 1, "retries": {},
            "at_most_once": false, "resources": {}, "artifacts": [], "workdir": none},
    })
    .to_string()
}

pub fn log(attempt: u32, offset: u64, text: &str) -> String {
    let end = offset + text.len() as u64;
    let time = "2026-01-01T00:00:00Z";
    format!(
        "event: log\nid: {attempt}:{end}\n\
         data: {{\"attempt\":{attempt},\"offset\":{offset},\"stream\":\"stdout\",\"time\":\"{time}\",\"text\":\"{text}\"}}\n\n"
    )
}

pub fn end() -> String {
    format!("event: end\ndata: {}\n\n", run("passed"))
}

/// What a follower sees, in a line: bytes as text, `[n]` for an attempt, `~` for an interruption, `.` for the end.
async fn follow(script: &Script, from: Option<LogPosition>) -> (String, Option<ClientError>) {
    let patience = Patience { outage: Duration::from_secs(60), ..Patience::default() };
    let client = ApiClient::new(script.transport(), "key").with_patience(patience);
    let items = client.follow(RUN, from);
    pin_mut!(items);
    let mut seen = String::new();
    while let Some(item) = items.next().await {
        match item {
            Ok(LogItem::Log(piece)) => seen.push_str(&String::from_utf8(piece.bytes().unwrap()).unwrap()),
            Ok(LogItem::Attempt(number)) => seen.push_str(&format!("[{number}]")),
            Ok(LogItem::Interrupted(_)) => seen.push('~'),
            Ok(LogItem::End(run)) => {
                assert_eq!(run.status, Status::Passed);
                seen.push('.');
            }
            Err(error) => return (seen, Some(error)),
        }
    }
    (seen, None)
}

fn ids(script: &Script) -> Vec<Option<String>> {
    script.asked().iter().map(|asked| asked.header("last-event-id").map(str::to_owned)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_follower_goes_on_behind_the_last_byte_it_saw() {
    let script = Script::default();
    script.events(&format!("{}{}retry: 1000\n\n", log(1, 0, "ab"), log(1, 2, "c")));
    script.events(&format!(": hi\n\n{}{}", log(1, 3, "de"), end()));
    assert_eq!(follow(&script, None).await.0, "abc~de.");
    assert_eq!(ids(&script), [None, Some("1:3".into())]);
    assert_eq!(script.asked()[0].header("accept"), Some("text/event-stream"));
}

#[tokio::test(start_paused = true)]
async fn repeated_bytes_are_dropped_and_missing_ones_fetched() {
    let script = Script::default();
    script.events(&[log(1, 0, "abcd"), log(1, 0, "ab"), log(1, 2, "cdef"), log(1, 9, "jk")].concat());
    script.events(&[log(1, 6, "ghijk"), end()].concat());
    assert_eq!(follow(&script, None).await.0, "abcdef~ghijk.");
    assert_eq!(ids(&script), [None, Some("1:6".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_told_once_and_remembered_across_connections() {
    let script = Script::default();
    script.events(&format!("{}event: attempt\ndata: {{\"attempt\":2}}\n\n", log(1, 0, "a")));
    script.events(
        &["event: attempt\ndata: {\"attempt\":2}\n\n".into(), log(2, 0, "b"), log(3, 0, "c"), end()].concat(),
    );
    assert_eq!(follow(&script, None).await.0, "a[2]~b[3]c.");
    assert_eq!(ids(&script), [None, Some("2:0".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_is_left() {
    let script = Script::default();
    script.events_then_silence(&log(1, 0, "a"));
    script.events(&[log(1, 1, "b"), end()].concat());
    assert_eq!(follow(&script, Some(LogPosition { attempt: 1, offset: 0 })).await.0, "a~b.");
    assert_eq!(ids(&script), [Some("1:0".into()), Some("1:1".into())]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_the_stream_when_it_lasts_too_long() {
    let script = Script::default();
    script.events(&log(1, 0, "a"));
    let (seen, error) = follow(&script, None).await;
    assert_eq!(seen, "a~");
    assert!(error.unwrap().is_retryable());
    let tries = script.asked().len();
    assert!((10..100).contains(&tries), "{tries}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_the_stream_at_once() {
    let script = Script::default();
    script.answer(403, "text/plain", "no");
    let (seen, error) = follow(&script, None).await;
    assert_eq!((seen.as_str(), script.asked().len()), ("", 1));
    assert_eq!(error.unwrap().status(), Some(http::StatusCode::FORBIDDEN));
}

#[tokio::test(start_paused = true)]
async fn changes_of_a_run_end_with_it() {
    let script = Script::default();
    script.events(&format!("event: run\ndata: {}\n\n", run("running")));
    script.events(&format!("event: run\ndata: {}\n\nevent: run\ndata: x\n\n", run("passed")));
    let client = ApiClient::new(script.transport(), "key");
    let seen: Vec<Status> =
        client.run_events(RUN).map(|run: Result<Run, _>| run.unwrap().status).collect().await;
    assert_eq!(seen, [Status::Running, Status::Passed]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_run_is_a_change() {
    let script = Script::default();
    script.events("event: later\ndata: {}\n\nevent: deleted\ndata: {\"id\":\"run_x\"}\n\n");
    let client = ApiClient::new(script.transport(), "key");
    let changes = client.events();
    pin_mut!(changes);
    assert_eq!(changes.next().await.unwrap().unwrap(), Change::Deleted("run_x".into()));
}
