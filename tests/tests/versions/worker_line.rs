//! The worker API as it passes between a worker of one version and producers of others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use gantry_api_types::worker::{PROTOCOL, PROTOCOL_HEADER};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::dress::Version;

/// Producers of all lines, each with the version it plays.
#[derive(Default)]
pub struct Producers(Mutex<Vec<(SocketAddr, Version)>>);

impl Producers {
    pub fn are(&self, producers: Vec<(SocketAddr, Version)>) {
        *self.0.lock().unwrap() = producers;
    }
}

/// Answers with success, by the last word of the path and who talked to whom.
pub type Answered = BTreeMap<(String, Version, Version), u64>;

struct Shared {
    worker: Mutex<Version>,
    producers: Arc<Producers>,
    answered: Mutex<Answered>,
}

/// Stands before all producers for one worker, until it is dropped.
pub struct WorkerLine {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

impl WorkerLine {
    pub async fn start(worker: Version, producers: Arc<Producers>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { worker: Mutex::new(worker), producers, answered: Mutex::default() });
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, Arc::clone(&shared))));
        Self { address, shared, _accepting: accepting }
    }

    /// For `GANTRY_PRODUCER_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Which version the worker is from now on.
    pub fn worker_is(&self, version: Version) {
        *self.shared.worker.lock().unwrap() = version;
    }

    pub fn answered(&self) -> Answered {
        self.shared.answered.lock().unwrap().clone()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| pass(request, Arc::clone(&shared)));
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { drop(connection.await) });
    }
}

async fn pass(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let worker = *shared.worker.lock().unwrap();
    let (mut head, body) = request.into_parts();
    let mut body = body.collect().await?.to_bytes();
    dress(worker, &mut head.headers, &mut body);
    let producers = shared.producers.0.lock().unwrap().clone();
    // By chance: in turns, steps could meet one producer only.
    let first = rand::random::<u16>() as usize;
    for i in 0..producers.len() {
        let (address, producer) = producers[(first + i) % producers.len()];
        let Ok(stream) = TcpStream::connect(address).await else { continue };
        tell_protocol(worker, producer, &mut head.headers);
        let request = Request::from_parts(head.clone(), Full::new(body.clone()));
        let Ok(answer) = ask(stream, request).await else { break };
        let (mut answer_head, answer_body) = answer.into_parts();
        let Ok(answer_body) = answer_body.collect().await else { break };
        let mut answer_body = answer_body.to_bytes();
        if head.uri.path().ends_with("/hello") && producer != Version::Older {
            answer_body = introduce(producer, &answer_body);
        }
        dress(producer, &mut answer_head.headers, &mut answer_body);
        if answer_head.status.is_success() {
            let verb = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
            *shared.answered.lock().unwrap().entry((verb, worker, producer)).or_default() += 1;
        }
        return Ok(Response::from_parts(answer_head, Full::new(answer_body)));
    }
    // Its worker asks again, as after any proxy's failure.
    let mut nobody = Response::new(Full::default());
    *nobody.status_mut() = StatusCode::BAD_GATEWAY;
    Ok(nobody)
}

async fn ask(stream: TcpStream, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

fn dress(version: Version, headers: &mut HeaderMap, body: &mut Bytes) {
    let json =
        headers.get(CONTENT_TYPE).is_some_and(|kind| kind.to_str().is_ok_and(|kind| kind.contains("json")));
    if json && let Some(dressed) = version.dressed(body) {
        *body = dressed.into();
    }
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    if version != Version::Older {
        headers.insert("gantry-of-a-later-version", HeaderValue::from_static("1"));
    }
}

/// A producer of the next protocol understands this one, too: that is what the program in its place speaks.
fn tell_protocol(worker: Version, producer: Version, headers: &mut HeaderMap) {
    let told = match (worker, producer) {
        (Version::Older, _) => None,
        (Version::NextProtocol, Version::Older | Version::Newer) => Some(PROTOCOL + 1),
        _ => Some(PROTOCOL),
    };
    headers.remove(PROTOCOL_HEADER);
    if let Some(told) = told {
        headers.insert(PROTOCOL_HEADER, HeaderValue::from(told));
    }
}

fn introduce(producer: Version, body: &Bytes) -> Bytes {
    let Ok(mut welcome) = serde_json::from_slice::<Value>(body) else { return body.clone() };
    welcome["version"] = "99.0.0".into();
    if producer == Version::NextProtocol {
        welcome["protocol"] = (PROTOCOL + 1).into();
    }
    welcome.to_string().into()
}
