//! The engine itself is killed under running containers: those attempts end as `error/infrastructure`, no further run is
//! wasted on an engine that is gone, everything is tried again once it is back, and no container stays.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use gantry_api_types::fleet::WorkerStatus;
use gantry_api_types::request::CreateRun;
use gantry_api_types::run::{ReasonCode, Run, Status};
use gantry_client::{ApiClient, LogQuery};
use gantry_domain::id::RunId;
use gantry_tests::faults::{Row, random, rounds};
use gantry_tests::{Installation, PrivateEngine, Up, eventually};

fn shell(script: &str) -> CreateRun {
    CreateRun {
        image: Some("busybox:1.36".into()),
        command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    }
}

fn start(engine: &PrivateEngine) -> (Installation, Up) {
    let installation =
        Installation::new("docker").unwrap().set("DOCKER_HOST", &engine.host()).set("GANTRY_SLOTS", "2");
    let up = installation.up().unwrap();
    (installation, up)
}

async fn create(client: &ApiClient, script: &str) -> RunId {
    client.create_run(&shell(script), None).await.unwrap().id.parse().unwrap()
}

async fn ended(client: &ApiClient, id: RunId) -> Run {
    eventually("the run's end", || async {
        let run = client.get_run(id).await.unwrap();
        run.status.is_final().then_some(run)
    })
    .await
}

async fn prints(client: &ApiClient, id: RunId, text: &str) {
    eventually(text, || async {
        let log =
            client.logs(id, LogQuery::default(), None).await.ok()?.try_collect::<Vec<_>>().await.ok()?;
        String::from_utf8_lossy(&log.concat()).contains(text).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_killed_engine_are_tried_again_when_it_is_back() {
    let rounds = rounds(1, 10);
    let (seed, _) = random("engine kill");
    let mut engine = PrivateEngine::start().unwrap();
    let (_installation, up) = start(&engine);
    let client = up.client().unwrap();
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        slowest = slowest.max(kill_and_recover(&mut engine, &client).await);
    }
    up.stop().unwrap();
    assert!(engine.containers().unwrap().is_empty());
    Row::new("kill -9 the engine mid-run (gantry up)", rounds, seed)
        .all_ended(3 * rounds as usize, Some(slowest));
}

/// How long it takes from the engine's return until everything has ended.
async fn kill_and_recover(engine: &mut PrivateEngine, client: &ApiClient) -> Duration {
    let running = [
        create(client, "echo started; sleep 4; echo done").await,
        create(client, "echo started; sleep 4").await,
    ];
    for id in running {
        prints(client, id, "started").await;
    }
    engine.kill().unwrap();
    for id in running {
        let first = eventually("the first attempt's end", || async {
            client.attempts(id).await.unwrap().items.into_iter().next().filter(|first| first.status.is_some())
        })
        .await;
        assert_eq!(first.status, Some(Status::Error));
        assert_eq!(first.reason.unwrap().code, ReasonCode::Infrastructure);
    }

    // A run is not spent on an engine that is not there, and the fleet says why.
    let waiting = create(client, "echo patient").await;
    eventually("a worker that says why it takes no runs", || async {
        let workers = client.workers().await.unwrap().items;
        workers.iter().any(|w| w.status == WorkerStatus::Paused && w.paused.is_some()).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(client.attempts(waiting).await.unwrap().items.is_empty(), "an attempt without an engine");

    engine.restart().unwrap();
    let back = Instant::now();
    for id in running {
        let run = ended(client, id).await;
        assert_eq!(run.status, Status::Passed, "{:?}", run.reason);
        assert!(run.attempt >= 2, "{run:?}");
    }
    let patient = ended(client, waiting).await;
    let recovery = back.elapsed();
    assert_eq!((patient.status, patient.attempt), (Status::Passed, 1));
    eventually("no container left", || async { engine.containers().ok()?.is_empty().then_some(()) }).await;
    recovery
}
