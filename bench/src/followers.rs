//! A thousand people watch one run that prints a thousand lines a second.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::try_join_all;
use gantry_api_types::request::CreateRun;
use gantry_client::ApiClient;
use gantry_tests::{Installation, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::containers::IMAGE;
use crate::samples::{Series, quantile};

const FOLLOWERS: usize = 1000;
/// Every so many followers one looks at the age of every line; the others only read.
const MEASURED_EVERY: usize = 20;
const LINES: usize = 10_000;
/// For the run to start and its followers to come.
const GATHERING: Duration = Duration::from_secs(15);

pub async fn measure(series: &mut Series) -> anyhow::Result<()> {
    let installation = Installation::new("process")?.set("GANTRY_LOG_FILTER", "warn");
    let up = installation.up()?;
    let address = up.url.trim_start_matches("http://");
    let ages = watch(&up.client()?, address, &up.key, "bash").await?;
    series.add("followers p99 ms", quantile(&ages, 0.99).unwrap_or(f64::NAN));
    up.stop()
}

/// How old each line is when a follower sees it, in milliseconds. `shell` must know `EPOCHREALTIME`: bash, or busybox's.
pub async fn watch(client: &ApiClient, address: &str, key: &str, shell: &str) -> anyhow::Result<Vec<f64>> {
    // Waits until everybody is there.
    let begin = SystemTime::now() + GATHERING;
    let script = format!(
        "while [ $(date +%s) -lt {} ]; do sleep 0.1; done; i=0; while [ $i -lt 1000 ]; do i=$((i+1)); j=0; \
         while [ $j -lt 10 ]; do j=$((j+1)); echo =$EPOCHREALTIME; done; sleep 0.008; done",
        begin.duration_since(UNIX_EPOCH)?.as_secs()
    );
    let request = CreateRun {
        image: Some(IMAGE.into()),
        command: Some(vec![shell.into(), "-c".into(), script]),
        artifacts: Some(vec![]),
        ..CreateRun::default()
    };
    let id = client.create_run(&request, None).await?.id;
    let mut followers = Vec::new();
    for i in 0..FOLLOWERS {
        let mut socket = TcpStream::connect(address).await?;
        let head = format!(
            "GET /api/v1/runs/{id}/logs?follow=1 HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await?;
        followers.push(tokio::spawn(read(socket, i % MEASURED_EVERY == 0)));
    }
    let run = id.parse()?;
    eventually("the run running", || async {
        let run = client.get_run(run).await.ok()?;
        (run.status.as_str() == "running").then_some(())
    })
    .await;
    anyhow::ensure!(SystemTime::now() < begin, "the followers were not there in time");
    let ages: Vec<Vec<f64>> = try_join_all(followers).await?.into_iter().collect::<anyhow::Result<_>>()?;
    let measured = FOLLOWERS / MEASURED_EVERY;
    let ages = ages.concat();
    anyhow::ensure!(ages.len() == measured * LINES, "{} of {} lines were seen", ages.len(), measured * LINES);
    Ok(ages)
}

/// Reads to the `end` event; the ages of all lines in milliseconds, if they are to be measured.
async fn read(mut socket: TcpStream, measured: bool) -> anyhow::Result<Vec<f64>> {
    let mut ages = Vec::new();
    let (mut buffer, mut kept) = (vec![0; 64 * 1024], Vec::new());
    loop {
        let count = socket.read(&mut buffer).await?;
        anyhow::ensure!(count > 0, "the stream ended without an end");
        kept.extend_from_slice(&buffer[..count]);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        // A stamp is `=` and 17 characters; a cut one waits for the rest.
        let whole = kept.len().saturating_sub(18);
        if measured {
            for (at, _) in kept[..whole].iter().enumerate().filter(|(_, byte)| **byte == b'=') {
                let text = String::from_utf8_lossy(&kept[at + 1..at + 18]).into_owned();
                ages.extend(text.parse::<f64>().ok().map(|written| (now - written) * 1000.0));
            }
        }
        if kept.windows(10).any(|window| window == b"event: end") {
            return Ok(ages);
        }
        kept.drain(..whole);
    }
}
