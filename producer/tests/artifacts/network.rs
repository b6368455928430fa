//! Uploads over a real connection, whose other end may still be sending when the answer is known, or go away.

use std::time::Duration;

use gantry_producer::config::LimitConfig;
use gantry_service_kit::http::{ServeOptions, serve};
use gantry_service_kit::shutdown::Shutdown;
use serde_json::Value;
use tar::EntryType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::setup::{Held, Setup, WORKER_TOKEN};
use crate::tar_files::{entry, raw, tar};

/// Connects to the worker API and says that `length` bytes of archive follow.
async fn begin(setup: &Setup, held: &Held, shutdown: &Shutdown, length: usize) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, setup.worker.clone(), ServeOptions::default(), shutdown.clone()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "PUT /worker/v1/runs/{}/artifacts HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {WORKER_TOKEN}\r\n\
         gantry-lease: {}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n",
        held.id,
        held.token.as_str()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The answer of a worker that sends everything first and only then reads.
async fn sent(setup: &Setup, held: &Held, archive: &[u8]) -> (String, Value) {
    let shutdown = Shutdown::new();
    let mut stream = begin(setup, held, &shutdown, archive.len()).await;
    stream.write_all(archive).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    shutdown.trigger();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn a_worker_that_still_sends_gets_the_reason_of_a_refusal() {
    let limits = LimitConfig {
        artifact_packed_bytes: 32 << 20,
        artifact_unpacked_bytes: 64 << 20,
        ..LimitConfig::default()
    };
    let setup = Setup::with(limits).await;
    let held = setup.running().await;
    // Refused at its first bytes, with 20 MiB to come.
    let mut archive = raw("../x", EntryType::Regular, "", b"");
    archive.resize(20 << 20, 7);
    let (status, answer) = sent(&setup, &held, &archive).await;
    assert_eq!((status.as_str(), &answer["count"]), ("HTTP/1.1 200 OK", &Value::from(0)));
    assert!(answer["problems"][0].as_str().unwrap().contains("`..`"), "{answer}");
    // Refused because it is too large, with all of it to come.
    let archive = entry("a", EntryType::Regular, "", &vec![7; 60 << 20]);
    let (status, answer) = sent(&setup, &held, &archive).await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(answer["problems"][0].as_str().unwrap().contains("larger than 32 MiB"), "{answer}");
}

#[tokio::test]
async fn a_worker_that_goes_away_leaves_nothing_behind() {
    let setup = Setup::new().await;
    let held = setup.running().await;
    let shutdown = Shutdown::new();
    let archive = tar(&[("a.bin", &vec![7; 20 << 20])]);
    let mut stream = begin(&setup, &held, &shutdown, archive.len()).await;
    stream.write_all(&archive[..16 << 20]).await.unwrap();
    let limit = tokio::time::Instant::now() + Duration::from_secs(30);
    while setup.blob_files().is_empty() {
        assert!(tokio::time::Instant::now() < limit, "nothing was ever written");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    while !setup.blob_files().is_empty() {
        assert!(tokio::time::Instant::now() < limit, "what was written stays");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.trigger();
    assert_eq!(setup.run(held.id).await.last_attempt().unwrap().artifacts.count, 0);
    assert_eq!(setup.upload(&held, archive).await.json()["count"], 1, "it can be sent again");
}
