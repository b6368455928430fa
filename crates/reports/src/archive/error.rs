//! Why an archive is not taken. Every message is one line, whatever the names in it try.

use std::io;

use crate::PathError;
use crate::text::Size;

/// Names are escaped already: they can be logged and shown.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("the artifact archive could not be read: {0}")]
    Read(#[source] io::Error),
    /// The sink's own error, as it was.
    #[error("the artifacts could not be stored: {0}")]
    Sink(#[source] io::Error),
    #[error("the artifact archive ends too early, after {at} bytes")]
    Truncated { at: u64 },
    #[error("the artifact archive is damaged at byte {at}: {what}")]
    Malformed { at: u64, what: &'static str },
    #[error("the artifact \"{name}\" is refused because its name {reason}")]
    UnsafeName { name: String, reason: PathError },
    /// A link, a device, a pipe, a sparse file, or something unknown.
    #[error(
        "the artifact \"{name}\" is refused because it is {what}; only files and directories are collected"
    )]
    Refused { name: String, what: &'static str },
    #[error("the artifact \"{name}\" is refused because it is in the archive twice")]
    Duplicate { name: String },
    #[error(
        "the artifact \"{name}\" is refused because the archive has it both as a file and as a directory"
    )]
    FileAndDirectory { name: String },
    /// Two places of the archive that should agree don't.
    #[error("the artifact \"{name}\" is refused because the archive contradicts itself about its {what}")]
    Ambiguous { name: String, what: &'static str },
    #[error("the artifact archive has an extension header of {}; at most {} are read", Size(*.size), Size(*.limit))]
    ExtensionTooLarge { size: u64, limit: u64 },
    #[error("the artifact archive is larger than {}, the limit for what a run may upload", Size(*.limit))]
    PackedTooLarge { limit: u64 },
    #[error("the artifacts are larger than {} when unpacked, the limit for one run", Size(*.limit))]
    UnpackedTooLarge { limit: u64 },
    #[error("there are more than {limit} artifacts, the limit for one run; collect fewer paths or pack them")]
    TooManyEntries { limit: u64 },
}
