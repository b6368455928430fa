//! One follower of a run: from where it stands to the run's end, without gap or duplicate.

use std::str::FromStr;
use std::sync::Arc;

use async_stream::stream;
use bytes::Bytes;
use futures::Stream;
use gantry_domain::run::Run;
use serde::Serialize;
use tokio::time::Instant;

use super::encode::encode;
use super::hub::{Seat, Step};
use super::reader::LogReader;
use crate::error::{ApiError, ApiResult};
use crate::extract::Access;
use crate::services::overview;
use crate::sse::{ALIVE, COME_BACK, HELLO, KEEP_ALIVE, event};
use crate::state::App;

/// Log read at once for one follower that is behind.
const CATCH_UP_BYTES: usize = 256 * 1024;

/// Behind `offset` bytes of an attempt's log; as text `attempt:offset`, the id of log events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub attempt: u32,
    pub offset: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.attempt, self.offset)
    }
}

impl FromStr for Position {
    type Err = ApiError;

    fn from_str(text: &str) -> ApiResult<Self> {
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
        text.split_once(':')
            .and_then(|(attempt, offset)| {
                Some(Self { attempt: number(attempt)?.try_into().ok()?, offset: number(offset)? })
            })
            .ok_or_else(|| {
                ApiError::invalid_parameter("`Last-Event-ID` is the id of a log event: `attempt:offset`.")
            })
    }
}

#[derive(Serialize)]
struct AttemptData {
    attempt: u32,
}

#[derive(Serialize)]
struct DeletedData {
    id: String,
}

/// Events from `position` to the run's end. It never waits for anybody but its own reader.
pub fn follow(
    app: Arc<App>,
    run: &Run,
    mut position: Position,
    mut access: Access,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let seat = app.logs.sit(run);
    let (id, organization) = (run.id, run.organization);
    stream! {
        yield HELLO;
        let mut news = seat.news();
        let mut reader = None;
        // News of a run need not be any for its log: what counts is when something was last said.
        let mut alive_at = Instant::now() + KEEP_ALIVE;
        loop {
            if app.shutdown.is_triggered() || access.ended(&app).await {
                yield COME_BACK;
                return;
            }
            news.mark_unchanged();
            match seat.step(position.attempt, position.offset) {
                Step::Send(events, end) => {
                    position.offset = end;
                    for events in events {
                        yield events;
                    }
                    alive_at = Instant::now() + KEEP_ALIVE;
                }
                Step::CatchUp(until) => match catch_up(&app, &seat, &mut reader, &mut position, until).await {
                    Ok(events) => {
                        for events in events {
                            yield events;
                        }
                        alive_at = Instant::now() + KEEP_ALIVE;
                    }
                    Err(error) => {
                        tracing::warn!(run.id = %id, org.id = %organization, ?error, "a follower has to come back");
                        yield COME_BACK;
                        return;
                    }
                },
                Step::Attempt(attempt) => {
                    let first = position.attempt == 0;
                    position = Position { attempt, offset: 0 };
                    reader = None;
                    if !first {
                        yield event("attempt", Some(&position.to_string()), &AttemptData { attempt });
                    }
                }
                Step::End(run) => {
                    yield event("end", None, &overview::brief(&app, &run));
                    return;
                }
                Step::Deleted => {
                    yield event("deleted", None, &DeletedData { id: id.to_string() });
                    return;
                }
                Step::Wait => tokio::select! {
                    changed = tokio::time::timeout_at(alive_at, news.changed()) => if changed.is_err() {
                        yield ALIVE;
                        alive_at = Instant::now() + KEEP_ALIVE;
                    },
                    () = app.shutdown.triggered() => {}
                    () = access.until_ended(&app) => {}
                },
            }
        }
    }
}

/// Reads and encodes the next part, for this follower alone.
async fn catch_up(
    app: &App,
    seat: &Seat,
    reader: &mut Option<LogReader>,
    position: &mut Position,
    until: u64,
) -> ApiResult<Vec<Bytes>> {
    let run = seat.run().ok_or_else(ApiError::not_found)?;
    let attempt = run.attempts.iter().find(|attempt| attempt.number == position.attempt);
    let attempt = attempt.ok_or_else(ApiError::not_found)?;
    let reader = reader.get_or_insert_with(|| LogReader::new(&app.logs, &run, attempt));
    let chunks = reader.read_until(position.offset, until, CATCH_UP_BYTES).await?;
    let complete = chunks.last().is_some_and(|chunk| chunk.end() >= until);
    let frames = encode(position.attempt, &chunks, complete);
    position.offset = frames.last().map_or(until, |frame| frame.end);
    Ok(frames.into_iter().map(|frame| frame.events).collect())
}
