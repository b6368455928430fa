//! The loop that accepts, bounds, and drains connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

use super::ServeOptions;
use super::connection::{Activity, WatchedSocket};
use super::event_stream::{AnswerBody, InFlight};
use super::request_body::TimedBody;
use crate::shutdown::Shutdown;

/// Of a request's head: bounds what a dripping peer costs in memory.
const READ_BUFFER: usize = 64 * 1024;
/// After the system refused a connection for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Connections whose request did not end within the drain, and were cut.
    pub cut: usize,
}

/// Serves `router` until the shutdown, then drains. Requests carry [`ConnectInfo<SocketAddr>`] as extension.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    shutdown: Shutdown,
) -> Served {
    let mut server = Server {
        router,
        options: Arc::new(options),
        shutdown,
        epoch: Instant::now(),
        tasks: JoinSet::new(),
        connections: HashMap::new(),
        fell_silent: Arc::default(),
        accepting_fails: false,
    };
    server.accept_until_shutdown(&listener).await;
    drop(listener);
    server.drain().await
}

struct Server {
    router: Router,
    options: Arc<ServeOptions>,
    shutdown: Shutdown,
    epoch: Instant,
    tasks: JoinSet<()>,
    connections: HashMap<Id, Arc<Activity>>,
    fell_silent: Arc<Notify>,
    /// Said once, not at every try.
    accepting_fails: bool,
}

impl Server {
    async fn accept_until_shutdown(&mut self, listener: &TcpListener) {
        let shutdown = self.shutdown.clone();
        let fell_silent = self.fell_silent.clone();
        let mut sweep = self.sweep_interval();
        // Accepted, but all connections are busy at the cap: it waits until one ends or falls silent, and the ones after
        // it wait in the system's backlog.
        let mut waiting: Option<(TcpStream, SocketAddr)> = None;
        loop {
            if waiting.is_some()
                && self.make_room()
                && let Some((socket, peer)) = waiting.take()
            {
                self.admit(socket, peer);
            }
            tokio::select! {
                () = shutdown.triggered() => return,
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.forget(ended),
                accepted = listener.accept(), if waiting.is_none() => match accepted {
                    Ok(newcomer) => waiting = Some(newcomer),
                    Err(error) => self.accept_failed(&error).await,
                },
                () = fell_silent.notified(), if waiting.is_some() => {}
                _ = sweep.tick(), if !self.connections.is_empty() => self.close_overdue(),
            }
        }
    }

    fn sweep_interval(&self) -> tokio::time::Interval {
        let options = &self.options;
        let shortest = options.header_timeout.min(options.idle_timeout).min(options.write_stall_timeout);
        let period = (shortest / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut sweep = tokio::time::interval(period);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sweep
    }

    fn oldest_silent(&self) -> Option<&Arc<Activity>> {
        self.connections
            .values()
            .filter_map(|activity| activity.silent_since().map(|since| (since, activity)))
            .min_by_key(|(since, _)| *since)
            .map(|(_, activity)| activity)
    }

    /// Whether one more connection fits, after the oldest silent one gave way if need be.
    fn make_room(&mut self) -> bool {
        while self.connections.len() >= self.options.max_connections.max(1) {
            let Some(oldest) = self.oldest_silent().cloned() else { return false };
            if oldest.close_if_silent() {
                count_closed("gave_way");
                self.connections.retain(|_, activity| !Arc::ptr_eq(activity, &oldest));
            }
        }
        true
    }

    fn admit(&mut self, socket: TcpStream, peer: SocketAddr) {
        self.accepting_fails = false;
        let activity = Arc::new(Activity::new(self.epoch, self.fell_silent.clone()));
        let connection = converse(
            socket,
            peer,
            self.router.clone(),
            self.options.clone(),
            activity.clone(),
            self.shutdown.clone(),
        );
        let id = self.tasks.spawn(connection).id();
        self.connections.insert(id, activity);
        self.show_count();
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!(%error, "a connection's task panicked");
                }
                error.id()
            }
        };
        self.connections.remove(&id);
        self.show_count();
    }

    /// A peer that went away is its own business; a lack of descriptors or memory is ours: make room, and pause.
    async fn accept_failed(&mut self, error: &io::Error) {
        let about_the_peer = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
        );
        if about_the_peer {
            return;
        }
        if !self.accepting_fails {
            self.accepting_fails = true;
            tracing::error!(%error, connections = self.connections.len(), "can't accept connections");
        }
        if self.oldest_silent().is_some_and(|oldest| oldest.close_if_silent()) {
            count_closed("gave_way");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    fn close_overdue(&self) {
        for activity in self.connections.values() {
            if let Some(why) = activity.close_if_overdue(&self.options) {
                count_closed(why.label());
            }
        }
    }

    async fn drain(&mut self) -> Served {
        let deadline = tokio::time::sleep(self.options.drain);
        tokio::pin!(deadline);
        let mut sweep = self.sweep_interval();
        loop {
            if self.tasks.is_empty() {
                return Served::default();
            }
            tokio::select! {
                () = &mut deadline => break,
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
                _ = sweep.tick() => self.close_overdue(),
            }
        }
        let cut = self.tasks.len();
        tracing::warn!(connections = cut, "requests did not end within the drain: cutting them");
        self.tasks.shutdown().await;
        self.connections.clear();
        self.show_count();
        Served { cut }
    }

    fn show_count(&self) {
        metrics::gauge!("gantry_http_connections").set(self.connections.len() as f64);
    }
}

fn count_closed(why: &'static str) {
    metrics::counter!("gantry_http_connections_closed_total", "why" => why).increment(1);
}

/// One connection from its first byte to its last.
async fn converse(
    socket: TcpStream,
    peer: SocketAddr,
    router: Router,
    options: Arc<ServeOptions>,
    activity: Arc<Activity>,
    shutdown: Shutdown,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY is not to be had");
    }
    let io = TokioIo::new(WatchedSocket { socket, activity: activity.clone() });
    let router = TowerToHyperService::new(router);
    let service = service_fn({
        let (activity, shutdown) = (activity.clone(), shutdown.clone());
        move |request: http::Request<Incoming>| {
            answer(request, peer, router.clone(), options.clone(), activity.clone(), shutdown.clone())
        }
    });
    // Timeouts are the server's own (`Activity`): hyper's one for heads would also cut idle keep-alive connections.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(READ_BUFFER)
        .serve_connection(io, service);
    tokio::pin!(connection);
    let mut asked_to_finish = false;
    loop {
        tokio::select! {
            biased;
            () = activity.closed() => return,
            () = shutdown.triggered(), if !asked_to_finish => {
                asked_to_finish = true;
                connection.as_mut().graceful_shutdown();
            }
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection broke");
                }
                return;
            }
        }
    }
}

/// A request that arrives while the server gives the connection up; hyper then drops it unanswered.
#[derive(Debug, thiserror::Error)]
#[error("the connection is being closed")]
struct GivenUp;

async fn answer(
    request: http::Request<Incoming>,
    peer: SocketAddr,
    router: TowerToHyperService<Router>,
    options: Arc<ServeOptions>,
    activity: Arc<Activity>,
    shutdown: Shutdown,
) -> Result<http::Response<AnswerBody>, GivenUp> {
    use hyper::service::Service as _;
    if !activity.request_began() {
        return Err(GivenUp);
    }
    let in_flight = InFlight(activity);
    let mut request = request.map(|incoming| Body::new(TimedBody::new(incoming, &options)));
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = match router.call(request).await {
        Ok(response) => response,
        Err(never) => match never as Infallible {},
    };
    Ok(AnswerBody::wrap(response, in_flight, &shutdown))
}
