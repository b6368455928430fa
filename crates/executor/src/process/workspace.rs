//! The directory of an attempt: `<root>/<run>-<attempt>/` with `work` (its home), `tmp`, and `owner`, which says
//! whose it is. That the directory exists is the record of the attempt: what a dead worker left behind is read from there.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gantry_domain::id::InstallationId;

use crate::{AttemptKey, Owner};

/// One attempt's directory, whether it exists or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Workspace {
    pub directory: PathBuf,
}

impl Workspace {
    pub fn new(root: &Path, key: AttemptKey) -> Self {
        Self { directory: root.join(format!("{}-{}", key.run, key.attempt)) }
    }

    /// Where the command runs when nothing else is said; its `HOME`.
    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    pub fn tmp(&self) -> PathBuf {
        self.directory.join("tmp")
    }

    fn owner(&self) -> PathBuf {
        self.directory.join("owner")
    }

    /// For this user's eyes only.
    pub fn create(&self, owner: Owner) -> io::Result<()> {
        let mut private = DirBuilder::new();
        private.mode(0o700);
        if let Some(root) = self.directory.parent() {
            fs::create_dir_all(root)?;
        }
        private.create(&self.directory)?;
        fs::write(self.owner(), format!("{}\n{}\n", owner.installation, owner.worker))?;
        private.create(self.work())?;
        private.create(self.tmp())
    }

    /// Removes it with all that is in it, also what the command made unreadable. Nothing of the attempt may run any more.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                make_accessible(&self.directory)?;
                ignore_missing(fs::remove_dir_all(&self.directory))
            }
            result => ignore_missing(result),
        }
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Symbolic links are neither followed nor changed.
fn make_accessible(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            make_accessible(&entry.path())?;
        }
    }
    Ok(())
}

/// Attempts of this installation that have a directory under `root`.
pub(super) fn existing(root: &Path, installation: InstallationId) -> io::Result<Vec<AttemptKey>> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut keys = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some(key) = entry.file_name().to_str().and_then(parse) else { continue };
        let owner = fs::read_to_string(Workspace { directory: entry.path() }.owner()).unwrap_or_default();
        // One without an owner was cut off while it was made, under a root that belongs to this installation.
        if owner.lines().next().is_none_or(|line| line == installation.to_string()) {
            keys.push(key);
        }
    }
    Ok(keys)
}

fn parse(name: &str) -> Option<AttemptKey> {
    let (run, attempt) = name.rsplit_once('-')?;
    Some(AttemptKey { run: run.parse().ok()?, attempt: attempt.parse().ok()? })
}
