//! A Redis of a test's own, to be killed; and a stretch of wire before one, to be cut, silenced and slowed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(super) struct Server {
    process: Child,
    directory: TempDir,
    port: u16,
}

impl Server {
    pub(super) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // Another process may take the port before the server does.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut process = launch(&directory, port);
            if answers(&mut process, port).await {
                return Self { process, directory, port };
            }
        }
        panic!("redis-server did not start: is it installed? (`scripts/services start redis` installs it)");
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(super) fn uri(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) async fn start_again(&mut self) {
        self.process = launch(&self.directory, self.port);
        assert!(answers(&mut self.process, self.port).await, "port {} was taken meanwhile", self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launch(directory: &TempDir, port: u16) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("no redis-server on this machine: `scripts/services start redis` installs it")
}

async fn answers(process: &mut Child, port: u16) -> bool {
    loop {
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        if ping(port).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn ping(port: u16) -> io::Result<()> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
    connection.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    connection.read_exact(&mut answer).await?;
    if &answer == b"+PONG\r\n" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// What a wire does with bytes, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fine,
    /// Every piece takes this long.
    Slow(Duration),
    /// Connections stand, nothing comes through.
    Silent,
}

pub(super) struct Wire {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    _connections: JoinSet<()>,
}

impl Wire {
    pub(super) async fn to(server: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, now) = watch::channel(Weather::Fine);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let now = now.clone();
                pairs.spawn(async move {
                    let Ok(far) = TcpStream::connect(server).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = carry(near_in, far_out, now.clone()) => {}
                        () = carry(far_in, near_out, now) => {}
                    }
                });
            }
        });
        Self { address, weather, _connections: connections }
    }

    pub(super) fn uri(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(super) fn becomes(&self, weather: Weather) {
        self.weather.send(weather).unwrap();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut weather: watch::Receiver<Weather>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let now = weather.wait_for(|weather| *weather != Weather::Silent).await.map(|weather| *weather);
        match now {
            Ok(Weather::Slow(delay)) => tokio::time::sleep(delay).await,
            Ok(_) => {}
            Err(_) => return,
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
