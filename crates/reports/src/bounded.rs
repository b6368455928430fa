//! Readers that stop a parser before it buffers more than it may. The parsers put one tag or string into memory,
//! however long it is, and know no limit themselves.

use std::io::{self, BufRead, BufReader, Read};

/// The limit that a reader enforced, carried through the parser inside its input error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exceeded {
    #[error("too many bytes")]
    Total,
    #[error("too many bytes in one piece")]
    Item,
}

impl Exceeded {
    /// The limit behind `error`, if it is one.
    pub fn behind(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// Ends with an error after `limit` bytes, unless the input ends there too.
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 && !buffer.is_empty() {
            return match self.inner.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::other(Exceeded::Total)),
            };
        }
        let read = self.inner.read(&mut buffer[..wanted])?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// For the XML parser: counts lines, and bytes since the last [`next_item`](Self::next_item).
pub(crate) struct XmlInput<R> {
    inner: BufReader<Capped<R>>,
    item_limit: usize,
    item: usize,
    line: u64,
}

impl<R: Read> XmlInput<R> {
    pub fn new(reader: R, total_limit: u64, item_limit: usize) -> Self {
        let inner = BufReader::with_capacity(64 << 10, Capped { inner: reader, left: total_limit });
        Self { inner, item_limit, item: 0, line: 1 }
    }

    /// The line, from 1, of the next byte that the parser has not used.
    pub fn line(&self) -> u64 {
        self.line
    }

    pub fn next_item(&mut self) {
        self.item = 0;
    }
}

impl<R: Read> Read for XmlInput<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read> BufRead for XmlInput<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.item > self.item_limit {
            return Err(io::Error::other(Exceeded::Item));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        let used = self.inner.buffer().get(..amount).unwrap_or_default();
        self.line += used.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.item += amount;
        self.inner.consume(amount);
    }
}

/// For the JSON parser: follows only where strings begin and end, and limits their length.
pub(crate) struct JsonInput<R> {
    inner: Capped<R>,
    item_limit: usize,
    /// Bytes of the string being read; `None` outside of strings.
    string: Option<usize>,
    escaped: bool,
}

impl<R: Read> JsonInput<R> {
    pub fn new(reader: R, total_limit: u64, item_limit: usize) -> BufReader<Self> {
        let inner = Capped { inner: reader, left: total_limit };
        BufReader::with_capacity(64 << 10, Self { inner, item_limit, string: None, escaped: false })
    }
}

impl<R: Read> Read for JsonInput<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        for byte in &buffer[..read] {
            self.string = match (self.string, byte) {
                (None, b'"') => Some(0),
                (None, _) => None,
                (Some(_), b'"') if !self.escaped => None,
                (Some(length), _) if length >= self.item_limit => {
                    return Err(io::Error::other(Exceeded::Item));
                }
                (Some(length), byte) => {
                    self.escaped = *byte == b'\\' && !self.escaped;
                    Some(length + 1)
                }
            };
        }
        Ok(read)
    }
}
