//! Server-sent events, read from a stream of bytes that may be cut anywhere. Everything a server sends is bounded: one
//! that never ends a line or an event is cut off instead of filling the memory.

use std::collections::VecDeque;
use std::time::Duration;

/// Of one line and of one event. A log event carries at most 256 KiB of log, six times as much when all of it is escaped.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// `message` when the server names none.
    pub kind: String,
    pub data: String,
    /// Where to go on after it, as far as the server has ever said.
    pub id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT_BYTES} bytes")]
pub(crate) struct TooLong;

/// Takes bytes, gives events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// The last byte was CR: an LF that follows belongs to the same line end.
    after_cr: bool,
    /// Whether the byte order mark that may begin a stream has been dealt with.
    begun: bool,
    kind: String,
    data: String,
    has_data: bool,
    id: Option<String>,
    retry: Option<Duration>,
}

impl Parser {
    /// Adds the events that `bytes` complete to `events`.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], events: &mut VecDeque<Event>) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r') else {
                if self.line.len() + bytes.len() > MAX_EVENT_BYTES {
                    return Err(TooLong);
                }
                self.line.extend_from_slice(bytes);
                return Ok(());
            };
            self.after_cr = bytes[end] == b'\r';
            if self.line.is_empty() {
                self.line_ended(&bytes[..end], events)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&bytes[..end]);
                self.line_ended(&line, events)?;
                line.clear();
                self.line = line;
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// How long the server wants clients to wait before they come back.
    pub(crate) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn line_ended(&mut self, mut line: &[u8], events: &mut VecDeque<Event>) -> Result<(), TooLong> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            self.event_ended(events);
            return Ok(());
        }
        let (field, value) = match line.iter().position(|&byte| byte == b':') {
            None => (line, &[][..]),
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
        };
        match field {
            b"data" => {
                if self.data.len() + value.len() > MAX_EVENT_BYTES {
                    return Err(TooLong);
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(&String::from_utf8_lossy(value));
            }
            b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => self.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"retry" => {
                let millis = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                self.retry = millis.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
        Ok(())
    }

    fn event_ended(&mut self, events: &mut VecDeque<Event>) {
        let kind = std::mem::take(&mut self.kind);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            events.push_back(Event { kind, data, id: self.id.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str, id: Option<&str>) -> Event {
        Event { kind: kind.into(), data: data.into(), id: id.map(Into::into) }
    }

    fn parse(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut parser, mut events) = (Parser::default(), VecDeque::new());
        for piece in pieces {
            parser.feed(piece, &mut events).unwrap();
        }
        events.into()
    }

    const STREAM: &str = "\u{feff}: hello\n\nevent: log\nid: 1:5\ndata: {\"text\":\"é\"}\n\n\
        data:first\r\ndata:  second\r\n\r\n: keep-alive\n\ndata\n\nretry: 1500\nevent:end\rid: 2:0\rdata: x\r\rid: lost\ndata: cut";

    fn expected() -> Vec<Event> {
        vec![
            event("log", "{\"text\":\"é\"}", Some("1:5")),
            event("message", "first\n second", Some("1:5")),
            event("message", "", Some("1:5")),
            event("end", "x", Some("2:0")),
        ]
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_events() {
        let bytes = STREAM.as_bytes();
        assert_eq!(parse(&[bytes]), expected());
        for cut in 0..bytes.len() {
            assert_eq!(parse(&[&bytes[..cut], &bytes[cut..]]), expected(), "cut at {cut}");
        }
        assert_eq!(parse(&bytes.chunks(1).collect::<Vec<_>>()), expected());
    }

    #[test]
    fn a_hint_is_kept_and_nonsense_ignored() {
        let (mut parser, mut events) = (Parser::default(), VecDeque::new());
        parser.feed(b"retry: 250\nretry: soon\n", &mut events).unwrap();
        assert_eq!(parser.retry(), Some(Duration::from_millis(250)));
    }

    #[test]
    fn an_endless_line_and_an_endless_event_are_refused() {
        let piece = vec![b'x'; 1024 * 1024];
        let (mut parser, mut events) = (Parser::default(), VecDeque::new());
        assert!((0..20).any(|_| parser.feed(&piece, &mut events).is_err()));

        let mut line = b"data: ".to_vec();
        line.extend_from_slice(&piece);
        line.push(b'\n');
        let mut parser = Parser::default();
        assert!((0..20).any(|_| parser.feed(&line, &mut events).is_err()));
    }
}
