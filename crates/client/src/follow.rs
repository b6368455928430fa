//! A run's log as it grows, from the first byte to the end of the run, over as many connections and attempts as it takes.

use std::fmt;

use async_stream::try_stream;
use futures::Stream;
use gantry_api_types::log::LogEvent;
use gantry_api_types::run::Run;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{ClientError, TransportError};
use crate::sse::Event;
use crate::subscription::{Step, Subscription};

/// Where a follower stands: behind `offset` bytes of an attempt's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPosition {
    pub attempt: u32,
    pub offset: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.attempt, self.offset)
    }
}

/// What a follower sees.
#[derive(Debug)]
pub enum LogItem {
    /// The run is tried again; what follows belongs to this attempt.
    Attempt(u32),
    /// The next bytes; within an attempt without gap and without overlap.
    Log(LogEvent),
    /// The connection was lost and is being made again. Nothing is missed.
    Interrupted(ClientError),
    /// The run is over, and this was its log. The last item.
    End(Box<Run>),
}

#[derive(Deserialize)]
struct AttemptData {
    attempt: u32,
}

pub(crate) fn follow(
    mut events: Subscription,
    from: Option<LogPosition>,
) -> impl Stream<Item = Result<LogItem, ClientError>> + Send {
    try_stream! {
        let mut position = from;
        loop {
            let event = match events.next().await? {
                Step::Event(event) => event,
                Step::Interrupted(error) => {
                    yield LogItem::Interrupted(error);
                    continue;
                }
            };
            match event.kind.as_str() {
                "log" => {
                    let piece: LogEvent = data(&event)?;
                    let changed = position.is_some_and(|at| at.attempt != piece.attempt);
                    match Arrival::of(position, piece)? {
                        Arrival::Next(piece, behind) => {
                            position = Some(behind);
                            if changed {
                                yield LogItem::Attempt(behind.attempt);
                            }
                            yield LogItem::Log(piece);
                        }
                        Arrival::Known => {}
                        Arrival::Gap(at) => {
                            events.resume_at(at.to_string());
                            let error = TransportError::Broken(format!("log bytes from {at} on are missing"));
                            if let Some(Step::Interrupted(error)) = events.give_up_connection(error.into())? {
                                yield LogItem::Interrupted(error);
                            }
                        }
                    }
                }
                "attempt" => {
                    let AttemptData { attempt } = data(&event)?;
                    if position.is_none_or(|at| at.attempt < attempt) {
                        let begin = LogPosition { attempt, offset: 0 };
                        position = Some(begin);
                        events.resume_at(begin.to_string());
                        yield LogItem::Attempt(attempt);
                    }
                }
                "end" => {
                    yield LogItem::End(Box::new(data(&event)?));
                    return;
                }
                _ => {}
            }
        }
    }
}

/// What a piece is to a follower who stands somewhere.
enum Arrival {
    /// It goes on from here; where it leads to.
    Next(LogEvent, LogPosition),
    /// Seen before, or of an attempt that is over.
    Known,
    /// Something before it is missing.
    Gap(LogPosition),
}

impl Arrival {
    fn of(position: Option<LogPosition>, piece: LogEvent) -> Result<Self, ClientError> {
        let Some(bytes) = piece.byte_len() else {
            return Err(ClientError::protocol(None, "a log event carries no bytes that can be read"));
        };
        let behind = LogPosition { attempt: piece.attempt, offset: piece.offset + bytes as u64 };
        let known = match position {
            Some(at) if at.attempt > piece.attempt => return Ok(Self::Known),
            Some(at) if at.attempt == piece.attempt => at.offset,
            _ => piece.offset,
        };
        Ok(if known == piece.offset {
            Self::Next(piece, behind)
        } else if known < piece.offset {
            Self::Gap(LogPosition { attempt: piece.attempt, offset: known })
        } else if known >= behind.offset {
            Self::Known
        } else {
            piece.behind(known).map_or(Self::Known, |rest| Self::Next(rest, behind))
        })
    }
}

pub(crate) fn data<T: DeserializeOwned>(event: &Event) -> Result<T, ClientError> {
    serde_json::from_str(&event.data).map_err(|error| {
        let message =
            format!("a {} event cannot be read ({error}); is the server of this version?", event.kind);
        ClientError::protocol(None, message)
    })
}
