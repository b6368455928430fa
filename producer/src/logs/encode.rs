//! Log as server-sent events: once encoded, the same bytes serve every follower.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use gantry_api_types::log::Stream;
use gantry_domain::log::{LogChunk, LogStream};
use gantry_domain::time::Timestamp;
use serde::Serialize;

/// Log in one event at most: far below what clients accept, even if all of it has to be escaped.
const MAX_PIECE_BYTES: usize = 64 * 1024;
/// Pieces of one stream that are at most this far apart travel in one event, with the time of the first.
const TOGETHER_MS: i64 = 50;
/// Events are handed out in frames of about this size.
const FRAME_BYTES: usize = 128 * 1024;

/// Whole events for the bytes from `start` to `end` of an attempt's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub start: u64,
    pub end: u64,
    pub events: Bytes,
}

/// What [`gantry_api_types::log::LogEvent`] is, without owning the text.
#[derive(Serialize)]
struct Event<'a> {
    attempt: u32,
    offset: u64,
    stream: Stream,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// Bytes at the end that begin a character and do not complete it.
fn incomplete_tail(bytes: &[u8]) -> usize {
    for (behind, byte) in bytes.iter().rev().take(3).enumerate() {
        let needs = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return 0,
        };
        return if needs > behind + 1 { behind + 1 } else { 0 };
    }
    0
}

/// Encodes chunks that follow one another. Unless nothing comes behind them for sure (`complete`), the beginning of a
/// character at the end is left out: the last frame ends before it.
pub(super) fn encode(attempt: u32, chunks: &[LogChunk], complete: bool) -> Vec<Frame> {
    let Some(start) = chunks.first().map(|chunk| chunk.offset) else { return Vec::new() };
    let mut encoder = Encoder { attempt, frames: Vec::new(), start, events: Vec::new(), piece: None };
    for (offset, segment, bytes) in chunks.iter().flat_map(LogChunk::pieces) {
        encoder.add(offset, segment.stream, segment.time, &bytes);
    }
    encoder.finish(complete)
}

struct Encoder {
    attempt: u32,
    frames: Vec<Frame>,
    /// Where the frame in the making begins.
    start: u64,
    events: Vec<u8>,
    piece: Option<Piece>,
}

struct Piece {
    offset: u64,
    stream: LogStream,
    time: Timestamp,
    bytes: Vec<u8>,
}

impl Piece {
    fn takes(&self, stream: LogStream, time: Timestamp) -> bool {
        let apart = time.as_millis().saturating_sub(self.time.as_millis());
        self.stream == stream
            && ((-TOGETHER_MS..=TOGETHER_MS).contains(&apart) || incomplete_tail(&self.bytes) > 0)
    }
}

impl Encoder {
    fn add(&mut self, mut offset: u64, stream: LogStream, time: Timestamp, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut piece = match self.piece.take() {
                Some(piece) if piece.takes(stream, time) => piece,
                ended => {
                    if let Some(ended) = ended {
                        self.write(&ended);
                    }
                    Piece { offset, stream, time, bytes: Vec::new() }
                }
            };
            let room = MAX_PIECE_BYTES - piece.bytes.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            piece.bytes.extend_from_slice(now);
            offset += now.len() as u64;
            bytes = rest;
            if piece.bytes.len() == MAX_PIECE_BYTES {
                let tail = piece.bytes.split_off(MAX_PIECE_BYTES - incomplete_tail(&piece.bytes));
                self.write(&piece);
                piece = Piece { offset: offset - tail.len() as u64, stream, time, bytes: tail };
            }
            self.piece = Some(piece).filter(|piece| !piece.bytes.is_empty());
        }
    }

    fn write(&mut self, piece: &Piece) {
        let end = piece.offset + piece.bytes.len() as u64;
        let (text, base64) = match std::str::from_utf8(&piece.bytes) {
            Ok(text) => (Some(text), None),
            Err(_) => (None, Some(BASE64.encode(&piece.bytes))),
        };
        let event = Event {
            attempt: self.attempt,
            offset: piece.offset,
            stream: piece.stream.into(),
            time: piece.time,
            text,
            base64,
        };
        let head = format!("event: log\nid: {}:{end}\ndata: ", self.attempt);
        self.events.extend_from_slice(head.as_bytes());
        // Numbers and text always serialize, and a Vec takes every byte.
        let _ = serde_json::to_writer(&mut self.events, &event);
        self.events.extend_from_slice(b"\n\n");
        if self.events.len() >= FRAME_BYTES {
            self.cut(end);
        }
    }

    fn cut(&mut self, end: u64) {
        if end > self.start {
            let events = std::mem::take(&mut self.events).into();
            self.frames.push(Frame { start: self.start, end, events });
            self.start = end;
        }
    }

    fn finish(mut self, complete: bool) -> Vec<Frame> {
        let mut end = self.start;
        if let Some(mut piece) = self.piece.take() {
            if !complete {
                piece.bytes.truncate(piece.bytes.len() - incomplete_tail(&piece.bytes));
            }
            end = piece.offset + piece.bytes.len() as u64;
            if !piece.bytes.is_empty() {
                self.write(&piece);
            }
        }
        self.cut(end);
        self.frames
    }
}

#[cfg(test)]
mod tests {
    use gantry_api_types::log::LogEvent;
    use gantry_domain::log::Segment;

    use super::*;

    fn chunk(offset: u64, pieces: &[(LogStream, i64, &[u8])]) -> LogChunk {
        let segments = pieces.iter().map(|(stream, time, bytes)| Segment {
            stream: *stream,
            time: Timestamp::from_millis(*time),
            length: bytes.len() as u32,
        });
        let bytes: Vec<u8> = pieces.iter().flat_map(|(_, _, bytes)| bytes.iter().copied()).collect();
        LogChunk::new(offset, segments.collect(), bytes.into()).unwrap()
    }

    fn events(frames: &[Frame]) -> Vec<(String, LogEvent)> {
        let text: Vec<u8> = frames.iter().flat_map(|frame| frame.events.to_vec()).collect();
        let text = String::from_utf8(text).unwrap();
        let events = text.split_terminator("\n\n").map(|event| {
            let lines: Vec<_> = event.split('\n').collect();
            assert_eq!((lines.len(), lines[0]), (3, "event: log"), "{event}");
            let data = serde_json::from_str(lines[2].strip_prefix("data: ").unwrap()).unwrap();
            (lines[1].strip_prefix("id: ").unwrap().to_owned(), data)
        });
        events.collect()
    }

    #[test]
    fn close_pieces_of_one_stream_travel_together() {
        use LogStream::{Stderr, Stdout};
        let chunk = chunk(
            7,
            &[(Stdout, 0, b"a\n"), (Stdout, 49, b"b\n"), (Stdout, 101, b"c\n"), (Stderr, 101, b"d\n")],
        );
        let events = events(&encode(3, &[chunk], false));
        let texts: Vec<_> =
            events.iter().map(|(id, event)| (id.as_str(), event.text.as_deref().unwrap())).collect();
        assert_eq!(texts, [("3:11", "a\nb\n"), ("3:13", "c\n"), ("3:15", "d\n")]);
        assert_eq!((events[0].1.offset, events[0].1.attempt, events[2].1.stream), (7, 3, Stream::Stderr));
    }

    #[test]
    fn the_beginning_of_a_character_waits_for_its_end() {
        let whole = "aé€😀z".as_bytes();
        for cut in 1..whole.len() {
            let (first, second) = whole.split_at(cut);
            let first = chunk(0, &[(LogStream::Stdout, 0, first)]);
            let early = encode(1, std::slice::from_ref(&first), false);
            let until = early.last().map_or(0, |frame| frame.end);
            let rest = [
                first.clone().from_offset(until),
                Some(chunk(cut as u64, &[(LogStream::Stdout, 900, second)])),
            ];
            let rest: Vec<_> = rest.into_iter().flatten().collect();
            let all = [early, encode(1, &rest, false)].concat();
            let events = events(&all);
            assert!(events.iter().all(|(_, event)| event.base64.is_none()), "cut at {cut}");
            let text: String = events.iter().filter_map(|(_, event)| event.text.clone()).collect();
            assert_eq!(text.as_bytes(), whole, "cut at {cut}");
            let complete = encode(1, &[first], true);
            assert_eq!(complete.last().unwrap().end, cut as u64, "nothing is held back at the end");
        }
    }

    #[test]
    fn any_bytes_come_back_as_they_were_in_frames_without_gaps() {
        let mut seed = 1_u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as u8
        })
        .take(200_000)
        .collect();
        for text in [bytes, "é".repeat(100_001).into_bytes(), vec![0; 200_000]] {
            let frames = encode(1, &[chunk(0, &[(LogStream::Stdout, 0, &text[..])])], true);
            assert!(frames.iter().all(|frame| frame.events.len() < 1 << 20));
            let ends: Vec<_> = frames.iter().map(|frame| frame.end).collect();
            let starts: Vec<_> = frames.iter().map(|frame| frame.start).collect();
            assert_eq!((starts[0], &starts[1..]), (0, &ends[..ends.len() - 1]));
            let back: Vec<u8> =
                events(&frames).iter().flat_map(|(_, event)| event.bytes().unwrap()).collect();
            assert!(back == text);
        }
    }

    #[test]
    fn events_are_what_the_api_says() {
        let frames = encode(1, &[chunk(0, &[(LogStream::System, 5, b"x\"\n\xe2\x82")])], true);
        let segment = Segment { stream: LogStream::System, time: Timestamp::from_millis(5), length: 5 };
        let expected = LogEvent::of(1, 0, segment, b"x\"\n\xe2\x82");
        assert_eq!(events(&frames), [("1:5".to_owned(), expected)]);
    }
}
