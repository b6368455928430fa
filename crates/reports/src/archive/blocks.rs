//! A tar as what it is: blocks of 512 bytes, counted against the limit as they are used.

use std::io::{self, BufRead, BufReader, Read};

use super::ArchiveError;

pub(super) const BLOCK: usize = 512;

/// Names and attributes of one entry are a few hundred bytes; extended attributes may have some KiB.
const MAX_EXTENSION_BYTES: u64 = 128 << 10;

pub(super) struct Blocks<R> {
    inner: BufReader<R>,
    consumed: u64,
    limit: u64,
}

impl<R: Read> Blocks<R> {
    pub fn new(reader: R, limit: u64) -> Self {
        Self { inner: BufReader::with_capacity(64 << 10, reader), consumed: 0, limit }
    }

    /// Bytes of the archive used so far.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The next header with a correct checksum; `None` at the end marker.
    pub fn header(&mut self) -> Result<Option<tar::Header>, ArchiveError> {
        let at = self.consumed;
        let mut header = tar::Header::new_old();
        let mut filled = 0;
        let bytes = header.as_mut_bytes();
        self.data_unpadded(BLOCK as u64, |chunk| {
            bytes[filled..filled + chunk.len()].copy_from_slice(chunk);
            filled += chunk.len();
            Ok(())
        })?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The checksum is taken with its own field as eight spaces.
        let sum = header.as_bytes()[..148].iter().chain(&header.as_bytes()[156..]);
        let sum = sum.fold(8 * 32, |sum, byte| sum + u32::from(*byte));
        match header.cksum() {
            Ok(stated) if stated == sum => Ok(Some(header)),
            _ => Err(ArchiveError::Malformed { at, what: "a header has a wrong checksum" }),
        }
    }

    /// Hands on the `size` bytes of an entry and skips the padding after them.
    pub fn data(
        &mut self,
        size: u64,
        each: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        self.data_unpadded(size, each)?;
        let block = BLOCK as u64;
        self.data_unpadded((block - size % block) % block, |_| Ok(()))
    }

    /// The content of an extension header, which has to fit into memory.
    pub fn extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > MAX_EXTENSION_BYTES {
            return Err(ArchiveError::ExtensionTooLarge { size, limit: MAX_EXTENSION_BYTES });
        }
        let mut content = Vec::new();
        self.data(size, |chunk| {
            content.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(content)
    }

    /// Reads what follows the end marker; anything but zeros there would be files that nobody sees.
    pub fn finish(&mut self) -> Result<(), ArchiveError> {
        loop {
            let chunk = fill(&mut self.inner)?;
            if chunk.is_empty() {
                return Ok(());
            }
            if chunk.iter().any(|byte| *byte != 0) {
                return Err(ArchiveError::Malformed {
                    at: self.consumed,
                    what: "data follows its end marker",
                });
            }
            let length = chunk.len();
            self.consume(length)?;
        }
    }

    fn data_unpadded(
        &mut self,
        size: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        // Known to be too much: refused before a byte of it is handed on.
        if size > self.limit.saturating_sub(self.consumed) {
            return Err(ArchiveError::PackedTooLarge { limit: self.limit });
        }
        let mut left = size;
        while left > 0 {
            let chunk = fill(&mut self.inner)?;
            if chunk.is_empty() {
                return Err(ArchiveError::Truncated { at: self.consumed });
            }
            let chunk = &chunk[..chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            each(chunk)?;
            let length = chunk.len();
            left -= length as u64;
            self.consume(length)?;
        }
        Ok(())
    }

    fn consume(&mut self, length: usize) -> Result<(), ArchiveError> {
        self.inner.consume(length);
        self.consumed += length as u64;
        if self.consumed > self.limit {
            return Err(ArchiveError::PackedTooLarge { limit: self.limit });
        }
        Ok(())
    }
}

fn fill<R: Read>(reader: &mut BufReader<R>) -> Result<&[u8], ArchiveError> {
    // A second call finds the buffer filled, or the same end.
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ArchiveError::Read(error)),
        }
    }
    Ok(reader.buffer())
}
