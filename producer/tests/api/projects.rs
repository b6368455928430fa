//! Projects: what runs get from theirs, what it forbids them, and that its secrets go to containers only.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use gantry_api_types::run::{ReasonCode, Status};
use gantry_credentials::key::SealingKey;
use gantry_credentials::seal::Sealer;
use gantry_domain::id::{ClaimId, RunId};
use gantry_producer::background::retention::Retention;
use gantry_producer::config::{ConcurrencyConfig, ProducerConfig};
use gantry_producer::services::rotation::{Rotation, rotate};
use gantry_service_kit::config::Secret;
use gantry_service_kit::reconciler::Reconciler as _;
use serde_json::{Value, json};

use crate::installation::{Answer, Installation, T0, Wish, spec_with};
use crate::worker::{FakeWorker, exited};

fn key(name: &str) -> SealingKey {
    SealingKey::random(name.parse().unwrap())
}

fn sealing(current: &SealingKey, older: &[&SealingKey]) -> Option<Arc<Sealer>> {
    Some(Arc::new(Sealer::new(current.clone(), older.iter().copied().cloned().collect()).unwrap()))
}

async fn installation() -> Installation {
    Installation::with_config(|config| config.sealer = sealing(&key("first"), &[])).await
}

async fn put(installation: &Installation, path: &str, body: Value) -> Answer {
    installation
        .call_as(&installation.key, Method::PUT, &format!("/api/v1/projects/{path}"), Some(body))
        .await
}

async fn patch(installation: &Installation, path: &str, body: Value) -> Answer {
    let path = format!("/api/v1/projects/{path}");
    installation.call_as(&installation.key, Method::PATCH, &path, Some(body)).await
}

async fn set_secret(installation: &Installation, name: &str, value: &str) {
    put(installation, &format!("shop/secrets/{name}"), json!({"value": value})).await.expect(204);
}

async fn shop(installation: &Installation, settings: Value) -> Value {
    let mut body = json!({"name": "shop"});
    body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    installation.post("/api/v1/projects", body).await.expect(201).json()
}

/// What the worker is told of a run that was accepted.
async fn granted(worker: &FakeWorker<'_>, run: RunId) -> Answer {
    worker.installation.dispatch().await;
    let message = worker.installation.take().await.expect("it is dispatched");
    assert_eq!(message.run, run);
    worker.try_claim(run, message.dispatch, ClaimId::new()).await
}

#[tokio::test]
async fn a_project_is_made_shown_changed_and_deleted() {
    let installation = installation().await;
    let made = shop(&installation, json!({"description": "The shop", "concurrency": 3})).await;
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("prj_"), "{made}");
    installation.post("/api/v1/projects", json!({"name": "shop"})).await.refused(409, "already_exists");
    for named in [id, "shop"] {
        assert_eq!(installation.get(&format!("/api/v1/projects/{named}")).await.expect(200).json(), made);
    }
    let changed = patch(&installation, "shop", json!({"retention": {"days": 7}, "concurrency": null})).await;
    let changed = changed.expect(200).json();
    assert_eq!((&changed["concurrency"], &changed["retention"]["days"]), (&Value::Null, &json!(7)));
    assert_eq!((&changed["description"], &changed["version"]), (&json!("The shop"), &json!(2)));
    put(&installation, "shop/variables/BROWSER", json!({"value": "firefox"})).await.expect(204);
    let listed = installation.get("/api/v1/projects").await.expect(200).json();
    assert_eq!((&listed["items"][0]["name"], &listed["items"][0]["variables"]), (&json!("shop"), &json!(1)));
    installation.delete("/api/v1/projects/shop/variables/BROWSER").await.expect(204);
    installation.delete("/api/v1/projects/shop/variables/BROWSER").await.refused(404, "not_found");
    set_secret(&installation, "TOKEN", "a secret value").await;
    installation.delete("/api/v1/projects/shop").await.expect(204);
    installation.get("/api/v1/projects/shop").await.refused(404, "not_found");
    shop(&installation, json!({})).await;

    let audit = installation.get("/api/v1/audit").await.expect(200);
    let told: Vec<_> =
        audit.json()["items"].as_array().unwrap().iter().rev().map(|item| item["action"].clone()).collect();
    let expected = [
        "project_created",
        "project_changed",
        "variable_set",
        "variable_deleted",
        "secret_set",
        "project_deleted",
    ];
    assert_eq!(told[..expected.len()], expected);
    assert!(audit.text().contains("TOKEN") && !audit.text().contains("a secret value"), "{}", audit.text());
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let installation = installation().await;
    for (body, pointer) in [
        (json!({"name": ""}), "/name"),
        (json!({"name": "prj_x"}), "/name"),
        (json!({"name": "a/b"}), "/name"),
        (json!({"name": "a", "images": ["a b"]}), "/images/0"),
        (json!({"name": "a", "defaults": {"pool": "A B"}}), "/defaults/pool"),
        (json!({"name": "a", "defaults": {"timeout_seconds": 0}}), "/defaults/timeout_seconds"),
        (json!({"name": "a", "retention": {"runs": 0}}), "/retention/runs"),
    ] {
        let refused = installation.post("/api/v1/projects", body).await.refused(422, "validation_failed");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer);
    }
    installation
        .post("/api/v1/projects", json!({"name": "a", "secrets": {"A": "x"}}))
        .await
        .refused(422, "validation_failed");
    shop(&installation, json!({})).await;
    for (path, body, code) in [
        ("shop/secrets/TOKEN", json!({"value": "abc"}), 422),
        ("shop/secrets/TOKEN", json!({"value": "a\u{0}bcd"}), 422),
        ("shop/secrets/A%20B", json!({"value": "abcdef"}), 422),
        ("shop/secrets/GANTRY_X", json!({"value": "abcdef"}), 422),
        ("shop/variables/GANTRY_X", json!({"value": "abcdef"}), 422),
        ("shop/registries/team", json!({"username": "a", "password": "abcdef"}), 400),
        ("other/secrets/TOKEN", json!({"value": "abcdef"}), 404),
        ("prj_0/secrets/TOKEN", json!({"value": "abcdef"}), 404),
    ] {
        put(&installation, path, body).await.expect(code);
    }
    let project = installation.get("/api/v1/projects/shop").await.json();
    assert_eq!((&project["secrets"], &project["version"]), (&json!([]), &json!(1)));
}

#[tokio::test]
async fn another_tenants_project_does_not_exist() {
    let installation = installation().await;
    let id = shop(&installation, json!({})).await["id"].as_str().unwrap().to_owned();
    set_secret(&installation, "TOKEN", "a secret value").await;
    let stranger = installation.stranger().await;
    let missing = installation.call_as(&stranger, Method::GET, "/api/v1/projects/prj_0", None).await;
    for named in [id.as_str(), "shop"] {
        for (method, rest, body) in [
            (Method::GET, "", None),
            (Method::PATCH, "", Some(json!({}))),
            (Method::DELETE, "", None),
            (Method::GET, "/secrets", None),
            (Method::PUT, "/secrets/TOKEN", Some(json!({"value": "abcdef"}))),
            (Method::DELETE, "/secrets/TOKEN", None),
            (Method::PUT, "/variables/A", Some(json!({"value": "x"}))),
            (Method::PUT, "/registries/a.b", Some(json!({"username": "a", "password": "abcdef"}))),
        ] {
            let path = format!("/api/v1/projects/{named}{rest}");
            let refused =
                installation.call_as(&stranger, method, &path, body).await.refused(404, "not_found");
            assert_eq!(refused.json()["detail"], missing.json()["detail"]);
        }
    }
    let theirs = installation.call_as(&stranger, Method::GET, "/api/v1/projects", None).await.json();
    assert_eq!(theirs["items"], json!([]));
    // The same name is another project there, without the secret.
    installation
        .call_as(&stranger, Method::POST, "/api/v1/projects", Some(json!({"name": "shop"})))
        .await
        .expect(201);
    let run = spec_with(json!({"project": "shop", "secrets": ["TOKEN"]}));
    installation
        .call_as(&stranger, Method::POST, "/api/v1/runs", Some(run))
        .await
        .refused(422, "validation_failed");
}

#[tokio::test]
async fn a_run_gets_what_its_project_says_where_it_says_nothing() {
    let installation = installation().await;
    let worker = FakeWorker::register(&installation, 9).await;
    let base_urls = json!({"staging": "https://staging", "*": "https://any"});
    let resources = json!({"cpus": 0.5, "memory_mb": 64, "pids": 32});
    shop(&installation, json!({
        "defaults": {
            "image": "shop:1", "command": ["test"], "folder": "e2e", "environment": "staging", "base_urls": base_urls,
            "timeout_seconds": 77, "retries": {"max": 2}, "resources": resources, "artifacts": ["out"],
        },
        "network": "none",
    })).await;
    for (name, value) in [("A", "project"), ("B", "project"), ("CI", "maybe")] {
        put(&installation, &format!("shop/variables/{name}"), json!({"value": value})).await.expect(204);
    }
    let plain = installation.accept(json!({"project": "shop"})).await;
    let grant = granted(&worker, plain).await.expect(200).json();
    assert_eq!(
        (&grant["image"], &grant["command"], &grant["folder"]),
        (&json!("shop:1"), &json!(["test"]), &json!("e2e"))
    );
    assert_eq!((&grant["timeout_seconds"], &grant["artifacts"]), (&json!(77), &json!(["out"])));
    assert_eq!((&grant["resources"]["memory_mb"], &grant["network"]), (&json!(64), &json!("none")));
    let environment = &grant["environment"];
    for (name, value) in [
        ("A", "project"),
        ("CI", "maybe"),
        ("BASE_URL", "https://staging"),
        ("GANTRY_ENVIRONMENT", "staging"),
    ] {
        assert_eq!(environment[name], value);
    }
    let own = installation
        .accept(json!({
            "project": "shop", "image": "shop:2", "environment": "production", "variables": {"B": "run"},
            "resources": {"memory_mb": 128}, "retries": {"backoff_seconds": 1},
        }))
        .await;
    let grant = granted(&worker, own).await.expect(200).json();
    assert_eq!((&grant["image"], &grant["command"]), (&json!("shop:2"), &json!(["test"])));
    assert_eq!((&grant["resources"]["memory_mb"], &grant["resources"]["pids"]), (&json!(128), &json!(32)));
    let environment = &grant["environment"];
    for (name, value) in [("A", "project"), ("B", "run"), ("BASE_URL", "https://any")] {
        assert_eq!(environment[name], value);
    }
    let stored = installation.stored(own).await.spec;
    assert_eq!((stored.retries.max, stored.retries.backoff_seconds), (2, 1));

    // A rerun is the original as it was resolved, whatever the project says by now.
    patch(&installation, "shop", json!({"defaults": {"image": "shop:9"}})).await.expect(200);
    put(&installation, "shop/variables/A", json!({"value": "changed"})).await.expect(204);
    let again =
        installation.post(&format!("/api/v1/runs/{plain}/rerun"), Value::Null).await.expect(202).run();
    assert_eq!(again.image.as_deref(), Some("shop:1"));
    assert_eq!(again.spec.variables["A"], "project");
    let anew = installation.accept(json!({"project": "shop"})).await;
    assert_eq!(
        installation.stored(anew).await.spec.image.as_deref(),
        Some("shop:9"),
        "at once on this replica"
    );
}

#[tokio::test]
async fn a_name_without_a_project_is_just_a_name() {
    let installation = installation().await;
    let worker = FakeWorker::register(&installation, 9).await;
    let run = installation.accept(spec_with(json!({"project": "whatever"}))).await;
    let grant = granted(&worker, run).await.expect(200).json();
    assert_eq!(grant["environment"]["GANTRY_PROJECT"], "whatever");
    let refused = installation.post("/api/v1/runs", json!({"project": "whatever"})).await;
    assert_eq!(refused.refused(422, "validation_failed").json()["errors"][0]["pointer"], "/image");
}

#[tokio::test]
async fn a_secret_goes_to_the_container_and_nowhere_else() {
    let secret = "a secret value that nobody may see";
    let installation = installation().await;
    let worker = FakeWorker::register(&installation, 9).await;
    shop(&installation, json!({})).await;
    put(&installation, "shop/variables/TOKEN", json!({"value": "weak"})).await.expect(204);
    set_secret(&installation, "TOKEN", secret).await;
    let body = spec_with(json!({"project": "shop", "secrets": ["TOKEN"], "variables": {"TOKEN": "weaker"}}));
    let run = installation.accept(body).await;
    let grant = granted(&worker, run).await.expect(200).json();
    assert_eq!(grant["environment"]["TOKEN"], secret, "stronger than variables");
    assert_eq!(grant["masked"][0], secret);
    for path in ["projects", "projects/shop", "projects/shop/secrets", "runs", &format!("runs/{run}")] {
        let text = installation.get(&format!("/api/v1/{path}")).await.expect(200).text();
        assert!(!text.contains(secret) && !text.contains("v1.first."), "{path}: {text}");
    }
    let named = installation.get("/api/v1/projects/shop/secrets").await.json();
    assert_eq!(named["items"][0]["name"], "TOKEN");
    assert!(named["items"][0]["updated_by"].as_str().unwrap().starts_with("key_"), "{named}");
    // Another run that does not name it does not get it.
    let other = installation.accept(spec_with(json!({"project": "shop"}))).await;
    let grant = granted(&worker, other).await.expect(200).json();
    assert_eq!((&grant["environment"]["TOKEN"], &grant["masked"]), (&json!("weak"), &json!([])));
    let file = std::fs::read(installation.directory.path().join("gantry.db")).unwrap();
    let log = std::fs::read(installation.directory.path().join("gantry.db-wal")).unwrap_or_default();
    let holds = |bytes: &[u8], what: &str| bytes.windows(what.len()).any(|window| window == what.as_bytes());
    assert!(!holds(&file, secret) && !holds(&log, secret));
    assert!(holds(&file, "v1.first.") || holds(&log, "v1.first."), "it is there, sealed");
}

#[tokio::test]
async fn a_rerun_gets_todays_secret() {
    let installation = installation().await;
    let worker = FakeWorker::register(&installation, 9).await;
    shop(&installation, json!({})).await;
    set_secret(&installation, "TOKEN", "the old value").await;
    let run = installation.accept(spec_with(json!({"project": "shop", "secrets": ["TOKEN"]}))).await;
    set_secret(&installation, "TOKEN", "the value of today").await;
    let grant = granted(&worker, run).await.expect(200).json();
    assert_eq!(grant["environment"]["TOKEN"], "the value of today", "as it is when it starts");
    let again = installation.post(&format!("/api/v1/runs/{run}/rerun"), Value::Null).await.expect(202).run();
    set_secret(&installation, "TOKEN", "and of tomorrow").await;
    let grant = granted(&worker, again.id.parse().unwrap()).await.expect(200).json();
    assert_eq!(grant["environment"]["TOKEN"], "and of tomorrow");
}

#[tokio::test]
async fn a_missing_secret_is_told_at_once_and_one_that_went_ends_the_run() {
    let installation = installation().await;
    let worker = FakeWorker::register(&installation, 9).await;
    shop(&installation, json!({})).await;
    let body = spec_with(json!({"project": "shop", "secrets": ["TOKEN"]}));
    let refused = installation.post("/api/v1/runs", body.clone()).await.refused(422, "validation_failed");
    let error = &refused.json()["errors"][0];
    assert_eq!(error["pointer"], "/secrets/0");
    assert!(error["message"].as_str().unwrap().contains("shop"), "{error}");
    // Set a moment later, also on another replica, it is found.
    let replica = installation.replica().await;
    let at_replica = axum::http::Request::put("/api/v1/projects/shop/secrets/TOKEN")
        .header("authorization", format!("Bearer {}", installation.key))
        .header("content-type", "application/json")
        .body(json!({"value": "a secret value"}).to_string().into())
        .unwrap();
    crate::installation::answer(&replica.public_router(), at_replica).await.expect(204);
    let run = installation.accept(body.clone()).await;
    let last = installation.accept(body).await;
    installation.delete("/api/v1/projects/shop/secrets/TOKEN").await.expect(204);
    granted(&worker, run).await.refused(409, "stale_attempt");
    let shown = installation.show(run).await;
    assert_eq!(shown.status, Status::Error);
    let reason = shown.reason.unwrap();
    assert_eq!(reason.code, ReasonCode::SecretMissing);
    assert!(reason.message.contains("TOKEN") && reason.message.contains("shop"), "{}", reason.message);
    installation.delete("/api/v1/projects/shop").await.expect(204);
    granted(&worker, last).await.refused(409, "stale_attempt");
    assert_eq!(installation.show(last).await.reason.unwrap().code, ReasonCode::SecretMissing);
    installation
        .post(&format!("/api/v1/runs/{run}/rerun"), Value::Null)
        .await
        .refused(422, "validation_failed");
}

#[tokio::test]
async fn without_keys_no_secret_can_be_set_and_nothing_else_fails() {
    let installation = Installation::new().await;
    shop(&installation, json!({})).await;
    put(&installation, "shop/variables/A", json!({"value": "x"})).await.expect(204);
    let refused = put(&installation, "shop/secrets/TOKEN", json!({"value": "abcdef"})).await;
    assert!(refused.refused(422, "not_configured").text().contains("sealing_keys"));
    let login = json!({"username": "ann", "password": "abcdef"});
    put(&installation, "shop/registries/registry.example", login).await.refused(422, "not_configured");
    installation.accept(spec_with(json!({"project": "shop"}))).await;
}

#[tokio::test]
async fn secrets_of_the_configuration_are_for_those_who_wrote_it() {
    let installation = Installation::with_config(|config| {
        config.secrets.insert("TOKEN".to_owned(), Secret::new("of the configuration"));
        config.sealer = sealing(&key("first"), &[]);
    })
    .await;
    let worker = FakeWorker::register(&installation, 9).await;
    let body = spec_with(json!({"project": "shop", "secrets": ["TOKEN"]}));
    let run = installation.accept(body.clone()).await;
    assert_eq!(granted(&worker, run).await.json()["environment"]["TOKEN"], "of the configuration");
    let stranger = installation.stranger().await;
    installation
        .call_as(&stranger, Method::POST, "/api/v1/runs", Some(body.clone()))
        .await
        .refused(422, "validation_failed");
    shop(&installation, json!({})).await;
    set_secret(&installation, "TOKEN", "of the project").await;
    let run = installation.accept(body).await;
    assert_eq!(granted(&worker, run).await.json()["environment"]["TOKEN"], "of the project");
}

#[tokio::test]
async fn only_allowed_images_are_run_also_again() {
    let installation = installation().await;
    shop(&installation, json!({"images": ["registry.example/team/*"]})).await;
    let with_image = |image: &str| spec_with(json!({"project": "shop", "image": image}));
    let run = installation.accept(with_image("registry.example/team/app:1")).await;
    for image in ["busybox", "registry.example/team/a/b", "registry.example.evil/team/app", "team/app"] {
        let refused = installation.post("/api/v1/runs", with_image(image)).await;
        let error = refused.refused(422, "validation_failed").json()["errors"][0].clone();
        assert_eq!(error["pointer"], "/image");
        assert!(error["message"].as_str().unwrap().contains("registry.example/team/*"), "{error}");
    }
    patch(&installation, "shop", json!({"images": ["registry.example/other/*"]})).await.expect(200);
    let again = installation.post(&format!("/api/v1/runs/{run}/rerun"), Value::Null).await;
    again.refused(422, "validation_failed");
    patch(&installation, "shop", json!({"images": null, "network": "none"})).await.expect(200);
    let again = installation.post(&format!("/api/v1/runs/{run}/rerun"), Value::Null).await.expect(202).run();
    let stored = installation.stored(again.id.parse().unwrap()).await;
    assert_eq!(stored.spec.network, gantry_domain::spec::Network::None, "what it forbids by now holds");
}

#[tokio::test]
async fn a_projects_limit_holds_and_a_higher_one_lets_runs_in() {
    let config = ProducerConfig {
        concurrency: ConcurrencyConfig { project: Some(4), ..ConcurrencyConfig::default() },
        ..ProducerConfig::default()
    };
    let installation = Installation::with(Wish { config, ..Wish::default() }).await;
    let worker = FakeWorker::register(&installation, 20).await;
    shop(&installation, json!({"concurrency": 2})).await;
    for _ in 0..7 {
        installation.accept(spec_with(json!({"project": "shop"}))).await;
    }
    let claim_all = async || {
        installation.dispatch().await;
        let mut held = Vec::new();
        while let Some(claimed) = worker.claim_next().await {
            held.push(claimed);
        }
        held
    };
    let mut held = claim_all().await;
    assert_eq!(held.len(), 2);
    patch(&installation, "shop", json!({"concurrency": 3})).await.expect(200);
    held.extend(claim_all().await);
    assert_eq!(held.len(), 3);
    worker.finish(&held[0], exited(0)).await.expect(200);
    assert_eq!(claim_all().await.len(), 1, "as one ends another begins");
    patch(&installation, "shop", json!({"concurrency": null})).await.expect(200);
    assert_eq!(claim_all().await.len(), 1, "the installation's limit of 4 holds all the same");
}

#[tokio::test]
async fn ended_runs_go_as_the_project_says() {
    let installation = installation().await;
    let worker = FakeWorker::register(&installation, 20).await;
    shop(&installation, json!({})).await;
    let mut runs = Vec::new();
    for number in 0..6 {
        let project = if number == 2 { "other" } else { "shop" };
        let held = worker.running(spec_with(json!({"project": project}))).await;
        worker.upload(&held, crate::worker::tar_of("report.txt", b"x")).await.expect(200);
        worker.finish(&held, exited(0)).await.expect(200);
        runs.push(held.run);
        installation.advance(24 * 3600);
    }
    let waiting = installation.accept(spec_with(json!({"project": "shop"}))).await;
    let retention = Retention(installation.app().clone());
    assert_eq!(retention.reconcile().await.unwrap().did, 0, "nothing is said");
    patch(&installation, "shop", json!({"retention": {"days": 4}})).await.expect(200);
    assert_eq!(retention.reconcile().await.unwrap().did, 2);
    let left = async || {
        let mut left = Vec::new();
        for (index, run) in runs.iter().enumerate() {
            if installation.stores.runs.find(*run).await.unwrap().is_some() {
                left.push(index);
            }
        }
        left
    };
    assert_eq!(left().await, [2, 3, 4, 5], "another project's stays");
    installation.get(&format!("/api/v1/runs/{}/artifacts", runs[0])).await.refused(404, "not_found");
    patch(&installation, "shop", json!({"retention": {"runs": 1}})).await.expect(200);
    assert_eq!(retention.reconcile().await.unwrap().did, 2);
    assert_eq!(left().await, [2, 5]);
    assert_eq!(retention.reconcile().await.unwrap().did, 0);
    installation.advance(100 * 24 * 3600);
    patch(&installation, "shop", json!({"retention": {"days": 1, "runs": 10}})).await.expect(200);
    assert_eq!(retention.reconcile().await.unwrap().did, 1);
    assert!(installation.stores.runs.find(waiting).await.unwrap().is_some(), "what goes on stays");
}

/// One producer with the old key in front and one with the new, while runs with secrets go on, secrets are set, and everything
/// is sealed anew: every run gets its secret, and in the end the old key can go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_while_runs_go_on() {
    let (old, new) = (key("old"), key("new"));
    let installation = Installation::with_config(|config| config.sealer = sealing(&new, &[&old])).await;
    let before = Sealer::new(old.clone(), vec![new.clone()]).unwrap();
    let worker = FakeWorker::register(&installation, 50).await;
    shop(&installation, json!({})).await;
    set_secret(&installation, "FIRST", "the first secret").await;
    let login = json!({"username": "ann", "password": "the password"});
    put(&installation, "shop/registries/registry.example", login).await.expect(204);
    // All of it as the old key sealed it.
    let rotated = rotate(&*installation.stores.projects, &before, || T0).await.unwrap();
    assert_eq!((rotated.resealed, rotated.untouched), (2, 0));
    let by = installation.get("/api/v1/projects/shop/secrets").await.json();

    let present = Sealer::new(new.clone(), vec![old.clone()]).unwrap();
    let stores = installation.stores.clone();
    let rotating = tokio::spawn(async move {
        let mut total = Rotation::default();
        for round in 0..40 {
            // To and fro: whatever meets it finds either.
            let sealer = if round % 2 == 0 { &present } else { &before };
            let rotated = rotate(&*stores.projects, sealer, || T0).await.unwrap();
            assert!(rotated.is_complete(), "{rotated}");
            total.resealed += rotated.resealed;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (rotate(&*stores.projects, &present, || T0).await.unwrap(), total.resealed)
    });
    let mut number = 0;
    while number < 5 || !rotating.is_finished() {
        let name = format!("MORE_{}", number % 20);
        let value = format!("secret number {number}");
        set_secret(&installation, &name, &value).await;
        let body = json!({
            "project": "shop", "image": "registry.example/app", "secrets": ["FIRST", name],
        });
        let run = installation.accept(spec_with(body)).await;
        let grant = granted(&worker, run).await.expect(200).json();
        assert_eq!(grant["environment"]["FIRST"], "the first secret");
        assert_eq!(grant["environment"][&name], value);
        assert_eq!(grant["registry"]["password"], "the password");
        installation.post(&format!("/api/v1/runs/{run}/cancel"), Value::Null).await.expect(202);
        let lease = serde_json::from_value(grant["lease"].clone()).unwrap();
        let finish = crate::worker::finish(json!({"kind": "cancelled"}));
        let path = format!("/worker/v1/runs/{run}/finish");
        worker.call(Method::POST, &path, Some(&lease), finish).await.expect(200);
        number += 1;
    }
    let (last, resealed) = rotating.await.unwrap();
    assert!(last.is_complete() && resealed >= 4, "{last} {resealed}");
    let kept = installation.get("/api/v1/projects/shop/secrets").await.json();
    let first = |names: &Value| {
        names["items"].as_array().unwrap().iter().find(|item| item["name"] == "FIRST").cloned()
    };
    assert_eq!(first(&by), first(&kept), "nobody set it");

    // Without the old key everything still opens, and doing it again does nothing.
    let alone = Sealer::new(new.clone(), vec![]).unwrap();
    let again = rotate(&*installation.stores.projects, &alone, || T0).await.unwrap();
    assert_eq!((again.resealed, again.is_complete()), (0, true), "{again}");
    assert!(again.untouched >= 7 && again.to_string().contains("can be taken out"), "{again}");
    // With a key that never sealed anything nothing is lost, and it is told.
    let stranger = Sealer::new(key("other"), vec![]).unwrap();
    let refused = rotate(&*installation.stores.projects, &stranger, || T0).await.unwrap();
    assert_eq!((refused.resealed, refused.is_complete()), (0, false));
    assert!(
        refused.to_string().contains("Keep the older keys") && refused.to_string().contains("\"new\""),
        "{refused}"
    );
}

#[tokio::test]
async fn a_secret_under_a_key_that_is_gone_is_tried_elsewhere_and_then_ends_the_run() {
    let installation = installation().await;
    let worker = FakeWorker::register(&installation, 9).await;
    shop(&installation, json!({})).await;
    set_secret(&installation, "TOKEN", "a secret value").await;
    let project =
        installation.stores.projects.by_name(installation.organization, "shop").await.unwrap().unwrap();
    let damaged = project.next(T0, |project| {
        project.secrets.get_mut("TOKEN").unwrap().sealed = "v1.lost.AAAA".into();
    });
    installation.stores.projects.update(&damaged).await.unwrap();
    let body = json!({"project": "shop", "secrets": ["TOKEN"], "retries": {"max_lost": 1}});
    let run = installation.accept(spec_with(body)).await;
    granted(&worker, run).await.refused(409, "stale_attempt");
    assert_eq!(installation.status(run).await, Status::Pending, "another producer may have the key");
    granted(&worker, run).await.refused(409, "stale_attempt");
    let reason = installation.show(run).await.reason.unwrap();
    assert_eq!(reason.code, ReasonCode::Infrastructure);
    assert!(reason.message.contains("TOKEN") && reason.message.contains("\"lost\""), "{}", reason.message);
}

#[tokio::test]
async fn registry_credentials_are_for_pulling_only() {
    let installation = installation().await;
    let worker = FakeWorker::register(&installation, 9).await;
    shop(&installation, json!({})).await;
    let login = json!({"username": "ann", "password": "a registry's password"});
    put(&installation, "shop/registries/Registry.Example:5000", login).await.expect(204);
    let listed = installation.get("/api/v1/projects/shop/registries").await.expect(200);
    assert_eq!(listed.json()["items"][0]["registry"], "registry.example:5000");
    assert!(!listed.text().contains("a registry's password"));
    let of = |image: &str| spec_with(json!({"project": "shop", "image": image}));
    let run = installation.accept(of("registry.example:5000/team/app")).await;
    let grant = granted(&worker, run).await.expect(200).json();
    let login =
        json!({"registry": "registry.example:5000", "username": "ann", "password": "a registry's password"});
    assert_eq!(grant["registry"], login);
    assert_eq!(grant["masked"][0], "a registry's password");
    assert!(!grant["environment"].to_string().contains("a registry's password"));
    let run = installation.accept(of("busybox")).await;
    assert_eq!(granted(&worker, run).await.expect(200).json()["registry"], Value::Null, "another registry");
    installation.delete("/api/v1/projects/shop/registries/registry.example:5000").await.expect(204);
    installation.delete("/api/v1/projects/shop/registries/registry.example:5000").await.expect(404);
}

fn tar_with(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

#[tokio::test]
async fn names_of_files_and_test_results_keep_secrets_to_themselves() {
    let installation = installation().await;
    let worker = FakeWorker::register(&installation, 9).await;
    shop(&installation, json!({})).await;
    set_secret(&installation, "TOKEN", "tok-12345").await;
    set_secret(&installation, "OTHER", "oth-67890").await;
    let body = json!({"project": "shop", "secrets": ["TOKEN", "OTHER"]});
    let held = worker.running(spec_with(body)).await;
    let report = r#"<testsuite name="of tok-12345"><testcase name="signs in with tok-12345" classname="oth-67890.Case" time="1">
        <failure message="expected oth-67890">got dG9rLTEyMzQ1Cg==</failure></testcase></testsuite>"#;
    let files = [
        ("a/tok-12345.txt", "1"),
        ("a/oth-67890.txt", "2"),
        ("plain.txt", "3"),
        ("tok-12345/junit.xml", report),
    ];
    worker.upload(&held, tar_with(&files)).await.expect(200);
    worker.finish(&held, exited(0)).await.expect(200);
    let run = held.run;
    let listed = installation.get(&format!("/api/v1/runs/{run}/artifacts")).await.expect(200);
    let names: Vec<_> =
        listed.json()["items"].as_array().unwrap().iter().map(|item| item["path"].clone()).collect();
    assert_eq!(names, ["***/junit.xml", "a/***.txt", "a/***.txt~2", "plain.txt"]);
    let mut contents = Vec::new();
    for name in ["a/***.txt", "a/***.txt~2"] {
        let path = format!("/api/v1/runs/{run}/artifacts/{}", name.replace('*', "%2A"));
        contents.push(installation.get(&path).await.expect(200).text());
    }
    contents.sort();
    assert_eq!(contents, ["1", "2"], "both are there");
    let tests = installation.get(&format!("/api/v1/runs/{run}/tests")).await.expect(200).text();
    assert!(tests.contains("signs in with ***"), "{tests}");
    for hidden in ["tok-12345", "oth-67890", "dG9rLTEyMzQ1"] {
        assert!(!tests.contains(hidden) && !listed.text().contains(hidden), "{hidden}: {tests}");
    }
}
