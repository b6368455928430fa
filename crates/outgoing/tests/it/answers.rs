//! What is sent, what comes back, and what it may cost.

use std::time::{Duration, Instant};

use gantry_domain::time::{Clock as _, SystemClock};
use gantry_outgoing::signature::{self, SIGNATURE_HEADER, WebhookSecret};
use gantry_outgoing::{Limits, OutgoingError, OutgoingRequest, Target};
use http::header::{HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

use crate::server::{Fickle, OUTSIDE, Say, Server, outgoing, outgoing_with};

fn get(target: Target) -> OutgoingRequest {
    OutgoingRequest::get(target)
}

#[tokio::test]
async fn a_signed_webhook_arrives_as_it_was_sent() {
    let answer = "HTTP/1.1 202 Accepted\r\nX-Seen: yes\r\nContent-Length: 2\r\n\r\nok";
    let server = Server::start(OUTSIDE, Say::Text(answer.to_owned())).await;
    let (secret, body) = (WebhookSecret::random(), r#"{"event":"run.finished"}"#);
    let mut request = OutgoingRequest::post_json(server.url("/services/T0?a=b#fragment"), body);
    let now = SystemClock.now();
    request.headers.insert(SIGNATURE_HEADER, signature::sign(&secret, None, now, body.as_bytes()));
    let answer = outgoing().send(request).await.unwrap();
    assert_eq!(
        (answer.status, &answer.body[..], answer.truncated),
        (StatusCode::ACCEPTED, &b"ok"[..], false)
    );
    assert_eq!(answer.headers["x-seen"], "yes");

    let seen = server.asked().remove(0);
    let (head, seen_body) = seen.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /services/t0?a=b http/1.1\r\n"), "{head}");
    let lines = head.lines().collect::<Vec<_>>();
    for line in [
        &format!("host: {}", server.address),
        "connection: close",
        "content-type: application/json",
        &format!("content-length: {}", body.len()),
        concat!("user-agent: gantry/", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(lines.contains(&line), "{line} in {head}");
    }
    let signed = lines.iter().find_map(|line| line.strip_prefix("x-gantry-signature: ")).unwrap();
    assert_eq!(signature::verify(&secret, signed, seen_body.as_bytes(), now), Ok(()));
}

#[tokio::test]
async fn a_name_is_sent_along_and_its_addresses_tried_in_turn() {
    let server = Server::start(OUTSIDE, Say::ok("here")).await;
    // Nobody listens at the first.
    let resolver = Fickle::new([&["127.0.0.3", OUTSIDE]]);
    let allowed = "127.0.0.2/31".parse().unwrap();
    let options =
        gantry_outgoing::OutgoingOptions { allowed, resolver: resolver.clone(), ..Default::default() };
    let outgoing = gantry_outgoing::Outgoing::new(options).unwrap();
    let answer = outgoing.send(get(server.named("hooks.example"))).await.unwrap();
    assert_eq!(answer.body, "here");
    let host = format!("host: hooks.example:{}\r\n", server.address.port());
    assert!(server.asked()[0].to_ascii_lowercase().contains(&host));
    assert_eq!(*resolver.questions.lock().unwrap(), ["hooks.example"]);
}

#[tokio::test]
async fn every_status_but_a_redirect_is_an_answer() {
    for status in [
        "200 OK",
        "204 No Content",
        "304 Not Modified",
        "400 Bad Request",
        "404 Not Found",
        "500 Oh No",
        "599 ?",
    ] {
        let text = format!("HTTP/1.1 {status}\r\n\r\n");
        let server = Server::start(OUTSIDE, Say::Text(text)).await;
        let answer = outgoing().send(get(server.url("/"))).await.unwrap();
        assert!(status.starts_with(answer.status.as_str()), "{status}");
    }
}

#[tokio::test]
async fn of_a_long_answer_the_beginning_is_read() {
    let limit = Limits::default().answer_bytes;
    let [fits, long] = [limit, limit + 1].map(|size| "x".repeat(size));
    let endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    for (say, size, truncated) in [
        (Say::ok(&fits), limit, false),
        (Say::ok(&long), limit, true),
        (Say::Drip(endless, chunk, Duration::ZERO), limit, true),
    ] {
        let server = Server::start(OUTSIDE, say).await;
        let answer = outgoing().send(get(server.url("/"))).await.unwrap();
        assert_eq!((answer.body.len(), answer.truncated), (size, truncated));
    }
}

#[tokio::test]
async fn a_server_that_takes_its_time_gets_no_more_than_the_limit() {
    let pause = Duration::from_millis(20);
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n";
    for say in [
        Say::Deaf,
        Say::Nothing,
        Say::Drip(String::new(), "H".to_owned(), pause),
        Say::Drip("HTTP/1.1 200 OK\r\n".to_owned(), "X-More: yes\r\n".to_owned(), pause),
        Say::Drip(ok.to_owned(), "x".to_owned(), pause),
        Say::Drip(String::new(), "HTTP/1.1 100 Continue\r\n\r\n".to_owned(), pause),
    ] {
        let server = Server::start(OUTSIDE, say).await;
        let limits = Limits { total: Duration::from_millis(300), ..Limits::default() };
        let start = Instant::now();
        let error = outgoing_with(Fickle::new([]), limits).send(get(server.url("/"))).await.unwrap_err();
        // Broken, where what drips cannot become an answer any more.
        assert!(
            matches!(error, OutgoingError::Slow | OutgoingError::Broken { .. }) && error.may_pass(),
            "{error:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn what_is_not_http_is_said_to_be_broken() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: b\r\n".repeat(200));
    let large = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n\r\n", "b".repeat(100_000));
    for text in [
        "",
        "220 mail ESMTP\r\n",
        "+PONG\r\n",
        "HTTP/1.1 200",
        &many,
        &large,
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
    ] {
        let server = Server::start(OUTSIDE, Say::Text(text.to_owned())).await;
        let error = outgoing().send(get(server.url("/"))).await.unwrap_err();
        assert!(matches!(error, OutgoingError::Broken { .. }), "{error:?} for {:.40}", text);
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let server = Server::start(OUTSIDE, Say::Nothing).await;
    let target = server.url("/");
    drop(server);
    // The listener is gone as soon as its task has noticed.
    let limits = Limits { total: Duration::from_millis(300), ..Limits::default() };
    let error = loop {
        match outgoing_with(Fickle::new([]), limits).send(get(target.clone())).await.unwrap_err() {
            OutgoingError::Slow | OutgoingError::Broken { .. } => {}
            error => break error,
        }
    };
    assert!(matches!(error, OutgoingError::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn a_request_cannot_be_bent() {
    let target: Target = "http://127.0.0.2:9/".parse().unwrap();
    for name in [
        HOST,
        TRANSFER_ENCODING,
        HeaderName::from_static("content-length"),
        HeaderName::from_static("connection"),
    ] {
        let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("x"))]);
        let request = OutgoingRequest { headers, ..get(target.clone()) };
        assert_eq!(outgoing().send(request).await, Err(OutgoingError::Header(name)));
    }
    for method in [Method::CONNECT, Method::TRACE, Method::from_bytes(b"PURGE").unwrap()] {
        let request = OutgoingRequest { method, ..get(target.clone()) };
        assert_eq!(outgoing().send(request).await, Err(OutgoingError::Method));
    }
    let limit = Limits::default().request_bytes;
    let request = OutgoingRequest::post_json(target, vec![b'x'; limit + 1]);
    assert_eq!(outgoing().send(request).await, Err(OutgoingError::Large(limit)));
}
