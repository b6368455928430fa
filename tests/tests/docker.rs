//! Real containers, from the command line to the engine and back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::process::Command;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use gantry_api_types::request::{CreateRun, Resources, Retries};
use gantry_api_types::run::{ReasonCode, Run, Status};
use gantry_client::{ApiClient, LogItem, LogQuery};
use gantry_domain::id::RunId;
use gantry_tests::{Installation, Up, eventually};

const IMAGE: &str = "busybox:1.36";

fn start() -> (Installation, Up) {
    let installation = Installation::new("docker").unwrap();
    let up = installation.up().expect("is a Docker engine up? `scripts/services start docker` starts one");
    (installation, up)
}

fn shell(script: &str) -> CreateRun {
    CreateRun {
        image: Some(IMAGE.into()),
        command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
        artifacts: Some(vec![]),
        retries: Some(Retries { max_lost: Some(0), ..Retries::default() }),
        ..CreateRun::default()
    }
}

async fn create(client: &ApiClient, request: CreateRun) -> RunId {
    client.create_run(&request, None).await.unwrap().id.parse().unwrap()
}

async fn ended(client: &ApiClient, id: RunId) -> Run {
    eventually("the run's end", || async {
        let run = client.get_run(id).await.unwrap();
        run.status.is_final().then_some(run)
    })
    .await
}

async fn reaches(client: &ApiClient, id: RunId, text: &str) {
    eventually(text, || async {
        let log =
            client.logs(id, LogQuery::default(), None).await.ok()?.try_collect::<Vec<_>>().await.ok()?;
        String::from_utf8_lossy(&log.concat()).contains(text).then_some(())
    })
    .await;
}

fn containers_of(id: RunId) -> String {
    let filter = format!("label=gantry.run={id}");
    let output = Command::new("docker").args(["ps", "-aq", "--filter", &filter]).output().unwrap();
    assert!(output.status.success(), "docker ps: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn no_container(id: RunId) {
    eventually("the container gone", || async { containers_of(id).is_empty().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_prints_live_and_exits_as_the_run_did() {
    let (installation, up) = start();
    let output = installation.run(&["run", "--image", IMAGE, "--", "sh", "-c", "echo hi; exit 3"]).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&output.stdout), "hi\n", "{}", text(&output.stderr));
    assert_eq!(output.status.code(), Some(3));
    let shown = installation.run(&["show", "last", "--output", "json"]).unwrap();
    let run: Run = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((run.status, run.exit_code), (Status::Failed, Some(3)));
    assert_eq!(run.reason.unwrap().code, ReasonCode::ExitCode);
    no_container(run.id.parse().unwrap()).await;
    up.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_container_did_is_what_the_run_says() {
    let (_installation, up) = start();
    let client = up.client().unwrap();
    let small = Some(Resources { memory_mb: Some(32), ..Resources::default() });
    // tail keeps in memory what it reads.
    let eat = "tail -c 200m /dev/zero";
    let mut cases: Vec<(CreateRun, Status, ReasonCode)> = vec![
        (shell("exit 0"), Status::Passed, ReasonCode::Completed),
        (shell("exit 7"), Status::Failed, ReasonCode::ExitCode),
        (
            CreateRun { resources: small.clone(), ..shell(&format!("exec {eat}")) },
            Status::Failed,
            ReasonCode::OutOfMemory,
        ),
        (
            CreateRun { resources: small, ..shell(&format!("{eat}; exit 0")) },
            Status::Passed,
            ReasonCode::Completed,
        ),
        (CreateRun { timeout_seconds: Some(1), ..shell("sleep 60") }, Status::TimedOut, ReasonCode::Timeout),
    ];
    for (program, image, status, code) in [
        ("no-such-program", IMAGE, Status::Error, ReasonCode::BadCommand),
        ("/etc", IMAGE, Status::Error, ReasonCode::BadCommand),
        // Nothing listens there.
        ("true", "127.0.0.1:9/none:1", Status::Error, ReasonCode::RegistryUnreachable),
    ] {
        let request =
            CreateRun { image: Some(image.into()), command: Some(vec![program.into()]), ..shell("") };
        cases.push((request, status, code));
    }
    let mut ids = Vec::new();
    for (request, ..) in &cases {
        ids.push(create(&client, request.clone()).await);
    }
    for (id, (request, status, code)) in ids.into_iter().zip(cases) {
        let run = ended(&client, id).await;
        let reason = run.reason.clone().unwrap();
        assert_eq!((run.status, reason.code), (status, code), "{:?}: {}", request.command, reason.message);
        assert!(!reason.hint.is_empty());
        let child_died =
            request.command.as_ref().is_some_and(|c| c.last().unwrap().ends_with("m /dev/zero; exit 0"));
        assert_eq!(run.warnings.iter().any(|w| w.code == "child_oom"), child_died, "{:?}", run.warnings);
        no_container(id).await;
    }
    up.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_container_is_gone_within_fifteen_seconds() {
    let (_installation, up) = start();
    let client = up.client().unwrap();
    let id = create(&client, shell("trap '' TERM; echo started; while true; do sleep 1; done")).await;
    reaches(&client, id, "started").await;
    let asked = Instant::now();
    client.cancel_run(id).await.unwrap();
    no_container(id).await;
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    let run = ended(&client, id).await;
    assert_eq!((run.status, run.reason.unwrap().code), (Status::Cancelled, ReasonCode::Cancelled));
    up.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_killed_from_outside_says_so() {
    let (_installation, up) = start();
    let client = up.client().unwrap();
    let id = create(&client, shell("echo started; exec sleep 60")).await;
    reaches(&client, id, "started").await;
    assert!(Command::new("docker").args(["kill", &containers_of(id)]).output().unwrap().status.success());
    let run = ended(&client, id).await;
    assert_eq!((run.status, run.reason.unwrap().code), (Status::Failed, ReasonCode::Killed));
    up.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_the_next_start_removes_the_containers_and_runs_again() {
    let (installation, up) = start();
    let client = up.client().unwrap();
    let request = CreateRun { retries: None, ..shell("echo started; sleep 2; echo done") };
    let id = create(&client, request).await;
    reaches(&client, id, "started").await;
    let first = containers_of(id);
    up.kill().unwrap();

    let up = installation.up().unwrap();
    let client = up.client().unwrap();
    let run = ended(&client, id).await;
    assert_eq!((run.status, run.attempt), (Status::Passed, 2));
    eventually("the first container gone", || async { (!containers_of(id).contains(&first)).then_some(()) })
        .await;
    no_container(id).await;
    let attempts = client.attempts(id).await.unwrap().items;
    assert_eq!(attempts[0].reason.as_ref().unwrap().code, ReasonCode::Lost);
    up.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_hands_running_work_back_and_leaves_no_container() {
    let (_installation, up) = {
        let installation = Installation::new("docker").unwrap().set("GANTRY_DRAIN_GRACE", "1s");
        let up =
            installation.up().expect("is a Docker engine up? `scripts/services start docker` starts one");
        (installation, up)
    };
    let client = up.client().unwrap();
    let id = create(&client, shell("echo started; sleep 300")).await;
    reaches(&client, id, "started").await;
    up.stop().unwrap();
    no_container(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_and_test_results_come_back_from_a_container() {
    let (installation, up) = start();
    let client = up.client().unwrap();
    let script = r#"mkdir -p reports
cat > reports/junit.xml <<'X'
<testsuite name="shop"><testcase name="adds" time="0.5"/><testcase name="fails"><failure message="1 != 2"/></testcase>
<testcase name="later"><skipped/></testcase></testsuite>
X
echo '<h1>report</h1>' > reports/index.html; exit 1"#;
    let id = create(&client, CreateRun { artifacts: None, ..shell(script) }).await;
    let run = ended(&client, id).await;
    assert_eq!((run.status, run.tests.total, run.tests.failed, run.tests.skipped), (Status::Failed, 3, 1, 1));
    assert_eq!(run.artifacts.count, 2, "{:?}", run.warnings);
    let into = installation.scratch().join("out");
    let fetched = installation.run(&["artifacts", &id.to_string(), "-o", into.to_str().unwrap()]).unwrap();
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert_eq!(std::fs::read_to_string(into.join("reports/index.html")).unwrap(), "<h1>report</h1>\n");
    let failed = installation.run(&["tests", &id.to_string(), "--failed"]).unwrap();
    let failed = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert!(failed.contains("fails") && !failed.contains("adds"), "{failed}");
    up.stop().unwrap();
}

/// Issue: the process stays small, the log is exact up to its limit, and slow followers disturb nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_200_mb_log_is_kept_exactly_in_little_memory() {
    // Numbered lines of nine bytes: 200 MiB, and any loss, repetition or change shows.
    const LINES: u64 = 23_300_000;
    const BYTES: u64 = 9 * LINES;
    let installation = Installation::new("docker").unwrap().set("GANTRY_LIMITS_LOG", "256MiB");
    let up = installation.up().expect("is a Docker engine up? `scripts/services start docker` starts one");
    let client = up.client().unwrap();
    let script = format!("exec seq -w 1 {LINES}");
    let id = create(&client, CreateRun { timeout_seconds: Some(600), ..shell(&script) }).await;

    // One that never reads on: 1 B/s as seen from the server.
    let mut stuck = Box::pin(client.follow(id, None));
    assert!(stuck.next().await.is_some());
    eventually("half of the log", || async {
        let run = client.get_run(id).await.unwrap();
        (run.status.is_final() || run.log_bytes.unwrap_or(0) > BYTES / 4).then_some(())
    })
    .await;
    // Connected half-way, from the beginning.
    let mut follower = Box::pin(client.follow(id, None));
    let (mut followed, mut next) = (0_u64, 0_u64);
    let mut hash = Fnv::default();
    let run = loop {
        match follower.next().await.unwrap().unwrap() {
            LogItem::Log(event) => {
                assert_eq!(event.offset, next, "a gap or a repetition");
                let bytes = event.bytes().unwrap();
                next += bytes.len() as u64;
                if event.stream == gantry_api_types::log::Stream::Stdout {
                    followed += bytes.len() as u64;
                    hash.add(&bytes);
                }
            }
            LogItem::End(run) => break run,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(run.status, Status::Passed, "{:?}", run.reason);
    let mut plain = Fnv::default();
    let mut length = 0;
    let mut log = client.logs(id, LogQuery::default(), None).await.unwrap();
    while let Some(bytes) = log.try_next().await.unwrap() {
        length += bytes.len() as u64;
        plain.add(&bytes);
    }
    let mut written = Fnv::default();
    (1..=LINES).for_each(|line| written.add(format!("{line:08}\n").as_bytes()));
    assert_eq!((length, plain.0), (BYTES, written.0), "the log has other bytes than the container wrote");
    assert_eq!((followed, hash.0), (BYTES, written.0), "the follower saw other bytes than the log has");
    let peak = up.peak_memory().unwrap() >> 20;
    println!("peak memory {peak} MiB, log {length} bytes");
    // Some 140 alone, a little more beside other tests; holding the log would be 200 more.
    assert!(peak < 190, "peak memory {peak} MiB");
    drop(stuck);
    up.stop().unwrap();
}

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The installation that owns the containers of a run.
fn installation_of(id: RunId) -> Option<String> {
    let filter = format!("label=gantry.run={id}");
    let format = "{{.Label \"gantry.installation\"}}";
    let output =
        Command::new("docker").args(["ps", "-a", "--filter", &filter, "--format", format]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}

/// Issue: kill -9 at random moments leaves no labelled container, and every run ends once. `GANTRY_CRASH_ROUNDS` sets how
/// often (3 if absent).
#[tokio::test(flavor = "multi_thread")]
async fn a_gantry_killed_again_and_again_leaves_no_container() {
    let rounds: u32 =
        std::env::var("GANTRY_CRASH_ROUNDS").map_or(3, |rounds| rounds.parse().expect("a number"));
    let installation = Installation::new("docker").unwrap().set("GANTRY_SLOTS", "3");
    let (mut ids, mut owner) = (Vec::new(), None);
    for round in 0..rounds {
        let up =
            installation.up().expect("is a Docker engine up? `scripts/services start docker` starts one");
        let client = up.client().unwrap();
        for i in 0..4 {
            let request = CreateRun {
                at_most_once: Some(i % 2 == 0),
                retries: None,
                ..shell("echo started; sleep 0.3; echo done")
            };
            ids.push(create(&client, request).await);
        }
        let newest = ids[ids.len() - 4];
        if round == 0 {
            owner = Some(eventually("a container", || async { installation_of(newest) }).await);
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(50..1500))).await;
        up.kill().unwrap();
    }
    let up = installation.up().unwrap();
    let client = up.client().unwrap();
    for id in ids {
        let run = ended(&client, id).await;
        let reason = run.reason.as_ref().map(|reason| reason.code);
        match run.status {
            Status::Passed => {}
            Status::Error => assert_eq!(reason, Some(ReasonCode::Lost), "{run:?}"),
            other => panic!("{other:?} cannot come of a crash: {run:?}"),
        }
    }
    let filter = format!("label=gantry.installation={}", owner.unwrap());
    eventually("no container left", || async {
        let output = Command::new("docker").args(["ps", "-aq", "--filter", &filter]).output().unwrap();
        output.stdout.is_empty().then_some(())
    })
    .await;
    up.stop().unwrap();
    let networks =
        Command::new("docker").args(["network", "ls", "-q", "--filter", &filter]).output().unwrap();
    assert!(networks.stdout.is_empty(), "networks left: {}", String::from_utf8_lossy(&networks.stdout));
}
