//! The driver's errors in the words of blobs: by code, never by text.

use mongodb::error::{Error, ErrorKind, InsertManyError, WriteFailure};

use crate::BlobError;

const DUPLICATE_KEY: i32 = 11000;
const OUT_OF_SPACE: i32 = 14031;
/// Not primary, recovering, shutting down, interrupted, out of time, unreachable: it may be better in a moment. 1 is what
/// stand-ins answer to everything while their database restarts.
const PASSING: [i32; 20] =
    [1, 6, 7, 50, 64, 89, 91, 112, 134, 189, 262, 317, 9001, 10058, 10107, 11600, 11601, 11602, 13435, 13436];

/// The code of the error that decides.
fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        ErrorKind::InsertMany(error) => {
            let write_errors = error.write_errors.as_deref().unwrap_or_default();
            let first = write_errors.iter().map(|error| error.code).find(|code| *code != DUPLICATE_KEY);
            first.or(error.write_concern_error.as_ref().map(|error| error.code))
        }
        _ => None,
    }
}

/// Whether trying again at once may help.
pub(super) fn passes(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } => true,
        _ => code(error).is_some_and(|code| PASSING.contains(&code)),
    }
}

/// Whether all that is wrong is that something is there already.
pub(super) fn is_duplicate(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::InsertMany(InsertManyError {
            write_errors: Some(errors),
            write_concern_error: None,
            ..
        }) => errors.iter().all(|error| error.code == DUPLICATE_KEY),
        _ => code(error) == Some(DUPLICATE_KEY),
    }
}

/// What a failed call means to whoever uses blobs.
pub(super) fn refused(error: &Error) -> BlobError {
    match code(error) {
        Some(OUT_OF_SPACE) => BlobError::NoSpace,
        // Without the connection's details.
        _ => BlobError::Unavailable(error.kind.to_string()),
    }
}

/// A document that is not as it was written.
pub(super) fn corrupt(what: impl std::fmt::Display) -> BlobError {
    BlobError::Unavailable(format!("a document of a blob can't be read: {what}"))
}
