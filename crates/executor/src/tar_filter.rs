//! Picks and renames the files of a tar while it streams by, in constant memory.
//!
//! What comes in was made from a stranger's file system, so only regular files go on, under headers written here: a
//! receiver never meets a link, a device or an extension it would have to trust.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// Longest extension header that is read; names are at most 4 KiB.
const MAX_EXTENSION: u64 = 1024 * 1024;

/// What an entry is, as far as choosing it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    /// Links, devices, pipes: never passed on.
    Special,
}

/// Why a stream is not a tar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TarError {
    #[error("the archive has a broken header")]
    Header,
    #[error("the archive has an extension header of {0} bytes")]
    Extension(u64),
    #[error("the archive ends in the middle of an entry")]
    Truncated,
}

/// Reads one tar. `choose` gets each entry's path and says under which name it goes on, if it does; for special entries
/// the answer does not matter.
pub(crate) struct TarFilter<F> {
    choose: F,
    state: State,
    /// An unfinished header block.
    block: Vec<u8>,
    long_name: Option<Vec<u8>>,
    long_size: Option<u64>,
}

enum State {
    Header,
    Extension {
        kind: EntryType,
        bytes: Vec<u8>,
        left: u64,
        padding: u64,
    },
    /// Bytes that go on, padding included.
    Pass(u64),
    Skip(u64),
    End,
}

impl<F: FnMut(&Path, EntryKind) -> Option<PathBuf>> TarFilter<F> {
    pub fn new(choose: F) -> Self {
        Self { choose, state: State::Header, block: Vec::new(), long_name: None, long_size: None }
    }

    /// Takes in the next bytes and appends to `out` what goes on.
    pub fn push(&mut self, mut chunk: Bytes, out: &mut Vec<Bytes>) -> Result<(), TarError> {
        while !chunk.is_empty() {
            match &mut self.state {
                State::End => return Ok(()),
                State::Pass(left) => {
                    let n = at_most(*left, chunk.len());
                    out.push(chunk.split_to(n));
                    *left -= n as u64;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                }
                State::Skip(left) => {
                    let n = at_most(*left, chunk.len());
                    chunk.advance(n);
                    *left -= n as u64;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                }
                State::Extension { kind, bytes, left, padding } => {
                    let n = at_most(*left, chunk.len());
                    bytes.extend_from_slice(&chunk.split_to(n));
                    *left -= n as u64;
                    if *left == 0 {
                        let (kind, bytes, padding) = (*kind, std::mem::take(bytes), *padding);
                        self.state = skip(padding);
                        self.extension(kind, bytes);
                    }
                }
                State::Header => {
                    let n = (BLOCK - self.block.len()).min(chunk.len());
                    self.block.extend_from_slice(&chunk.split_to(n));
                    if self.block.len() == BLOCK {
                        let block = std::mem::take(&mut self.block);
                        self.state = self.header(&block, out)?;
                        self.block = block;
                        self.block.clear();
                    }
                }
            }
        }
        Ok(())
    }

    /// To be called at the end of the stream: whether it was complete.
    pub fn finish(self) -> Result<(), TarError> {
        match self.state {
            State::End => Ok(()),
            State::Header if self.block.is_empty() => Ok(()),
            _ => Err(TarError::Truncated),
        }
    }

    fn extension(&mut self, kind: EntryType, mut bytes: Vec<u8>) {
        if kind == EntryType::GNULongName {
            while bytes.last() == Some(&0) {
                bytes.pop();
            }
            self.long_name = Some(bytes);
        } else if kind == EntryType::XHeader {
            for (name, value) in PaxRecords(&bytes) {
                match name {
                    b"path" => self.long_name = Some(value.to_vec()),
                    b"size" => {
                        self.long_size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    }
                    _ => {}
                }
            }
        }
    }

    fn header(&mut self, block: &[u8], out: &mut Vec<Bytes>) -> Result<State, TarError> {
        if block.iter().all(|&byte| byte == 0) {
            return Ok(State::End);
        }
        let header = Header::from_byte_slice(block);
        let kind = header.entry_type();
        let size = header.entry_size().map_err(|_| TarError::Header)?;
        if matches!(
            kind,
            EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink
        ) {
            if size > MAX_EXTENSION {
                return Err(TarError::Extension(size));
            }
            if size == 0 {
                return Ok(State::Header);
            }
            return Ok(State::Extension { kind, bytes: Vec::new(), left: size, padding: padding_of(size) });
        }
        let size = self.long_size.take().unwrap_or(size);
        let name = self.long_name.take().unwrap_or_else(|| header.path_bytes().into_owned());
        let padded = size.checked_add(padding_of(size)).ok_or(TarError::Header)?;
        let path = Path::new(OsStr::from_bytes(&name));
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                let Some(new_name) = (self.choose)(path, EntryKind::File) else { return Ok(skip(padded)) };
                let mode = header.mode().unwrap_or(0o644) & 0o777;
                let mtime = header.mtime().unwrap_or(0);
                out.push(file_header(new_name.into_os_string().into_vec(), size, mode, mtime));
                Ok(if padded == 0 { State::Header } else { State::Pass(padded) })
            }
            // As in Go, which writes these archives: no data follows, whatever the size says.
            EntryType::Directory => Ok(State::Header),
            EntryType::Link | EntryType::Symlink | EntryType::Char | EntryType::Block | EntryType::Fifo => {
                (self.choose)(path, EntryKind::Special);
                Ok(State::Header)
            }
            _ => {
                (self.choose)(path, EntryKind::Special);
                Ok(skip(padded))
            }
        }
    }
}

/// The blocks that end an archive.
pub(crate) fn end_of_archive() -> Bytes {
    Bytes::from_static(&[0; 2 * BLOCK])
}

/// The header block of a regular file, behind a GNU long-name entry where the name does not fit.
pub(crate) fn file_header(name: Vec<u8>, size: u64, mode: u32, mtime: u64) -> Bytes {
    let mut blocks = Vec::with_capacity(BLOCK);
    if name.len() > 100 {
        let with_nul = name.len() as u64 + 1;
        blocks.extend_from_slice(&header_block(b"././@LongLink", EntryType::GNULongName, with_nul, 0o644, 0));
        blocks.extend_from_slice(&name);
        blocks.resize(blocks.len() + 1 + at_most(padding_of(with_nul), BLOCK), 0);
    }
    blocks.extend_from_slice(&header_block(&name, EntryType::Regular, size, mode, mtime));
    Bytes::from(blocks)
}

fn header_block(name: &[u8], kind: EntryType, size: u64, mode: u32, mtime: u64) -> [u8; BLOCK] {
    let mut header = Header::new_gnu();
    let field = &mut header.as_old_mut().name;
    let n = name.len().min(field.len());
    field[..n].copy_from_slice(&name[..n]);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    *header.as_bytes()
}

fn skip(bytes: u64) -> State {
    if bytes == 0 { State::Header } else { State::Skip(bytes) }
}

fn padding_of(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn at_most(left: u64, available: usize) -> usize {
    usize::try_from(left).map_or(available, |left| left.min(available))
}

/// The records of a PAX header: "LENGTH NAME=VALUE\n", where the length counts itself; values may hold any byte.
struct PaxRecords<'a>(&'a [u8]);

impl<'a> Iterator for PaxRecords<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let space = self.0.iter().position(|&byte| byte == b' ')?;
        let length: usize = std::str::from_utf8(&self.0[..space]).ok()?.parse().ok()?;
        let record = self.0.get(space + 1..length)?.strip_suffix(b"\n")?;
        self.0 = &self.0[length..];
        let equals = record.iter().position(|&byte| byte == b'=')?;
        Some((&record[..equals], &record[equals + 1..]))
    }
}

#[cfg(test)]
mod tests;
