//! Every documented error, provoked through HTTP.

use std::num::NonZeroU32;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, Request};
use gantry_api_types::problem::{Problem, ProblemCode};
use gantry_domain::id::RunId;
use gantry_domain::identity::ApiKey;
use gantry_domain::permission::Scope;
use gantry_producer::config::Hosts;
use gantry_producer::services::credentials;
use gantry_ratelimit::Limit;
use serde_json::{Value, json};

use crate::installation::{Answer, Installation, Wish, answer, spec, spec_with};
use crate::moody_store::{INTERNAL, Mood};
use crate::problem::problem;
use crate::server::Server;
use crate::worker::{FakeWorker, exited};

const TEN_MB: usize = 10 << 20;

/// An answer with this code, and words by which it says what to do.
async fn provoke(code: ProblemCode) -> (Answer, &'static str) {
    let mood = Mood::default();
    let installation = Installation::with(Wish { stores: Some(mood.over()), ..Wish::default() }).await;
    let worker = FakeWorker::register(&installation, 1).await;
    let missing = format!("/api/v1/runs/{}", RunId::new());
    // No wildcard: a new code does not compile before it has its case.
    match code {
        ProblemCode::MalformedBody => (installation.post_runs("{", &[]).await, "not JSON"),
        ProblemCode::InvalidParameter => (installation.get("/api/v1/runs?limit=0").await, "1 to 100"),
        ProblemCode::Unauthorized => (
            installation.call_as("", Method::GET, "/api/v1/runs", None).await,
            "Check that it was copied whole",
        ),
        ProblemCode::Forbidden => {
            let secret = credentials::new_api_key();
            let key = ApiKey { scopes: [Scope::RunsRead].into(), ..installation.another_key(&secret) };
            installation.stores.keys.add(&key).await.unwrap();
            let path = "/api/v1/runs";
            (
                installation.call_as(&secret, Method::POST, path, Some(spec())).await,
                "Ask an admin of your organization",
            )
        }
        ProblemCode::Conflict => {
            let admin = installation.another_key("").owner;
            let path = format!("/api/v1/organization/members/{admin}");
            (installation.delete(&path).await, "make somebody else an admin first")
        }
        ProblemCode::ForeignOrigin => {
            let request = Request::post("/api/v1/runs").header("origin", "https://evil.example");
            (answer(&installation.public, request.body(Body::empty()).unwrap()).await, "http.cors_origins")
        }
        ProblemCode::UnknownHost => {
            let closed = Installation::with_config(|config| {
                config.http.hosts = Hosts::Listed(vec!["gantry.example".to_owned()]);
            })
            .await;
            let request = Request::get("/api/v1/runs").header("host", "evil.example");
            (answer(&closed.public, request.body(Body::empty()).unwrap()).await, "http.hosts")
        }
        ProblemCode::NotFound => (installation.get(&missing).await, "not yours"),
        ProblemCode::MethodNotAllowed => {
            (installation.call_as("", Method::PATCH, "/api/v1/runs", None).await, "not with this method")
        }
        ProblemCode::RequestTimeout => {
            let server = Server::start(installation.public.clone()).await;
            let head = head(&installation, "content-length: 100");
            let answer = server.send(&[head.as_bytes(), b"{"]).await;
            server.stop().await;
            (answer, "Send it again")
        }
        ProblemCode::RunFinished => {
            let held = worker.running(spec()).await;
            worker.finish(&held, exited(0)).await.expect(200);
            let path = format!("/api/v1/runs/{}/cancel", held.run);
            (installation.post(&path, Value::Null).await, "nothing to cancel")
        }
        ProblemCode::RunNotFinished => {
            let id = installation.accept(spec()).await;
            (installation.delete(&format!("/api/v1/runs/{id}")).await, "cancel it first")
        }
        ProblemCode::IdempotencyInFlight => {
            let _first = installation.app().in_flight.enter(installation.organization, "a key").unwrap();
            let headers = [("idempotency-key", "a key")];
            (installation.post_runs(spec().to_string(), &headers).await, "Repeat yours in a moment")
        }
        ProblemCode::StaleAttempt => {
            let held = worker.running(spec()).await;
            worker.finish(&held, exited(0)).await.expect(200);
            (worker.finish(&held, exited(0)).await, "stop, clean up, forget it")
        }
        ProblemCode::LogOffset => {
            let held = worker.running(spec()).await;
            let mut done = exited(0);
            done["log_end"] = json!(5);
            (worker.finish(&held, done).await, "send what is missing first")
        }
        ProblemCode::AlreadyExists => {
            let project = json!({"name": "shop"});
            installation.post("/api/v1/projects", project.clone()).await.expect(201);
            (installation.post("/api/v1/projects", project).await, "change that one")
        }
        ProblemCode::NotConfigured => {
            installation.post("/api/v1/projects", json!({"name": "shop"})).await.expect(201);
            let (path, secret) = ("/api/v1/projects/shop/secrets/TOKEN", json!({"value": "a secret"}));
            (
                installation.call_as(&installation.key, Method::PUT, path, Some(secret)).await,
                "`gantry-producer new-sealing-key` makes one",
            )
        }
        ProblemCode::PayloadTooLarge => {
            (installation.post_runs(vec![b' '; TEN_MB], &[]).await, "2097152 bytes at most")
        }
        ProblemCode::UnsupportedMediaType => {
            let request = Request::post("/api/v1/runs")
                .header("authorization", format!("Bearer {}", installation.key))
                .header("content-type", "text/plain")
                .body(Body::from(spec().to_string()));
            (answer(&installation.public, request.unwrap()).await, "`Content-Type: application/json`")
        }
        ProblemCode::RangeNotSatisfiable => {
            let held = worker.running(spec()).await;
            worker.upload(&held, crate::worker::tar_of("reports/a.txt", b"12345")).await.expect(200);
            worker.finish(&held, exited(0)).await.expect(200);
            let request = Request::get(format!("/api/v1/runs/{}/artifacts/reports/a.txt", held.run))
                .header("authorization", format!("Bearer {}", installation.key))
                .header("range", "bytes=9-");
            (
                answer(&installation.public, request.body(Body::empty()).unwrap()).await,
                "5 bytes that there are",
            )
        }
        ProblemCode::ValidationFailed => (
            installation.post("/api/v1/runs", spec_with(json!({"timeout_seconds": 0}))).await,
            "give 1 to 86400",
        ),
        ProblemCode::IdempotencyKeyReused => {
            let headers = [("idempotency-key", "a key")];
            installation.post_runs(spec().to_string(), &headers).await.expect(202);
            let other = spec_with(json!({"group": "other"})).to_string();
            (installation.post_runs(other, &headers).await, "Use a new key")
        }
        ProblemCode::NotSupported => (
            installation.post("/api/v1/runs", spec_with(json!({"shards": 4}))).await,
            "planned for a later version",
        ),
        ProblemCode::RateLimited => {
            let count = NonZeroU32::MIN;
            let limited = Installation::with_config(|config| {
                config.rate_limits.organization = Some(Limit::per_minute(count, count));
            })
            .await;
            limited.accept(spec()).await;
            (limited.post("/api/v1/runs", spec()).await, "Wait 60 s")
        }
        ProblemCode::QuotaExceeded => {
            let limited = Installation::with_config(|config| config.quotas.queued_runs = Some(1)).await;
            limited.accept(spec()).await;
            (limited.post("/api/v1/runs", spec()).await, "1 runs of this organization wait")
        }
        ProblemCode::Internal => {
            mood.panicking();
            (installation.get(&missing).await, "under this request id")
        }
        ProblemCode::Unavailable => {
            mood.unavailable();
            (installation.get(&missing).await, "Try again")
        }
        ProblemCode::UnsupportedProtocol => (
            worker.speaking("2").call(Method::GET, "/worker/v1/hello", None, Value::Null).await,
            "upgrade the producers first",
        ),
        ProblemCode::StorageFull => {
            mood.full();
            (installation.post("/api/v1/runs", spec()).await, "Free some space")
        }
    }
}

fn head(installation: &Installation, framing: &str) -> String {
    format!(
        "POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\n{framing}\r\n\r\n",
        installation.key
    )
}

#[tokio::test]
async fn every_code_is_answered_as_documented() {
    for &code in ProblemCode::ALL {
        let (answer, words) = provoke(code).await;
        let problem = problem(&answer);
        assert_eq!(problem.code, code, "{}", problem.detail);
        assert!(problem.detail.contains(words), "{code:?} does not say {words:?}: {}", problem.detail);
        assert!(!answer.text().contains("hunter2"), "internals leak: {}", answer.text());
    }
}

#[tokio::test]
async fn the_page_of_errors_names_every_code() {
    let installation = Installation::new().await;
    let page = installation.call_as("", Method::GET, "/api/docs/errors", None).await.expect(200).text();
    for code in ProblemCode::ALL {
        assert!(page.contains(&format!("id=\"{}\"", code.as_str())), "{code:?}");
    }
}

#[tokio::test]
async fn an_outage_of_the_store_is_never_a_false_answer_and_leaks_nothing() {
    let mood = Mood::default();
    let installation = Installation::with(Wish { stores: Some(mood.over()), ..Wish::default() }).await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    let id = held.run;
    let bulk = json!({"action": "cancel", "ids": [id]});
    type Spoil = fn(&Mood);
    let moods: [(Spoil, ProblemCode); 4] = [
        (Mood::unavailable, ProblemCode::Unavailable),
        (Mood::full, ProblemCode::StorageFull),
        (Mood::panicking, ProblemCode::Internal),
        (Mood::corrupt, ProblemCode::Internal),
    ];
    for (spoil, code) in moods {
        spoil(&mood);
        let answers = [
            installation.post("/api/v1/runs", spec()).await,
            installation.get("/api/v1/runs").await,
            installation.get("/api/v1/runs/groups").await,
            installation.get(&format!("/api/v1/runs/{id}")).await,
            installation.get(&format!("/api/v1/runs/{id}/logs")).await,
            installation.get(&format!("/api/v1/runs/{id}/tests")).await,
            installation.get(&format!("/api/v1/runs/{id}/artifacts")).await,
            installation.post(&format!("/api/v1/runs/{id}/cancel"), Value::Null).await,
            installation.post(&format!("/api/v1/runs/{id}/rerun"), Value::Null).await,
            installation.delete(&format!("/api/v1/runs/{id}")).await,
            worker.state(&held, "starting").await,
            worker.finish(&held, exited(0)).await,
        ];
        for answer in &answers {
            assert_eq!(problem(answer).code, code, "{}", answer.text());
            assert!(!answer.text().contains(INTERNAL), "{}", answer.text());
        }
        if code != ProblemCode::Internal {
            let done = installation.post("/api/v1/runs/bulk", bulk.clone()).await.expect(200);
            assert_eq!(done.json()["results"][0]["code"], code.as_str());
            assert!(!done.text().contains(INTERNAL));
        }
    }
    mood.well();
    worker.finish(&held, exited(0)).await.expect(200);
    let listed = installation.get("/api/v1/runs").await.expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "what was refused was not stored");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_however_it_comes() {
    let installation = Installation::new().await;
    let large = Bytes::from(vec![b' '; TEN_MB]);
    let whole = installation.post_runs(large.clone(), &[]).await;
    assert_eq!(problem(&whole).code, ProblemCode::PayloadTooLarge);
    let pieces: Vec<_> =
        large.chunks(64 << 10).map(|piece| Ok::<_, std::io::Error>(large.slice_ref(piece))).collect();
    let chunked = installation.post_runs(Body::from_stream(futures::stream::iter(pieces)), &[]).await;
    assert_eq!(problem(&chunked).code, ProblemCode::PayloadTooLarge);

    let server = Server::start(installation.public.clone()).await;
    // Refused by what it announces, before any of it was sent.
    let announced =
        server.send(&[head(&installation, &format!("content-length: {TEN_MB}")).as_bytes()]).await;
    assert_eq!(problem(&announced).code, ProblemCode::PayloadTooLarge);
    let chunk = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
    let chunked = head(&installation, "transfer-encoding: chunked");
    let chunked = server.send(&[chunked.as_bytes(), &chunk, &chunk, &chunk, &chunk]).await;
    assert_eq!(problem(&chunked).code, ProblemCode::PayloadTooLarge);
    server.stop().await;
}

#[tokio::test]
async fn a_length_that_lies_is_no_run() {
    let installation = Installation::new().await;
    let server = Server::start(installation.public.clone()).await;
    let body = spec().to_string();
    // Shorter than it is: the rest is no part of it.
    let short = head(&installation, &format!("content-length: {}", body.len() - 1));
    let cut = server.send(&[short.as_bytes(), body.as_bytes()]).await;
    assert_eq!(problem(&cut).code, ProblemCode::MalformedBody);
    // Longer than it is: it never arrives.
    let long = head(&installation, &format!("content-length: {}", body.len() + 1));
    let waited = server.send(&[long.as_bytes(), body.as_bytes()]).await;
    assert_eq!(problem(&waited).code, ProblemCode::RequestTimeout);
    let good = head(&installation, &format!("content-length: {}", body.len()));
    server.send(&[good.as_bytes(), body.as_bytes()]).await.expect(202);
    server.stop().await;
    let listed = installation.get("/api/v1/runs").await.expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_run() {
    let installation = Installation::new().await;
    let body = spec().to_string();
    let pieces = [Ok(Bytes::from(body)), Err(std::io::Error::other(INTERNAL))];
    let broken = installation.post_runs(Body::from_stream(futures::stream::iter(pieces)), &[]).await;
    assert_eq!(problem(&broken).code, ProblemCode::MalformedBody);
    assert!(!broken.text().contains(INTERNAL));
}

#[tokio::test]
async fn what_is_not_utf_8_is_refused_with_its_place() {
    let installation = Installation::new().await;
    let refused = installation.post_runs(&b"{\"image\": \"a\xff\"}"[..], &[]).await;
    let problem = problem(&refused);
    assert_eq!(problem.code, ProblemCode::MalformedBody);
    assert!(problem.detail.contains("UTF-8") && problem.detail.contains("12"), "{}", problem.detail);
}

#[tokio::test]
async fn only_json_is_read() {
    let installation = Installation::new().await;
    for (content_type, accepted) in [
        (Some("application/json"), true),
        (Some("application/json; charset=utf-8"), true),
        (Some("Application/JSON"), true),
        (Some("text/plain"), false),
        (Some("application/x-www-form-urlencoded"), false),
        (Some("application/jsonx"), false),
        (Some("application/json, text/plain"), false),
        (Some(""), false),
        (None, false),
    ] {
        let mut request =
            Request::post("/api/v1/runs").header("authorization", format!("Bearer {}", installation.key));
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer =
            answer(&installation.public, request.body(Body::from(spec().to_string())).unwrap()).await;
        if accepted {
            answer.expect(202);
        } else {
            assert_eq!(problem(&answer).code, ProblemCode::UnsupportedMediaType, "{content_type:?}");
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let installation = Installation::new().await;
    for path in
        ["/", "/api", "/api/v2/runs", "/api/v1/runs/", "/api/v1/nothing", "/worker/v1/register", "/%00"]
    {
        let answer = installation.get(path).await;
        assert_eq!(problem(&answer).code, ProblemCode::NotFound, "{path}");
    }
    for (method, path) in [
        (Method::DELETE, "/api/v1/runs"),
        (Method::GET, "/api/v1/runs/bulk/x"),
        (Method::PUT, "/api/v1/workers"),
        (Method::POST, "/health"),
        (Method::from_bytes(b"BREW").unwrap(), "/api/v1/runs"),
    ] {
        let answer = installation.call_as(&installation.key, method.clone(), path, None).await;
        let expected =
            if path.ends_with("/x") { ProblemCode::NotFound } else { ProblemCode::MethodNotAllowed };
        assert_eq!(problem(&answer).code, expected, "{method} {path}");
        if expected == ProblemCode::MethodNotAllowed {
            assert!(!answer.header("allow").is_empty(), "{method} {path} does not say what is allowed");
        }
    }
    let worker = FakeWorker::register(&installation, 1).await;
    let lost = worker.call(Method::POST, "/api/v1/runs", None, spec()).await;
    assert_eq!(problem(&lost).code, ProblemCode::NotFound);
    let wrong = worker.call(Method::DELETE, "/worker/v1/register", None, Value::Null).await;
    assert_eq!(problem(&wrong).code, ProblemCode::MethodNotAllowed);
}

#[tokio::test]
async fn ids_that_are_none_do_not_exist() {
    let installation = Installation::new().await;
    let key = &installation.key;
    for id in [
        "run_1",
        "x",
        "%FF",
        "%00",
        "..%2f..",
        "run_00000000000000000000000000%20",
        "wrk_00000000000000000000000000",
    ] {
        for path in [
            format!("/api/v1/runs/{id}"),
            format!("/api/v1/runs/{id}/logs"),
            format!("/api/v1/runs/{id}/artifacts/a"),
        ] {
            let answer = installation.get(&path).await;
            assert_eq!(problem(&answer).code, ProblemCode::NotFound, "{path}");
        }
        let path = format!("/api/v1/workers/{id}/drain");
        let answer = installation.call_as(key, Method::POST, &path, None).await;
        assert_eq!(problem(&answer).code, ProblemCode::NotFound, "{path}");
    }
    let worker = FakeWorker::register(&installation, 1).await;
    let lease = gantry_domain::run::LeaseToken::from_bits(1);
    for id in ["x", "%FF"] {
        let path = format!("/worker/v1/runs/{id}/finish");
        let answer = worker.call(Method::POST, &path, Some(&lease), exited(0)).await;
        assert_eq!(problem(&answer).code, ProblemCode::StaleAttempt);
    }
}

#[tokio::test]
async fn wrong_query_parameters_are_refused_by_name() {
    let installation = Installation::new().await;
    let id = installation.accept(spec()).await;
    let runs = "/api/v1/runs";
    let pages = [
        runs.to_owned(),
        "/api/v1/runs/groups".to_owned(),
        format!("{runs}/{id}/tests"),
        format!("{runs}/{id}/artifacts"),
    ];
    for page in &pages {
        for limit in ["0", "101", "-1", "x", "1.5", "4294967296", "", "1e1"] {
            let answer = installation.get(&format!("{page}?limit={limit}")).await;
            assert_eq!(problem(&answer).code, ProblemCode::InvalidParameter, "{page} {limit}");
        }
        installation.get(&format!("{page}?limit=1")).await.expect(200);
        installation.get(&format!("{page}?limit=100")).await.expect(200);
        let twice = installation.get(&format!("{page}?limit=1&limit=2")).await;
        assert_eq!(problem(&twice).code, ProblemCode::InvalidParameter, "{page}");
    }
    for page in [pages[0].as_str(), &pages[1], &pages[2], &pages[3], &format!("{runs}/{id}/logs")] {
        let answer = installation.get(&format!("{page}?nonsense=1")).await;
        let problem = problem(&answer);
        assert_eq!(problem.code, ProblemCode::InvalidParameter, "{page}");
        assert!(problem.detail.contains("nonsense"), "{}", problem.detail);
    }
    for (page, cursor) in [
        (&pages[0], "x"),
        (&pages[0], "run_1"),
        (&pages[0], "%FF"),
        (&pages[0], ""),
        (&pages[2], "x"),
        (&pages[2], "-1"),
        (&pages[3], "99999999999999999999"),
    ] {
        let answer = installation.get(&format!("{page}?cursor={cursor}")).await;
        let problem = problem(&answer);
        assert_eq!(problem.code, ProblemCode::InvalidParameter, "{page} {cursor}");
        assert!(problem.detail.contains("cursor"), "{}", problem.detail);
    }
    for (query, name) in [
        ("status=bogus", "status"),
        ("status=passed,bogus", "status"),
        ("trigger=magic", "trigger"),
        ("label=nokey", "label"),
        ("created_from=yesterday", "created_from"),
        ("created_before=2026-13-01T00:00:00Z", "created_before"),
    ] {
        let answer = installation.get(&format!("{runs}?{query}")).await;
        let problem = problem(&answer);
        assert_eq!(problem.code, ProblemCode::InvalidParameter, "{query}");
        assert!(problem.detail.contains(&format!("`{name}`")), "{}", problem.detail);
    }
    let long = installation.get(&format!("{runs}?{}=1", "n".repeat(8000))).await;
    assert_eq!(problem(&long).code, ProblemCode::InvalidParameter);
}

#[tokio::test]
async fn an_attempt_that_never_was_is_not_found() {
    let installation = Installation::new().await;
    let id = installation.accept(spec()).await;
    for below in ["tests", "artifacts", "logs"] {
        let answer = installation.get(&format!("/api/v1/runs/{id}/{below}?attempt=9")).await;
        assert_eq!(problem(&answer).code, ProblemCode::NotFound, "{below}");
    }
}

#[tokio::test]
async fn an_idempotency_key_is_one_short_plain_text() {
    let installation = Installation::new().await;
    let body = spec().to_string();
    installation.post_runs(body.clone(), &[("idempotency-key", &"k".repeat(255))]).await.expect(202);
    for headers in [
        vec![("idempotency-key", "k".repeat(256))],
        vec![("idempotency-key", String::new())],
        vec![("idempotency-key", "a".to_owned()), ("idempotency-key", "b".to_owned())],
        vec![("idempotency-key", "a".to_owned()), ("Idempotency-Key", "a".to_owned())],
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = installation.post_runs(body.clone(), &headers).await;
        let problem = problem(&answer);
        assert_eq!(problem.code, ProblemCode::InvalidParameter, "{headers:?}");
        assert!(problem.detail.contains("Idempotency-Key"), "{}", problem.detail);
    }
    let mut request = Request::post("/api/v1/runs").body(Body::from(body)).unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {}", installation.key).parse().unwrap());
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("idempotency-key", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
    let answer = answer(&installation.public, request).await;
    assert_eq!(problem(&answer).code, ProblemCode::InvalidParameter);
}

#[tokio::test]
async fn only_a_plain_request_id_is_taken_over() {
    let installation = Installation::new().await;
    let ask = async |id: HeaderValue| -> (String, Problem) {
        let mut request = Request::get("/api/v1/runs/x").body(Body::empty()).unwrap();
        request.headers_mut().insert("x-request-id", id);
        let answer = answer(&installation.public, request).await;
        (answer.header("x-request-id").to_owned(), problem(&answer))
    };
    for good in ["a", "0af7651916cd43dd8448eb211c80319c", "A-b_9", &"x".repeat(64)] {
        let (echoed, problem) = ask(good.parse().unwrap()).await;
        assert_eq!((echoed.as_str(), problem.request_id.as_str()), (good, good));
    }
    let long = "x".repeat(1000);
    for bad in
        [&b""[..], b"a b", b"a\tb", b"\"quoted\"", b"<script>", b"a;b", b"\xc3\xa9", b"\xff", long.as_bytes()]
    {
        let (echoed, _) = ask(HeaderValue::from_bytes(bad).unwrap()).await;
        assert_eq!(echoed.len(), 32, "{echoed}");
        assert!(echoed.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    for smuggled in [&b"a\r\nx: y"[..], b"a\ny", b"a\0"] {
        assert!(HeaderValue::from_bytes(smuggled).is_err(), "no such header can exist");
    }
}

#[tokio::test]
async fn two_requests_have_two_ids() {
    let installation = Installation::new().await;
    let one = installation.get("/api/v1/runs").await;
    let two = installation.get("/api/v1/runs").await;
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
}

#[tokio::test]
async fn everything_wrong_with_a_run_is_named_at_once() {
    let installation = Installation::new().await;
    let bad = spec_with(json!({
        "timeout_seconds": 0, "base_url": "ftp://x", "labels": {"a/b": "x\ny"}, "variables": {"GANTRY_X": "1"},
        "secrets": ["NOBODY"], "workdir": "/tmp", "retries": {"max": 99},
    }));
    let answer = installation.post("/api/v1/runs", bad).await;
    let pointers: Vec<_> = problem(&answer).errors.into_iter().map(|error| error.pointer).collect();
    assert_eq!(
        pointers,
        [
            "/base_url",
            "/variables/GANTRY_X",
            "/labels/a~1b",
            "/timeout_seconds",
            "/retries/max",
            "/workdir",
            "/secrets/0"
        ]
    );
}

#[tokio::test]
async fn what_is_planned_is_refused_by_name() {
    let installation = Installation::new().await;
    for field in ["source", "services", "caches", "requires", "needs"] {
        let answer = installation.post("/api/v1/runs", spec_with(json!({field: {"any": "thing"}}))).await;
        let problem = problem(&answer);
        assert_eq!(problem.code, ProblemCode::NotSupported);
        assert_eq!(problem.errors[0].pointer, format!("/{field}"));
    }
}
