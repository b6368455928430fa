//! A stretch of wire before the tests' Redis, to be cut and silenced without harm to other tests.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    Fine,
    /// Connections stand, nothing comes through.
    Silent,
    /// Connections are closed as soon as they are there.
    Cut,
}

pub(super) struct Wire {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    _connections: JoinSet<()>,
}

impl Wire {
    pub(super) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, now) = watch::channel(Weather::Fine);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let (now, mut cut, server) = (now.clone(), now.clone(), server.clone());
                pairs.spawn(async move {
                    let Ok(far) = TcpStream::connect(server).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = carry(near_in, far_out, now.clone()) => {}
                        () = carry(far_in, near_out, now) => {}
                        _ = cut.wait_for(|weather| *weather == Weather::Cut) => {}
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
    let mut piece = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if weather.wait_for(|weather| *weather != Weather::Silent).await.is_err() {
            return;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
