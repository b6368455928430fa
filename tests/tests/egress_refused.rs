//! Workers of a deployment take runs only on an engine that says that it filters what runs reach, at the start and
//! whenever another engine takes its place.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use gantry_api_types::fleet::WorkerStatus;
use gantry_api_types::request::CreateRun;
use gantry_api_types::run::Status;
use gantry_client::ApiClient;
use gantry_domain::id::RunId;
use gantry_executor::docker::FILTERED_EGRESS;
use gantry_tests::cluster::{Addresses, Cluster, Plan};
use gantry_tests::{PrivateEngine, eventually, gantry_worker};

async fn create(client: &ApiClient) -> RunId {
    let request = CreateRun {
        image: Some("busybox:1.36".into()),
        command: Some(vec!["true".into()]),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    };
    client.create_run(&request, None).await.unwrap().id.parse().unwrap()
}

async fn passes(client: &ApiClient, id: RunId) {
    eventually("the run passed", || async {
        let run = client.get_run(id).await.ok()?;
        assert!(!run.status.is_final() || run.status == Status::Passed, "{:?}", run.reason);
        (run.status == Status::Passed).then_some(())
    })
    .await;
}

/// Why the only worker takes no runs, as `gantry workers` shows it.
async fn paused(client: &ApiClient) -> String {
    eventually("the worker paused", || async {
        let workers = client.workers().await.ok()?.items;
        let paused = workers.into_iter().find(|worker| worker.status == WorkerStatus::Paused)?;
        Some(paused.paused.unwrap_or_default())
    })
    .await
}

/// What `gantry-worker health --ready` says of the worker that listens there.
fn readiness(at: &str) -> (bool, String) {
    let asked =
        Command::new(gantry_worker()).args(["health", "--ready"]).env("GANTRY_LISTEN", at).output().unwrap();
    (asked.status.success(), String::from_utf8_lossy(&asked.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_engine_that_filters_nothing_no_run_is_claimed() {
    let mut engine = PrivateEngine::start().unwrap();
    let plan = Plan::over(Addresses::private())
        .of(1, 0)
        .patient()
        .with_docker()
        .workers_with("DOCKER_HOST", &engine.host())
        .workers_with("GANTRY_ALLOW_UNVERIFIED_EGRESS", "false");
    let mut cluster = Cluster::start(plan).await.unwrap();
    let client = cluster.client();
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    cluster.add_worker(&[("GANTRY_LISTEN", at.clone())]).unwrap();

    // It says why, wherever somebody may look.
    let why = paused(&client).await;
    assert!(why.contains(FILTERED_EGRESS) && why.contains("allow_unverified_egress"), "{why}");
    let (ready, health) = readiness(&at);
    assert!(!ready && health.contains(FILTERED_EGRESS), "{health}");
    assert!(cluster.workers[0].log().contains("taking no runs"), "{}", cluster.workers[0].log());

    // It claims nothing: the run is there, has its chance, and waits.
    let waiting = create(&client).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let run = client.get_run(waiting).await.unwrap();
    assert_eq!(run.attempt, 0, "{:?}", run.status);
    assert!(engine.containers().unwrap().is_empty());

    // Another engine in its place is found without anybody's help, and so is one that is worse.
    engine.replace(Some(FILTERED_EGRESS)).unwrap();
    passes(&client, waiting).await;
    assert!(readiness(&at).0, "{}", readiness(&at).1);
    engine.replace(None).unwrap();
    // Asked at once, before a look at the engine was due: it is not carried out even so.
    let late = create(&client).await;
    paused(&client).await;
    assert!(!client.get_run(late).await.unwrap().status.is_final());
    assert!(engine.containers().unwrap().is_empty());

    // A word in its configuration, and a worker takes it as it is.
    cluster.add_worker(&[("GANTRY_ALLOW_UNVERIFIED_EGRESS", "true".to_owned())]).unwrap();
    passes(&client, late).await;
}
