//! What was looked up a moment ago and is believed for that long, so that not every request asks the store.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What changes elsewhere takes effect here that much later at most.
const FOR: Duration = Duration::from_secs(3);

/// Values by key, each no older than three seconds.
pub struct Believed<K, V> {
    most: usize,
    known: Mutex<Known<K, V>>,
}

struct Known<K, V> {
    values: HashMap<K, (V, Instant)>,
    swept: Instant,
}

impl<K: Eq + Hash, V: Clone> Believed<K, V> {
    /// Keeps so many at most: what comes beyond is asked for each time.
    pub fn new(most: usize) -> Self {
        Self { most, known: Mutex::new(Known { values: HashMap::new(), swept: Instant::now() }) }
    }

    fn known(&self) -> MutexGuard<'_, Known<K, V>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, key: &K) -> Option<V> {
        let known = self.known();
        known.values.get(key).filter(|(_, asked)| asked.elapsed() < FOR).map(|(value, _)| value.clone())
    }

    /// `asked` is when the store was asked: what changed since is not in the answer.
    pub fn put(&self, key: K, value: V, asked: Instant) {
        let mut known = self.known();
        // Values can be large: what is not believed any more is not kept for long.
        if known.swept.elapsed() >= FOR {
            known.values.retain(|_, (_, asked)| asked.elapsed() < FOR);
            known.swept = Instant::now();
        }
        if known.values.len() < self.most {
            known.values.insert(key, (value, asked));
        }
    }

    /// It changed here: this replica need not wait to believe it.
    pub fn forget(&self, key: &K) {
        self.known().values.remove(key);
    }

    pub fn forget_all(&self) {
        self.known().values.clear();
    }
}
