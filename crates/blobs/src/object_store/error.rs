//! Every failure of `object_store` and the file system, translated by kind.

use std::error::Error;
use std::io;

use crate::BlobError;

/// What a failed call means to whoever uses blobs.
pub(super) fn refused(error: object_store::Error) -> BlobError {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return BlobError::NotFound;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(link) = cause {
        if link.downcast_ref::<io::Error>().is_some_and(is_full) {
            return BlobError::NoSpace;
        }
        cause = link.source();
    }
    BlobError::Unavailable(error.to_string())
}

/// The same for a call that went past `object_store`.
pub(super) fn failed(error: io::Error) -> BlobError {
    if is_full(&error) { BlobError::NoSpace } else { BlobError::Unavailable(error.to_string()) }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("a layer in between")]
    struct Layer(#[source] io::Error);

    fn through_the_library(error: io::Error) -> BlobError {
        refused(object_store::Error::Generic { store: "test", source: Box::new(Layer(error)) })
    }

    #[test]
    fn a_full_disk_is_recognised_by_its_error_code() {
        let full = || std::fs::File::create("/dev/full").unwrap().write_all(b"x").unwrap_err();
        assert_eq!(through_the_library(full()), BlobError::NoSpace);
        assert_eq!(failed(full()), BlobError::NoSpace);
    }

    #[test]
    fn other_failures_keep_their_words() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(
            matches!(through_the_library(denied()), BlobError::Unavailable(text) if text.contains("layer"))
        );
        assert!(matches!(failed(denied()), BlobError::Unavailable(_)));
    }
}
