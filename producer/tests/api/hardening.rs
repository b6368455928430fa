//! What is asked by a page, under a name, or in a way that it should not be.

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request};
use gantry_producer::config::Hosts;
use serde_json::Value;

use crate::installation::{Answer, Installation, answer, spec};
use crate::problem::problem;
use crate::server::Server;

const OURS: &str = "https://dash.example";
const FOREIGN: &str = "https://evil.example";

async fn open_to(origins: &[&str]) -> Installation {
    Installation::with_config(|config| {
        config.http.cors_origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    })
    .await
}

async fn closed(hosts: Hosts) -> Installation {
    Installation::with_config(|config| config.http.hosts = hosts).await
}

async fn send(
    installation: &Installation,
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header("authorization", format!("Bearer {}", installation.key));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(&installation.public, request.body(body.into()).unwrap()).await
}

async fn write(installation: &Installation, headers: &[(&str, &str)]) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    send(installation, Method::POST, "/api/v1/runs", &all, spec().to_string()).await
}

#[tokio::test]
async fn only_a_listed_page_is_told_that_it_may_read() {
    let installation = open_to(&[OURS]).await;
    for (origin, allowed) in
        [(OURS, OURS), (FOREIGN, ""), ("null", ""), ("https://dash.example.evil.example", "")]
    {
        let read =
            send(&installation, Method::GET, "/api/v1/runs", &[("origin", origin)], "").await.expect(200);
        assert_eq!(read.header("access-control-allow-origin"), allowed);
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let preflight = send(&installation, Method::OPTIONS, "/api/v1/runs", &asked, "").await.expect(200);
        assert_eq!(preflight.header("access-control-allow-origin"), allowed, "{origin}");
    }
    let read = send(&installation, Method::GET, "/api/v1/runs", &[("origin", OURS)], "").await;
    assert_eq!(read.header("access-control-allow-credentials"), "true");
    assert!(read.header("access-control-expose-headers").contains("ratelimit-remaining"));
    assert!(read.header("vary").contains("origin"), "no cache gives it to another page");
}

#[tokio::test]
async fn a_listed_page_can_read_why_it_was_refused() {
    let installation = open_to(&[OURS]).await;
    let request = Request::get("/api/v1/runs").header("origin", OURS).body(Body::empty()).unwrap();
    let refused = answer(&installation.public, request).await.refused(401, "unauthorized");
    assert_eq!(refused.header("access-control-allow-origin"), OURS);
}

#[tokio::test]
async fn without_a_list_no_page_is_told_anything() {
    let installation = Installation::new().await;
    let read = send(&installation, Method::GET, "/api/v1/runs", &[("origin", OURS)], "").await.expect(200);
    assert_eq!(read.header("access-control-allow-origin"), "");
    send(&installation, Method::OPTIONS, "/api/v1/runs", &[("origin", OURS)], "").await.expect(405);
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let installation = open_to(&[OURS]).await;
    let own = ("host", "gantry.example:8443");
    for origin in [FOREIGN, "null", "https://gantry.example", "https://gantry.example:8443.evil.example", ""]
    {
        problem(&write(&installation, &[own, ("origin", origin)]).await.refused(403, "foreign_origin"));
    }
    let stored = installation.get("/api/v1/runs").await.json();
    assert_eq!(stored["items"].as_array().map(Vec::len), Some(0));
    for good in [
        &[own, ("origin", OURS)][..],
        &[own, ("origin", "https://gantry.example:8443")],
        &[("host", "gantry.example"), ("origin", "https://gantry.example")],
        &[("host", "inside"), ("origin", "https://gantry.example"), ("sec-fetch-site", "same-origin")],
        &[own],
    ] {
        write(&installation, good).await.expect(202);
    }
    write(&installation, &[own, ("origin", FOREIGN), ("sec-fetch-site", "cross-site")])
        .await
        .refused(403, "foreign_origin");
}

#[tokio::test]
async fn a_form_cannot_pose_as_json() {
    let installation = Installation::new().await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/plain; x=application/json",
    ] {
        send(&installation, Method::POST, "/api/v1/runs", &[("content-type", kind)], spec().to_string())
            .await
            .refused(415, "unsupported_media_type");
    }
    send(&installation, Method::POST, "/api/v1/runs", &[], spec().to_string())
        .await
        .refused(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_name_that_is_not_ours_leads_nowhere() {
    let listed = || Hosts::Listed(vec!["gantry.example".to_owned()]);
    for (hosts, good, bad) in [
        (
            Hosts::Machine("127.0.0.1".parse().unwrap()),
            &["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080"][..],
            &[
                "evil.example",
                "evil.example:8080",
                "localhost.evil.example",
                "127.0.0.1.evil.example",
                "10.0.0.1",
            ][..],
        ),
        (
            listed(),
            &["gantry.example", "GANTRY.example:443"],
            &[
                "evil.example",
                "localhost",
                "127.0.0.1",
                "x.gantry.example",
                "",
                "gantry.example@evil.example/",
            ],
        ),
    ] {
        let installation = closed(hosts).await;
        for host in good {
            send(&installation, Method::GET, "/api/v1/runs", &[("host", host)], "").await.expect(200);
        }
        for host in bad {
            for path in ["/api/v1/runs", "/api/docs/", "/api/openapi.json", "/nowhere", "/health/ready"] {
                let address = ["10.0.0.1", "127.0.0.1"].contains(host);
                if address && path.starts_with("/health") {
                    continue;
                }
                let refused = send(&installation, Method::GET, path, &[("host", host)], "").await;
                problem(&refused.refused(421, "unknown_host"));
            }
        }
        send(&installation, Method::GET, "/api/v1/runs", &[], "").await.refused(421, "unknown_host");
        for probe in ["/health/live", "/health/ready", "/metrics"] {
            let by_address = send(&installation, Method::GET, probe, &[("host", "10.1.2.3:3000")], "").await;
            assert_ne!(by_address.status, 421, "{probe} is asked by address");
        }
    }
}

#[tokio::test]
async fn two_names_are_none() {
    let installation = closed(Hosts::Listed(vec!["gantry.example".to_owned()])).await;
    let twice = [("host", "gantry.example"), ("host", "evil.example")];
    send(&installation, Method::GET, "/api/v1/runs", &twice, "").await.refused(421, "unknown_host");
    for (uri, host) in [
        ("http://evil.example/api/v1/runs", "gantry.example"),
        ("http://gantry.example/api/v1/runs", "evil.example"),
    ] {
        send(&installation, Method::GET, uri, &[("host", host)], "").await.refused(421, "unknown_host");
    }
    let whole = "http://gantry.example/api/v1/runs";
    send(&installation, Method::GET, whole, &[("host", "gantry.example")], "").await.expect(200);
}

#[tokio::test]
async fn without_a_list_every_name_is_ours() {
    let installation = Installation::new().await;
    for host in ["10.1.2.3:3000", "gantry.example", "whatever"] {
        send(&installation, Method::GET, "/api/v1/runs", &[("host", host)], "").await.expect(200);
    }
}

#[tokio::test]
async fn every_answer_tells_browsers_what_not_to_do() {
    let installation =
        Installation::with_config(|config| config.http.own = "https://gantry.example".parse().ok()).await;
    let run = installation.accept(spec()).await;
    for path in [
        "/api/v1/runs".to_owned(),
        format!("/api/v1/runs/{run}"),
        "/api/v1/runs?limit=0".to_owned(),
        "/nowhere".to_owned(),
        "/health/live".to_owned(),
        "/api/docs/".to_owned(),
        "/api/docs/errors".to_owned(),
        "/api/openapi.json".to_owned(),
    ] {
        let answer = installation.get(&path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(answer.header(name), value, "{name} of {path}");
        }
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
    }
    let plain = Installation::new().await;
    assert_eq!(plain.get("/api/v1/runs").await.header("strict-transport-security"), "");
}

/// What the reference loads is its own and no script is written into the page, so that its policy lets it work.
#[tokio::test]
async fn the_reference_works_under_its_policy() {
    let installation = Installation::new().await;
    let page = installation.get("/api/docs/").await.expect(200);
    assert!(page.header("content-security-policy").starts_with("default-src 'self'"));
    let page = page.text();
    let mut loaded = 0;
    for tag in page.split('<').filter(|tag| tag.starts_with("script") || tag.starts_with("link")) {
        let place =
            ["src=\"", "href=\""].iter().find_map(|name| tag.split(name).nth(1)).expect("nothing inline");
        let place = place.split('"').next().unwrap().trim_start_matches("./");
        assert!(!place.contains("://"), "{place}");
        if !place.starts_with("data:") {
            installation.get(&format!("/api/docs/{place}")).await.expect(200);
            loaded += 1;
        }
    }
    assert!(loaded >= 4, "{page}");
    let scripts = installation.get("/api/docs/swagger-initializer.js").await.expect(200).text();
    assert!(!scripts.contains("eval("), "{scripts}");
}

/// What carries line ends never gets into a header, and so into no line of the log.
#[tokio::test]
async fn line_ends_in_headers_never_get_in() {
    let installation = Installation::new().await;
    let server = Server::start(installation.public.clone()).await;
    let head = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n";
    for header in [
        "x-request-id: a\rb",
        "x-request-id: a\0b",
        "x-forwarded-for: 1.1.1.1\r2.2.2.2",
        "user-agent: a\n\rb",
    ] {
        let sent = format!("{head}{header}\r\n\r\n");
        let answer = server.send(&[sent.as_bytes()]).await;
        assert_eq!(answer.status, 400, "{header:?}");
    }
    server.stop().await;
    assert!(HeaderValue::from_str("a\r\nb").is_err());
    let refused = installation.post("/api/v1/runs", Value::String("\r\nERROR forged".to_owned())).await;
    assert!(!refused.text().contains("\r\nERROR"), "{}", refused.text());
}
