//! Which names an archive has used: none may come twice or be a file and a directory at once.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::ArchiveError;
use crate::ArtifactPath;
use crate::text::escaped;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
}

/// Only names the archive states itself; the directories above them are found by searching, so that deep paths cost
/// no memory.
#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<ArtifactPath, Kind>);

impl Tree {
    /// Adds an entry. A directory may be stated again: archives of several paths do that.
    pub fn add(&mut self, path: ArtifactPath, kind: Kind) -> Result<(), ArchiveError> {
        match (self.0.get(&path), kind) {
            (Some(Kind::File), Kind::File) => {
                return Err(ArchiveError::Duplicate { name: escaped(path.as_str()) });
            }
            (Some(known), kind) if *known != kind => {
                return Err(ArchiveError::FileAndDirectory { name: escaped(path.as_str()) });
            }
            _ => {}
        }
        if let Some(file) = path.ancestors().find(|above| self.0.get(*above) == Some(&Kind::File)) {
            return Err(ArchiveError::FileAndDirectory { name: escaped(file) });
        }
        if kind == Kind::File && self.has_below(&path) {
            return Err(ArchiveError::FileAndDirectory { name: escaped(path.as_str()) });
        }
        self.0.insert(path, kind);
        Ok(())
    }

    fn has_below(&self, path: &ArtifactPath) -> bool {
        let inside = format!("{path}/");
        let from = (Bound::Included(inside.as_str()), Bound::Unbounded);
        self.0.range::<str, _>(from).next().is_some_and(|(next, _)| next.as_str().starts_with(&inside))
    }
}
