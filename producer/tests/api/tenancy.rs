//! Whose is whose: every route against credentials that must not do, and ids that are somebody else's.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use gantry_domain::id::{RunId, WorkerId};
use gantry_domain::run::LeaseToken;
use gantry_producer::services::credentials;
use serde_json::json;
use tower::ServiceExt as _;

use crate::installation::{Answer, Installation, WORKER_TOKEN, answer, spec, spec_with};
use crate::problem::problem;
use crate::worker::{FakeWorker, exited};

struct Route {
    method: Method,
    path: String,
    /// Documented to need no credentials.
    open: bool,
}

/// Every documented route.
fn routes() -> Vec<Route> {
    let document = serde_json::to_value(gantry_producer::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            routes.push(Route {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                open: operation["security"] == json!([{}]),
            });
        }
    }
    assert!(routes.len() > 20);
    routes
}

impl Route {
    fn with_id(&self, id: &str) -> String {
        self.path.replace("{id}", id).replace("{path}", "reports/a.txt")
    }
}

fn call(method: &Method, path: &str, credential: Option<&str>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("x-request-id", "the-same");
    if let Some(credential) = credential {
        request = request.header("authorization", credential);
    }
    request.body(Body::empty()).unwrap()
}

/// Everything of an answer that a caller sees.
async fn seen(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
    let Answer { status, headers, bytes } = answer(router, request).await;
    (status, headers, bytes)
}

/// A run with a log, a result and an artifact.
async fn rich_run(installation: &Installation) -> RunId {
    let worker = FakeWorker::register(installation, 4).await;
    let held = worker.running(spec_with(json!({"group": "secret plans", "project": "moon"}))).await;
    worker.upload(&held, crate::worker::tar_of("reports/a.txt", b"12345")).await.expect(200);
    worker.finish(&held, exited(0)).await.expect(200);
    held.run
}

#[tokio::test]
async fn somebody_elses_run_looks_like_one_that_never_was() {
    let installation = Installation::new().await;
    let (over, going) = (rich_run(&installation).await, installation.accept(spec()).await);
    let stranger = format!("Bearer {}", installation.stranger().await);
    let own = format!("Bearer {}", installation.key);
    let missing = RunId::new().to_string();
    let mut walked = 0;
    for route in routes() {
        if !route.path.starts_with("/api/v1/runs/{id}") {
            continue; // What is not a run's is walked with people.
        }
        walked += 1;
        let never = call(&route.method, &route.with_id(&missing), Some(&stranger));
        let never = seen(&installation.public, never).await;
        assert_eq!(never.0, StatusCode::NOT_FOUND, "{} {}", route.method, route.path);
        for id in [over, going] {
            let before = installation.stored(id).await;
            let theirs = call(&route.method, &route.with_id(&id.to_string()), Some(&stranger));
            let theirs = seen(&installation.public, theirs).await;
            assert_eq!(theirs, never, "{} {}", route.method, route.path);
            assert_eq!(installation.stored(id).await, before, "{} {}", route.method, route.path);
        }
        // Its owner does find it: the head of the answer is enough, some never end.
        if route.method == Method::GET {
            let own = call(&route.method, &route.with_id(&over.to_string()), Some(&own));
            let found = installation.public.clone().oneshot(own).await.unwrap();
            assert_eq!(found.status(), StatusCode::OK, "{}", route.path);
        }
    }
    assert!(walked >= 10, "{walked}");
}

#[tokio::test]
async fn lists_show_only_ones_own() {
    let installation = Installation::new().await;
    let ours = rich_run(&installation).await;
    let stranger = installation.stranger().await;
    let theirs = installation.accept_as(&stranger, spec()).await;
    let list = async |query: &str| {
        let path = format!("/api/v1/runs{query}");
        let page = installation.call_as(&stranger, Method::GET, &path, None).await.expect(200);
        assert!(!page.text().contains(&ours.to_string()) && !page.text().contains("secret plans"));
        page.json()["items"].as_array().unwrap().len()
    };
    assert_eq!(list("").await, 1);
    assert_eq!(list(&format!("?text={ours}")).await, 0);
    for query in ["?project=moon", "?group=secret+plans", "?status=passed", "?trigger=rerun", "?label=team=x"]
    {
        assert_eq!(list(query).await, 0, "{query}");
    }
    assert_eq!(list("/groups").await, 0);
    // Somebody else's id as a cursor is a place in the order, and shows nothing of its run.
    assert_eq!(list(&format!("?cursor={ours}")).await, 0);
    assert!(installation.get("/api/v1/runs").await.text().contains(&ours.to_string()));
    assert!(!installation.get("/api/v1/runs").await.text().contains(&theirs.to_string()));

    let bulk = json!({"action": "delete", "ids": [ours, RunId::new()]});
    let answer =
        installation.call_as(&stranger, Method::POST, "/api/v1/runs/bulk", Some(bulk)).await.expect(200);
    let results = answer.json()["results"].take();
    assert_eq!(results[0]["code"], "not_found");
    assert_eq!(results[0]["detail"], results[1]["detail"]);
    installation.show(ours).await;
}

#[tokio::test]
async fn only_what_is_documented_as_open_is_open() {
    let installation = Installation::new().await;
    let id = installation.accept(spec()).await;
    let revoked = credentials::new_api_key();
    let mut record = installation.another_key(&revoked);
    record.revoked_at = Some(installation.now());
    installation.stores.keys.add(&record).await.unwrap();
    let key = &installation.key;
    let refused = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(key.clone()),
        Some(format!("Basic {key}")),
        Some(format!("Bearer {}", &key[..key.len() - 1])),
        Some(format!("Bearer {key}0")),
        Some(format!("Bearer {}", key.to_uppercase())),
        Some(format!("Bearer {}", credentials::new_api_key())),
        Some(format!("Bearer {revoked}")),
        Some(format!("Bearer {WORKER_TOKEN}")),
        Some("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.".to_owned()),
        Some(format!("Bearer {}", "gantry_".repeat(1000))),
    ];
    let mut open = BTreeSet::new();
    for route in routes() {
        for id in [id.to_string(), WorkerId::new().to_string(), "nonsense".to_owned()] {
            let path = route.with_id(&id);
            if route.open {
                open.insert(route.path.clone());
                let answer = answer(&installation.public, call(&route.method, &path, None)).await;
                assert_ne!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
                continue;
            }
            for credential in &refused {
                let request = call(&route.method, &path, credential.as_deref());
                let answer = answer(&installation.public, request).await;
                assert_eq!(
                    answer.status,
                    StatusCode::UNAUTHORIZED,
                    "{} {path} with {credential:?}",
                    route.method
                );
                problem(&answer);
            }
        }
    }
    let expected = [
        "/api/v1/auth/login",
        "/api/v1/auth/logout",
        "/api/v1/auth/password/forgot",
        "/api/v1/auth/password/reset",
        "/api/v1/auth/refresh",
        "/api/v1/auth/signup",
        "/api/v1/auth/signup/confirm",
        "/api/v1/invitations/accept",
        "/api/v1/invitations/look-up",
        "/api/v1/system/version",
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
    ];
    assert_eq!(open, expected.map(str::to_owned).into());
    assert_eq!(installation.stored(id).await.version, 1, "nothing was done");
}

#[tokio::test]
async fn a_scheme_is_the_same_in_any_case() {
    let installation = Installation::new().await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let credential = format!("{scheme} {}", installation.key);
        answer(&installation.public, call(&Method::GET, "/api/v1/runs", Some(&credential))).await.expect(200);
    }
}

#[tokio::test]
async fn the_worker_protocol_takes_only_the_worker_token() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 1).await;
    let held = worker.running(spec()).await;
    let before = installation.stored(held.run).await;
    let below = |what: &str| format!("/worker/v1/runs/{}/{what}", held.run);
    let routes = [
        (Method::POST, "/worker/v1/register".to_owned()),
        (Method::POST, "/worker/v1/heartbeat".to_owned()),
        (Method::POST, "/worker/v1/leave".to_owned()),
        (Method::POST, "/worker/v1/attempts/over".to_owned()),
        (Method::POST, below("claim")),
        (Method::POST, below("state")),
        (Method::POST, below("logs")),
        (Method::PUT, below("artifacts")),
        (Method::POST, below("finish")),
    ];
    for (method, path) in &routes {
        for credential in [
            None,
            Some(format!("Bearer {}", installation.key)),
            Some("Bearer ".to_owned()),
            Some(format!("Bearer {}", WORKER_TOKEN.to_uppercase())),
            Some(format!("Bearer {WORKER_TOKEN}x")),
            Some(format!("Basic {WORKER_TOKEN}")),
            Some(format!("Bearer {}", held.lease.as_str())),
        ] {
            let mut request = call(method, path, credential.as_deref());
            request.headers_mut().insert("gantry-lease", held.lease.as_str().parse().unwrap());
            let answer = answer(&installation.worker_api, request).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} with {credential:?}");
            problem(&answer);
        }
        // Never beside the public API, nor the other way round.
        let public = call(method, path, Some(&format!("Bearer {WORKER_TOKEN}")));
        assert_eq!(answer(&installation.public, public).await.status, StatusCode::NOT_FOUND);
    }
    let api = call(&Method::GET, "/api/v1/runs", Some(&format!("Bearer {}", installation.key)));
    assert_eq!(answer(&installation.worker_api, api).await.status, StatusCode::NOT_FOUND);
    assert_eq!(installation.stored(held.run).await, before);
}

#[tokio::test]
async fn a_lease_is_a_right_to_one_run_only() {
    let installation = Installation::new().await;
    let worker = FakeWorker::register(&installation, 2).await;
    let (one, other) = (worker.running(spec()).await, worker.running(spec()).await);
    let crossed = crate::worker::Held { lease: one.lease.clone(), ..other.clone() };
    worker.finish(&crossed, exited(0)).await.refused(409, "stale_attempt");
    worker.state(&crossed, "starting").await.refused(409, "stale_attempt");
    for guess in [LeaseToken::from_text(""), LeaseToken::from_text("%"), LeaseToken::from_bits(0)] {
        let guessed = crate::worker::Held { lease: guess, ..other.clone() };
        worker.finish(&guessed, exited(0)).await.refused(409, "stale_attempt");
    }
}

#[tokio::test]
async fn what_is_shown_has_no_secrets() {
    let secret = "a secret value that nobody may see";
    let installation = Installation::with_config(|config| {
        let secret = gantry_service_kit::config::Secret::new(secret);
        config.secrets.insert("SHOP_TOKEN".to_owned(), secret);
    })
    .await;
    let worker = FakeWorker::register(&installation, 1).await;
    let id = installation.accept(spec_with(json!({"secrets": ["SHOP_TOKEN"]}))).await;
    installation.dispatch().await;
    let message = installation.take().await.unwrap();
    let claim = gantry_domain::id::ClaimId::new();
    let grant = worker.try_claim(id, message.dispatch, claim).await.expect(200).json();
    assert_eq!(grant["environment"]["SHOP_TOKEN"], secret);
    assert_eq!(grant["masked"][0], secret);
    let lease = grant["lease"].as_str().unwrap();
    for path in [
        "/api/v1/runs".to_owned(),
        format!("/api/v1/runs/{id}"),
        format!("/api/v1/runs/{id}/attempts"),
        "/api/v1/workers".to_owned(),
    ] {
        let text = installation.get(&path).await.expect(200).text();
        assert!(!text.contains(secret) && !text.contains(lease), "{path}");
    }
    assert!(installation.get(&format!("/api/v1/runs/{id}")).await.text().contains("SHOP_TOKEN"));
}
