//! Puts the files of an archive one behind the other into one blob, and notes which of them are test reports.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gantry_blobs::{BlobError, BlobKey, BlobWriter, Blobs};
use gantry_reports::{ArtifactPath, ArtifactSink, DETECTION_HEAD_BYTES, ReportFormat, detect};
use tokio::runtime::Handle;

use super::index::IndexEntry;

/// Handed to the blob writer at once.
const PIECE: usize = 256 << 10;

/// What an archive became. Nothing is visible before `writer` is finished.
pub struct Packed {
    /// `None` when the archive has no files.
    pub writer: Option<Box<dyn BlobWriter>>,
    pub entries: Vec<IndexEntry>,
    pub reports: Vec<Report>,
}

/// A file that looks like a test report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub format: ReportFormat,
    pub entry: IndexEntry,
}

/// The sink of an unpacking. Blocks: only for threads that may.
pub struct Packer {
    runtime: Handle,
    blobs: Arc<dyn Blobs>,
    key: BlobKey,
    packed: Packed,
    offset: u64,
    pending: BytesMut,
    /// The beginning of the present file, as long as it may be a report.
    head: Option<Vec<u8>>,
}

impl Packer {
    pub fn new(runtime: Handle, blobs: Arc<dyn Blobs>, key: BlobKey) -> Self {
        let packed = Packed { writer: None, entries: Vec::new(), reports: Vec::new() };
        Self { runtime, blobs, key, packed, offset: 0, pending: BytesMut::new(), head: None }
    }

    /// To be called after the whole archive was accepted.
    pub fn finish(mut self) -> Result<Packed, BlobError> {
        self.flush()?;
        Ok(self.packed)
    }

    fn flush(&mut self) -> Result<(), BlobError> {
        let bytes: Bytes = self.pending.split().freeze();
        match &mut self.packed.writer {
            Some(writer) if !bytes.is_empty() => self.runtime.block_on(writer.write(bytes)),
            _ => Ok(()),
        }
    }
}

impl ArtifactSink for Packer {
    fn begin(&mut self, path: &ArtifactPath, size: u64) -> io::Result<()> {
        if self.packed.writer.is_none() {
            let writer = self.runtime.block_on(self.blobs.write(&self.key)).map_err(io::Error::other)?;
            self.packed.writer = Some(writer);
        }
        let may_be_report = matches!(path.extension().as_deref(), Some("xml" | "json"));
        self.head = may_be_report.then(Vec::new);
        self.packed.entries.push(IndexEntry { path: path.clone(), offset: self.offset, length: size });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(head) = &mut self.head {
            let missing = DETECTION_HEAD_BYTES.saturating_sub(head.len()).min(bytes.len());
            head.extend_from_slice(&bytes[..missing]);
        }
        self.offset += bytes.len() as u64;
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= PIECE { self.flush().map_err(io::Error::other) } else { Ok(()) }
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(head) = self.head.take()
            && let Some(entry) = self.packed.entries.last()
            && let Some(format) = detect(&entry.path, &head)
        {
            self.packed.reports.push(Report { format, entry: entry.clone() });
        }
        Ok(())
    }
}
