//! The way of an attempt's output to the producer: masked, stamped, batched, sent in order.
//!
//! What is read waits in one batch; a full batch, or one that is [`FLUSH_AFTER`] old, goes to a sender task through a
//! channel of two. When the producer is slow, the channel fills, reading stops and the command is slowed: about a
//! megabyte per attempt is held at most. An attempt that says nothing costs nothing: no task, no buffer, no call.
//!
//! Long lines are not put together here: the log is bytes in order, and a line is as many pieces as the engine made of it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use gantry_domain::log::{LogStream, MAX_CHUNK_BYTES, MAX_CHUNK_SEGMENTS, Segment};
use gantry_domain::time::{Clock, Timestamp};
use gantry_executor::{Output, OutputStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::log_sender::{LogSender, SentLog};
use crate::mask::{Masker, Secrets, complete_characters, masked};

/// The longest a byte waits for company.
pub(crate) const FLUSH_AFTER: Duration = Duration::from_millis(50);
/// Batches that wait for the sender.
const QUEUED_BATCHES: usize = 2;
/// All of Gantry's own lines together; they don't count towards the run's limit.
const SYSTEM_LIMIT: usize = 512 * 1024;
const LINE_LIMIT: usize = 4 * 1024;

/// Bytes and their origins, without a place in the log yet.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub bytes: BytesMut,
    pub segments: Vec<Segment>,
}

#[derive(Debug)]
struct Piece {
    stream: LogStream,
    time: Timestamp,
    bytes: Bytes,
}

/// Why reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PumpEnd {
    AllRead,
    /// Nothing came for too long.
    Idle,
}

/// How the log ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogEnd {
    pub end: u64,
    /// Nothing was ever sent.
    pub none: bool,
    pub truncated: bool,
    /// Why some of it may be missing at the producer.
    pub problem: Option<String>,
}

/// Writes one attempt's log.
pub(crate) struct LogWriter {
    clock: Arc<dyn Clock>,
    secrets: Option<Secrets>,
    stdout: Masker,
    stderr: Masker,
    limit: u64,
    /// Bytes of output that may still come.
    left: u64,
    truncated: bool,
    system_left: usize,
    /// Lines that are worth writing only if something else is.
    asides: Vec<Piece>,
    /// Accepted, but not in the batch yet.
    pending: VecDeque<Piece>,
    batch: Batch,
    flush_at: Option<Instant>,
    way: Way,
}

/// The sender begins with the first batch.
enum Way {
    Idle(Option<LogSender>),
    Sending { batches: mpsc::Sender<Batch>, sender: AbortOnDropHandle<SentLog> },
}

impl LogWriter {
    pub fn new(sender: LogSender, clock: Arc<dyn Clock>, secrets: Option<Secrets>, limit: u64) -> Self {
        Self {
            clock,
            secrets,
            stdout: Masker::default(),
            stderr: Masker::default(),
            limit,
            left: limit,
            truncated: false,
            system_left: SYSTEM_LIMIT,
            asides: Vec::new(),
            pending: VecDeque::new(),
            batch: Batch::default(),
            flush_at: None,
            way: Way::Idle(Some(sender)),
        }
    }

    /// A line of Gantry's own.
    pub fn line(&mut self, text: &str) {
        if let Some(piece) = self.system_piece(text) {
            self.accept(piece);
        }
    }

    /// A line of Gantry's own that is only written together with something else.
    pub fn aside(&mut self, text: &str) {
        if let Some(piece) = self.system_piece(text) {
            match self.is_blank() {
                true => self.asides.push(piece),
                false => self.accept(piece),
            }
        }
    }

    /// A text that leaves on another way than the log, without this attempt's secrets.
    pub fn masked(&self, text: &str) -> String {
        masked(self.secrets.as_ref(), text)
    }

    fn is_blank(&self) -> bool {
        self.flush_at.is_none() && self.pending.is_empty() && matches!(self.way, Way::Idle(_))
    }

    /// One line, whatever the text says: it may quote what others wrote.
    fn system_piece(&mut self, text: &str) -> Option<Piece> {
        let mut line: String =
            text.trim_end().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if line.len() > LINE_LIMIT {
            line.truncate(complete_characters(&line.as_bytes()[..LINE_LIMIT]));
        }
        line.push('\n');
        self.system_left = self.system_left.checked_sub(line.len())?;
        let mut masked = BytesMut::with_capacity(line.len());
        let mut masker = Masker::default();
        let mut keep = |bytes: Bytes| masked.extend_from_slice(&bytes);
        masker.push(self.secrets.as_ref(), line.into(), &mut keep);
        masker.finish(self.secrets.as_ref(), &mut keep);
        Some(Piece { stream: LogStream::System, time: self.clock.now(), bytes: masked.freeze() })
    }

    fn accept(&mut self, piece: Piece) {
        self.pending.extend(self.asides.drain(..));
        self.pending.push_back(piece);
        self.flush_at.get_or_insert_with(|| Instant::now() + FLUSH_AFTER);
    }

    fn accept_output(&mut self, output: Output) {
        if self.truncated {
            return;
        }
        let mut pieces = Vec::new();
        let masker = if output.stream == LogStream::Stderr { &mut self.stderr } else { &mut self.stdout };
        masker.push(self.secrets.as_ref(), output.bytes, &mut |bytes| pieces.push(bytes));
        self.accept_masked(output.stream, pieces);
    }

    fn accept_masked(&mut self, stream: LogStream, pieces: Vec<Bytes>) {
        let time = self.clock.now();
        for mut bytes in pieces {
            if self.truncated {
                return;
            }
            let over = bytes.len() as u64 > self.left;
            if over {
                bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            }
            self.left -= bytes.len() as u64;
            if !bytes.is_empty() {
                self.accept(Piece { stream, time, bytes });
            }
            if over {
                self.truncated = true;
                self.line(&format!("log limit of {} reached: the rest is not kept", show_bytes(self.limit)));
            }
        }
    }

    /// Both streams are at their end: nothing held back can become a secret any more.
    fn end_streams(&mut self) {
        for stream in [LogStream::Stdout, LogStream::Stderr] {
            let mut pieces = Vec::new();
            let masker = if stream == LogStream::Stderr { &mut self.stderr } else { &mut self.stdout };
            masker.finish(self.secrets.as_ref(), &mut |bytes| pieces.push(bytes));
            self.accept_masked(stream, pieces);
        }
    }

    /// Reads until the output ends, or until nothing came for `idle`. Dropping it loses nothing; it may be called again.
    pub async fn pump(&mut self, output: &mut OutputStream, idle: Option<Duration>) -> PumpEnd {
        loop {
            self.settle().await;
            // Waiting for the producer does not count as silence of the command.
            let silent_at = idle.map(|idle| Instant::now() + idle);
            tokio::select! {
                biased;
                next = output.next() => match next {
                    Some(Ok(output)) => self.accept_output(output),
                    Some(Err(error)) => {
                        self.end_streams();
                        self.line(&format!("the output broke off: {error}"));
                        return PumpEnd::AllRead;
                    }
                    None => {
                        self.end_streams();
                        return PumpEnd::AllRead;
                    }
                },
                () = self.flush_when_due() => {}
                () = until(silent_at) => return PumpEnd::Idle,
            }
        }
    }

    /// Sends what is there while nothing is read. Dropping it loses nothing.
    pub async fn keep_flushing(&mut self) -> Infallible {
        loop {
            self.settle().await;
            self.flush_when_due().await;
        }
    }

    /// Moves what was accepted into batches; waits for the sender when they are full.
    async fn settle(&mut self) {
        while !self.pending.is_empty() || self.batch.is_full() {
            if self.batch.is_full() {
                self.send_batch().await;
            }
            if let Some(piece) = self.pending.front_mut() {
                self.batch.take_from(piece);
                if piece.bytes.is_empty() {
                    self.pending.pop_front();
                }
            }
        }
    }

    async fn flush_when_due(&mut self) {
        until(self.flush_at).await;
        self.send_batch().await;
    }

    /// The batch leaves only once there is room for it.
    async fn send_batch(&mut self) {
        self.flush_at = None;
        if self.batch.segments.is_empty() {
            return;
        }
        if let Way::Idle(sender) = &mut self.way
            && let Some(sender) = sender.take()
        {
            let (batches, receiver) = mpsc::channel(QUEUED_BATCHES);
            self.way = Way::Sending {
                batches,
                sender: AbortOnDropHandle::new(tokio::spawn(sender.run(receiver).in_current_span())),
            };
        }
        // Stays due if this is dropped while it waits.
        self.flush_at = Some(Instant::now());
        if let Way::Sending { batches, .. } = &self.way
            && let Ok(room) = batches.reserve().await
        {
            room.send(std::mem::take(&mut self.batch));
        } else {
            self.batch = Batch::default();
        }
        self.flush_at = None;
    }

    /// Sends the rest and waits until all of it is acknowledged.
    pub async fn close(mut self) -> LogEnd {
        self.end_streams();
        self.settle().await;
        self.send_batch().await;
        let Way::Sending { batches, sender } = self.way else {
            return LogEnd { none: true, truncated: self.truncated, ..LogEnd::default() };
        };
        drop(batches);
        let sent = sender.await.unwrap_or_else(|error| SentLog {
            problem: Some(format!("the log's sender failed: {error}")),
            ..SentLog::default()
        });
        LogEnd { end: sent.end, none: false, truncated: self.truncated, problem: sent.problem }
    }
}

impl Batch {
    fn is_full(&self) -> bool {
        // Less room than the longest character takes is none.
        self.bytes.len() + 4 > MAX_CHUNK_BYTES || self.segments.len() >= MAX_CHUNK_SEGMENTS
    }

    /// Takes as much of a piece as fits without cutting a character. Only for a batch that is not full.
    fn take_from(&mut self, piece: &mut Piece) {
        let room = MAX_CHUNK_BYTES - self.bytes.len();
        let take = match piece.bytes.len() <= room {
            true => piece.bytes.len(),
            false => complete_characters(&piece.bytes[..room]),
        };
        let bytes = piece.bytes.split_to(take);
        self.bytes.extend_from_slice(&bytes);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        match self.segments.last_mut() {
            Some(last) if last.stream == piece.stream && last.time == piece.time => last.length += length,
            _ => self.segments.push(Segment { stream: piece.stream, time: piece.time, length }),
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn show_bytes(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{} {name}", bytes / unit);
        }
    }
    format!("{bytes} bytes")
}
