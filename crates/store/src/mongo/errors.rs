//! The driver's errors in the store's words: by code, never by text.

use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::StoreError;

const DUPLICATE_KEY: i32 = 11000;
const OUT_OF_SPACE: i32 = 14031;
/// Not primary, recovering, shutting down, interrupted, out of time, unreachable: it may be better in a moment. 1 is what
/// stand-ins answer to everything while their database restarts.
const PASSING: [i32; 20] =
    [1, 6, 7, 50, 64, 89, 91, 112, 134, 189, 262, 317, 9001, 10058, 10107, 11600, 11601, 11602, 13435, 13436];
/// Not allowed, or the credentials are wrong.
const REFUSED: [i32; 3] = [13, 18, 8000];

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// A document with this id, or this value of a unique index, is there already.
    Duplicate,
    Store(StoreError),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Duplicate => Self::Corrupt("a write contradicts what is stored".to_owned()),
            Fault::Store(error) => error,
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What the driver says, without the connection's details.
pub(super) fn text(error: &Error) -> String {
    error.kind.to_string()
}

/// Whether a code stands for something that may be over in a moment.
pub(super) fn code_passes(code: i32) -> bool {
    PASSING.contains(&code) || is_passing_sqlstate(code)
}

/// For single documents FerretDB passes PostgreSQL's own codes on, six bits a character: class 40 is a deadlock or a
/// conflict that was rolled back, class 57 an operator who intervened. No code of MongoDB is that large.
fn is_passing_sqlstate(code: i32) -> bool {
    const CLASS_40: i32 = 4;
    const CLASS_57: i32 = 5 | 7 << 6;
    code >= 1 << 24 && [CLASS_40, CLASS_57].contains(&(code & 0xfff))
}

/// The code of the error that decides: among those of several documents, one that passes.
fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        ErrorKind::InsertMany(error) => {
            let codes = || error.write_errors.iter().flatten().map(|error| error.code);
            let of_documents = codes().find(|code| code_passes(*code)).or_else(|| codes().next());
            of_documents.or(error.write_concern_error.as_ref().map(|error| error.code))
        }
        _ => None,
    }
}

/// Whether trying again at once may help.
pub(super) fn passes(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } => true,
        _ => code(error).is_some_and(code_passes),
    }
}

pub(super) fn fault(error: &Error) -> Fault {
    match code(error) {
        Some(code) => of_code(code, &text(error)),
        None => Fault::Store(match error.kind.as_ref() {
            ErrorKind::BsonDeserialization(_) | ErrorKind::InvalidResponse { .. } => {
                StoreError::Corrupt(text(error))
            }
            ErrorKind::Authentication { .. } => {
                StoreError::Unavailable("the server refuses the user or password".to_owned())
            }
            _ => StoreError::Unavailable(text(error)),
        }),
    }
}

pub(super) fn of_code(code: i32, text: &str) -> Fault {
    match code {
        DUPLICATE_KEY => Fault::Duplicate,
        OUT_OF_SPACE => Fault::Store(StoreError::NoSpace),
        code if REFUSED.contains(&code) => Fault::Store(StoreError::Unavailable(format!(
            "the server refuses this user: it needs the role readWrite on the database ({text})"
        ))),
        _ => Fault::Store(StoreError::Unavailable(text.to_owned())),
    }
}
