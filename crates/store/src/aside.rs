//! Documents that cannot be read stop nobody: they are left out, counted, noted down for people, and not tried again by
//! this process while they stay as they are. The document itself is never touched: a newer version wrote it, perhaps,
//! and reads it; every start tries again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use gantry_domain::id::{OrganizationId, RunId, WorkerId};
use gantry_domain::time::Timestamp;

use crate::{Result, StoreError};

/// Documents remembered; more are left out all the same.
const REMEMBERED: usize = 10_000;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    Run,
    Worker,
}

impl DocumentKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Worker => "worker",
        }
    }

    /// The id of such a document, from its bits.
    pub(crate) fn id(self, bits: u128) -> String {
        match self {
            Self::Run => RunId::from_u128(bits).to_string(),
            Self::Worker => WorkerId::from_u128(bits).to_string(),
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Run, Self::Worker].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A stored document that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    pub kind: DocumentKind,
    pub id: String,
    /// Whose it is; workers are nobody's.
    pub organization: Option<OrganizationId>,
    pub why: String,
    /// When this was first seen.
    pub at: Timestamp,
}

/// Names a document in the state it was read in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub kind: DocumentKind,
    pub id: u128,
    pub organization: Option<OrganizationId>,
    /// Changes when the document does.
    pub state: u64,
}

/// What this process has set aside.
#[derive(Default)]
pub(crate) struct Aside {
    known: Mutex<HashMap<(DocumentKind, u128), u64>>,
    /// Not yet written down.
    fresh: Mutex<Vec<SetAside>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Aside {
    /// The document as `decode` reads it; `None` when it cannot be read. Other errors are passed on.
    pub fn sift<T>(&self, subject: Subject, decode: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if self.knows(&subject) {
            return Ok(None);
        }
        match decode() {
            Ok(value) => {
                lock(&self.known).remove(&(subject.kind, subject.id));
                Ok(Some(value))
            }
            Err(StoreError::Corrupt(why)) => {
                self.note(subject, why);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether it was set aside as it is.
    pub fn knows(&self, subject: &Subject) -> bool {
        lock(&self.known).get(&(subject.kind, subject.id)) == Some(&subject.state)
    }

    /// How many documents queries should expect to leave out.
    pub fn known(&self) -> u32 {
        lock(&self.known).len() as u32
    }

    fn note(&self, subject: Subject, why: String) {
        let id = subject.kind.id(subject.id);
        let mut known = lock(&self.known);
        if known.len() >= REMEMBERED {
            return;
        }
        // One that was noted before was only written anew.
        if known.insert((subject.kind, subject.id), subject.state).is_some() {
            return;
        }
        drop(known);
        let kind = subject.kind.as_str();
        tracing::error!(kind, id, why, "a stored document cannot be read and is set aside");
        metrics::counter!("gantry_store_unreadable_total", "kind" => kind).increment(1);
        let at = Timestamp::from(SystemTime::now());
        lock(&self.fresh).push(SetAside {
            kind: subject.kind,
            id,
            organization: subject.organization,
            why,
            at,
        });
    }

    /// What has to be written down.
    pub fn take_fresh(&self) -> Vec<SetAside> {
        std::mem::take(&mut *lock(&self.fresh))
    }

    /// What could not be written down, for the next time.
    pub fn put_back(&self, fresh: Vec<SetAside>) {
        lock(&self.fresh).extend(fresh);
    }
}

/// A number that changes when the bytes do.
pub(crate) fn state_of(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
