//! The same with real containers: whatever happens to their worker, none of them stays.

use std::process::Command;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use gantry_api_types::request::{CreateRun, Retries};
use gantry_api_types::run::{ReasonCode, Run, Status};
use gantry_client::{ApiClient, LogQuery};
use gantry_domain::id::RunId;
use gantry_tests::cluster::{Addresses, Cluster, LEASE, Plan};
use gantry_tests::faults::{Row, random, rounds};
use gantry_tests::registry::SilentRegistry;
use gantry_tests::{PrivateEngine, eventually};
use rand::RngExt as _;

use crate::deployment::{ended, reaches};

fn shell(script: &str) -> CreateRun {
    CreateRun {
        image: Some("busybox:1.36".into()),
        command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        artifacts: Some(vec![]),
        retries: Some(Retries { max_lost: Some(10), ..Retries::default() }),
        ..CreateRun::default()
    }
}

async fn deployment() -> Cluster {
    let mut plan =
        Plan::over(Addresses::private()).of(1, 2).with_docker().workers_with("GANTRY_DRAIN_GRACE", "1s");
    plan.slots = 2;
    Cluster::start(plan).await.expect("is a Docker engine up? `scripts/services start docker` starts one")
}

async fn create(client: &ApiClient, request: &CreateRun) -> RunId {
    client.create_run(request, None).await.unwrap().id.parse().unwrap()
}

async fn prints(client: &ApiClient, id: RunId, text: &str) {
    eventually(text, || async {
        let log =
            client.logs(id, LogQuery::default(), None).await.ok()?.try_collect::<Vec<_>>().await.ok()?;
        String::from_utf8_lossy(&log.concat()).contains(text).then_some(())
    })
    .await;
}

/// Ids of containers with this label, running or not.
fn containers(label: &str) -> Vec<String> {
    let filter = format!("label={label}");
    let output = Command::new("docker").args(["ps", "-aq", "--filter", &filter]).output().unwrap();
    assert!(output.status.success(), "docker ps: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

async fn no_container_of(runs: &[RunId]) {
    for run in runs {
        eventually("its containers gone", || async {
            containers(&format!("gantry.run={run}")).is_empty().then_some(())
        })
        .await;
    }
}

async fn all_passed(client: &ApiClient, runs: &[RunId]) -> Vec<Run> {
    let mut found = Vec::new();
    for run in runs {
        let run = ended(client, *run).await;
        assert_eq!(run.status, Status::Passed, "{run:?}");
        found.push(run);
    }
    found
}

async fn holder(cluster: &Cluster, run: RunId) -> usize {
    let client = cluster.client();
    let id = client.get_run(run).await.unwrap().worker.unwrap();
    let workers = client.workers().await.unwrap().items;
    let name = &workers.iter().find(|worker| worker.id == id).expect("the run's worker").name;
    cluster.workers.iter().position(|worker| worker.name() == name).expect("its process")
}

/// Before and after claim, acknowledgement, create, start, exit and report: wherever the random moment falls.
#[tokio::test(flavor = "multi_thread")]
async fn containers_of_killed_workers_are_removed_and_their_runs_finish() {
    let rounds = rounds(2, 1);
    let (seed, mut random) = random("kill -9 worker, containers");
    let mut cluster = deployment().await;
    let client = cluster.client();
    let mut runs = Vec::new();
    for round in 0..rounds {
        // A run is given up when it lost ten workers: these cannot.
        if round % 5 == 0 {
            all_passed(&client, &runs).await;
        }
        for _ in 0..4 {
            runs.push(create(&client, &shell("echo begin; sleep 0.3; echo end")).await);
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
        let i = random.random_range(0..2);
        cluster.workers[i].kill().unwrap();
        cluster.workers[i].start(false).unwrap();
    }
    let ended = all_passed(&client, &runs).await;
    no_container_of(&runs).await;
    let attempts: u32 = ended.iter().map(|run| run.attempt).sum();
    let note = format!("{attempts} attempts of {} runs, no container left", runs.len());
    Row::new("kill -9 a worker, with containers", rounds, seed).note(note).all_ended(runs.len(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_of_a_frozen_worker_is_killed_when_it_wakes() {
    let rounds = rounds(1, 5);
    let (seed, _) = random("SIGSTOP worker, containers");
    let cluster = deployment().await;
    let client = cluster.client();
    let mut runs = Vec::new();
    for _ in 0..rounds {
        // Its first attempt would go on for ever.
        let run = create(
            &client,
            &shell("echo begin $GANTRY_ATTEMPT; [ $GANTRY_ATTEMPT -gt 1 ] || sleep 600; echo end"),
        )
        .await;
        runs.push(run);
        prints(&client, run, "begin 1").await;
        let i = holder(&cluster, run).await;
        cluster.workers[i].freeze().unwrap();
        tokio::time::sleep(2 * LEASE).await;
        let again = ended(&client, run).await;
        assert_eq!((again.status, again.attempt), (Status::Passed, 2));
        cluster.workers[i].thaw().unwrap();
        no_container_of(&[run]).await;
        assert_eq!(client.get_run(run).await.unwrap(), again, "a late write changed it");
        cluster.workers_online(2).await;
    }
    Row::new("SIGSTOP a worker for two leases, with containers", rounds, seed).all_ended(runs.len(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_leaves_no_container() {
    let rounds = rounds(1, 5);
    let (seed, _) = random("SIGTERM worker, containers");
    let mut cluster = deployment().await;
    let client = cluster.client();
    let mut runs = Vec::new();
    for _ in 0..rounds {
        let run =
            create(&client, &shell("echo begin; [ $GANTRY_ATTEMPT -gt 1 ] || sleep 600; echo end")).await;
        runs.push(run);
        prints(&client, run, "begin").await;
        let i = holder(&cluster, run).await;
        let old = containers(&format!("gantry.run={run}"));
        let worker = &mut cluster.workers[i];
        worker.terminate().unwrap();
        let status = tokio::task::block_in_place(|| worker.wait(Duration::from_secs(60))).unwrap();
        assert!(status.success(), "it ended with {status}: {}", worker.log());
        let left = containers(&format!("gantry.run={run}"));
        assert!(!left.iter().any(|id| old.contains(id)), "an orphan");
        worker.start(false).unwrap();
    }
    for run in all_passed(&client, &runs).await {
        assert_eq!(run.attempt, 2, "{run:?}");
    }
    no_container_of(&runs).await;
    Row::new("SIGTERM a worker mid-run, with containers", rounds, seed).all_ended(runs.len(), None);
}

/// A run fills the engine's own small disk, to the last block.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_engine_has_no_space_left_takes_no_runs_until_it_has_and_says_why() {
    let rounds = rounds(1, 10);
    let (seed, _) = random("no space");
    let engine = PrivateEngine::with_disk(96).unwrap();
    let mut cluster =
        Cluster::start(Plan::over(Addresses::private()).of(1, 0).with_docker().patient()).await.unwrap();
    let disk = [("DOCKER_HOST", engine.host()), ("GANTRY_DISK_PAUSE_BELOW", "15".to_owned())];
    cluster.add_worker(&disk).unwrap();
    cluster.workers_online(1).await;
    let client = cluster.client();
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        let greedy =
            create(&client, &shell("dd if=/dev/zero of=/fill bs=64k 2>&1; echo filled; sleep 600")).await;
        prints(&client, greedy, "No space left on device").await;
        prints(&client, greedy, "filled").await;
        eventually("a worker that says why it takes no runs", || async {
            let workers = client.workers().await.ok()?.items;
            workers.first()?.paused.as_ref().map(|why| assert!(why.contains("disk"), "{why}"))
        })
        .await;
        let waiting = create(&client, &shell("echo begin")).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(client.get_run(waiting).await.unwrap().attempt, 0, "it was taken");
        // What runs is told to end as ever, and takes its files along.
        let began = Instant::now();
        client.cancel_run(greedy).await.unwrap();
        assert_eq!(ended(&client, greedy).await.status, Status::Cancelled);
        all_passed(&client, &[waiting]).await;
        slowest = slowest.max(began.elapsed());
    }
    eventually("no container left", || async { engine.containers().ok()?.is_empty().then_some(()) }).await;
    Row::new("no space left on the engine's disk", rounds, seed)
        .all_ended(2 * rounds as usize, Some(slowest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_never_answers_costs_one_run_and_frees_its_slot() {
    let rounds = rounds(1, 10);
    let (seed, _) = random("registry hangs");
    let mut plan = Plan::over(Addresses::private()).of(1, 1).with_docker().patient();
    plan.slots = 1;
    let cluster = Cluster::start(plan.workers_with("GANTRY_PULL_NO_PROGRESS", "3s")).await.unwrap();
    let client = cluster.client();
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        let registry = SilentRegistry::start().await.unwrap();
        let began = Instant::now();
        let hanging = CreateRun { image: Some(registry.image()), ..shell("echo begin") };
        let hanging = create(&client, &hanging).await;
        reaches(&client, hanging, Status::Running).await;
        // Behind it: there is one slot.
        let waiting = create(&client, &shell("echo begin")).await;
        let run = ended(&client, hanging).await;
        let reason = run.reason.as_ref().map(|reason| reason.code);
        assert_eq!((run.status, reason), (Status::Error, Some(ReasonCode::RegistryUnreachable)), "{run:?}");
        all_passed(&client, &[waiting]).await;
        no_container_of(&[hanging, waiting]).await;
        slowest = slowest.max(began.elapsed());
    }
    Row::new("a registry that takes connections and never answers", rounds, seed)
        .all_ended(2 * rounds as usize, Some(slowest));
}
