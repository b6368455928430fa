//! Files of an attempt as one streamed tar. The command may have left anything in its directories, so no symbolic link is
//! followed on the way down, only regular files are read, and nothing outside of the attempt's own places is looked at.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use tokio::sync::mpsc;

use crate::pattern::Pattern;
use crate::{ExecutorError, TarStream};

const CHUNK: usize = 64 * 1024;
/// Levels below a place; every level holds a descriptor while it is walked.
const MAX_DEPTH: usize = 100;

/// Where an attempt may have left files.
pub(super) struct Places {
    /// Relative patterns begin here.
    pub working: PathBuf,
    pub work: PathBuf,
    pub tmp: PathBuf,
}

/// What matches `patterns`, read as fast as it is taken.
pub(super) fn stream(places: Places, patterns: Vec<Pattern>) -> TarStream {
    let (sender, receiver) = mpsc::channel(4);
    let task = tokio::task::spawn_blocking(move || {
        let chunks = Chunks { sender, buffer: BytesMut::with_capacity(CHUNK) };
        let mut collector = Collector { patterns, tar: tar::Builder::new(chunks) };
        collector.all(&places)?;
        collector.tar.into_inner()?.flush()
    });
    let next = |(mut receiver, task): (mpsc::Receiver<Bytes>, Option<tokio::task::JoinHandle<_>>)| async move {
        if let Some(chunk) = receiver.recv().await {
            return Some((Ok(chunk), (receiver, task)));
        }
        let error = match task?.await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => error,
            Err(panic) => io::Error::other(panic),
        };
        let error = ExecutorError::Infrastructure(format!("cannot collect the artifacts: {error}"));
        Some((Err(error), (receiver, None)))
    };
    stream::unfold((receiver, Some(task)), next).boxed()
}

/// Hands what is written to the stream's reader; fails when there is none any more.
struct Chunks {
    sender: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.sender.blocking_send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

struct Collector {
    patterns: Vec<Pattern>,
    tar: tar::Builder<Chunks>,
}

impl Collector {
    fn all(&mut self, places: &Places) -> io::Result<()> {
        for at in 0..self.patterns.len() {
            let pattern = self.patterns[at].clone();
            let Some((place, rest)) = locate(&pattern, places) else {
                tracing::debug!(pattern = %pattern.base.display(), "an artifact outside of the run's directories is not collected");
                continue;
            };
            // The attempt's own directories may have been replaced by a link; one that the user named may be one.
            let follow = if place == places.working && place != places.work {
                OFlags::empty()
            } else {
                OFlags::NOFOLLOW
            };
            let Ok(root) = openat(CWD, &place, directory_flags() | follow, Mode::empty()) else { continue };
            self.below(at, root, &place, &rest)?;
        }
        Ok(())
    }

    /// Goes down to where the pattern's search begins, then looks at everything there.
    fn below(&mut self, at: usize, root: OwnedFd, place: &Path, rest: &Path) -> io::Result<()> {
        let name_of_place = if self.patterns[at].absolute { strip_root(place) } else { PathBuf::new() };
        let Some(last) = rest.file_name() else {
            return self.walk(at, &root, &name_of_place, 0);
        };
        let (mut parent, mut name) = (root, name_of_place);
        for component in rest.parent().into_iter().flat_map(Path::components) {
            name.push(component);
            match openat(&parent, component.as_os_str(), directory_flags() | OFlags::NOFOLLOW, Mode::empty())
            {
                Ok(child) => parent = child,
                Err(_) => return Ok(()),
            }
        }
        self.entry(at, &parent, last.as_ref(), &name, 0)
    }

    fn walk(&mut self, at: usize, directory: &OwnedFd, name: &Path, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH || !self.patterns[at].may_match_below(name) {
            return Ok(());
        }
        let Ok(entries) = Dir::read_from(directory) else { return Ok(()) };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name().to_owned()).collect();
        names.retain(|name| !matches!(name.to_bytes(), b"." | b".."));
        names.sort();
        for entry in names {
            use std::os::unix::ffi::OsStrExt as _;
            let entry = Path::new(std::ffi::OsStr::from_bytes(entry.to_bytes()));
            self.entry(at, directory, entry, name, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        at: usize,
        parent: &OwnedFd,
        entry: &Path,
        name: &Path,
        depth: usize,
    ) -> io::Result<()> {
        let Ok(stat) = statat(parent, entry, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
        let name = name.join(entry);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = directory_flags() | OFlags::NOFOLLOW;
                match openat(parent, entry, flags, Mode::empty()) {
                    Ok(child) => self.walk(at, &child, &name, depth + 1),
                    Err(_) => Ok(()),
                }
            }
            FileType::RegularFile if self.is_new_match(at, &name) => self.file(parent, entry, &name),
            _ => Ok(()),
        }
    }

    /// A file that an earlier pattern named as well is in the tar already.
    fn is_new_match(&self, at: usize, name: &Path) -> bool {
        let absolute = self.patterns[at].absolute;
        let earlier = &mut self.patterns[..at].iter().filter(|pattern| pattern.absolute == absolute);
        self.patterns[at].matches(name) && !earlier.any(|pattern| pattern.matches(name))
    }

    fn file(&mut self, parent: impl AsFd, entry: &Path, name: &Path) -> io::Result<()> {
        // It may have become something else since it was looked at: not blocking on a pipe, not following a link.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let Ok(file) = openat(parent, entry, flags, Mode::empty()) else {
            tracing::debug!(file = %name.display(), "an artifact cannot be read");
            return Ok(());
        };
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(stat.st_mode & 0o777);
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_entry_type(tar::EntryType::Regular);
        self.tar.append_data(&mut header, name, Exactly { file: File::from(file), left: size })
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC
}

fn strip_root(path: &Path) -> PathBuf {
    path.strip_prefix("/").unwrap_or(path).to_owned()
}

/// The place a pattern is searched in, and from where below it; `None` for an absolute one that lies elsewhere.
fn locate(pattern: &Pattern, places: &Places) -> Option<(PathBuf, PathBuf)> {
    if !pattern.absolute {
        return Some((places.working.clone(), pattern.base.clone()));
    }
    [&places.working, &places.work, &places.tmp].into_iter().find_map(|place| {
        let rest = pattern.base.strip_prefix(strip_root(place)).ok()?;
        Some((place.clone(), rest.to_owned()))
    })
}

/// As many bytes as the header said, whatever happens to the file meanwhile: cut off, or filled up with zeros.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(into.len(), |left| left.min(into.len()));
        let mut read = self.file.read(&mut into[..wanted])?;
        if read == 0 {
            into[..wanted].fill(0);
            read = wanted;
        }
        self.left -= read as u64;
        Ok(read)
    }
}
