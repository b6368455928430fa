//! Log events of a follower, and the framing of log batches.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut, Bytes, BytesMut};
use gantry_domain::log::{LogChunk, LogStream, Segment};
use gantry_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Data of a `log` event. Exactly one of `text` and `base64` is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEvent {
    pub attempt: u32,
    /// Where the piece begins in the attempt's log, in bytes.
    pub offset: u64,
    pub stream: Stream,
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// In place of `text` for bytes that are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// Where a piece of log came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
    /// Gantry's own lines.
    System,
}

impl From<LogStream> for Stream {
    fn from(stream: LogStream) -> Self {
        match stream {
            LogStream::Stdout => Self::Stdout,
            LogStream::Stderr => Self::Stderr,
            LogStream::System => Self::System,
        }
    }
}

impl From<Stream> for LogStream {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Stdout => Self::Stdout,
            Stream::Stderr => Self::Stderr,
            Stream::System => Self::System,
        }
    }
}

impl LogEvent {
    pub fn of(attempt: u32, offset: u64, segment: Segment, bytes: &[u8]) -> Self {
        let (text, base64) = match std::str::from_utf8(bytes) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(BASE64.encode(bytes))),
        };
        Self { attempt, offset, stream: segment.stream.into(), time: segment.time, text, base64 }
    }

    /// The bytes it carries; `None` when it carries none that can be read.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.text, &self.base64) {
            (Some(text), _) => Some(text.clone().into_bytes()),
            (None, Some(base64)) => BASE64.decode(base64).ok(),
            (None, None) => None,
        }
    }
}

impl LogEvent {
    /// How many bytes of log it carries; `None` when it carries none that can be read.
    pub fn byte_len(&self) -> Option<usize> {
        match (&self.text, &self.base64) {
            (Some(text), _) => Some(text.len()),
            (None, Some(base64)) => BASE64.decode(base64).ok().map(|bytes| bytes.len()),
            (None, None) => None,
        }
    }

    /// What of it lies at or behind `offset`; `None` when nothing does.
    pub fn behind(self, offset: u64) -> Option<Self> {
        let skip = usize::try_from(offset.saturating_sub(self.offset)).ok()?;
        let bytes = self.bytes()?;
        let rest = bytes.get(skip..).filter(|rest| !rest.is_empty())?;
        let segment = Segment { stream: self.stream.into(), time: self.time, length: rest.len() as u32 };
        Some(Self::of(self.attempt, self.offset + skip as u64, segment, rest))
    }
}

/// A log batch is not framed as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the batch is cut off")]
    Truncated,
    #[error("the batch names an unknown stream {0}")]
    Stream(u8),
    #[error(transparent)]
    Chunk(#[from] gantry_domain::log::ChunkError),
}

/// Content type of a framed log batch.
pub const LOG_BATCH: &str = "application/vnd.gantry.log-batch";

/// A chunk as the body of `POST …/logs`: offset (u64), number of segments (u32), per segment stream (u8), time (i64,
/// milliseconds) and length (u32), all little endian, then the bytes.
pub fn encode_batch(chunk: &LogChunk) -> Bytes {
    let mut out = BytesMut::with_capacity(12 + 13 * chunk.segments().len() + chunk.bytes().len());
    out.put_u64_le(chunk.offset);
    out.put_u32_le(chunk.segments().len() as u32);
    for segment in chunk.segments() {
        out.put_u8(match segment.stream {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
            LogStream::System => 3,
        });
        out.put_i64_le(segment.time.as_millis());
        out.put_u32_le(segment.length);
    }
    out.extend_from_slice(chunk.bytes());
    out.freeze()
}

/// The chunk in the body of `POST …/logs`.
pub fn decode_batch(mut body: Bytes) -> Result<LogChunk, FrameError> {
    use bytes::Buf as _;
    let offset = body.try_get_u64_le().map_err(|_| FrameError::Truncated)?;
    let count = body.try_get_u32_le().map_err(|_| FrameError::Truncated)? as usize;
    if body.len() / 13 < count {
        return Err(FrameError::Truncated);
    }
    let segments = (0..count)
        .map(|_| {
            let stream = match body.get_u8() {
                1 => LogStream::Stdout,
                2 => LogStream::Stderr,
                3 => LogStream::System,
                other => return Err(FrameError::Stream(other)),
            };
            Ok(Segment { stream, time: Timestamp::from_millis(body.get_i64_le()), length: body.get_u32_le() })
        })
        .collect::<Result<_, _>>()?;
    Ok(LogChunk::new(offset, segments, body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> LogChunk {
        let time = Timestamp::from_millis(7);
        let segments = vec![
            Segment { stream: LogStream::Stdout, time, length: 2 },
            Segment { stream: LogStream::System, time, length: 1 },
        ];
        LogChunk::new(9, segments, Bytes::from_static(b"abc")).unwrap()
    }

    #[test]
    fn a_batch_survives_its_frame() {
        assert_eq!(decode_batch(encode_batch(&chunk())), Ok(chunk()));
    }

    #[test]
    fn a_batch_cut_anywhere_is_refused() {
        let whole = encode_batch(&chunk());
        for end in 0..whole.len() {
            assert!(decode_batch(whole.slice(..end)).is_err(), "{end}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_travel_as_base64() {
        let segment = Segment { stream: LogStream::Stdout, time: Timestamp::EPOCH, length: 2 };
        let event = LogEvent::of(1, 0, segment, &[0xff, 0x00]);
        assert_eq!((event.text.as_deref(), event.bytes()), (None, Some(vec![0xff, 0x00])));
    }
}
