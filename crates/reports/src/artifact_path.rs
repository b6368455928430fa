//! The one kind of path an artifact may have. Names come from containers we don't trust and end up in storage keys,
//! URLs and on users' disks, so what can't be safe everywhere can't be constructed.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A relative, normalised path: `/`-separated, no `.`, `..` or empty component, no control character, bounded.
///
/// A backslash is an ordinary character of a name. Whoever writes one to a disk where it separates must refuse it there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactPath(String);

/// Why a name can't be an artifact's path; reads on from "… because it ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("is empty")]
    Empty,
    #[error("is absolute")]
    Absolute,
    #[error("contains a `..` component")]
    Parent,
    #[error("contains a control character")]
    Control,
    #[error("is not valid UTF-8")]
    NotUtf8,
    #[error("is longer than {} bytes", ArtifactPath::MAX_BYTES)]
    TooLong,
    #[error("has a component longer than {} bytes", ArtifactPath::MAX_COMPONENT_BYTES)]
    ComponentTooLong,
    #[error("has more than {} components", ArtifactPath::MAX_DEPTH)]
    TooDeep,
}

impl ArtifactPath {
    pub const MAX_BYTES: usize = 1024;
    pub const MAX_COMPONENT_BYTES: usize = 255;
    pub const MAX_DEPTH: usize = 64;

    /// Checks `raw` and drops `.` and empty components (`./a//b/` is `a/b`).
    pub fn parse(raw: &str) -> Result<Self, PathError> {
        if raw.len() > Self::MAX_BYTES {
            return Err(PathError::TooLong);
        }
        if raw.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        if raw.starts_with('/') {
            return Err(PathError::Absolute);
        }
        let mut path = String::with_capacity(raw.len());
        let mut depth = 0;
        for component in raw.split('/').filter(|component| !matches!(*component, "" | ".")) {
            if component == ".." {
                return Err(PathError::Parent);
            }
            if component.len() > Self::MAX_COMPONENT_BYTES {
                return Err(PathError::ComponentTooLong);
            }
            depth += 1;
            if depth > Self::MAX_DEPTH {
                return Err(PathError::TooDeep);
            }
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(component);
        }
        if path.is_empty() { Err(PathError::Empty) } else { Ok(Self(path)) }
    }

    /// As [`parse`](Self::parse), for a name that is bytes, as in a tar header.
    pub fn parse_bytes(raw: &[u8]) -> Result<Self, PathError> {
        if raw.len() > Self::MAX_BYTES {
            return Err(PathError::TooLong);
        }
        Self::parse(std::str::from_utf8(raw).map_err(|_| PathError::NotUtf8)?)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The path of the containing directory, if it is not at the top.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// What follows the last dot of the file name, in lower case; `None` for `.hidden` and names without a dot.
    pub fn extension(&self) -> Option<String> {
        match self.file_name().rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => Some(extension.to_ascii_lowercase()),
            _ => None,
        }
    }

    /// Every directory above this path, outermost first.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }
}

impl fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ArtifactPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ArtifactPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArtifactPath {
    type Err = PathError;

    fn from_str(raw: &str) -> Result<Self, PathError> {
        Self::parse(raw)
    }
}

impl TryFrom<String> for ArtifactPath {
    type Error = PathError;

    fn try_from(raw: String) -> Result<Self, PathError> {
        Self::parse(&raw)
    }
}

impl From<ArtifactPath> for String {
    fn from(path: ArtifactPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_normalised() {
        for (raw, path) in
            [("a", "a"), ("./a//b/", "a/b"), ("a/./b", "a/b"), ("a\\..\\b", "a\\..\\b"), ("...", "...")]
        {
            assert_eq!(ArtifactPath::parse(raw).unwrap().as_str(), path);
        }
    }

    #[test]
    fn an_unsafe_path_is_refused_with_its_reason() {
        let long_component = "c".repeat(256);
        let long_path = "c/".repeat(513);
        let deep_path = "c/".repeat(65);
        for (raw, reason) in [
            ("", PathError::Empty),
            ("./", PathError::Empty),
            ("/etc/passwd", PathError::Absolute),
            ("//a", PathError::Absolute),
            ("..", PathError::Parent),
            ("a/../../b", PathError::Parent),
            ("a/..", PathError::Parent),
            ("a\0b", PathError::Control),
            ("a\r\nb", PathError::Control),
            ("a\u{1b}[31m", PathError::Control),
            ("a\u{85}b", PathError::Control),
            (&long_component, PathError::ComponentTooLong),
            (&long_path, PathError::TooLong),
            (&deep_path, PathError::TooDeep),
        ] {
            assert_eq!(ArtifactPath::parse(raw), Err(reason), "{raw:?}");
        }
        assert_eq!(ArtifactPath::parse_bytes(b"a\xff"), Err(PathError::NotUtf8));
    }

    #[test]
    fn its_parts_can_be_asked_for() {
        let path = ArtifactPath::parse("a/b/Index.HTML").unwrap();
        assert_eq!(path.file_name(), "Index.HTML");
        assert_eq!(path.parent(), Some("a/b"));
        assert_eq!(path.extension().as_deref(), Some("html"));
        assert_eq!(path.ancestors().collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(ArtifactPath::parse("a/.hidden").unwrap().extension(), None);
    }

    #[test]
    fn a_stored_path_is_checked_again_when_it_is_read() {
        assert!(serde_json::from_str::<ArtifactPath>("\"a/../b\"").is_err());
        assert_eq!(serde_json::to_string(&ArtifactPath::parse("a/b").unwrap()).unwrap(), "\"a/b\"");
    }

    proptest! {
        #[test]
        fn every_path_that_parses_is_safe(raw in prop_oneof![any::<String>(), "[a./\\\\\0\n]{0,40}"]) {
            if let Ok(path) = ArtifactPath::parse(&raw) {
                prop_assert!(Path::new(path.as_str()).components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(!path.as_str().is_empty() && path.as_str().len() <= ArtifactPath::MAX_BYTES);
                prop_assert!(!path.as_str().chars().any(char::is_control));
                prop_assert_eq!(ArtifactPath::parse(path.as_str()), Ok(path.clone()));
                prop_assert!(Path::new("/root").join(path.as_str()).starts_with("/root"));
            }
        }

        #[test]
        fn any_bytes_are_answered(raw in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = ArtifactPath::parse_bytes(&raw);
        }
    }
}
