//! A connection that comes back: it is made when first wanted, watched, and made again after whatever ended it.

use std::collections::HashSet;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use gantry_domain::spec::Pool;
use lapin::tcp::{AMQPUriTcpExt as _, OwnedTLSConfig};
use lapin::uri::AMQPScheme;
use lapin::{AsyncTcpStream, Channel, Connection, ConnectionProperties, ConnectionStatus, Event, runtime};
use tokio::sync::watch;
use tokio::time::Instant;

use super::options::Target;
use super::topology::{self, Names};
use super::{failed, until_closed};
use crate::QueueError;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A connection that held this long was a good one: the next pause is short again.
const HELD: Duration = Duration::from_secs(10);
/// How soon an end is noticed that no event tells of.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Whether there is a connection.
#[derive(Clone)]
enum State {
    /// Nobody knows yet.
    Starting,
    Up(Arc<Session>),
    Down(String),
}

/// One connection, as long as it lasts.
pub(super) struct Session {
    pub connection: Connection,
    /// Why the broker takes no messages, while it does not.
    blocked: watch::Receiver<Option<String>>,
    /// For questions; opened when needed, and again after the broker closed it over one of them.
    questions: tokio::sync::Mutex<Option<Channel>>,
    patience: Duration,
    declared: Mutex<Declared>,
}

/// What need not be declared again on this connection.
#[derive(Default)]
struct Declared {
    control: bool,
    pools: HashSet<Pool>,
    /// Their queues exist with arguments of somebody else's choice, and are used as they are.
    foreign: HashSet<Pool>,
}

impl Session {
    /// Why the broker takes no messages at the moment, if so. Nothing at all is sent to it meanwhile.
    pub(super) fn blocked(&self) -> Option<QueueError> {
        self.blocked.borrow().as_deref().map(is_blocked)
    }

    /// Returns when the broker stops taking messages; never, if the connection ends first.
    pub(super) async fn until_blocked(&self) -> QueueError {
        let mut blocked = self.blocked.clone();
        let why = blocked.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => is_blocked(&why),
            None => std::future::pending().await,
        }
    }

    fn declared(&self) -> MutexGuard<'_, Declared> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that a pool's queue exists.
    pub(super) async fn declare(&self, names: &Names, pool: &Pool) -> Result<(), QueueError> {
        if self.declared().pools.contains(pool) {
            return Ok(());
        }
        self.count_dead(names).await?;
        self.count(names, pool).await?;
        self.declared().pools.insert(pool.clone());
        Ok(())
    }

    /// Messages set aside; makes sure that they can be.
    pub(super) async fn count_dead(&self, names: &Names) -> Result<u64, QueueError> {
        let counted = match self.ask(async |channel| topology::declare_dead(channel, names).await).await {
            Err(error) if topology::differs(&error) => {
                self.ask(async |channel| topology::count_foreign(channel, names.dead()).await).await
            }
            counted => counted,
        };
        counted.map_err(failed)
    }

    /// Makes sure that control messages can be sent.
    pub(super) async fn declare_control(&self, names: &Names) -> Result<(), QueueError> {
        if !self.declared().control {
            self.ask(async |channel| topology::declare_control(channel, names).await)
                .await
                .map_err(failed)?;
            self.declared().control = true;
        }
        Ok(())
    }

    /// The pool's queue is gone, whoever deleted it.
    pub(super) fn forget(&self, pool: &Pool) {
        let mut declared = self.declared();
        declared.pools.remove(pool);
        declared.foreign.remove(pool);
    }

    /// Messages ready in a pool's queue.
    pub(super) async fn count(&self, names: &Names, pool: &Pool) -> Result<u64, QueueError> {
        if !self.declared().foreign.contains(pool) {
            match self.ask(async |channel| topology::count_runs(channel, names, pool).await).await {
                Ok(ready) => return Ok(ready),
                Err(error) if topology::differs(&error) => {
                    tracing::warn!(%pool, %error, "the pool's queue was not made by this version: used as it is");
                    self.declared().foreign.insert(pool.clone());
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let counted =
            self.ask(async |channel| topology::count_foreign(channel, names.runs(pool)).await).await;
        counted.map_err(|error| {
            self.forget(pool);
            failed(error)
        })
    }

    /// Asks something on the channel for questions. One that failed is not used again.
    async fn ask<T>(&self, question: impl AsyncFnOnce(&Channel) -> lapin::Result<T>) -> lapin::Result<T> {
        let asking = async {
            let mut questions = self.questions.lock().await;
            let channel = match questions.take().filter(|channel| channel.status().connected()) {
                Some(channel) => channel,
                None => self.connection.create_channel().await?,
            };
            let answer = question(&channel).await?;
            // Kept only after an answer: whoever gives up waiting leaves a channel that still expects one.
            *questions = Some(channel);
            Ok(answer)
        };
        let answer = tokio::time::timeout(self.patience, asking).await;
        answer.unwrap_or_else(|elapsed| Err(std::io::Error::from(elapsed).into()))
    }
}

fn is_blocked(why: &str) -> QueueError {
    QueueError::Unavailable(format!("the broker takes no messages at the moment ({why})"))
}

/// Gives out the present connection.
#[derive(Clone)]
pub(super) struct Link {
    state: watch::Receiver<State>,
    wanted: Arc<watch::Sender<bool>>,
    patience: Duration,
}

impl Link {
    /// The link and the task that keeps it up; the task ends when `closed` turns true, and leaves the last connection
    /// as it is.
    pub(super) fn new(
        target: Arc<Target>,
        role: &'static str,
        closed: watch::Receiver<bool>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (set_state, state) = watch::channel(State::Starting);
        let wanted = Arc::new(watch::channel(false).0);
        let patience = target.options.call_timeout;
        let keeper = Keeper { target, role, state: set_state, wanted: wanted.subscribe(), closed };
        (Self { state, wanted, patience }, keeper.keep_up())
    }

    /// The present connection. Waits for the first try to end, and not at all while the broker is known to be away.
    pub(super) async fn session(&self) -> Result<Arc<Session>, QueueError> {
        self.wanted.send_if_modified(|wanted| !std::mem::replace(wanted, true));
        let mut state = self.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Starting));
        let known = tokio::time::timeout(self.patience, known).await;
        match known {
            Ok(Ok(state)) => match &*state {
                State::Up(session) => Ok(Arc::clone(session)),
                State::Down(why) => Err(QueueError::Unavailable(why.clone())),
                State::Starting => Err(unavailable("not connected yet")),
            },
            Ok(Err(_)) => Err(unavailable("the queue is gone")),
            Err(_) => Err(unavailable("no connection yet")),
        }
    }

    /// Waits for a connection, however long that takes, without asking for one; `None` when there will never be one.
    pub(super) async fn up(&self) -> Option<Arc<Session>> {
        let mut state = self.state.clone();
        let up = state.wait_for(|state| matches!(state, State::Up(_))).await.ok()?;
        match &*up {
            State::Up(session) => Some(Arc::clone(session)),
            _ => None,
        }
    }
}

fn unavailable(why: &str) -> QueueError {
    QueueError::Unavailable(why.to_owned())
}

/// Keeps one link up.
struct Keeper {
    target: Arc<Target>,
    role: &'static str,
    state: watch::Sender<State>,
    wanted: watch::Receiver<bool>,
    closed: watch::Receiver<bool>,
}

impl Keeper {
    async fn keep_up(self) {
        let (mut wanted, closed) = (self.wanted.clone(), &self.closed);
        tokio::select! {
            known = wanted.wait_for(|wanted| *wanted) => if known.is_err() { return },
            () = until_closed(closed) => return,
        }
        let (mut pause, mut told) = (FIRST_PAUSE, None::<String>);
        loop {
            let begun = Instant::now();
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = until_closed(closed) => return,
            };
            let why = match connected {
                Ok((session, ending)) => {
                    tracing::info!(
                        broker = self.target.address(),
                        role = self.role,
                        "connected to the broker"
                    );
                    told = None;
                    self.gauge(1.0);
                    self.state.send_replace(State::Up(session));
                    let Some(why) = ending.await else { return };
                    metrics::counter!("gantry_queue_connections_lost_total", "role" => self.role)
                        .increment(1);
                    why
                }
                Err(why) => why,
            };
            self.gauge(0.0);
            if told.as_ref() != Some(&why) {
                tracing::warn!(
                    broker = self.target.address(),
                    role = self.role,
                    why,
                    "no connection to the broker"
                );
                told = Some(why.clone());
            }
            self.state.send_replace(State::Down(why));
            if begun.elapsed() > HELD {
                pause = FIRST_PAUSE;
            }
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..=1.0))) => {}
                () = until_closed(closed) => return,
            }
            pause = (pause * 2).min(self.target.options.longest_pause);
        }
    }

    fn gauge(&self, up: f64) {
        metrics::gauge!("gantry_queue_connected", "role" => self.role).set(up);
    }

    /// A session, and what watches it: ends with why the session did, or with `None` at the close.
    async fn connect(&self) -> Result<(Arc<Session>, BoxFuture<'static, Option<String>>), String> {
        let socket = SocketGuard::default();
        let connecting = establish(Arc::clone(&self.target), self.role, socket.slot());
        let patience = self.target.options.connect_timeout;
        let connection = match tokio::time::timeout(patience, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err(format!("the broker does not answer within {} s", patience.as_secs_f32())),
        };
        let (set_blocked, blocked) = watch::channel(None);
        let (events, status) = (connection.events_listener().boxed(), connection.status().clone());
        let watching = watch_over(status, events, set_blocked, self.closed.clone(), socket);
        let session = Arc::new(Session {
            connection,
            blocked,
            questions: tokio::sync::Mutex::default(),
            patience: self.target.options.call_timeout,
            declared: Mutex::default(),
        });
        Ok((session, watching.boxed()))
    }
}

/// Follows what the connection says about itself until it is over.
async fn watch_over(
    status: ConnectionStatus,
    mut events: BoxStream<'static, Event>,
    set_blocked: watch::Sender<Option<String>>,
    closed: watch::Receiver<bool>,
    socket: SocketGuard,
) -> Option<String> {
    let mut said = None;
    while status.connected() {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(why)) => {
                    tracing::warn!(why, "the broker takes no messages at the moment");
                    set_blocked.send_replace(Some(why));
                }
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!("the broker takes messages again");
                    set_blocked.send_replace(None);
                }
                // Of the connection or of one of its channels: the status tells which.
                Some(Event::Error(error)) => said = Some(error.to_string()),
                Some(_) => {}
                None => break,
            },
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = until_closed(&closed) => {
                // Acknowledgements still need it: its last user closes it.
                socket.spare();
                return None;
            }
        }
    }
    Some(said.unwrap_or_else(|| "the connection was closed".to_owned()))
}

async fn establish(target: Arc<Target>, role: &str, socket: Slot) -> lapin::Result<Connection> {
    let name = format!("{} {role}", target.options.name);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let (uri, patience) = (target.uri.clone(), target.options.connect_timeout);
    let runtime = runtime::default_runtime()?;
    let dialling = runtime.clone();
    let dial = async move |uri: lapin::uri::AMQPUri, _| {
        let mut plain = uri.clone();
        plain.scheme = AMQPScheme::AMQP;
        let stream = async {
            let stream =
                plain.connect_with_config_async(OwnedTLSConfig::default().as_ref(), &dialling).await?;
            if let AsyncTcpStream::Plain(tcp) = &stream {
                tcp.get_ref().set_nodelay(true)?;
                hold(&socket, tcp.get_ref().as_fd().try_clone_to_owned()?)?;
            }
            match &target.tls {
                _ if !target.encrypted() => Ok(stream),
                Some(connector) => stream.into_rustls(connector, &uri.authority.host).await,
                None => stream.into_tls(&uri.authority.host, OwnedTLSConfig::default().as_ref()).await,
            }
        };
        match tokio::time::timeout(patience, stream).await {
            Ok(stream) => Ok(stream?),
            Err(elapsed) => Err(std::io::Error::from(elapsed).into()),
        }
    };
    Connection::connector(uri, runtime, dial, properties).await
}

/// Shuts the connection's socket down when it is dropped, unless it was spared: the driver reads on a thread of its own,
/// which ends with the socket and, against a silent peer, not before.
#[derive(Default)]
struct SocketGuard(Slot);

type Slot = Arc<Mutex<Socket>>;

#[derive(Default)]
enum Socket {
    #[default]
    NotYet,
    Open(std::net::TcpStream),
    /// Whatever comes now is too late.
    Unwanted,
}

impl SocketGuard {
    fn slot(&self) -> Slot {
        Arc::clone(&self.0)
    }

    fn spare(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Socket::NotYet;
    }
}

fn hold(slot: &Slot, socket: OwnedFd) -> std::io::Result<()> {
    let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if matches!(*held, Socket::Unwanted) {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    *held = Socket::Open(socket.into());
    Ok(())
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Socket::Open(socket) = std::mem::replace(&mut *held, Socket::Unwanted) {
            // An error says that it is closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}
