//! Requests as they leave, and answers as callers see them.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use gantry_api_types::Page;
use gantry_api_types::problem::{Problem, ProblemCode};
use gantry_api_types::request::CreateRun;
use gantry_api_types::run::Artifact;
use gantry_api_types::set_aside::{SetAside, SetAsideDocument};
use gantry_api_types::system::{Health, HealthStatus};
use gantry_api_types::worker::{ArtifactsAnswer, LogAnswer, ReportedState};
use gantry_client::{
    ApiClient, ByteRange, ClientError, LogQuery, RetryPolicy, Transport, TransportError, WorkerClient, retry,
};
use gantry_domain::id::RunId;
use gantry_domain::log::{LogChunk, LogStream, Segment};
use gantry_domain::run::LeaseToken;
use gantry_domain::time::Timestamp;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::scripted::Script;

const RUN: RunId = RunId::from_u128(7);

fn problem(code: ProblemCode) -> Vec<u8> {
    serde_json::to_vec(&Problem::new(code, "Because.")).unwrap()
}

#[tokio::test]
async fn a_call_carries_the_credential_and_a_json_content_type() {
    let script = Script::default();
    script.answer(404, "application/problem+json", problem(ProblemCode::NotFound));
    let client = ApiClient::new(script.transport(), "gk_secret");
    let request = CreateRun { image: Some("busybox".into()), ..CreateRun::default() };
    let error = client.create_run(&request, Some("key-1")).await.unwrap_err();
    assert!(error.is_not_found() && !error.is_retryable(), "{error:?}");
    assert_eq!(error.to_string(), "Because.");

    let asked = &script.asked()[0];
    assert_eq!(asked.line, "POST /api/v1/runs");
    assert_eq!(asked.header("authorization"), Some("Bearer gk_secret"));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(asked.header("idempotency-key"), Some("key-1"));
    assert_eq!(asked.body, br#"{"image":"busybox"}"#[..]);
    assert!(!format!("{client:?}").contains("secret"));
}

#[tokio::test]
async fn a_rerun_can_be_repeated_under_its_key() {
    let script = Script::default();
    for _ in 0..2 {
        script.answer(503, "application/problem+json", problem(ProblemCode::Unavailable));
    }
    let client = ApiClient::new(script.transport(), "key");
    for key in [Some("again-1"), None] {
        assert!(client.rerun(RUN, key).await.unwrap_err().is_retryable());
    }
    let asked = script.asked();
    assert_eq!(asked[0].line, format!("POST /api/v1/runs/{RUN}/rerun"));
    assert_eq!([0, 1].map(|i| asked[i].header("idempotency-key")), [Some("again-1"), None]);
}

#[tokio::test]
async fn a_stale_attempt_is_told_from_every_other_conflict() {
    let script = Script::default();
    script.answer(409, "application/problem+json", problem(ProblemCode::StaleAttempt));
    script.answer(409, "application/problem+json", problem(ProblemCode::LogOffset));
    let worker = WorkerClient::new(script.transport(), "token");
    let lease = LeaseToken::from_bits(1);
    for stale in [true, false] {
        let error = worker.state(RUN, &lease, ReportedState::Starting).await.unwrap_err();
        assert_eq!((error.is_stale(), error.is_retryable()), (stale, false));
    }
    assert_eq!(script.asked()[0].header("gantry-lease"), Some(lease.as_str()));
}

#[tokio::test]
async fn an_answer_of_a_proxy_is_no_success_and_may_pass() {
    let script = Script::default();
    script.answer(502, "text/html", "<h1>Bad gateway</h1>");
    script.answer(200, "text/html", "<h1>Welcome</h1>");
    script.answer(422, "application/problem+json", r#"{"detail":"Later.","code":"from_a_later_version"}"#);
    let client = ApiClient::new(script.transport(), "key");
    let error = client.version().await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("502"), "{error}");
    let error = client.version().await.unwrap_err();
    assert!(!error.is_retryable() && matches!(error, ClientError::Protocol { .. }), "{error}");
    let error = client.version().await.unwrap_err();
    assert!(!error.is_retryable() && error.to_string() == "Later.", "{error}");
}

#[tokio::test]
async fn not_being_ready_is_an_answer() {
    let (status, version) = (HealthStatus::Down, "1".to_owned());
    let health = Health { ready: false, status, version, dependencies: vec![] };
    let script = Script::default();
    script.answer(503, "application/json", serde_json::to_vec(&health).unwrap());
    assert_eq!(ApiClient::new(script.transport(), "").health().await.unwrap(), health);
}

#[tokio::test]
async fn what_was_set_aside_is_listed() {
    let document = SetAsideDocument {
        kind: "of_a_later_version".into(),
        id: RUN.to_string(),
        why: "version 7".into(),
        at: Timestamp::EPOCH,
    };
    let script = Script::default();
    script.json(&SetAside { items: vec![document.clone()], messages: Some(2) });
    let answer = ApiClient::new(script.transport(), "key").set_aside().await.unwrap();
    assert_eq!((answer.items, answer.messages), (vec![document], Some(2)));
    assert_eq!(script.asked()[0].line, "GET /api/v1/system/set-aside");
}

#[tokio::test]
async fn all_pages_are_asked_for_one_after_another() {
    let artifact = |path: &str| Artifact {
        path: path.into(),
        bytes: 1,
        content_type: "text/plain".into(),
        report: false,
    };
    let script = Script::default();
    script.json(&Page { items: vec![artifact("a")], next_cursor: Some("x=".into()) });
    script.json(&Page { items: vec![artifact("b")], next_cursor: None });
    let all: Vec<_> =
        ApiClient::new(script.transport(), "key").all_artifacts(RUN).try_collect().await.unwrap();
    assert_eq!(all.iter().map(|artifact| artifact.path.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(script.asked()[1].line.ends_with("/artifacts?limit=100&cursor=x%3D"), "{:?}", script.asked()[1]);
}

#[tokio::test]
async fn a_piece_of_the_log_is_asked_for_by_range() {
    let script = Script::default();
    script.answer(206, "text/plain", "abc");
    let client = ApiClient::new(script.transport(), "key");
    let query = LogQuery { attempt: Some(2), system: true };
    let bytes = client.logs(RUN, query, Some(&ByteRange::Between(5..=7))).await.unwrap();
    assert_eq!(bytes.try_collect::<Vec<_>>().await.unwrap().concat(), b"abc");
    assert_eq!(script.asked()[0].line, format!("GET /api/v1/runs/{RUN}/logs?attempt=2&system=1"));
    assert_eq!(script.asked()[0].header("range"), Some("bytes=5-7"));
}

#[tokio::test]
async fn an_unavailable_server_gets_the_same_batch_again() {
    let script = Script::default();
    script.answer(503, "application/problem+json", problem(ProblemCode::Unavailable));
    script.json(&LogAnswer { end: 3 });
    let worker = WorkerClient::new(script.transport(), "token");
    let segment = Segment { stream: LogStream::Stdout, time: Timestamp::EPOCH, length: 3 };
    let chunk = LogChunk::new(0, vec![segment], Bytes::from_static(b"abc")).unwrap();
    let lease = LeaseToken::from_bits(1);
    let deadline = Instant::now() + Duration::from_secs(60);
    let answer = retry(RetryPolicy::default(), deadline, || worker.append_logs(RUN, &lease, &chunk)).await;
    assert_eq!(answer.unwrap().end, 3);
    assert_eq!(script.asked()[0].body, script.asked()[1].body);
    assert_eq!(gantry_api_types::log::decode_batch(script.asked()[0].body.clone()), Ok(chunk));
}

#[tokio::test]
async fn nobody_listening_is_told_from_a_broken_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = ApiClient::new(Transport::http(&format!("http://{address}")).unwrap(), "key");

    let (error, ()) = tokio::join!(client.version(), async { drop(listener.accept().await.unwrap()) });
    let error = error.unwrap_err();
    assert!(matches!(error, ClientError::Transport(TransportError::Broken(_))), "{error:?}");

    drop(listener);
    let error = client.version().await.unwrap_err();
    assert!(matches!(error, ClientError::Transport(TransportError::Connect { .. })), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn a_socket_carries_what_a_call_within_the_process_carries() {
    let script = Script::default();
    let answer = ArtifactsAnswer { count: 1, bytes: 2_000_000, tests: 0, problems: vec![] };
    script.json(&answer).json(&answer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/below/here/", listener.local_addr().unwrap());
    let server = {
        let script = script.clone();
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(move |request| script.clone().play(request));
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await
        })
    };
    for transport in [Transport::http(&base).unwrap(), script.transport()] {
        let pieces = (0..20).map(|i| Ok::<_, std::io::Error>(Bytes::from(vec![i; 100_000])));
        let tar = futures::stream::iter(pieces);
        let worker = WorkerClient::new(transport, "token");
        let got = worker.put_artifacts(RUN, &LeaseToken::from_bits(1), tar.boxed()).await.unwrap();
        assert_eq!(got, answer);
    }
    server.await.unwrap().unwrap();
    let [socket, process] = &script.asked()[..] else { panic!("two requests") };
    assert_eq!(socket.line, format!("PUT /below/here/worker/v1/runs/{RUN}/artifacts"));
    assert_eq!(process.line, format!("PUT /worker/v1/runs/{RUN}/artifacts"));
    assert_eq!(socket.body, process.body);
    assert_eq!(socket.body.len(), 2_000_000);
}
