//! A server that sends what it is told and remembers what it was asked; a resolver that says something else each time.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use gantry_outgoing::{Limits, Outgoing, OutgoingOptions, Resolve, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Stands for a public server.
pub const OUTSIDE: &str = "127.0.0.2";
/// What is to be protected.
pub const INSIDE: &str = "127.0.0.1";

/// What a server does with a connection after it has read the head of a request.
#[derive(Clone)]
pub enum Say {
    Text(String),
    /// Then this, again and again, with a pause.
    Drip(String, String, Duration),
    Nothing,
    /// Does not even read.
    Deaf,
}

impl Say {
    pub fn ok(body: &str) -> Self {
        Self::Text(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    }
}

pub struct Server {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(host: &str, say: Say) -> Self {
        Self::at(TcpListener::bind((host, 0)).await.unwrap(), say)
    }

    /// One outside and one inside, on the same port.
    pub async fn pair(outside: Say, inside: Say) -> (Self, Self) {
        loop {
            let outer = TcpListener::bind((OUTSIDE, 0)).await.unwrap();
            // The port may be taken on the other address.
            if let Ok(inner) = TcpListener::bind((INSIDE, outer.local_addr().unwrap().port())).await {
                return (Self::at(outer, outside), Self::at(inner, inside));
            }
        }
    }

    fn at(listener: TcpListener, say: Say) -> Self {
        let address = listener.local_addr().unwrap();
        let (asked, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (log, count) = (asked.clone(), connections.clone());
        let task = tokio::spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let (say, log) = (say.clone(), log.clone());
                sessions.spawn(async move { drop(session(stream, say, &log).await) });
            }
        });
        Self { address, asked, connections, task: task.abort_handle() }
    }

    pub fn url(&self, path: &str) -> Target {
        format!("http://{}{path}", self.address).parse().unwrap()
    }

    /// A name instead of the address.
    pub fn named(&self, name: &str) -> Target {
        format!("http://{name}:{}/hook", self.address.port()).parse().unwrap()
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn session(mut stream: TcpStream, say: Say, log: &Mutex<Vec<String>>) -> io::Result<()> {
    if matches!(say, Say::Deaf) {
        std::future::pending::<()>().await;
    }
    let request = read_request(&mut stream).await?;
    log.lock().unwrap().push(request);
    match say {
        Say::Text(text) => stream.write_all(text.as_bytes()).await?,
        Say::Drip(head, drop, pause) => {
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(drop.as_bytes()).await?;
                tokio::time::sleep(pause).await;
            }
        }
        Say::Nothing | Say::Deaf => std::future::pending::<()>().await,
    }
    stream.shutdown().await
}

/// Head and body, as they came.
async fn read_request(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length: ").map(|length| length.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Ok(text);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Gives its answers in turn, the last one for ever.
#[derive(Debug)]
pub struct Fickle {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    pub questions: Mutex<Vec<String>>,
}

impl Fickle {
    pub fn new<const N: usize>(answers: [&[&str]; N]) -> Arc<Self> {
        let answers = answers.map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect());
        Arc::new(Self { answers: Mutex::new(answers.into()), questions: Mutex::default() })
    }

    pub fn asked(&self) -> usize {
        self.questions.lock().unwrap().len()
    }
}

#[async_trait]
impl Resolve for Fickle {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.questions.lock().unwrap().push(name.to_owned());
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// With the outside allowed, and names as `resolver` says.
pub fn outgoing_with(resolver: Arc<dyn Resolve>, limits: Limits) -> Outgoing {
    let allowed = format!("{OUTSIDE}/32").parse().unwrap();
    Outgoing::new(OutgoingOptions { allowed, limits, resolver, ..OutgoingOptions::default() }).unwrap()
}

pub fn outgoing() -> Outgoing {
    outgoing_with(Fickle::new([]), Limits::default())
}
