//! Credentials looked up a moment ago.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gantry_domain::id::{OrganizationId, SessionId};
use gantry_domain::identity::{ApiKey, Session};
use gantry_store::Presented;

/// How long what was looked up is believed.
const FOR: Duration = Duration::from_secs(3);
const MAX: usize = 10_000;

/// What was found, with when.
type Found<K, T> = HashMap<K, (Arc<Presented<T>>, Instant)>;

struct Known<K, T>(Mutex<Found<K, T>>);

impl<K, T> Default for Known<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, T> Known<K, T> {
    fn all(&self) -> MutexGuard<'_, Found<K, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, key: &K) -> Option<Arc<Presented<T>>> {
        self.all().get(key).filter(|(_, at)| at.elapsed() < FOR).map(|(found, _)| found.clone())
    }

    /// `asked` is when the store was asked: what changed since is not in the answer.
    fn put(&self, key: K, found: &Arc<Presented<T>>, asked: Instant) {
        let mut all = self.all();
        if all.len() >= MAX {
            all.retain(|_, (_, at)| at.elapsed() < FOR);
        }
        if all.len() < MAX {
            all.insert(key, (found.clone(), asked));
        }
    }
}

/// Credentials and who stands behind them, as of at most three seconds ago. What is not found is not kept.
#[derive(Default)]
pub struct Believed {
    keys: Known<[u8; 32], ApiKey>,
    sessions: Known<(SessionId, Option<OrganizationId>), Session>,
}

macro_rules! look_up {
    ($name:ident, $kept:ident, $key:ty, $value:ty) => {
        pub async fn $name<E>(
            &self,
            key: $key,
            ask: impl Future<Output = Result<Option<Presented<$value>>, E>>,
        ) -> Result<Option<Arc<Presented<$value>>>, E> {
            if let Some(known) = self.$kept.get(&key) {
                return Ok(Some(known));
            }
            let asked = Instant::now();
            let Some(found) = ask.await? else { return Ok(None) };
            let found = Arc::new(found);
            self.$kept.put(key, &found, asked);
            Ok(Some(found))
        }
    };
}

impl Believed {
    look_up!(key, keys, [u8; 32], ApiKey);
    look_up!(session, sessions, (SessionId, Option<OrganizationId>), Session);

    /// Something changed here: this replica need not wait to believe it.
    pub fn forget(&self) {
        self.keys.all().clear();
        self.sessions.all().clear();
    }
}
