//! The life of a run, driven through the routes that people and workers use.

use std::time::Duration;

use axum::http::Method;
use futures::{FutureExt as _, StreamExt as _};
use gantry_api_types::log::encode_batch;
use gantry_api_types::run::{ReasonCode, Status, WaitingFor};
use gantry_api_types::worker::LeaseSignal;
use gantry_domain::id::{ClaimId, DispatchId, RunId, WorkerId};
use gantry_domain::log::{LogChunk, LogStream, Segment};
use gantry_domain::run::RunState;
use gantry_producer::background::leases::LeaseReaper;
use gantry_producer::background::waiting::{Due, QueueTimeout, Unclaimed};
use gantry_queue::{ControlMessage, Queue as _};
use serde_json::{Value, json};

use crate::installation::{Installation, spec, spec_with};
use crate::worker::{FakeWorker, Held, exited, finish};

/// Every call about an attempt, which all answer that it is over.
async fn is_fenced(worker: &FakeWorker<'_>, held: &Held) {
    for state in ["starting", "analyzing"] {
        worker.state(held, state).await.refused(409, "stale_attempt");
    }
    worker.log(held, chunk(0, "late")).await.refused(409, "stale_attempt");
    worker.upload(held, vec![0; 1024]).await.refused(409, "stale_attempt");
    worker.finish(held, exited(0)).await.refused(409, "stale_attempt");
    assert_eq!(worker.heartbeat(0, &[held]).await.leases, [LeaseSignal::Lost]);
    let claim = worker.try_claim(held.run, held.message.dispatch, ClaimId::new()).await;
    claim.refused(409, "stale_attempt");
}

pub fn chunk(offset: u64, text: &str) -> axum::body::Bytes {
    let segment =
        Segment { stream: LogStream::Stdout, time: crate::installation::T0, length: text.len() as u32 };
    encode_batch(&LogChunk::new(offset, vec![segment], text.to_owned().into()).unwrap())
}

/// Lets the lease run out and the reaper see it.
async fn let_it_expire(installation: &Installation, reaper: &LeaseReaper) {
    assert_eq!(installation.watch(reaper, 46).await, 1);
}

#[tokio::test]
async fn a_run_goes_from_accepted_to_passed() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let id = installation.accept(spec()).await;
    let view = installation.show(id).await;
    assert_eq!((view.status, view.number, view.attempt), (Status::Pending, 1, 0));
    assert_eq!(view.queued_at, None);

    installation.dispatch().await;
    let view = installation.show(id).await;
    assert_eq!((view.status, view.queued_at), (Status::Queued, Some(installation.now())));

    let held = worker.claim_next().await.unwrap();
    installation.advance(1);
    worker.state(&held, "starting").await.expect(200);
    let view = installation.show(id).await;
    assert_eq!((view.status, view.attempt), (Status::Running, 1));
    assert_eq!((view.started_at, view.worker), (Some(installation.now()), Some(worker.id.to_string())));

    installation.advance(3);
    worker.state(&held, "analyzing").await.expect(200);
    assert_eq!(installation.status(id).await, Status::Analyzing);
    installation.advance(1);
    let finished = worker.finish(&held, exited(0)).await.expect(200).json();
    assert_eq!(finished, json!({"status": "passed"}));
    let view = installation.show(id).await;
    assert_eq!((view.status, view.exit_code, view.duration_ms), (Status::Passed, Some(0), Some(4000)));
    assert_eq!((view.waiting, view.finished_at), (None, Some(installation.now())));
    let attempts = installation.get(&format!("/api/v1/runs/{id}/attempts")).await.expect(200).json();
    assert_eq!(attempts["items"].as_array().unwrap().len(), 1);
    assert_eq!(attempts["items"][0]["execute_ms"], 2);
    is_fenced(&worker, &held).await;
}

#[tokio::test]
async fn what_the_worker_saw_decides_the_run() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let detail = "as the engine said";
    for (observed, status, reason) in [
        (json!({"kind": "exited", "code": 3, "oom_killed": false}), Status::Failed, ReasonCode::ExitCode),
        (json!({"kind": "exited", "code": 137, "oom_killed": true}), Status::Failed, ReasonCode::OutOfMemory),
        (json!({"kind": "exited", "code": 137, "oom_killed": false}), Status::Failed, ReasonCode::Killed),
        (json!({"kind": "exited", "code": 127, "oom_killed": false}), Status::Error, ReasonCode::BadCommand),
        (json!({"kind": "timed_out", "limit_seconds": 60}), Status::TimedOut, ReasonCode::Timeout),
        (json!({"kind": "bad_command", "detail": detail}), Status::Error, ReasonCode::BadCommand),
        (json!({"kind": "image_not_found", "detail": detail}), Status::Error, ReasonCode::ImageNotFound),
        (json!({"kind": "image_denied", "detail": detail}), Status::Error, ReasonCode::ImageDenied),
    ] {
        let held = worker.running(spec()).await;
        worker.finish(&held, finish(observed)).await.expect(200);
        let view = installation.show(held.run).await;
        let why = view.reason.unwrap();
        assert_eq!((view.status, why.code), (status, reason));
        assert!(!why.message.is_empty() && !why.hint.is_empty());
    }
}

#[tokio::test]
async fn a_claim_can_be_repeated_but_not_doubled() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 2).await;
    let other = FakeWorker::register(&installation, 2).await;
    let id = installation.accept(spec()).await;
    let early = worker.try_claim(id, DispatchId::new(), ClaimId::new()).await;
    early.refused(409, "stale_attempt");
    installation.dispatch().await;
    let message = installation.take().await.unwrap();
    worker.try_claim(id, DispatchId::new(), ClaimId::new()).await.refused(409, "stale_attempt");

    let claim = ClaimId::new();
    let first = worker.try_claim(id, message.dispatch, claim).await.expect(200);
    let again = worker.try_claim(id, message.dispatch, claim).await.expect(200);
    assert_eq!(first.json(), again.json(), "the lease token included");
    other.try_claim(id, message.dispatch, ClaimId::new()).await.refused(409, "stale_attempt");
    assert_eq!(installation.stored(id).await.attempts.len(), 1);
    worker.try_claim(RunId::new(), message.dispatch, claim).await.refused(409, "stale_attempt");
}

#[tokio::test]
async fn of_fifty_claims_at_once_one_is_granted() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 50).await;
    let id = installation.accept(spec()).await;
    installation.dispatch().await;
    let message = installation.take().await.unwrap();
    let claims = (0..50).map(|_| worker.try_claim(id, message.dispatch, ClaimId::new()));
    let answers = futures::future::join_all(claims).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.code() == "stale_attempt"));
    assert_eq!(installation.stored(id).await.attempts.len(), 1);
}

#[tokio::test]
async fn calls_without_the_lease_are_stale() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    let path = format!("/worker/v1/runs/{}/finish", held.run);
    worker.call(Method::POST, &path, None, exited(0)).await.refused(409, "stale_attempt");
    let guessed = gantry_domain::run::LeaseToken::from_bits(7);
    worker.call(Method::POST, &path, Some(&guessed), exited(0)).await.refused(409, "stale_attempt");
    assert_eq!(installation.status(held.run).await, Status::Running);
}

#[tokio::test]
async fn no_lease_is_taken_before_the_store_has_settled() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    // The first pass of a fresh process, long after the lease ended.
    installation.advance(1000);
    let reaper = LeaseReaper::new(installation.app().clone());
    assert_eq!(installation.watch(&reaper, 14).await, 0);
    // A worker that is heard again in that time keeps its run.
    assert_eq!(worker.heartbeat(1, &[&held]).await.leases, [LeaseSignal::Renewed]);
    installation.advance(1);
    assert_eq!(installation.pass(&reaper).await, 0);
    assert_eq!(installation.status(held.run).await, Status::Running);
    assert_eq!(installation.watch(&reaper, 44).await, 0, "renewed for 45 s");
    installation.advance(1);
    assert_eq!(installation.pass(&reaper).await, 1);
}

#[tokio::test]
async fn a_lost_run_is_tried_elsewhere_until_it_counts_as_lost() {
    let installation = Installation::new().await;
    let reaper = LeaseReaper::new(installation.app().clone());
    let (worker, other) =
        (FakeWorker::register(&installation, 1).await, FakeWorker::register(&installation, 4).await);
    let held = worker.running(spec()).await;
    worker.state(&held, "starting").await.expect(200);
    let_it_expire(&installation, &reaper).await;
    let view = installation.show(held.run).await;
    assert_eq!(view.status, Status::Pending);
    assert_eq!(view.waiting.unwrap().what, WaitingFor::Workers, "the first loss goes elsewhere at once");
    is_fenced(&worker, &held).await;

    installation.dispatch().await;
    let second = other.claim_next().await.unwrap();
    assert_eq!((second.run, second.attempt), (held.run, 2));
    assert_ne!(second.lease, held.lease);
    is_fenced(&worker, &held).await;
    let_it_expire(&installation, &reaper).await;
    let waiting = installation.show(held.run).await.waiting.unwrap();
    assert_eq!(waiting.what, WaitingFor::Due);
    installation.advance(2);
    assert_eq!(installation.pass(&Due(installation.app().clone())).await, 1);
    other.heartbeat(0, &[]).await;
    installation.dispatch().await;
    let third = other.claim_next().await.unwrap();
    let_it_expire(&installation, &reaper).await;
    let view = installation.show(third.run).await;
    assert_eq!((view.status, view.reason.unwrap().code), (Status::Error, ReasonCode::Lost));
    assert_eq!(view.attempt, 3);
}

#[tokio::test]
async fn at_most_once_is_never_started_twice() {
    let installation = Installation::new().await;
    let reaper = LeaseReaper::new(installation.app().clone());
    let worker = FakeWorker::register(&installation, 4).await;
    let started = worker.running(spec_with(json!({"at_most_once": true}))).await;
    worker.state(&started, "starting").await.expect(200);
    let unstarted = worker.running(spec_with(json!({"at_most_once": true}))).await;
    assert_eq!(installation.watch(&reaper, 46).await, 2);
    let view = installation.show(started.run).await;
    assert_eq!((view.status, view.reason.unwrap().code), (Status::Error, ReasonCode::Lost));
    assert_eq!(installation.status(unstarted.run).await, Status::Pending, "its start was never acknowledged");
}

#[tokio::test]
async fn failures_are_retried_as_asked_with_growing_pauses() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let retries = json!({"max": 2, "on": ["failed"], "backoff_seconds": 10});
    let mut held = worker.running(spec_with(json!({"retries": retries}))).await;
    let due = Due(installation.app().clone());
    for pause in [10, 20] {
        let finished = worker.finish(&held, exited(1)).await.expect(200).json();
        assert_eq!(finished["status"], "pending");
        let waiting = installation.show(held.run).await.waiting.unwrap();
        assert_eq!(waiting.what, WaitingFor::Due);
        assert_eq!(waiting.until, Some(installation.now() + Duration::from_secs(pause)));
        assert!(!waiting.message.is_empty());
        installation.advance(pause - 1);
        assert_eq!(installation.pass(&due).await, 0);
        installation.dispatch().await;
        assert_eq!(installation.status(held.run).await, Status::Pending);
        installation.advance(1);
        assert_eq!(installation.pass(&due).await, 1);
        installation.dispatch().await;
        held = worker.claim_next().await.unwrap();
    }
    assert_eq!(held.attempt, 3);
    assert_eq!(worker.finish(&held, exited(1)).await.json()["status"], "failed");
    assert_eq!(installation.show(held.run).await.attempt, 3);
}

#[tokio::test]
async fn an_outcome_that_was_not_listed_is_not_retried() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let retries = json!({"max": 2, "on": ["timed_out"], "backoff_seconds": 0});
    let held = worker.running(spec_with(json!({"retries": retries}))).await;
    assert_eq!(worker.finish(&held, exited(1)).await.json()["status"], "failed");
}

#[tokio::test]
async fn passing_only_after_a_failure_is_unstable() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let retries = json!({"max": 1, "on": ["failed"], "backoff_seconds": 0});
    let held = worker.running(spec_with(json!({"retries": retries}))).await;
    assert_eq!(worker.finish(&held, exited(1)).await.json()["status"], "pending");
    installation.dispatch().await;
    let again = worker.claim_next().await.unwrap();
    assert_eq!(worker.finish(&again, exited(0)).await.json()["status"], "unstable");
}

#[tokio::test]
async fn a_draining_worker_hands_its_run_back() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    let drained = installation.post(&format!("/api/v1/workers/{}/drain", worker.id), Value::Null).await;
    drained.expect(200);
    assert!(worker.heartbeat(1, &[&held]).await.draining);
    assert_eq!(
        worker.finish(&held, finish(json!({"kind": "handed_back"}))).await.json()["status"],
        "pending"
    );
    installation.dispatch().await;
    assert_eq!(installation.depth().await, 0, "nothing is dispatched to a draining worker");
    installation.post(&format!("/api/v1/workers/{}/undrain", worker.id), Value::Null).await.expect(200);
    installation.dispatch().await;
    assert_eq!(worker.claim_next().await.unwrap().attempt, 2);
}

#[tokio::test]
async fn what_waited_too_long_is_given_up() {
    let installation = Installation::with_config(|config| {
        config.limits.queue_timeout = Duration::from_secs(600);
    })
    .await;
    let pending = installation.accept(spec_with(json!({"pool": "nobody"}))).await;
    let worker = FakeWorker::register(&installation, 1).await;
    let queued = installation.accept(spec()).await;
    installation.dispatch().await;
    let timeout = QueueTimeout(installation.app().clone());
    installation.advance(600);
    assert_eq!(installation.pass(&timeout).await, 0);
    installation.advance(1);
    assert_eq!(installation.pass(&timeout).await, 2);
    for id in [pending, queued] {
        let view = installation.show(id).await;
        assert_eq!((view.status, view.reason.unwrap().code), (Status::TimedOut, ReasonCode::QueueTimeout));
    }
    let message = installation.take().await.unwrap();
    let late = worker.try_claim(queued, message.dispatch, ClaimId::new()).await;
    late.refused(409, "stale_attempt");
}

#[tokio::test]
async fn a_retry_after_a_long_attempt_has_not_waited_all_that_time() {
    let installation = Installation::with_config(|config| {
        config.limits.queue_timeout = Duration::from_secs(600);
    })
    .await;
    let worker = FakeWorker::register(&installation, 1).await;
    let retries = json!({"max": 1, "on": ["failed"], "backoff_seconds": 30});
    let held = worker.running(spec_with(json!({"retries": retries}))).await;
    installation.advance(5000);
    assert_eq!(worker.finish(&held, exited(1)).await.json()["status"], "pending");
    let timeout = QueueTimeout(installation.app().clone());
    assert_eq!(installation.pass(&timeout).await, 0);
    installation.advance(600);
    assert_eq!(installation.pass(&timeout).await, 0, "the pause does not count");
    installation.advance(31);
    assert_eq!(installation.pass(&timeout).await, 1);
}

#[tokio::test]
async fn pending_and_queued_runs_are_cancelled_at_once() {
    let installation = Installation::new().await;
    let pending = installation.accept(spec_with(json!({"pool": "nobody"}))).await;
    let worker = FakeWorker::register(&installation, 1).await;
    let queued = installation.accept(spec()).await;
    installation.dispatch().await;
    assert_eq!(installation.status(queued).await, Status::Queued);
    for id in [pending, queued] {
        let path = format!("/api/v1/runs/{id}/cancel");
        let view = installation.post(&path, Value::Null).await.expect(202).run();
        assert_eq!((view.status, view.reason.unwrap().code), (Status::Cancelled, ReasonCode::Cancelled));
        installation.post(&path, Value::Null).await.refused(409, "run_finished");
    }
    let message = installation.take().await.unwrap();
    worker.try_claim(queued, message.dispatch, ClaimId::new()).await.refused(409, "stale_attempt");
}

#[tokio::test]
async fn cancelling_a_running_run_reaches_its_worker_twice() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    let mut control = installation.queue.control().await.unwrap();
    let path = format!("/api/v1/runs/{}/cancel", held.run);
    let view = installation.post(&path, Value::Null).await.expect(202).run();
    assert!(view.cancelling && view.status == Status::Running);
    let told = control.next().now_or_never().flatten();
    assert_eq!(told, Some(ControlMessage::Cancel { run: held.run, attempt: 1 }));
    assert_eq!(worker.heartbeat(1, &[&held]).await.leases, [LeaseSignal::Cancel]);
    assert_eq!(worker.state(&held, "starting").await.expect(200).json(), json!({"cancel": true}));
    // Again: told again, changed nothing.
    let version = installation.stored(held.run).await.version;
    installation.post(&path, Value::Null).await.expect(202);
    assert_eq!(installation.stored(held.run).await.version, version);
    assert!(control.next().now_or_never().flatten().is_some());

    worker.finish(&held, finish(json!({"kind": "cancelled"}))).await.expect(200);
    let view = installation.show(held.run).await;
    assert_eq!((view.status, view.cancelling), (Status::Cancelled, false));
}

#[tokio::test]
async fn a_cancelled_run_whose_worker_is_lost_is_cancelled_and_not_tried_again() {
    let installation = Installation::new().await;
    let reaper = LeaseReaper::new(installation.app().clone());
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    installation.post(&format!("/api/v1/runs/{}/cancel", held.run), Value::Null).await.expect(202);
    let_it_expire(&installation, &reaper).await;
    assert_eq!(installation.status(held.run).await, Status::Cancelled);
}

#[tokio::test]
async fn a_command_that_ended_by_itself_keeps_its_result_despite_a_cancel() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    installation.post(&format!("/api/v1/runs/{}/cancel", held.run), Value::Null).await.expect(202);
    worker.finish(&held, exited(0)).await.expect(200);
    assert_eq!(installation.status(held.run).await, Status::Passed);
}

#[tokio::test]
async fn a_rerun_has_the_same_specification() {
    let installation = Installation::new().await;
    let body = spec_with(json!({"variables": {"A": "b"}, "labels": {"team": "x"}, "timeout_seconds": 77}));
    let original = installation.accept(body).await;
    let answer = installation.post(&format!("/api/v1/runs/{original}/rerun"), Value::Null).await.expect(202);
    let view = answer.run();
    assert_eq!(answer.header("location"), format!("/api/v1/runs/{}", view.id));
    assert_ne!(view.id, original.to_string());
    let (old, new) =
        (installation.stored(original).await, installation.stored(view.id.parse().unwrap()).await);
    assert_eq!(old.spec, new.spec);
    assert_eq!(view.trigger.rerun_of, Some(original.to_string()));
    assert_eq!((old.number, new.number), (1, 2));
}

#[tokio::test]
async fn a_bulk_action_says_for_each_run_what_came_of_it() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    worker.finish(&held, exited(0)).await.expect(200);
    let going = installation.accept(spec()).await;
    let stranger = installation.stranger().await;
    let theirs = installation.accept_as(&stranger, spec()).await;
    let ids = [held.run.to_string(), going.to_string(), theirs.to_string(), "nonsense".to_owned()];
    let bulk = async |action: &str, group: Value| {
        let body = json!({"action": action, "ids": ids, "group": group});
        let results = installation.post("/api/v1/runs/bulk", body).await.expect(200).json()["results"].take();
        results
            .as_array()
            .unwrap()
            .iter()
            .zip(&ids)
            .map(|(result, id)| {
                assert_eq!(result["id"], *id);
                assert_eq!(result["ok"], result["code"].is_null());
                result["code"].as_str().unwrap_or("ok").to_owned()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(bulk("regroup", json!("nightly")).await, ["ok", "ok", "not_found", "not_found"]);
    assert_eq!(installation.show(going).await.group.as_deref(), Some("nightly"));
    assert_eq!(bulk("cancel", Value::Null).await, ["run_finished", "ok", "not_found", "not_found"]);
    assert_eq!(bulk("delete", Value::Null).await, ["ok", "ok", "not_found", "not_found"]);
    assert_eq!(bulk("delete", Value::Null).await, ["not_found"; 4]);
    let kept = installation.stored(theirs).await;
    assert_eq!((kept.status().as_str(), kept.spec.group), ("pending", None));
}

#[tokio::test]
async fn bulk_takes_one_to_a_hundred_ids() {
    let installation = Installation::new().await;
    for count in [0, 101] {
        let ids: Vec<_> = (0..count).map(|_| RunId::new()).collect();
        let answer = installation.post("/api/v1/runs/bulk", json!({"action": "cancel", "ids": ids})).await;
        assert_eq!(answer.refused(422, "validation_failed").json()["errors"][0]["pointer"], "/ids");
    }
    let ids: Vec<_> = (0..100).map(|_| RunId::new()).collect();
    installation.post("/api/v1/runs/bulk", json!({"action": "cancel", "ids": ids})).await.expect(200);
    let bad = json!({"action": "regroup", "ids": [RunId::new()], "group": "a\nb"});
    let answer = installation.post("/api/v1/runs/bulk", bad).await.refused(422, "validation_failed");
    assert_eq!(answer.json()["errors"][0]["pointer"], "/group");
    let idle = json!({"action": "cancel", "ids": [RunId::new()], "group": "g"});
    let answer = installation.post("/api/v1/runs/bulk", idle).await.refused(422, "validation_failed");
    assert_eq!(answer.json()["errors"][0]["pointer"], "/group");
}

#[tokio::test]
async fn groups_follow_their_runs() {
    let installation = Installation::new().await;
    let group = |name: &str| spec_with(json!({"group": name}));
    let a = installation.accept(group("a")).await;
    installation.accept(group("a")).await;
    installation.accept(group("b")).await;
    let groups = async || -> Vec<(String, u64)> {
        let page = installation.get("/api/v1/runs/groups?limit=1").await.expect(200).json();
        let mut items = page["items"].as_array().unwrap().clone();
        if let Some(cursor) = page["next_cursor"].as_str() {
            let rest = installation.get(&format!("/api/v1/runs/groups?cursor={cursor}")).await.expect(200);
            items.extend(rest.json()["items"].as_array().unwrap().clone());
        }
        items
            .iter()
            .map(|item| (item["name"].as_str().unwrap().to_owned(), item["runs"].as_u64().unwrap()))
            .collect()
    };
    assert_eq!(groups().await, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    let regroup = json!({"action": "regroup", "ids": [a], "group": "b"});
    installation.post("/api/v1/runs/bulk", regroup).await.expect(200);
    assert_eq!(groups().await, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let ungroup = json!({"action": "regroup", "ids": [a]});
    installation.post("/api/v1/runs/bulk", ungroup).await.expect(200);
    assert_eq!(groups().await, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
}

#[tokio::test]
async fn waiting_says_why() {
    let installation = Installation::new().await;
    let first = installation.accept(spec()).await;
    let second = installation.accept(spec()).await;
    let urgent = installation.accept(spec_with(json!({"priority": "critical"}))).await;
    for (id, ahead) in [(urgent, 0), (first, 1), (second, 2)] {
        let waiting = installation.show(id).await.waiting.unwrap();
        assert_eq!((waiting.what, waiting.ahead), (WaitingFor::Workers, Some(ahead)));
        assert!(waiting.message.contains("No worker"), "{}", waiting.message);
        assert_eq!(waiting.estimated_start_at, None, "there is no basis for a guess");
    }
    let worker = FakeWorker::register(&installation, 1).await;
    let waiting = installation.show(second).await.waiting.unwrap();
    assert!(waiting.message.contains("free slot"), "{}", waiting.message);
    installation.dispatch().await;
    let view = installation.show(urgent).await;
    assert_eq!(view.status, Status::Queued);
    assert!(view.waiting.unwrap().message.contains("queue"));
    // Two endings are a basis.
    for expected in [urgent, first] {
        installation.dispatch().await;
        let held = worker.claim_next().await.unwrap();
        assert_eq!(held.run, expected);
        assert_eq!(installation.show(held.run).await.waiting, None);
        worker.finish(&held, exited(0)).await.expect(200);
    }
    let third = installation.accept(spec()).await;
    let waiting = installation.show(third).await.waiting.unwrap();
    assert!(waiting.estimated_start_at.unwrap() >= installation.now());
    let listed = installation.get("/api/v1/runs?limit=1").await.expect(200).json();
    assert_eq!(listed["items"][0]["waiting"]["for"], "workers");
    assert_eq!(listed["items"][0]["waiting"]["ahead"], Value::Null, "in the detail only");
}

#[tokio::test]
async fn a_run_whose_message_was_lost_is_published_again_under_the_same_dispatch() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let id = installation.accept(spec()).await;
    installation.dispatch().await;
    let lost = installation.take().await.unwrap();
    let republish = Unclaimed(installation.app().clone());
    installation.advance(60);
    assert_eq!(installation.pass(&republish).await, 0);
    installation.advance(1);
    assert_eq!(installation.pass(&republish).await, 1);
    assert_eq!(installation.pass(&republish).await, 0, "the broker holds as many as are queued");
    let held = worker.claim_next().await.unwrap();
    assert_eq!((held.run, held.message.dispatch), (id, lost.dispatch));
}

#[tokio::test]
async fn a_start_that_is_alone_takes_everything_back_at_once() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 2).await;
    let running = worker.running(spec()).await;
    let final_one = worker.running(spec_with(json!({"retries": {"max_lost": 0}}))).await;
    let queued = installation.accept(spec()).await;
    worker.heartbeat(1, &[&running, &final_one]).await;
    installation.dispatch().await;
    let before = installation.take().await.unwrap();
    assert_eq!(before.run, queued);

    installation.producer.recover_alone().await.unwrap();
    installation.producer.publish_again().await.unwrap();
    assert_eq!(installation.status(running.run).await, Status::Pending);
    assert_eq!(installation.status(final_one.run).await, Status::Error);
    is_fenced(&worker, &running).await;
    let again = installation.take().await.unwrap();
    assert_eq!((again.run, again.dispatch), (queued, before.dispatch));
    assert_eq!(installation.take().await, None);
    installation.producer.recover_alone().await.unwrap();
    installation.producer.publish_again().await.unwrap();
}

#[tokio::test]
async fn logs_are_taken_in_order_and_once() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    assert_eq!(worker.log(&held, chunk(0, "one\n")).await.expect(200).json(), json!({"end": 4}));
    assert_eq!(worker.log(&held, chunk(0, "one\n")).await.expect(200).json(), json!({"end": 4}));
    worker.log(&held, chunk(0, "two\n")).await.refused(409, "log_offset");
    worker.log(&held, chunk(9, "gap\n")).await.refused(409, "log_offset");
    worker.log(&held, "not a batch").await.refused(400, "malformed_body");
    let mut done = exited(0);
    done["log_end"] = json!(8);
    worker.finish(&held, done.clone()).await.refused(409, "log_offset");
    worker.log(&held, chunk(4, "end\n")).await.expect(200);
    assert_eq!(installation.show(held.run).await.log_bytes, Some(8));
    worker.finish(&held, done).await.expect(200);
    assert_eq!(installation.show(held.run).await.log_bytes, Some(8));
}

#[tokio::test]
async fn a_worker_the_producer_forgot_is_asked_to_register_and_keeps_its_lease() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    installation.stores.workers.forget(Some(worker.id), crate::installation::T0).await.unwrap();
    let answer = worker.heartbeat(1, &[&held]).await;
    assert!(answer.unknown);
    assert_eq!(answer.leases, [LeaseSignal::Renewed]);
    // Somebody else cannot renew it, even with the token.
    let thief = FakeWorker { id: WorkerId::new(), ..worker };
    assert_eq!(thief.heartbeat(1, &[&held]).await.leases, [LeaseSignal::Lost]);
}

#[tokio::test]
async fn a_worker_learns_which_attempts_are_over() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 2).await;
    let (going, over) = (worker.running(spec()).await, worker.running(spec()).await);
    worker.finish(&over, exited(0)).await.expect(200);
    let attempt = |run: RunId, attempt: u32| json!({"run": run, "attempt": attempt});
    let (unknown, of_going) = (attempt(RunId::new(), 1), attempt(going.run, 1));
    let body = json!({"worker": worker.id, "attempts": [of_going, attempt(over.run, 1), attempt(going.run, 2), unknown]});
    let answer = worker.call(Method::POST, "/worker/v1/attempts/over", None, body).await.expect(200);
    let expected = json!({"over": [attempt(over.run, 1), attempt(going.run, 2), unknown]});
    assert_eq!(answer.json(), expected);
    let RunState::Running { .. } = installation.stored(going.run).await.state else { panic!("not running") };
}
