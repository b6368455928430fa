//! Several replicas behind one client: whoever does not answer is passed over, and a live stream goes on at another one.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use gantry_api_types::system::Version;
use gantry_client::{ApiClient, LogItem, Patience, RetryPolicy, Transport};
use gantry_domain::id::RunId;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::live::{end, log};
use crate::scripted::Script;

/// A scripted server behind a socket, until it is aborted.
async fn serve(script: &Script) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let script = script.clone();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let script = script.clone();
            let answer = hyper::service::service_fn(move |request| script.clone().play(request));
            let http = hyper::server::conn::http1::Builder::new();
            connections.spawn(http.serve_connection(TokioIo::new(socket), answer));
        }
    });
    (address, task)
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn client(addresses: &[SocketAddr]) -> ApiClient {
    let urls: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
    ApiClient::new(Transport::http(&urls.join(",")).unwrap(), "key")
}

fn version(of: &str) -> Version {
    Version { version: of.to_owned(), executor: None }
}

#[tokio::test]
async fn a_replica_that_is_not_there_is_passed_over() {
    let script = Script::default();
    script.json(&version("1")).json(&version("2"));
    let (there, task) = serve(&script).await;
    let client = client(&[nobody().await, there]);
    assert_eq!(client.version().await.unwrap(), version("1"));
    assert_eq!(client.version().await.unwrap(), version("2"));
    task.abort();
    let _ = task.await;
    let error = client.version().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_replica_that_takes_calls_and_never_answers_is_left_alone_the_next_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let script = Script::default();
    script.json(&version("1"));
    let (there, _task) = serve(&script).await;
    let client = client(&[silent.local_addr().unwrap(), there]);
    let waited = tokio::time::timeout(Duration::from_millis(100), client.version()).await;
    assert!(waited.is_err());
    assert_eq!(client.version().await.unwrap(), version("1"));
}

#[tokio::test]
async fn a_follower_goes_on_at_another_replica_without_gap_or_duplicate() {
    let (first, second) = (Script::default(), Script::default());
    // It ends as a producer does that shuts down.
    first.events(&format!("{}{}retry: 10\n\n", log(1, 0, "one "), log(1, 4, "two ")));
    // What lies behind the last id, and a bit of what was seen before.
    second.events(&format!("{}{}{}", log(1, 4, "two "), log(1, 8, "three"), end()));
    let (leaving, task) = serve(&first).await;
    let (staying, _task) = serve(&second).await;
    let patience = Patience {
        retry: RetryPolicy { initial: Duration::from_millis(300), max: Duration::from_millis(300) },
        ..Patience::default()
    };
    let client = client(&[leaving, staying]).with_patience(patience);
    let mut items = std::pin::pin!(client.follow(RunId::from_u128(7), None));
    let (mut seen, mut task) = (String::new(), Some(task));
    loop {
        match items.next().await.unwrap().unwrap() {
            LogItem::Log(piece) => seen.push_str(piece.text.as_deref().unwrap()),
            LogItem::Interrupted(_) => {
                let task = task.take().unwrap();
                task.abort();
                let _ = task.await;
            }
            LogItem::Attempt(_) => panic!("there is one attempt"),
            LogItem::End(_) => break,
        }
    }
    assert_eq!(seen, "one two three");
    assert_eq!(second.asked()[0].header("last-event-id"), Some("1:8"));
}
