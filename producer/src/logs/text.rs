//! A log as plain text, whole or in part, with or without `system` lines.
//!
//! Positions in the text are not positions in the log once `system` lines are left out. For sealed logs the index
//! knows both; of other logs an [`Outline`] is kept, which grows with the log and is never computed twice.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_stream::try_stream;
use bytes::{Bytes, BytesMut};
use futures::Stream;
use gantry_domain::attempt::Attempt;
use gantry_domain::log::{LogChunk, LogStream};
use gantry_domain::run::Run;
use gantry_store::LogKey;

use super::LogService;
use super::frames::visible_bytes;
use super::reader::LogReader;
use crate::error::ApiResult;

/// Log held in memory per reader.
const READ_BYTES: usize = 256 * 1024;
/// Log read at once to find positions.
const SCAN_BYTES: usize = 1 << 20;
/// How many outlines are kept.
const MAX_OUTLINES: usize = 256;

/// What a text shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    Everything,
    /// Not Gantry's own lines.
    Output,
}

/// Which visible byte stands where in a log that is not sealed.
#[derive(Debug, Default)]
struct Outline {
    upto: u64,
    visible: u64,
    /// Pairs of position in the log and in the text, ascending.
    marks: Vec<(u64, u64)>,
}

/// Outlines by log. The bytes of a log never change, so neither does an outline.
#[derive(Default)]
pub(super) struct Outlines(Mutex<HashMap<LogKey, Arc<tokio::sync::Mutex<Outline>>>>);

impl Outlines {
    fn of(&self, log: LogKey) -> Arc<tokio::sync::Mutex<Outline>> {
        let mut outlines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if outlines.len() >= MAX_OUTLINES && !outlines.contains_key(&log) {
            outlines.clear();
        }
        outlines.entry(log).or_default().clone()
    }
}

/// The text of one attempt's log, as long as it was when it was opened.
pub struct Text {
    reader: LogReader,
    outlines: Arc<Outlines>,
    show: Show,
    /// In bytes of log.
    end: u64,
}

impl LogService {
    pub async fn text(&self, run: &Run, attempt: &Attempt, show: Show) -> ApiResult<Text> {
        let reader = LogReader::new(self, run, attempt);
        let end = reader.end().await?;
        Ok(Text { reader, outlines: self.outlines.clone(), show, end })
    }
}

impl Text {
    /// Its length in bytes, if that is known without reading the log.
    pub async fn known_length(&mut self) -> ApiResult<Option<u64>> {
        match self.show {
            Show::Everything => Ok(Some(self.end)),
            Show::Output => Ok(self.reader.sealed().await?.map(|sealed| sealed.visible_end())),
        }
    }

    /// Its length in bytes.
    pub async fn length(&mut self) -> ApiResult<u64> {
        match self.known_length().await? {
            Some(length) => Ok(length),
            None => self.scan(|outline| outline.visible).await,
        }
    }

    /// Where to begin reading for byte `position` of the text, and how much of it to skip from there.
    async fn locate(&mut self, position: u64) -> ApiResult<(u64, u64)> {
        if self.show == Show::Everything || position == 0 {
            return Ok((position, 0));
        }
        if let Some(sealed) = self.reader.sealed().await? {
            let entry = sealed.showing(position);
            return Ok(entry.map_or((0, position), |entry| (entry.start, position - entry.visible_start)));
        }
        self.scan(|outline| {
            let behind = outline.marks.partition_point(|(_, visible)| *visible <= position);
            let mark = behind.checked_sub(1).and_then(|at| outline.marks.get(at));
            mark.map_or((0, position), |(at, visible)| (*at, position - visible))
        })
        .await
    }

    async fn scan<T>(&mut self, answer: impl FnOnce(&Outline) -> T) -> ApiResult<T> {
        let outline = self.outlines.of(self.reader.log());
        let mut outline = outline.lock().await;
        if self.reader.known_end().is_some_and(|end| outline.upto > end) {
            // Bytes that came too late to be part of the log.
            *outline = Outline::default();
        }
        // Another reader may have seen the log longer than we did.
        self.end = self.end.max(outline.upto);
        while outline.upto < self.end {
            for chunk in self.reader.read_until(outline.upto, self.end, SCAN_BYTES).await? {
                let mark = (chunk.offset, outline.visible);
                if outline.marks.last().is_none_or(|(at, _)| mark.0 - at >= READ_BYTES as u64) {
                    outline.marks.push(mark);
                }
                outline.visible += visible_bytes(&chunk);
                outline.upto = chunk.end();
            }
        }
        Ok(answer(&outline))
    }

    /// The bytes of a part (which must lie inside), or of everything, as they are.
    pub fn stream(
        mut self,
        part: Option<Range<u64>>,
    ) -> impl Stream<Item = ApiResult<Bytes>> + Send + 'static {
        try_stream! {
            let part = part.unwrap_or(0..u64::MAX);
            let mut left = part.end - part.start;
            let (mut at, mut skip) = self.locate(part.start).await?;
            while at < self.end && left > 0 {
                for chunk in self.reader.read_until(at, self.end, READ_BYTES).await? {
                    at = chunk.end();
                    let mut bytes = shown(&chunk, self.show);
                    let skipped = skip.min(bytes.len() as u64);
                    skip -= skipped;
                    let _ = bytes.split_to(skipped as usize);
                    bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    left -= bytes.len() as u64;
                    if !bytes.is_empty() {
                        yield bytes;
                    }
                }
            }
        }
    }
}

fn shown(chunk: &LogChunk, show: Show) -> Bytes {
    let hidden = |stream| show == Show::Output && stream == LogStream::System;
    if !chunk.segments().iter().any(|segment| hidden(segment.stream)) {
        return chunk.bytes().clone();
    }
    let mut out = BytesMut::with_capacity(chunk.bytes().len());
    for (_, segment, bytes) in chunk.pieces() {
        if !hidden(segment.stream) {
            out.extend_from_slice(&bytes);
        }
    }
    out.freeze()
}
