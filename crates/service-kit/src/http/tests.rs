//! Against a real listener, with a client that misbehaves byte by byte.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::*;
use crate::shutdown::Shutdown;

const GENEROUS: Duration = Duration::from_secs(30);
const BIG: usize = 16 << 20;

/// Each permit lets one `/gated` request finish; each one that came in adds a permit to `entered`.
#[derive(Clone)]
struct Gate {
    entered: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

async fn gated(State(gate): State<Gate>) -> &'static str {
    gate.entered.add_permits(1);
    gate.open.acquire().await.unwrap().forget();
    "through"
}

async fn upload(body: Body) -> Response {
    match axum::body::to_bytes(body, BIG).await {
        Ok(bytes) => bytes.len().to_string().into_response(),
        Err(error) if BodyTimedOut::caused(&error) => StatusCode::REQUEST_TIMEOUT.into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

async fn events() -> Response {
    let stream = futures::stream::unfold(0, |count| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Some((Ok::<_, io::Error>(Bytes::from(format!("data: {count}\n\n"))), count + 1))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response()
}

struct TestServer {
    address: SocketAddr,
    gate: Gate,
    shutdown: Shutdown,
    task: JoinHandle<Served>,
}

impl TestServer {
    async fn start(options: ServeOptions) -> Self {
        let gate = Gate { entered: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) };
        let router = Router::new()
            .route("/peer", get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }))
            .route("/gated", get(gated))
            .route("/big", get(|| async { Bytes::from(vec![b'x'; BIG]) }))
            .route("/events", get(events))
            .route("/upload", post(upload))
            .with_state(gate.clone());
        let listener = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(serve(listener, router, options, shutdown.clone()));
        Self { address, gate, shutdown, task }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// A connection whose request is inside the handler.
    async fn busy(&self) -> Client {
        let mut client = self.connect().await;
        client.ask("/gated").await;
        in_time(self.gate.entered.acquire()).await.unwrap().forget();
        client
    }

    async fn stop(self) -> Served {
        self.shutdown.trigger();
        in_time(self.task).await.unwrap()
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(GENEROUS, work).await.expect("in time")
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
    }

    /// One answer with a content-length: its status line and its body.
    async fn answer(&mut self) -> (String, Vec<u8>) {
        in_time(async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.0.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).await.unwrap();
            (head.lines().next().unwrap().to_owned(), body)
        })
        .await
    }

    async fn get(&mut self, path: &str) -> String {
        self.ask(path).await;
        String::from_utf8(self.answer().await.1).unwrap()
    }

    /// All bytes until the server closes, in order or by reset.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = in_time(self.0.read_to_end(&mut rest)).await;
        rest
    }

    /// Sends one byte again and again until the server closes; how long that took.
    async fn drip(&mut self, every: Duration) -> Duration {
        let start = Instant::now();
        in_time(async {
            let mut byte = [0];
            while self.0.write_all(b"x").await.is_ok() {
                let read = tokio::time::timeout(every, self.0.read(&mut byte)).await;
                if let Ok(Ok(0) | Err(_)) = read {
                    break;
                }
            }
        })
        .await;
        start.elapsed()
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test]
async fn requests_carry_the_peers_address_and_connections_are_kept() {
    let server = TestServer::start(ServeOptions::default()).await;
    let mut client = server.connect().await;
    let own = client.0.local_addr().unwrap().to_string();
    assert_eq!(client.get("/peer").await, own);
    assert_eq!(client.get("/peer").await, own);
    assert_eq!(server.stop().await, Served::default());
    assert!(client.rest().await.is_empty(), "an idle connection is closed at shutdown");
}

#[tokio::test]
async fn dripping_and_silent_heads_are_cut_and_idle_connections_live_longer() {
    let options =
        ServeOptions { header_timeout: millis(300), idle_timeout: millis(1_500), ..Default::default() };
    let server = TestServer::start(options).await;
    let mut idle = server.connect().await;
    idle.get("/peer").await;
    let idle_since = Instant::now();

    let mut dripping = server.connect().await;
    dripping.send("GET /peer HTTP/1.1\r\nx-slow: ").await;
    let lasted = dripping.drip(millis(20)).await;
    assert!(lasted >= millis(250) && lasted < millis(1_400), "{lasted:?}");

    let mut silent = server.connect().await;
    assert!(silent.rest().await.is_empty());

    // The second head of a kept connection is bound from its first byte.
    idle.send("GET /peer HT").await;
    idle.0.readable().await.unwrap();
    assert!(idle.rest().await.is_empty());
    assert!(idle_since.elapsed() >= millis(600));

    let mut idle = server.connect().await;
    idle.get("/peer").await;
    let idle_since = Instant::now();
    assert!(idle.rest().await.is_empty());
    assert!(idle_since.elapsed() >= millis(1_400), "{:?}", idle_since.elapsed());
}

#[tokio::test]
async fn at_the_cap_the_oldest_silent_connection_gives_way_and_a_busy_one_never() {
    let server = TestServer::start(ServeOptions { max_connections: 3, ..Default::default() }).await;
    let mut busy = server.busy().await;
    let mut older = server.connect().await;
    older.get("/peer").await;
    tokio::time::sleep(millis(5)).await;
    let mut younger = server.connect().await;
    younger.get("/peer").await;

    let mut newcomer = server.connect().await;
    newcomer.get("/peer").await;
    assert!(older.rest().await.is_empty(), "the oldest silent connection was closed");
    younger.get("/peer").await;
    server.gate.open.add_permits(1);
    assert_eq!(busy.answer().await.1, b"through");
}

#[tokio::test]
async fn with_all_connections_busy_a_newcomer_waits_for_the_first_that_falls_silent() {
    let server = TestServer::start(ServeOptions { max_connections: 2, ..Default::default() }).await;
    let mut busy = [server.busy().await, server.busy().await];
    let mut newcomer = server.connect().await;
    newcomer.ask("/peer").await;
    let mut byte = [0];
    assert!(tokio::time::timeout(millis(200), newcomer.0.peek(&mut byte)).await.is_err(), "it has to wait");
    server.gate.open.add_permits(1);
    assert!(newcomer.answer().await.0.contains("200"));
    server.gate.open.add_permits(1);
    let [first, second] = &mut busy;
    for answer in [first.rest().await, second.answer().await.1] {
        assert!(answer.ends_with(b"through"), "both answers arrived in full");
    }
}

#[tokio::test]
async fn an_answer_on_its_way_does_not_give_way() {
    let server = TestServer::start(ServeOptions { max_connections: 1, ..Default::default() }).await;
    let mut slow = server.connect().await;
    slow.ask("/big").await;
    slow.0.readable().await.unwrap();
    let mut newcomer = server.connect().await;
    newcomer.ask("/peer").await;
    tokio::time::sleep(millis(200)).await;
    assert_eq!(slow.answer().await.1.len(), BIG);
    assert!(newcomer.answer().await.0.contains("200"));
}

#[tokio::test]
async fn an_answer_on_its_way_survives_the_drain() {
    let server = TestServer::start(ServeOptions::default()).await;
    let mut slow = server.connect().await;
    slow.ask("/big").await;
    slow.0.readable().await.unwrap();
    server.shutdown.trigger();
    tokio::time::sleep(millis(200)).await;
    assert_eq!(slow.answer().await.1.len(), BIG);
    assert_eq!(server.stop().await, Served::default());
}

#[tokio::test]
async fn many_dripping_connections_do_not_keep_others_out() {
    let server = TestServer::start(ServeOptions { max_connections: 50, ..Default::default() }).await;
    let mut dripping = Vec::new();
    for _ in 0..200 {
        let mut client = server.connect().await;
        client.send("GET /peer HTTP/1.1\r\nx").await;
        dripping.push(client);
    }
    let start = Instant::now();
    for _ in 0..50 {
        server.connect().await.get("/peer").await;
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_body_that_stalls_or_drips_is_cut_off_and_a_steady_one_is_not() {
    let options = ServeOptions { body_idle_timeout: millis(300), min_body_rate: 1_000, ..Default::default() };
    let server = TestServer::start(options).await;
    let head = "POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n";

    let mut stalling = server.connect().await;
    stalling.send(head).await;
    stalling.send("some").await;
    assert!(stalling.answer().await.0.contains("408"));

    let mut dripping = server.connect().await;
    dripping.send(head).await;
    let lasted = dripping.drip(millis(20)).await;
    assert!(lasted >= millis(300) && lasted < Duration::from_secs(5), "{lasted:?}");

    let mut steady = server.connect().await;
    steady.send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 20000\r\n\r\n").await;
    for _ in 0..20 {
        tokio::time::sleep(millis(40)).await;
        steady.send(&"x".repeat(1_000)).await;
    }
    assert_eq!(steady.answer().await.1, b"20000");
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answer_is_cut() {
    let server =
        TestServer::start(ServeOptions { write_stall_timeout: millis(300), ..Default::default() }).await;
    let mut client = server.connect().await;
    client.ask("/big").await;
    client.0.readable().await.unwrap();
    tokio::time::sleep(millis(1_000)).await;
    assert!(client.rest().await.len() < BIG);
}

#[tokio::test]
async fn event_streams_outlive_every_timeout_and_end_at_shutdown_with_a_hint() {
    let short = millis(150);
    let options = ServeOptions {
        header_timeout: short,
        idle_timeout: short,
        body_idle_timeout: short,
        write_stall_timeout: short,
        ..Default::default()
    };
    let server = TestServer::start(options).await;
    let mut client = server.connect().await;
    client.ask("/events").await;
    let mut seen = String::new();
    while !seen.contains("data: 15\n\n") {
        let mut piece = [0; 1024];
        let read = in_time(client.0.read(&mut piece)).await.unwrap();
        assert_ne!(read, 0, "the stream ended early: {seen}");
        seen.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    let start = Instant::now();
    assert_eq!(server.stop().await, Served::default());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let rest = client.rest().await;
    assert!(rest.ends_with(b"retry: 1000\n\n\r\n0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn a_drain_lets_a_running_request_finish_and_takes_no_new_connection() {
    let server = TestServer::start(ServeOptions::default()).await;
    let mut busy = server.busy().await;
    let (address, open) = (server.address, server.gate.open.clone());
    server.shutdown.trigger();
    in_time(async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(millis(10)).await;
        }
    })
    .await;
    assert!(!server.task.is_finished());
    open.add_permits(1);
    let answer = String::from_utf8(busy.rest().await).unwrap();
    assert!(answer.ends_with("through") && answer.contains("connection: close"), "{answer}");
    assert_eq!(server.stop().await, Served::default());
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut_and_counted() {
    let server = TestServer::start(ServeOptions { drain: millis(200), ..Default::default() }).await;
    let mut busy = server.busy().await;
    assert_eq!(server.stop().await, Served { cut: 1 });
    assert!(busy.rest().await.is_empty());
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_plainly() {
    let first = listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let error = listen(first.local_addr().unwrap()).await.unwrap_err();
    assert!(matches!(error, ListenError::InUse(_)));
    assert!(error.to_string().contains("is already in use"), "{error}");
}

#[tokio::test]
async fn connections_that_never_asked_anything_do_not_hold_up_the_drain() {
    let server = TestServer::start(ServeOptions::default()).await;
    let mut silent = server.connect().await;
    server.connect().await.get("/peer").await;
    let start = Instant::now();
    assert_eq!(server.stop().await, Served::default());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(silent.rest().await.is_empty());
}
