//! Whoever follows a log sees every byte once, through any producer, over restarts, and beside readers that don't read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use gantry_api_types::log::Stream;
use gantry_api_types::request::CreateRun;
use gantry_api_types::run::{Run, Status};
use gantry_client::{ApiClient, LogItem, LogQuery, Patience, RetryPolicy};
use gantry_domain::id::RunId;
use gantry_tests::cluster::{Addresses, Plan};
use gantry_tests::eventually;
use gantry_tests::faults::{Row, is_long, random, rounds};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::deployment::Deployment;

/// What a follower saw.
pub struct Followed {
    pub stdout: Vec<u8>,
    pub interruptions: u32,
    pub run: Box<Run>,
}

/// Follows from the first byte to the end; panics at a gap or a repetition.
pub async fn follow_to_the_end(client: ApiClient, run: RunId) -> Followed {
    let retry = RetryPolicy { initial: Duration::from_millis(50), max: Duration::from_millis(500) };
    let client = client.with_patience(Patience { retry, ..Patience::default() });
    let mut stream = Box::pin(client.follow(run, None));
    let (mut stdout, mut next, mut interruptions) = (Vec::new(), 0, 0);
    loop {
        let item = tokio::time::timeout(2 * gantry_tests::PATIENCE, stream.next()).await.expect("it moves");
        match item.expect("an end").expect("no error") {
            LogItem::Log(event) => {
                assert_eq!(event.offset, next, "a gap or a repetition");
                let bytes = event.bytes().expect("bytes");
                next += bytes.len() as u64;
                if event.stream == Stream::Stdout {
                    stdout.extend_from_slice(&bytes);
                }
            }
            LogItem::Interrupted(_) => interruptions += 1,
            LogItem::Attempt(_) => (next, stdout) = (0, Vec::new()),
            LogItem::End(run) => return Followed { stdout, interruptions, run },
        }
    }
}

/// Prints numbered lines for about this long.
fn talkative(lines: u32, every: Duration) -> (CreateRun, String) {
    let mut words = Vec::new();
    let mut log = String::new();
    for line in 0..lines {
        words.push(format!("fake:out=line {line:06}\\n"));
        words.push(format!("fake:sleep={}", every.as_millis()));
        log.push_str(&format!("line {line:06}\n"));
    }
    let request = CreateRun {
        image: Some("fake:1".into()),
        command: Some(words),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    };
    (request, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_shows_200_followers_every_byte_once() {
    let rounds = rounds(1, 10);
    let (seed, _) = random("rolling restart");
    let followers = 200;
    let mut deployment = Deployment::start(Plan::over(Addresses::private()).of(2, 1).patient()).await;
    let mut interruptions = 0;
    for _ in 0..rounds {
        let (request, log) = talkative(100, Duration::from_millis(150));
        let run: RunId =
            deployment.cluster.client().create_run(&request, None).await.unwrap().id.parse().unwrap();
        let mut following = JoinSet::new();
        for _ in 0..followers {
            following.spawn(follow_to_the_end(deployment.cluster.client(), run));
        }
        for i in 0..2 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            deployment.cluster.stop_producer(i, Duration::from_secs(60)).await.unwrap();
            deployment.cluster.start_producer(i).unwrap();
        }
        while let Some(followed) = following.join_next().await {
            let followed = followed.unwrap();
            assert_eq!(followed.run.status, Status::Passed, "{:?}", followed.run.reason);
            assert!(followed.stdout == log.as_bytes(), "{}", String::from_utf8_lossy(&followed.stdout));
            interruptions += followed.interruptions;
        }
    }
    assert!(interruptions >= followers * rounds, "hardly anybody was interrupted: {interruptions}");
    let note = format!("{interruptions} streams were resumed");
    Row::new("rolling restart of producers with 200 live followers", rounds, seed)
        .note(note)
        .all_ended(rounds as usize, None);
}

/// Issue: a live log through another producer than the worker's, across a restart of both.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_followed_at_another_producer_is_exact_across_a_restart_of_both() {
    let rounds = rounds(1, 10);
    let (seed, _) = random("restart of both");
    let mut deployment = Deployment::start(Plan::over(Addresses::private()).of(2, 0).patient()).await;
    for _ in 0..rounds {
        // The worker reports to producer 0, the follower asks producer 1; both are killed, one after the other.
        deployment.cluster.back.lead_to(vec![deployment.cluster.worker_address(0)]);
        deployment.cluster.front.lead_to(vec![deployment.cluster.public_address(1)]);
        if deployment.cluster.workers.is_empty() {
            deployment.cluster.add_worker(&[]).unwrap();
        }
        deployment.cluster.workers_online(1).await;
        let (request, log) = talkative(80, Duration::from_millis(150));
        let run: RunId =
            deployment.cluster.client().create_run(&request, None).await.unwrap().id.parse().unwrap();
        let following = tokio::spawn(follow_to_the_end(deployment.cluster.client(), run));
        for i in [1, 0] {
            tokio::time::sleep(Duration::from_secs(3)).await;
            deployment.cluster.kill_producer(i).unwrap();
            deployment.cluster.start_producer(i).unwrap();
            deployment.cluster.back.lead_to(vec![deployment.cluster.worker_address(0)]);
            deployment.cluster.front.lead_to(vec![deployment.cluster.public_address(1)]);
        }
        let followed = following.await.unwrap();
        assert_eq!(
            (followed.run.status, followed.run.attempt),
            (Status::Passed, 1),
            "{:?}",
            followed.run.reason
        );
        assert!(followed.interruptions > 0, "nobody was interrupted");
        assert_eq!(String::from_utf8_lossy(&followed.stdout), log);
        let kept = deployment.cluster.client().logs(run, LogQuery::default(), None).await.unwrap();
        let kept: Vec<_> = futures::TryStreamExt::try_collect(kept).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&kept.concat()), log);
    }
    Row::new("live log through another producer, both restarted", rounds, seed)
        .all_ended(rounds as usize, None);
}

/// One byte a second.
async fn read_slowly(mut stream: TcpStream, read: Arc<AtomicU64>) {
    while stream.read_u8().await.is_ok() {
        read.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Readers that take one byte a second, or none, beside a big log.
#[tokio::test(flavor = "multi_thread")]
async fn slow_readers_cost_no_memory_and_slow_nobody_down() {
    let (seed, _) = random("slow readers");
    let size: u64 = if is_long() { 100 << 20 } else { 32 << 20 };
    let plan =
        Plan::over(Addresses::private()).of(1, 1).patient().producers_with("GANTRY_LIMITS_LOG", "128MiB");
    let deployment = Deployment::start(plan).await;
    let client = deployment.cluster.client();
    let request = CreateRun {
        image: Some("fake:1".into()),
        command: Some(vec!["fake:sleep=1500".into(), format!("fake:fill={size}"), "fake:out=\\n".into()]),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    };
    let run: RunId = client.create_run(&request, None).await.unwrap().id.parse().unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let (mut stuck, mut slow) = (Vec::new(), JoinSet::new());
    for i in 0..20 {
        let socket = TcpSocket::new_v4().unwrap();
        // Little waits for a slow reader at its own end.
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(deployment.cluster.public_address(0)).await.unwrap();
        let request = format!(
            "GET /api/v1/runs/{run}/logs?follow=1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\naccept: text/event-stream\r\n\r\n",
            deployment.cluster.key
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        if i % 2 == 0 {
            stuck.push(stream);
        } else {
            slow.spawn(read_slowly(stream, Arc::clone(&read)));
        }
    }
    let (mut peak, following) = (0, tokio::spawn(follow_to_the_end(client.clone(), run)));
    while !following.is_finished() {
        peak = peak.max(deployment.cluster.producers[0].process.memory().unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let followed = following.await.unwrap();
    assert_eq!(followed.run.status, Status::Passed);
    assert_eq!(followed.stdout.len() as u64, size + 1);
    assert!(peak < 250 << 20, "the producer needed {} MiB", peak >> 20);
    // They were served all the time, a byte at a time.
    let at_first = read.load(Ordering::SeqCst);
    eventually("slow readers read on", || async {
        (read.load(Ordering::SeqCst) >= at_first + 10).then_some(())
    })
    .await;
    assert!(slow.try_join_next().is_none(), "a slow reader was sent away");
    drop((stuck, slow));
    let note = format!("{} MiB of log, the producer at most {} MiB", size >> 20, peak >> 20);
    Row::new("readers of 1 B/s, and of nothing, beside a big log", 1, seed).note(note).all_ended(1, None);
}
