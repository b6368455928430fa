//! Hundreds of peers that send a byte now and then, and never finish, beside people who work. A binary of its own: it
//! measures how long answers take, which other tests beside it would change.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gantry_service_kit::http::{ServeOptions, serve};
use gantry_service_kit::shutdown::Shutdown;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::Harness;

const DRIPPING: usize = 500;
const ASKED: usize = 300;
const BOUND: Duration = Duration::from_secs(1);

/// Sends one byte of a head every tenth of a second, and comes again when it is thrown out.
async fn drip(address: SocketAddr, connected: Arc<AtomicUsize>) {
    loop {
        let Ok(mut socket) = TcpStream::connect(address).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        connected.fetch_add(1, Ordering::SeqCst);
        let _ = socket.write_all(b"POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\nx-drip: ").await;
        let mut answer = [0; 1];
        loop {
            tokio::select! {
                _ = socket.read(&mut answer) => break,
                () = tokio::time::sleep(Duration::from_millis(100)) => {
                    if socket.write_all(b"x").await.is_err() {
                        break;
                    }
                }
            }
        }
        connected.fetch_sub(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Sends one request over a connection of its own; answers the status.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// The slowest but three of three hundred calls, every third of which creates a run, each over a connection of its own.
async fn p99_beside_drips(options: ServeOptions) -> Duration {
    // Both ends of every connection are in this process.
    let files = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: files.maximum.map(|most| most.min(8192)).or(Some(8192)), ..files };
    setrlimit(Resource::Nofile, wanted).expect("descriptors for a thousand sockets");

    let harness = Harness::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let most = options.max_connections;
    let options = ServeOptions { drain: Duration::from_secs(1), ..options };
    let server = tokio::spawn(serve(listener, harness.public.clone(), options, shutdown.clone()));
    let connected = Arc::new(AtomicUsize::new(0));
    let mut drips = JoinSet::new();
    for _ in 0..DRIPPING {
        drips.spawn(drip(address, connected.clone()));
    }
    let begun = Instant::now();
    let wanted = DRIPPING.min(most / 2);
    while connected.load(Ordering::SeqCst) < wanted {
        assert!(begun.elapsed() < Duration::from_secs(60), "the drips do not come in");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let body = r#"{"image": "busybox:1.36", "command": ["true"]}"#;
    let head = format!("host: localhost\r\nconnection: close\r\nauthorization: Bearer {}\r\n", harness.key());
    let read = format!("GET /api/v1/runs HTTP/1.1\r\n{head}\r\n");
    let write = format!(
        "POST /api/v1/runs HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut took = Vec::with_capacity(ASKED);
    for i in 0..ASKED {
        let (request, status) = if i % 3 == 0 { (&write, "202") } else { (&read, "200") };
        let begun = Instant::now();
        let answered = tokio::time::timeout(Duration::from_secs(30), ask(address, request)).await;
        assert_eq!(answered.expect("an answer"), status);
        took.push(begun.elapsed());
    }
    drips.shutdown().await;
    shutdown.trigger();
    harness.shutdown.trigger();
    server.await.unwrap();
    took.sort();
    took[ASKED * 99 / 100 - 1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_hundred_dripping_peers_slow_nobody() {
    let p99 = p99_beside_drips(ServeOptions::default()).await;
    assert!(p99 < BOUND, "{p99:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_dripping_peers_than_there_are_connections_keep_nobody_out() {
    let p99 = p99_beside_drips(ServeOptions { max_connections: 200, ..ServeOptions::default() }).await;
    assert!(p99 < BOUND, "{p99:?}");
}
