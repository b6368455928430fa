//! Whoever is killed, nothing of a command goes on.

use std::io::BufRead as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures::StreamExt as _;
use gantry_domain::id::InstallationId;
use gantry_executor::{AttemptKey, AttemptSpec, Executor, ExecutorError};
use rustix::process::Signal;

use crate::{Host, Lines, executor, kill, runs, shell, soon, until};

/// Everything that knows how to get away: a daemon of its own session that ignores SIGTERM, one that also cleared its environment,
/// a stopped process, a plain child. Each writes its process id to `$PIDS`; the shim's is there as well.
const ESCAPE_ARTISTS: &str = r#"
    echo $PPID > "$PIDS/shim"; echo $$ > "$PIDS/main"
    (setsid sh -c 'trap "" TERM HUP INT; echo $$ > "$PIDS/daemon"; while :; do sleep 0.1; done' &)
    (env -i PIDS="$PIDS" PATH="$PATH" setsid sh -c 'trap "" TERM HUP; echo $$ > "$PIDS/bare"; while :; do sleep 0.1; done' &)
    (sh -c 'echo $$ > "$PIDS/stopped"; kill -STOP $$; sleep 1000' &)
    sh -c 'echo $$ > "$PIDS/child"; sleep 1000' &
    trap '' TERM
    while :; do sleep 0.1; done
"#;
const NAMES: [&str; 6] = ["shim", "main", "daemon", "bare", "stopped", "child"];

fn escape_artists(pids: &Path) -> AttemptSpec {
    let mut spec = shell(ESCAPE_ARTISTS);
    spec.environment.insert("PIDS".to_owned(), pids.to_str().unwrap().to_owned());
    spec
}

async fn pid(pids: &Path, name: &str) -> i32 {
    let read = || std::fs::read_to_string(pids.join(name)).ok()?.trim().parse().ok();
    until(name, || read().is_some()).await;
    read().unwrap()
}

async fn all(pids: &Path) -> Vec<(&'static str, i32)> {
    let mut found = Vec::new();
    for name in NAMES {
        found.push((name, pid(pids, name).await));
    }
    found
}

async fn all_end(pids: &[(&'static str, i32)]) {
    for &(name, pid) in pids {
        until(&format!("{name} ends"), || !runs(pid)).await;
    }
}

/// A worker process of its own: this test program, with only the test below.
struct Worker {
    process: Child,
    /// Kept, so that it can go on to print.
    _lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    key: AttemptKey,
}

impl Worker {
    fn start(root: &Path, installation: InstallationId) -> Self {
        Self::run("survivors::a_worker_that_waits_to_be_killed", root, installation)
    }

    /// Returns once the worker printed the run of its first attempt.
    fn run(test: &str, root: &Path, installation: InstallationId) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", test])
            .env("TEST_ROOT", root)
            .env("TEST_INSTALLATION", installation.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines();
        let run =
            lines.find_map(|line| line.unwrap().split_once("runs ").map(|(_, run)| run.parse().unwrap()));
        Self { process, _lines: lines, key: AttemptKey { run: run.unwrap(), attempt: 1 } }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }
}

#[tokio::test]
#[ignore = "the worker process of other tests, not a test"]
async fn a_worker_that_waits_to_be_killed() {
    let root = std::env::var("TEST_ROOT").expect("started by another test");
    let root = Path::new(&root);
    let executor = executor(&root.join("work"), std::env::var("TEST_INSTALLATION").unwrap().parse().unwrap());
    let spec = escape_artists(&root.join("pids"));
    executor.prepare(&spec, &Lines::default()).await.unwrap();
    let output = executor.start(spec.key).await.unwrap();
    println!("runs {}", spec.key.run);
    output.for_each(async |_| {}).await;
}

#[tokio::test]
async fn everything_ends_when_the_worker_is_killed() {
    let (root, installation) = (tempfile::tempdir().unwrap(), InstallationId::new());
    let pids = root.path().join("pids");
    std::fs::create_dir(&pids).unwrap();
    let mut worker = Worker::start(root.path(), installation);
    let running = all(&pids).await;
    assert!(running.iter().all(|&(_, pid)| runs(pid)));
    kill(worker.pid(), Signal::KILL);
    worker.process.wait().unwrap();
    all_end(&running).await;

    let next = executor(&root.path().join("work"), installation);
    assert_eq!(next.leftovers().await, Ok(vec![worker.key]));
    soon(next.destroy(worker.key)).await.unwrap();
    assert_eq!(next.leftovers().await, Ok(vec![]));
    assert_eq!(std::fs::read_dir(root.path().join("work")).unwrap().count(), 0);
}

#[tokio::test]
async fn the_next_worker_ends_what_a_dead_worker_and_a_dead_shim_left() {
    let (root, installation) = (tempfile::tempdir().unwrap(), InstallationId::new());
    let pids = root.path().join("pids");
    std::fs::create_dir(&pids).unwrap();
    let mut worker = Worker::start(root.path(), installation);
    let running = all(&pids).await;
    // Stopped, the worker cannot tidy up after the shim.
    kill(worker.pid(), Signal::STOP);
    kill(pid(&pids, "shim").await, Signal::KILL);
    kill(worker.pid(), Signal::KILL);
    worker.process.wait().unwrap();
    let main = pid(&pids, "main").await;
    until("the command dies with its shim", || !runs(main)).await;
    let (daemon, bare) = (pid(&pids, "daemon").await, pid(&pids, "bare").await);
    assert!(runs(daemon), "nobody was left to end it");

    let next = executor(&root.path().join("work"), installation);
    soon(next.destroy(worker.key)).await.unwrap();
    assert_eq!(next.leftovers().await, Ok(vec![]));
    // The documented one that gets away: no environment, no session, no parent, and its shim killed from outside.
    assert!(runs(bare));
    kill(bare, Signal::KILL);
    all_end(&running).await;
}

#[tokio::test]
async fn a_killed_shim_takes_the_command_along_and_is_the_hosts_fault() {
    let host = Host::new();
    let pids = host.root.path().join("pids");
    std::fs::create_dir(&pids).unwrap();
    let spec = escape_artists(&pids);
    let output = host.start(&spec).await.unwrap();
    let running = all(&pids).await;
    let bare = pid(&pids, "bare").await;
    kill(pid(&pids, "shim").await, Signal::KILL);
    let waited = soon(host.executor.wait(spec.key)).await;
    assert!(matches!(waited, Err(ExecutorError::Infrastructure(_))), "{waited:?}");
    for &(name, pid) in running.iter().filter(|&&(name, _)| name != "bare") {
        assert!(!runs(pid), "{name} still runs");
    }
    kill(bare, Signal::KILL);
    soon(output.collect::<Vec<_>>()).await;
    soon(host.executor.destroy(spec.key)).await.unwrap();
}

#[tokio::test]
async fn stop_and_destroy_leave_nobody() {
    for stop in [true, false] {
        let host = Host::new();
        let pids = host.root.path().join("pids");
        std::fs::create_dir(&pids).unwrap();
        let spec = escape_artists(&pids);
        let output = host.start(&spec).await.unwrap();
        let running = all(&pids).await;
        if stop {
            soon(host.executor.stop(spec.key, std::time::Duration::from_millis(300))).await.unwrap();
        } else {
            soon(host.executor.destroy(spec.key)).await.unwrap();
        }
        for (name, pid) in running {
            assert!(!runs(pid), "{name} still runs");
        }
        soon(output.collect::<Vec<_>>()).await;
        soon(host.executor.destroy(spec.key)).await.unwrap();
    }
}

#[tokio::test]
async fn what_the_command_leaves_running_ends_with_it() {
    let host = Host::new();
    let spec = shell(
        "(setsid sh -c 'trap \"\" TERM; echo $$; sleep 1000' &) | { read pid; echo $pid; }; sleep 1000 & exit 5",
    );
    let ran = host.run(&spec).await;
    assert_eq!(ran.exit.unwrap().code, 5);
    assert!(!runs(ran.out.trim().parse().unwrap()), "{ran:?}");
}

#[tokio::test]
async fn a_dropped_executor_ends_its_commands() {
    let host = Host::new();
    let pids = host.root.path().join("pids");
    std::fs::create_dir(&pids).unwrap();
    let spec = escape_artists(&pids);
    let output = host.start(&spec).await.unwrap();
    let running = all(&pids).await;
    drop(host.executor);
    all_end(&running).await;
    soon(output.collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the worker process of another test, not a test"]
async fn a_busy_worker_that_is_killed_some_time() {
    let root = std::env::var("TEST_ROOT").expect("started by another test");
    let installation = std::env::var("TEST_INSTALLATION").unwrap().parse().unwrap();
    let executor = executor(&Path::new(&root).join("work"), installation);
    let slots = (0..4).map(async |slot| {
        let mut spec = shell("(setsid sh -c 'trap \"\" TERM; while :; do sleep 0.01; done' &); sleep 0.01");
        spec.slot = slot;
        println!("runs {}", spec.key.run);
        loop {
            spec.key.run = gantry_domain::id::RunId::new();
            executor.prepare(&spec, &Lines::default()).await.unwrap();
            executor.start(spec.key).await.unwrap().for_each(async |_| {}).await;
            executor.wait(spec.key).await.unwrap();
            executor.destroy(spec.key).await.unwrap();
        }
    });
    futures::future::join_all(slots).await;
}

/// Processes of any attempt under `root`.
fn marked(root: &Path) -> usize {
    let mark = format!("GANTRY_SANDBOX={}/", root.display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let environs = processes.filter_map(|process| std::fs::read(process.path().join("environ")).ok());
    environs.filter(|environ| String::from_utf8_lossy(environ).contains(&mark)).count()
}

#[tokio::test]
async fn a_worker_killed_at_any_moment_leaves_nothing_running_and_nothing_unlisted() {
    let (root, installation) = (tempfile::tempdir().unwrap(), InstallationId::new());
    let rounds = std::env::var("GANTRY_KILL_ROUNDS").map_or(8, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let mut worker =
            Worker::run("survivors::a_busy_worker_that_is_killed_some_time", root.path(), installation);
        // Not waiting for anything: any moment is the right one.
        let moment = rand::random_range(0..120);
        tokio::time::sleep(std::time::Duration::from_millis(moment)).await;
        assert_eq!(worker.process.try_wait().unwrap(), None, "it died by itself");
        kill(worker.pid(), Signal::KILL);
        worker.process.wait().unwrap();
        let next = executor(&root.path().join("work"), installation);
        // Every other time without giving the shims the time to do it themselves.
        if round % 2 == 0 {
            until("shims end everything by themselves", || marked(root.path()) == 0).await;
        }
        for key in next.leftovers().await.unwrap() {
            soon(next.destroy(key)).await.unwrap();
        }
        until("nothing runs", || marked(root.path()) == 0).await;
        assert_eq!(
            std::fs::read_dir(root.path().join("work")).unwrap().count(),
            0,
            "killed after {moment} ms"
        );
    }
}
