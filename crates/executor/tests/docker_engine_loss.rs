//! The engine goes away or falls silent: every call ends, says so, and later everything can be tidied up.
//!
//! Between the executor and the real engine stands a socket of our own that can be cut or frozen.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod docker_support;

use std::path::Path;
use std::time::{Duration, Instant};

use docker_support::*;
use futures::StreamExt;
use gantry_executor::docker::{DockerExecutor, DockerOptions};
use gantry_executor::{Executor, ExecutorError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// Connections are closed, new ones too.
    Cut,
    /// Connections stay and nothing moves.
    Frozen,
}

struct Proxy {
    line: watch::Sender<Line>,
    directory: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Proxy {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("engine.sock")).unwrap();
        let (line, state) = watch::channel(Line::Open);
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(forward(client, state.clone()));
            }
        });
        Self { line, directory, server }
    }

    fn options(&self) -> DockerOptions {
        let mut options = options();
        options.host = format!("unix://{}/engine.sock", self.directory.path().display());
        options.limits.lookup = Duration::from_millis(700);
        options.limits.create = Duration::from_millis(1500);
        options.limits.destroy = Duration::from_millis(1000);
        options.limits.collect_silence = Duration::from_millis(500);
        options
    }

    fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn forward(client: UnixStream, mut line: watch::Receiver<Line>) {
    if *line.borrow() == Line::Cut {
        return;
    }
    let host = host();
    let engine = UnixStream::connect(Path::new(host.strip_prefix("unix://").unwrap())).await.unwrap();
    let (client_in, client_out) = client.into_split();
    let (engine_in, engine_out) = engine.into_split();
    let mut pipes = tokio::task::JoinSet::new();
    pipes.spawn(pipe(client_in, engine_out, line.clone()));
    pipes.spawn(pipe(engine_in, client_out, line.clone()));
    tokio::select! {
        _ = line.wait_for(|line| *line == Line::Cut) => {}
        () = async { while pipes.join_next().await.is_some() {} } => {}
    }
}

async fn pipe(
    mut from: tokio::net::unix::OwnedReadHalf,
    mut to: tokio::net::unix::OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
) {
    let mut buffer = vec![0; 65_536];
    while let Ok(n) = from.read(&mut buffer).await {
        if n == 0 || line.wait_for(|line| *line != Line::Frozen).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// Lets the tidying-up through when a test fails.
struct OpenAgain<'a>(&'a Proxy);

impl Drop for OpenAgain<'_> {
    fn drop(&mut self) {
        self.0.set(Line::Open);
    }
}

fn infrastructure<T>(outcome: Result<T, ExecutorError>) {
    match outcome {
        Err(ExecutorError::Infrastructure(sentence)) => assert!(sentence.contains("engine"), "{sentence}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it cannot have worked"),
    }
}

#[tokio::test]
async fn an_engine_that_dies_under_a_run_is_an_infrastructure_failure() {
    let proxy = Proxy::start();
    with(proxy.options(), async |docker| {
        let _open_again = OpenAgain(&proxy);
        let spec = shell("echo up; sleep 600");
        docker.prepare(&spec, &Lines::default()).await.unwrap();
        let mut output = docker.start(spec.key).await.unwrap();
        assert_eq!(output.next().await.unwrap().unwrap().bytes, "up\n");
        {
            let mut wait = docker.wait(spec.key);
            assert!(tokio::time::timeout(Duration::from_millis(200), &mut wait).await.is_err());
            proxy.set(Line::Cut);
            infrastructure(tokio::time::timeout(GENEROUS, wait).await.unwrap());
        }
        let rest = tokio::time::timeout(GENEROUS, output.collect::<Vec<_>>()).await.unwrap();
        assert!(rest.iter().all(Result::is_err), "{rest:?}");
        infrastructure(docker.wait(spec.key).await);
        infrastructure(docker.stop(spec.key, Duration::from_millis(100)).await);
        infrastructure(docker.collect(spec.key, &["x".to_owned()]).await.map(drop));
        infrastructure(docker.destroy(spec.key).await);
        infrastructure(docker.leftovers().await);
        infrastructure(docker.check().await);

        proxy.set(Line::Open);
        docker.destroy(spec.key).await.unwrap();
        assert_eq!(docker.leftovers().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_falls_silent_holds_nobody_up() {
    let proxy = Proxy::start();
    with(proxy.options(), async |docker| {
        let _open_again = OpenAgain(&proxy);
        let (started, prepared, fresh) = (shell("sleep 600"), shell("true"), shell("true"));
        docker.prepare(&started, &Lines::default()).await.unwrap();
        docker.prepare(&prepared, &Lines::default()).await.unwrap();
        let _output = docker.start(started.key).await.unwrap();
        proxy.set(Line::Frozen);
        let began = Instant::now();
        infrastructure(docker.check().await);
        infrastructure(docker.leftovers().await);
        infrastructure(docker.prepare(&fresh, &Lines::default()).await);
        infrastructure(docker.start(prepared.key).await.map(drop));
        infrastructure(docker.collect(started.key, &["x".to_owned()]).await.map(drop));
        infrastructure(docker.stop(started.key, Duration::from_millis(100)).await);
        for key in [started.key, prepared.key, fresh.key] {
            let error = docker.destroy(key).await.unwrap_err();
            assert!(matches!(error, ExecutorError::Infrastructure(_)), "{error:?}");
        }
        infrastructure(DockerExecutor::connect(proxy.options()).await.map(drop));
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());

        proxy.set(Line::Open);
        for key in [started.key, prepared.key, fresh.key] {
            docker.destroy(key).await.unwrap();
        }
        // The requests that were stuck reach the engine now: what they make is found and removed like anything else.
        tokio::time::timeout(GENEROUS, async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            for key in docker.leftovers().await.unwrap() {
                docker.destroy(key).await.unwrap();
            }
            assert_eq!(docker.leftovers().await.unwrap(), []);
        })
        .await
        .unwrap();
    })
    .await;
}
