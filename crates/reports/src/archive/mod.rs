//! Collected artifacts: an untrusted tar, read once from front to back and handed on file by file.
//!
//! The archive is walked block by block with our own bounds; of the `tar` crate only the header's fields are used,
//! because its iterator reads extension headers of any size into memory. Whatever two tar readers could understand
//! differently (a size or name stated twice, two files of one name, data where none belongs) is refused, and so is
//! everything that is not a plain file or a directory. Memory is bounded by the names: at most
//! [`ArchiveLimits::entries`] × 1 KiB.

mod blocks;
mod error;
mod extensions;
mod tree;

use std::io::{self, Read};

pub use error::ArchiveError;

use crate::ArtifactPath;
use crate::text::escaped_bytes;
use blocks::{BLOCK, Blocks};
use extensions::Extensions;
use tree::{Kind, Tree};

/// How much an archive may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Bytes of the archive itself.
    pub packed_bytes: u64,
    /// Bytes of all files together.
    pub unpacked_bytes: u64,
    /// Files and directories.
    pub entries: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { packed_bytes: 512 << 20, unpacked_bytes: 2 << 30, entries: 20_000 }
    }
}

/// What an archive turned out to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveSummary {
    pub files: u64,
    pub directories: u64,
    /// Bytes of all files together.
    pub unpacked_bytes: u64,
    /// Bytes of the archive, headers and padding included.
    pub packed_bytes: u64,
}

/// Where the files of an archive go: per file one `begin`, any number of `write`s that add up to `size`, one `end`.
///
/// Each path comes at most once. When [`unpack`] fails, the current file has no `end` and everything received is to
/// be thrown away: the archive may be refused at its very last byte. An error of the sink ends the unpacking.
pub trait ArtifactSink {
    fn begin(&mut self, path: &ArtifactPath, size: u64) -> io::Result<()>;
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn end(&mut self) -> io::Result<()>;
}

/// Reads the uncompressed tar in `reader` to its end and hands its regular files to `sink`, in order.
///
/// An archive without its end marker counts as truncated, so a stream that broke off between two files is noticed.
pub fn unpack(
    reader: impl Read,
    limits: &ArchiveLimits,
    sink: &mut dyn ArtifactSink,
) -> Result<ArchiveSummary, ArchiveError> {
    let mut unpacking = Unpacking {
        blocks: Blocks::new(reader, limits.packed_bytes),
        limits,
        sink,
        tree: Tree::default(),
        extensions: Extensions::default(),
        entries: 0,
        summary: ArchiveSummary::default(),
    };
    while let Some(header) = unpacking.blocks.header()? {
        unpacking.entry(&header)?;
    }
    if !unpacking.extensions.is_empty() {
        return Err(unpacking.malformed("an extension header is followed by no entry"));
    }
    unpacking.blocks.finish()?;
    Ok(ArchiveSummary { packed_bytes: unpacking.blocks.consumed(), ..unpacking.summary })
}

struct Unpacking<'a, R> {
    blocks: Blocks<R>,
    limits: &'a ArchiveLimits,
    sink: &'a mut dyn ArtifactSink,
    tree: Tree,
    /// What extension headers said about the next entry.
    extensions: Extensions,
    entries: u64,
    summary: ArchiveSummary,
}

impl<R: Read> Unpacking<'_, R> {
    fn entry(&mut self, header: &tar::Header) -> Result<(), ArchiveError> {
        let size = header.entry_size().map_err(|_| self.malformed("its size is not a number"))?;
        match header.entry_type().as_byte() {
            b'x' | b'L' | b'K' => self.extension(header, size),
            b'g' => {
                self.count_entry()?;
                let records = self.blocks.extension(size)?;
                extensions::check_global(&records, self.blocks.consumed())
            }
            _ => self.member(header, size),
        }
    }

    fn extension(&mut self, header: &tar::Header, size: u64) -> Result<(), ArchiveError> {
        let data = self.blocks.extension(size)?;
        let at = self.blocks.consumed();
        match header.entry_type().as_byte() {
            b'x' => self.extensions.pax(&data, at),
            b'L' => self.extensions.long_name(data, at),
            _ => Err(ArchiveError::Refused {
                name: escaped_bytes(data.strip_suffix(b"\0").unwrap_or(&data)),
                what: "the target of a link",
            }),
        }
    }

    fn member(&mut self, header: &tar::Header, size: u64) -> Result<(), ArchiveError> {
        self.count_entry()?;
        let extensions = std::mem::take(&mut self.extensions);
        let name = extensions.name(&header.path_bytes())?;
        let shown = || escaped_bytes(&name);
        if extensions.size.is_some_and(|stated| stated != size) {
            return Err(ArchiveError::Ambiguous { name: shown(), what: "size" });
        }
        let what = match header.entry_type().as_byte() {
            b'5' => return self.directory(&name, size),
            // Before there was a type for directories, a slash at the end said it.
            b'0' | b'\0' if name.ends_with(b"/") => return self.directory(&name, size),
            b'0' | b'\0' | b'7' if !extensions.sparse => return self.file(&name, size),
            b'0' | b'\0' | b'7' | b'S' => "a sparse file",
            b'1' => "a hard link",
            b'2' => "a symbolic link",
            b'3' | b'4' => "a device",
            b'6' => "a named pipe",
            _ => "neither a file nor a directory",
        };
        Err(ArchiveError::Refused { name: shown(), what })
    }

    fn directory(&mut self, name: &[u8], size: u64) -> Result<(), ArchiveError> {
        if size != 0 {
            return Err(ArchiveError::Ambiguous { name: escaped_bytes(name), what: "size" });
        }
        match ArtifactPath::parse_bytes(name) {
            Ok(path) => self.tree.add(path, Kind::Directory)?,
            // "./": the root of the archive.
            Err(crate::PathError::Empty) if !name.is_empty() => {}
            Err(reason) => return Err(ArchiveError::UnsafeName { name: escaped_bytes(name), reason }),
        }
        self.summary.directories += 1;
        Ok(())
    }

    fn file(&mut self, name: &[u8], size: u64) -> Result<(), ArchiveError> {
        let path = ArtifactPath::parse_bytes(name)
            .map_err(|reason| ArchiveError::UnsafeName { name: escaped_bytes(name), reason })?;
        self.tree.add(path.clone(), Kind::File)?;
        self.summary.unpacked_bytes = self
            .summary
            .unpacked_bytes
            .checked_add(size)
            .filter(|total| *total <= self.limits.unpacked_bytes)
            .ok_or(ArchiveError::UnpackedTooLarge { limit: self.limits.unpacked_bytes })?;
        self.sink.begin(&path, size).map_err(ArchiveError::Sink)?;
        let sink = &mut *self.sink;
        self.blocks.data(size, |bytes| sink.write(bytes).map_err(ArchiveError::Sink))?;
        self.sink.end().map_err(ArchiveError::Sink)?;
        self.summary.files += 1;
        Ok(())
    }

    fn count_entry(&mut self) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(ArchiveError::TooManyEntries { limit: self.limits.entries });
        }
        Ok(())
    }

    fn malformed(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Malformed { at: self.blocks.consumed().saturating_sub(BLOCK as u64), what }
    }
}
