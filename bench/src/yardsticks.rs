//! The floor: what the disk, the loopback and the store cost by themselves.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Instant;

use gantry_domain::id::{OrganizationId, RunId};
use gantry_domain::run::{Actor, Trigger, TriggerKind};
use gantry_domain::time::{Clock as _, SystemClock};
use gantry_store::NewRun;
use gantry_store::sqlite::{self, SqliteOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::accept::QUIET;
use crate::samples::{Series, millis, quantile};
use crate::stored::spec;

pub async fn measure(series: &mut Series) -> anyhow::Result<()> {
    series.add("fdatasync ms", fdatasync()?);
    series.add("durable write ms", durable_write().await?);
    series.add("http round trip ms", http_round_trip().await?);
    Ok(())
}

/// 4 KiB appended and synced, p50.
fn fdatasync() -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    let mut file = OpenOptions::new().create(true).append(true).open(dir.path().join("f"))?;
    let mut samples = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        rustix::fs::fdatasync(&file)?;
        samples.push(millis(begun.elapsed()));
    }
    Ok(quantile(&samples, 0.5).unwrap_or(f64::NAN))
}

/// One run inserted into the embedded store, alone and after the same quiet as the accepts it is compared with: a machine that
/// was idle writes more slowly than one that is writing, p50.
async fn durable_write() -> anyhow::Result<f64> {
    let dir = tempfile::tempdir()?;
    let store = sqlite::open(SqliteOptions::new(dir.path().join("gantry.db")))?;
    let stores = store.stores();
    let organization = OrganizationId::new();
    let mut samples = Vec::new();
    for _ in 0..40 {
        tokio::time::sleep(QUIET).await;
        let run = NewRun {
            id: RunId::new(),
            organization,
            spec: spec(0),
            trigger: Trigger { kind: TriggerKind::Api, actor: Actor::System, rerun_of: None, trace: None },
            created_at: SystemClock.now(),
            idempotency: None,
            dispatch: None,
        };
        let begun = Instant::now();
        stores.runs.accept(run).await?;
        samples.push(millis(begun.elapsed()));
    }
    store.close().await;
    Ok(quantile(&samples, 0.5).unwrap_or(f64::NAN))
}

/// A request and an answer of the smallest kind over a kept loopback connection, p50.
async fn http_round_trip() -> anyhow::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await?;
        let mut buffer = [0; 1024];
        while socket.read(&mut buffer).await? > 0 {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
        }
        std::io::Result::Ok(())
    });
    let mut socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    let (mut buffer, mut samples) = ([0; 1024], Vec::new());
    for _ in 0..2000 {
        let begun = Instant::now();
        socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        let _ = socket.read(&mut buffer).await?;
        samples.push(millis(begun.elapsed()));
    }
    drop(socket);
    server.await??;
    Ok(quantile(&samples, 0.5).unwrap_or(f64::NAN))
}
