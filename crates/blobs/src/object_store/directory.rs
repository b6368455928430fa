//! What `object_store` leaves to its callers when objects are files: making the root, removing directories, and
//! removing the temporary files (`name#1`) of writers that were killed.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, access};

use super::error::failed;
use crate::BlobError;

/// No writer is at work that long.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) struct Directory {
    root: PathBuf,
    _sweep: Sweep,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self, BlobError> {
        let root = std::path::absolute(path).map_err(failed)?;
        create(&root).map_err(failed)?;
        // File times come from the file system's clock, which is the machine's.
        let sweep = Sweep::start(root.clone(), SystemTime::now() - LEFTOVER_AGE).map_err(failed)?;
        Ok(Self { root, _sweep: sweep })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Removes a directory and all in it. Its parent stays: a writer could be making a sibling in it.
    pub(super) async fn remove(&self, below_root: String) -> Result<(), BlobError> {
        let doomed = self.root.join(below_root);
        blocking(move || remove(&doomed)).await
    }

    pub(super) async fn check(&self) -> Result<(), BlobError> {
        let root = self.root.clone();
        blocking(move || Ok(access(&root, Access::WRITE_OK | Access::EXEC_OK)?)).await
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), BlobError> {
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.map_err(|error| BlobError::Unavailable(error.to_string()))?.map_err(failed)
}

fn create(root: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = root.ancestors().take_while(|directory| !directory.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    for parent in missing.iter().filter_map(|directory| directory.parent()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn remove(doomed: &Path) -> io::Result<()> {
    // A writer that is still at work may put a file into a directory that was just emptied.
    const TRIES: usize = 5;
    let mut tries = 1;
    loop {
        match fs::remove_dir_all(doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries < TRIES => tries += 1,
            outcome => return outcome,
        }
    }
}

/// One walk through the tree on a thread of its own, so that opening a large directory takes no longer than a small
/// one; dropping it ends the walk.
struct Sweep {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sweep {
    fn start(root: PathBuf, before: SystemTime) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("blob-sweep".to_owned()).spawn(move || {
            match remove_leftovers(&root, before, &stopped) {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed what killed writers left behind"),
                Err(error) => tracing::warn!(%error, "could not look for what killed writers left behind"),
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the sweep for leftovers panicked");
        }
    }
}

fn remove_leftovers(root: &Path, before: SystemTime, stop: &AtomicBool) -> io::Result<usize> {
    let mut removed = 0;
    let mut to_visit = vec![root.to_owned()];
    while let Some(directory) = to_visit.pop() {
        let Some(entries) = unless_gone(fs::read_dir(directory))? else { continue };
        for entry in entries {
            if stop.load(Ordering::Relaxed) {
                return Ok(removed);
            }
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                to_visit.push(entry.path());
            } else if kind.is_file() && is_temporary(&entry.path()) {
                let Some(about) = unless_gone(entry.metadata())? else { continue };
                if about.modified()? < before && unless_gone(fs::remove_file(entry.path()))?.is_some() {
                    removed += 1;
                }
            }
        }
    }
    Ok(removed)
}

fn is_temporary(path: &Path) -> bool {
    let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('#'));
    number.is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Writers and deletions go on during the walk.
fn unless_gone<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use bytes::Bytes;
    use gantry_domain::id::{OrganizationId, RunId};

    use super::*;
    use crate::{BlobKey, BlobKind, Blobs as _, ObjectBlobs};

    fn files(below: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(below).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                found.extend(files(&entry.path()));
            } else {
                found.push(entry.path());
            }
        }
        found
    }

    async fn until(mut holds: impl FnMut() -> bool) {
        let limit = tokio::time::Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(tokio::time::Instant::now() < limit, "it never came true");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn key() -> BlobKey {
        BlobKey {
            organization: OrganizationId::new(),
            run: RunId::new(),
            attempt: 1,
            kind: BlobKind::Artifacts,
        }
    }

    #[test]
    fn the_root_is_made_for_its_owner_only() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("data/blobs");
        ObjectBlobs::directory(&root).unwrap();
        assert_eq!(root.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        ObjectBlobs::directory(&root).unwrap();
    }

    #[test]
    fn a_root_that_cannot_be_made_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(ObjectBlobs::directory(file.path().join("blobs")), Err(BlobError::Unavailable(_))));
    }

    #[tokio::test]
    async fn a_dropped_writer_leaves_no_file() {
        let root = tempfile::tempdir().unwrap();
        let blobs = ObjectBlobs::directory(root.path()).unwrap();
        let mut writer = blobs.write(&key()).await.unwrap();
        writer.write(Bytes::from(vec![7; 5 << 20])).await.unwrap();
        assert_eq!(files(root.path()).len(), 1, "a large blob is on its way to the disk");
        drop(writer);
        until(|| files(root.path()).is_empty()).await;
    }

    #[tokio::test]
    async fn a_deleted_run_leaves_no_directory() {
        let root = tempfile::tempdir().unwrap();
        let blobs = ObjectBlobs::directory(root.path()).unwrap();
        let key = key();
        blobs.write(&key).await.unwrap().finish().await.unwrap();
        let run = root.path().join(format!("{}/{}", key.organization, key.run));
        assert!(run.exists());
        blobs.delete_run(key.organization, key.run).await.unwrap();
        assert!(!run.exists());
    }

    #[tokio::test]
    async fn a_missing_root_fails_the_check() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("blobs");
        let blobs = ObjectBlobs::directory(&root).unwrap();
        assert_eq!(blobs.check().await, Ok(()));
        fs::remove_dir_all(&root).unwrap();
        assert!(matches!(blobs.check().await, Err(BlobError::Unavailable(_))));
    }

    #[tokio::test]
    async fn old_leftovers_are_removed_at_start_and_nothing_else_is() {
        let root = tempfile::tempdir().unwrap();
        let attempt = root.path().join("org/run/1");
        fs::create_dir_all(&attempt).unwrap();
        let old = SystemTime::now() - LEFTOVER_AGE - Duration::from_secs(60);
        for (name, modified) in [
            ("log", old),
            ("log#1", old),
            ("artifacts#12", old),
            ("log#2", SystemTime::now()),
            ("notes#x", old),
        ] {
            File::create(attempt.join(name)).unwrap().set_modified(modified).unwrap();
        }
        let blobs = ObjectBlobs::directory(root.path()).unwrap();
        until(|| files(root.path()).len() == 3).await;
        drop(blobs);
        let mut left: Vec<_> =
            files(root.path()).iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        left.sort();
        assert_eq!(left, ["log", "log#2", "notes#x"]);
    }
}
