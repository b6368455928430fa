//! The connection and its breaker: the first failed call takes the connection away from all, so that a dead Redis costs
//! one wait and not one per request; a new one is handed out once it has answered in time.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, RedisError, cmd};
use tokio::sync::watch;
use tokio::time::timeout;

use super::CALL;

/// For everything that a new connection takes, name resolution and TLS included. Nobody waits for it.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two tries to connect.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LAST_DELAY: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(super) struct Connection {
    /// Tells it from those before and after it.
    pub(super) number: u64,
    pub(super) redis: MultiplexedConnection,
}

pub(super) struct Link(watch::Sender<Option<Connection>>);

impl Link {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// `None` while Redis does not answer.
    pub(super) fn connection(&self) -> Option<Connection> {
        self.0.borrow().clone()
    }

    /// A call on connection `number` failed: nobody else shall wait for it.
    pub(super) fn broke(&self, number: u64, cause: &dyn Display) {
        let first = self.0.send_if_modified(|connection| {
            connection.take_if(|connection| connection.number == number).is_some()
        });
        if first {
            metrics::counter!("gantry_ratelimit_failures_total").increment(1);
            tracing::warn!(%cause, "limits are this replica's own until Redis answers again");
        }
    }

    pub(super) async fn until_up(&self) {
        // It never ends before the link does.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    async fn until_down(&self) {
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
}

/// Connects and reconnects for as long as it is run.
pub(super) async fn keep_up(link: Arc<Link>, client: Client) {
    for number in 0.. {
        let redis = connect_somehow(&client).await;
        tracing::info!("limits are shared through Redis");
        link.0.send_replace(Some(Connection { number, redis }));
        link.until_down().await;
    }
}

async fn connect_somehow(client: &Client) -> MultiplexedConnection {
    let mut delay = FIRST_DELAY;
    loop {
        match connect(client).await {
            Ok(connection) => return connection,
            Err(cause) if delay == FIRST_DELAY => {
                tracing::warn!(%cause, "Redis does not answer: limits are this replica's own until it does");
            }
            Err(_) => {}
        }
        tokio::time::sleep(delay.mul_f64(rand::random_range(0.5..1.0))).await;
        delay = (delay * 2).min(LAST_DELAY);
    }
}

#[derive(Debug, thiserror::Error)]
enum Unreachable {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("no connection within {} ms", CONNECT.as_millis())]
    NoConnection,
    #[error("no answer within {} ms", CALL.as_millis())]
    Slow,
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, Unreachable> {
    // Callers have less patience than this.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(CONNECT));
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = timeout(CONNECT, connecting).await.map_err(|_| Unreachable::NoConnection)??;
    // One that answers too late would only be taken away again, after somebody waited for it.
    let answer = timeout(CALL, cmd("PING").query_async::<()>(&mut connection)).await;
    answer.map_err(|_| Unreachable::Slow)??;
    Ok(connection)
}
