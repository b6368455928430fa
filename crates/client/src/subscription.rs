//! A stream of events that outlives its connections: it comes back with the id of the last event, after a pause that
//! grows, and notices a server that has fallen silent.

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;

use crate::call::{ByteStream, Caller};
use crate::error::{ClientError, TransportError};
use crate::retry::RetryPolicy;
use crate::sse::{Event, Parser};

/// How long a live stream puts up with a server that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Without a byte: servers keep streams alive every 15 s.
    pub silence: Duration,
    /// Since the connection was lost, before the stream ends with the error.
    pub outage: Duration,
    /// Between tries; the server's `retry:` sets the first pause.
    pub retry: RetryPolicy,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(45),
            outage: Duration::from_secs(300),
            retry: RetryPolicy { initial: Duration::from_millis(250), max: Duration::from_secs(5) },
        }
    }
}

/// What comes next.
pub(crate) enum Step {
    Event(Event),
    /// The connection was lost; it is being made again. Once per outage.
    Interrupted(ClientError),
}

pub(crate) struct Subscription {
    caller: Caller,
    path: String,
    last_id: Option<String>,
    patience: Patience,
    connection: Option<Connection>,
    ready: VecDeque<Event>,
    outage: Option<Outage>,
    retry_hint: Option<Duration>,
}

struct Connection {
    bytes: ByteStream,
    parser: Parser,
}

struct Outage {
    since: Instant,
    failures: u32,
    next_try: Instant,
}

impl Subscription {
    pub(crate) fn new(caller: Caller, path: String, last_id: Option<String>, patience: Patience) -> Self {
        Self {
            caller,
            path,
            last_id,
            patience,
            connection: None,
            ready: VecDeque::new(),
            outage: None,
            retry_hint: None,
        }
    }

    /// The next step; an error is final.
    pub(crate) async fn next(&mut self) -> Result<Step, ClientError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if event.id.is_some() {
                    self.last_id.clone_from(&event.id);
                }
                return Ok(Step::Event(event));
            }
            match self.advance().await {
                Ok(()) => {}
                Err(error) => {
                    if let Some(step) = self.lost(error)? {
                        return Ok(step);
                    }
                }
            }
        }
    }

    /// Sets where the next connection goes on.
    pub(crate) fn resume_at(&mut self, id: String) {
        self.last_id = Some(id);
    }

    /// Drops the connection because of what it delivered, and makes a new one.
    pub(crate) fn give_up_connection(&mut self, error: ClientError) -> Result<Option<Step>, ClientError> {
        self.ready.clear();
        self.lost(error)
    }

    /// Connects, or reads one piece.
    async fn advance(&mut self) -> Result<(), ClientError> {
        let Some(connection) = &mut self.connection else {
            if let Some(outage) = &self.outage {
                tokio::time::sleep_until(outage.next_try).await;
            }
            let bytes = self.caller.get(&self.path).events(self.last_id.as_deref()).await?;
            self.connection = Some(Connection { bytes, parser: Parser::default() });
            return Ok(());
        };
        let piece = match tokio::time::timeout(self.patience.silence, connection.bytes.next()).await {
            Err(_) => return Err(TransportError::Timeout(self.patience.silence).into()),
            Ok(None) => return Err(TransportError::Broken("the server ended the stream".into()).into()),
            Ok(Some(piece)) => piece?,
        };
        let fed = connection.parser.feed(&piece, &mut self.ready);
        self.retry_hint = connection.parser.retry().or(self.retry_hint);
        fed.map_err(|error| TransportError::Broken(error.to_string()))?;
        if !self.ready.is_empty() {
            self.outage = None;
        }
        Ok(())
    }

    /// Plans the next try, unless the error or the outage's length is final.
    fn lost(&mut self, error: ClientError) -> Result<Option<Step>, ClientError> {
        self.connection = None;
        if !error.is_retryable() {
            return Err(error);
        }
        let now = Instant::now();
        let first = self.outage.is_none();
        let outage = self.outage.get_or_insert(Outage { since: now, failures: 0, next_try: now });
        if now.duration_since(outage.since) >= self.patience.outage {
            return Err(error);
        }
        outage.failures += 1;
        let policy = match self.retry_hint {
            Some(hint) => RetryPolicy { initial: hint.min(self.patience.retry.max), ..self.patience.retry },
            None => self.patience.retry,
        };
        outage.next_try = now + policy.pause(outage.failures).max(error.retry_after().unwrap_or_default());
        tracing::debug!(%error, failures = outage.failures, path = self.path, "the stream was lost");
        Ok(first.then_some(Step::Interrupted(error)))
    }
}
