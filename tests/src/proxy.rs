//! A TCP proxy for broken networks: what a test puts between two parts to separate them.
//!
//! ```ignore
//! let proxy = Proxy::start(("127.0.0.1", rabbit.port()))?;
//! let uri = format!("amqp://guest:guest@{}/%2f", proxy.address());
//! proxy.stall(Way::Both);         // half-open: connections stay, also new ones, and nothing passes
//! proxy.stall(Way::ToClient);     // one-way: requests arrive, answers don't
//! proxy.delay(Duration::from_millis(200));
//! proxy.reset();                  // connections break; new ones pass
//! proxy.cut();                    // connections break; new ones too, at once
//! proxy.pass();                   // heals: what was held back arrives now, in order
//! ```
//!
//! It runs on a thread of its own, so that a test may block meanwhile, and ends when it is dropped.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Which bytes a verb is about; the client is who connects to the proxy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
    Both,
}

#[derive(Clone, Copy, Default)]
struct Flow {
    stalled: bool,
    delay: Duration,
}

#[derive(Clone, Copy)]
struct Rules {
    server: SocketAddr,
    to_server: Flow,
    to_client: Flow,
    refuse: bool,
    /// Connections of an earlier one are broken.
    generation: u64,
    over: bool,
}

pub struct Proxy {
    address: SocketAddr,
    rules: watch::Sender<Rules>,
    open: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes everything to this server.
    pub fn start(server: impl ToSocketAddrs) -> anyhow::Result<Self> {
        let server = server.to_socket_addrs()?.next().context("no address")?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let flow = Flow::default();
        let (rules, seen) = watch::channel(Rules {
            server,
            to_server: flow,
            to_client: flow,
            refuse: false,
            generation: 0,
            over: false,
        });
        let open = Arc::new(AtomicUsize::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let counter = open.clone();
        let thread = std::thread::Builder::new()
            .name("proxy".into())
            .spawn(move || runtime.block_on(serve(listener, seen, counter)))?;
        Ok(Self { address, rules, open, thread: Some(thread) })
    }

    /// What clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections that are open at this moment.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// New connections go to this server, e.g. one that came back on another port.
    pub fn retarget(&self, server: SocketAddr) {
        self.rules.send_modify(|rules| rules.server = server);
    }

    /// Everything passes at once; what was held back arrives, in order.
    pub fn pass(&self) {
        self.rules.send_modify(|rules| {
            rules.refuse = false;
            rules.to_server = Flow::default();
            rules.to_client = Flow::default();
        });
    }

    /// Nothing passes this way, not even the end of a connection.
    pub fn stall(&self, way: Way) {
        self.change(way, |flow| flow.stalled = true);
    }

    /// Every byte arrives this much later, both ways; the throughput stays.
    pub fn delay(&self, by: Duration) {
        self.change(Way::Both, |flow| flow.delay = by);
    }

    /// Open connections break with a reset; new ones pass.
    pub fn reset(&self) {
        self.rules.send_modify(|rules| rules.generation += 1);
    }

    /// Open connections break with a reset, new ones too, until [`Self::pass`].
    pub fn cut(&self) {
        self.rules.send_modify(|rules| {
            rules.refuse = true;
            rules.generation += 1;
        });
    }

    fn change(&self, way: Way, mut change: impl FnMut(&mut Flow)) {
        self.rules.send_modify(|rules| {
            if way != Way::ToClient {
                change(&mut rules.to_server);
            }
            if way != Way::ToServer {
                change(&mut rules.to_client);
            }
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.rules.send_modify(|rules| rules.over = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, mut rules: watch::Receiver<Rules>, open: Arc<AtomicUsize>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let mut connections = JoinSet::new();
    let mut end = rules.clone();
    loop {
        tokio::select! {
            _ = end.wait_for(|rules| rules.over) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                let now = *rules.borrow_and_update();
                if now.refuse {
                    break_off(&client);
                } else {
                    connections.spawn(connect(client, now, rules.clone(), open.clone()));
                }
            }
        }
    }
    connections.shutdown().await;
}

/// A reset, as from a host that knows nothing of the connection.
fn break_off(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn connect(mut client: TcpStream, at: Rules, rules: watch::Receiver<Rules>, open: Arc<AtomicUsize>) {
    open.fetch_add(1, Ordering::SeqCst);
    let _counted = Counted(open);
    let mut seen = rules.clone();
    let broken = seen.wait_for(|rules| rules.generation != at.generation);
    tokio::pin!(broken);
    let connected = tokio::select! {
        connected = connect_server(at.server, rules.clone()) => connected.ok(),
        _ = &mut broken => None,
    };
    let Some(mut server) = connected else { return break_off(&client) };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = {
        let (client_in, client_out) = client.split();
        let (server_in, server_out) = server.split();
        let both = async {
            tokio::join!(
                pump(client_in, server_out, rules.clone(), |rules| rules.to_server),
                pump(server_in, client_out, rules.clone(), |rules| rules.to_client),
            )
        };
        tokio::select! {
            _ = both => true,
            _ = broken => false,
        }
    };
    if !ended {
        break_off(&client);
        break_off(&server);
    }
}

/// While requests are stalled, not even the handshake reaches the server.
async fn connect_server(server: SocketAddr, mut rules: watch::Receiver<Rules>) -> std::io::Result<TcpStream> {
    rules.wait_for(|rules| !rules.to_server.stalled).await.map_err(|_| ErrorKind::BrokenPipe)?;
    TcpStream::connect(server).await
}

/// A piece and when it was read; none is the end.
type Piece = (Instant, Vec<u8>);

/// Passes one way: the reader takes a bounded number of pieces ahead, the writer keeps their order, delay and stalls. Ends when either
/// side does, after passing that on.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut rules: watch::Receiver<Rules>,
    flow: impl Fn(&Rules) -> Flow,
) {
    let (sender, mut pieces) = mpsc::channel::<Piece>(64);
    let reader = async move {
        loop {
            let mut piece = vec![0; 32 * 1024];
            let read = from.read(&mut piece).await.unwrap_or(0);
            piece.truncate(read);
            if sender.send((Instant::now(), piece)).await.is_err() || read == 0 {
                return;
            }
        }
    };
    let writer = async move {
        while let Some((read_at, piece)) = pieces.recv().await {
            let delay = flow(&rules.borrow()).delay;
            tokio::time::sleep_until(read_at + delay).await;
            if rules.wait_for(|rules| !flow(rules).stalled).await.is_err() {
                return;
            }
            if piece.is_empty() {
                let _ = to.shutdown().await;
            } else if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    // The writer has the last word: it ends when everything read is passed on, or nobody takes it any more.
    tokio::select! {
        () = writer => {}
        () = async { reader.await; std::future::pending().await } => {}
    }
}
