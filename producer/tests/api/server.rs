//! The producer behind its real HTTP server, for what only a connection can do wrong.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use gantry_service_kit::http::{ServeOptions, serve};
use gantry_service_kit::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::installation::Answer;

pub struct Server {
    address: std::net::SocketAddr,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Server {
    /// With timeouts that a test can wait for.
    pub async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = ServeOptions {
            body_idle_timeout: Duration::from_millis(200),
            drain: Duration::from_secs(1),
            ..ServeOptions::default()
        };
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let task = tokio::spawn(async move {
            serve(listener, router, options, stop).await;
        });
        Self { address, shutdown, task }
    }

    /// Sends the pieces as they are, one behind the other, and reads one answer.
    pub async fn send(&self, pieces: &[&[u8]]) -> Answer {
        tokio::time::timeout(Duration::from_secs(20), self.exchange(pieces)).await.expect("an answer in time")
    }

    async fn exchange(&self, pieces: &[&[u8]]) -> Answer {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (mut reading, mut writing) = socket.into_split();
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        // The server may answer and close before it has read all.
        let sender = tokio::spawn(async move {
            for piece in pieces {
                if writing.write_all(&piece).await.is_err() {
                    break;
                }
            }
            writing
        });
        let mut got = Vec::new();
        let answer = loop {
            if let Some(answer) = parse(&got) {
                break answer;
            }
            let mut some = [0; 4096];
            match reading.read(&mut some).await {
                Ok(read) if read > 0 => got.extend_from_slice(&some[..read]),
                _ => panic!("closed without a whole answer: {:?}", String::from_utf8_lossy(&got)),
            }
        };
        sender.abort();
        answer
    }

    pub async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.unwrap();
    }
}

/// An answer with its length in the head, if all of it is there.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..split]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse::<u16>().unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        let value = HeaderValue::from_str(value.trim()).unwrap();
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
    let length: usize = headers.get("content-length")?.to_str().unwrap().parse().unwrap();
    let body = &bytes[split + 4..];
    let status = StatusCode::from_u16(status).unwrap();
    (body.len() >= length).then(|| Answer { status, headers, bytes: body[..length].to_vec() })
}
