//! The directory that `gantry up` keeps everything in, and that the other commands find their credentials in.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// `GANTRY_DATA_DIR`'s default: `$XDG_DATA_HOME/gantry`, else `~/.local/share/gantry`.
pub fn default() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_DATA_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("gantry")
}

/// How to reach a Gantry on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub url: String,
    pub email: String,
    pub api_key: String,
}

impl Credentials {
    /// What `dir` holds; `None` when there is nothing.
    pub fn load(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join("credentials.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).with_context(|| {
                format!("{} is damaged: remove it and start `gantry up` again", path.display())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }

    /// Written whole or not at all, readable by its owner alone.
    pub fn store(&self, dir: &Path) -> anyhow::Result<()> {
        write_private(&dir.join("credentials.json"), &serde_json::to_vec_pretty(self)?)
    }
}

pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    let _ = fs::remove_file(&part);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path).with_context(|| format!("can't write {}", path.display()))
}

/// A data directory that this process alone uses, until it is dropped.
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if need be, and takes it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("can't create the data directory {}", path.display()))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .with_context(|| format!("can't write to the data directory {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = lock.read_to_string(&mut pid);
                let path = path.display();
                bail!(
                    "another `gantry up` (process {}) uses {path}: stop it first, or give this one another --data-dir",
                    pid.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("can't lock {}", lock_path.display()));
            }
        }
        lock.set_len(0)?;
        lock.write_all(std::process::id().to_string().as_bytes())?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The secret kept under `name` for its owner alone, made on first use. One that cannot be read is not replaced: what it
    /// was for would be lost.
    pub fn secret(
        &self,
        name: &str,
        new: impl FnOnce() -> anyhow::Result<Zeroizing<String>>,
    ) -> anyhow::Result<Zeroizing<String>> {
        let path = self.join(name);
        match fs::read_to_string(&path) {
            Ok(secret) => Ok(Zeroizing::new(secret)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = new()?;
                write_private(&path, secret.as_bytes())?;
                Ok(secret)
            }
            Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }

    /// The id kept under `name`, made on first use.
    pub fn id<T: FromStr + ToString>(&self, name: &str, new: impl FnOnce() -> T) -> anyhow::Result<T> {
        let path = self.join(name);
        if let Some(id) = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()) {
            return Ok(id);
        }
        let id = new();
        fs::write(&path, id.to_string()).with_context(|| format!("can't write {}", path.display()))?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_user_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let second = DataDir::open(dir.path()).err().unwrap().to_string();
        assert!(second.contains("another `gantry up`"), "{second}");
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }

    #[test]
    fn a_secret_is_made_once_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let temporary = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temporary.path()).unwrap();
        assert_eq!(*dir.secret("key", || Ok("one".to_owned().into())).unwrap(), "one");
        assert_eq!(*dir.secret("key", || Ok("two".to_owned().into())).unwrap(), "one");
        let mode = fs::metadata(dir.join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::create_dir(dir.join("damaged")).unwrap();
        assert!(dir.secret("damaged", || Ok("two".to_owned().into())).is_err());
    }

    #[test]
    fn credentials_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Credentials::load(dir.path()).unwrap(), None);
        let credentials = Credentials { url: "u".into(), email: "e".into(), api_key: "k".into() };
        credentials.store(dir.path()).unwrap();
        assert_eq!(Credentials::load(dir.path()).unwrap(), Some(credentials));
        let mode = fs::metadata(dir.path().join("credentials.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
