//! Writing files under names that a stranger chose: nothing outside the directory is ever touched, whatever the names
//! say and whatever links lie in the directory. Every step is taken relative to an open directory and follows no link.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::failure::Failure;

const STEP: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directory that was named by the person.
pub struct Destination(OwnedFd);

impl Destination {
    /// Created if need be. The person's own path may lead over links.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let fail = |error: io::Error| {
            Failure::refused(format!("Nothing can be written to {}: {error}.", dir.display()))
        };
        std::fs::create_dir_all(dir).map_err(fail)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(dir, flags, Mode::empty()).map_err(|error| fail(error.into()))?;
        Ok(Self(fd))
    }

    /// A file under `name`, which replaces an ordinary file of that name once it is complete.
    pub fn create(&self, name: &str) -> Result<Part, Failure> {
        let parts = checked(name)
            .ok_or_else(|| Failure::refused("The name leads elsewhere, so it is not written."))?;
        let fail = |error: rustix::io::Errno| match error {
            rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => {
                Failure::refused("A link or a file stands where a directory should be.")
            }
            other => Failure::refused(format!("It cannot be written: {}.", io::Error::from(other))),
        };
        let (file_name, directories) =
            parts.split_last().ok_or_else(|| Failure::refused("It has no name."))?;
        let mut dir = self.0.try_clone()?;
        for step in directories {
            match rustix::fs::mkdirat(&dir, *step, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(fail(error)),
            }
            dir = rustix::fs::openat(&dir, *step, STEP, Mode::empty()).map_err(fail)?;
        }
        let part_name = format!(".gantry-{:016x}.part", rand::random::<u64>());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(&dir, part_name.as_str(), flags, Mode::from_raw_mode(0o666)).map_err(fail)?;
        Ok(Part {
            dir,
            file: File::from(file),
            part_name,
            name: (*file_name).to_owned(),
            written: 0,
            done: false,
        })
    }
}

/// The steps of a name, if it can be one below the directory.
fn checked(name: &str) -> Option<Vec<&str>> {
    let steps: Vec<&str> = name.split('/').collect();
    let fine = |step: &&str| {
        !step.is_empty() && *step != "." && *step != ".." && step.len() <= 255 && !step.contains(['\0', '\\'])
    };
    (steps.len() <= 64 && steps.iter().all(fine)).then_some(steps)
}

/// A file that is not complete yet. Dropped before its end, it is gone.
pub struct Part {
    dir: OwnedFd,
    file: File,
    part_name: String,
    name: String,
    written: u64,
    done: bool,
}

impl Part {
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(bytes)
            .map_err(|error| Failure::refused(format!("It cannot be written: {error}.")))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Gives it its name: a link of that name is replaced, never followed.
    pub fn finish(mut self) -> Result<u64, Failure> {
        rustix::fs::renameat(&self.dir, self.part_name.as_str(), &self.dir, self.name.as_str()).map_err(
            |error| Failure::refused(format!("It cannot get its name: {}.", io::Error::from(error))),
        )?;
        self.done = true;
        Ok(self.written)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.done {
            // It may be gone with its directory.
            let _ = rustix::fs::unlinkat(&self.dir, self.part_name.as_str(), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(dir: &Path, name: &str, text: &str) -> bool {
        let write = || {
            let mut part = Destination::open(dir)?.create(name)?;
            part.write(text.as_bytes())?;
            part.finish()
        };
        write().is_ok()
    }

    #[test]
    fn files_land_below_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("new/out");
        assert!(
            write(&dir, "a/b/c.txt", "one") && write(&dir, "a/b/c.txt", "two") && write(&dir, ".hidden", "x")
        );
        assert_eq!(std::fs::read_to_string(dir.join("a/b/c.txt")).unwrap(), "two");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("out");
        for name in ["../x", "a/../../x", "/etc/x", "", ".", "..", "a//b", "a/", "a\0b", "..\\x"] {
            assert!(!write(&dir, name, "x"), "{name:?}");
        }
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_are_neither_followed_nor_written_through() {
        let root = tempfile::tempdir().unwrap();
        let (dir, outside) = (root.path().join("out"), root.path().join("outside"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("kept"), "kept").unwrap();
        symlink(&outside, dir.join("dir")).unwrap();
        symlink(outside.join("kept"), dir.join("file")).unwrap();
        assert!(!write(&dir, "dir/kept", "overwritten"));
        assert!(write(&dir, "file", "new"));
        assert_eq!(std::fs::read_to_string(outside.join("kept")).unwrap(), "kept");
        assert_eq!(std::fs::read_to_string(dir.join("file")).unwrap(), "new");
    }

    #[test]
    fn an_unfinished_file_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mut part = Destination::open(root.path()).unwrap().create("a.txt").unwrap();
        part.write(b"half").unwrap();
        drop(part);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
