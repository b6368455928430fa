//! What a run leaves behind, read as the untrusted input it is: an archive becomes files with safe names, a test
//! report becomes [`gantry_domain::results::TestResult`]s.
//!
//! Everything here streams over [`std::io::Read`] with memory bounded by the limits it is given, whatever the input
//! says about itself; it never panics, follows a link, expands an entity, or fetches anything. Errors are sentences
//! a user can act on, and names inside them are escaped, so that they can be logged and shown as they are.
//! All of it is synchronous: call it where blocking is allowed.

pub mod archive;
mod artifact_path;
mod bounded;
mod collector;
pub mod html;
pub mod junit;
pub mod playwright;
mod report;
mod text;

pub use archive::{ArchiveError, ArchiveLimits, ArchiveSummary, ArtifactSink, unpack};
pub use artifact_path::{ArtifactPath, PathError};
pub use report::{DETECTION_HEAD_BYTES, ReportError, ReportFormat, ReportLimits, detect, parse};
