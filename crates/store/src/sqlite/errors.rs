//! SQLite's errors in the store's words: by code, never by text.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::StoreError;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as Sqlite;
        match &error {
            Sqlite::SqliteFailure(failure, _) => from_code(*failure, &error),
            Sqlite::FromSqlConversionFailure(..)
            | Sqlite::IntegralValueOutOfRange(..)
            | Sqlite::InvalidColumnType(..)
            | Sqlite::Utf8Error(..) => Self::Corrupt(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

fn from_code(failure: ffi::Error, error: &rusqlite::Error) -> StoreError {
    match (failure.code, failure.extended_code) {
        // The shared index of the log could not grow: SQLite tells a full disk apart only for the other files.
        (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => StoreError::NoSpace,
        (ErrorCode::DatabaseCorrupt, _) => {
            StoreError::Corrupt(format!("the database file is damaged ({error})"))
        }
        (ErrorCode::NotADatabase, _) => {
            StoreError::Corrupt("the database file is not a SQLite database".to_owned())
        }
        (ErrorCode::ConstraintViolation, _) => {
            StoreError::Corrupt(format!("a write contradicts what is stored ({error})"))
        }
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => {
            StoreError::Unavailable(format!("another process is writing to the database ({error})"))
        }
        (ErrorCode::ReadOnly | ErrorCode::PermissionDenied, _) => {
            StoreError::Unavailable(format!("the database cannot be written ({error})"))
        }
        (ErrorCode::CannotOpen, _) => StoreError::Unavailable(format!(
            "the database file or one beside it cannot be opened or created: check the directory's permissions ({error})"
        )),
        _ => StoreError::Unavailable(error.to_string()),
    }
}
