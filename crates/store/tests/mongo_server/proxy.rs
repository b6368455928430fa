//! A TCP proxy that tests break: it can refuse, cut, swallow what the server answers, or go silent in both directions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What happens to what passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Connections end at once, new ones too.
    Cut,
    /// Nothing passes in either direction, and nobody is told.
    Silent,
    /// A request that contains `what` reaches the server; then the connection ends before any answer, this many times.
    LoseAnswers {
        what: &'static str,
        times: u64,
    },
}

pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    lost: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Stands in front of `server` (host and port).
    pub async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Open);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let task = tokio::spawn(async move {
            // Ends all connections when it is aborted.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if *modes.borrow() == Mode::Cut {
                    continue;
                }
                let (modes, lost, server) = (modes.clone(), Arc::clone(&counter), server.clone());
                connections.spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        pass(client, server, modes, &lost).await;
                    }
                });
            }
        });
        Self { address, mode, lost, task }
    }

    pub fn set(&self, mode: Mode) {
        self.lost.store(0, Ordering::SeqCst);
        self.mode.send_replace(mode);
    }

    /// How many answers were lost since the mode was set.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    mut modes: watch::Receiver<Mode>,
    lost: &AtomicU64,
) {
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    // Requests may arrive in pieces: what is looked for is looked for in all of one.
    let mut request = Vec::new();
    let mut doomed = false;
    loop {
        let mode = *modes.borrow_and_update();
        if mode == Mode::Cut {
            return;
        }
        if mode == Mode::Silent {
            if modes.changed().await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            changed = modes.changed() => if changed.is_err() { return },
            read = client.read(&mut asked) => {
                let Ok(count @ 1..) = read else { return };
                request.extend_from_slice(&asked[..count]);
                if let Mode::LoseAnswers { what, times } = mode
                    && !doomed
                    && request.windows(what.len()).any(|part| part == what.as_bytes())
                    && lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < times).then_some(n + 1)).is_ok()
                {
                    doomed = true;
                }
                if server.write_all(&asked[..count]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answered) => {
                let Ok(count @ 1..) = read else { return };
                // The server has done it; nobody gets to know.
                if doomed {
                    return;
                }
                request.clear();
                if client.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
