//! Which files an attempt left, and where in its packed blob each one is.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use gantry_blobs::BlobKey;
use gantry_reports::{ArtifactPath, html};
use serde::{Deserialize, Serialize};

const LEVEL: i32 = 3;
/// Decoded indexes kept, by an estimate of their size.
const MAX_CACHED_BYTES: usize = 64 << 20;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexEntry {
    pub path: ArtifactPath,
    /// Where it begins in the packed blob.
    pub offset: u64,
    pub length: u64,
}

impl IndexEntry {
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.length
    }

    pub fn content_type(&self) -> &'static str {
        html::content_type(&self.path)
    }

    /// A person opens it as a report.
    pub fn is_report(&self) -> bool {
        html::opens_as_report(&self.path)
    }
}

/// All files of one attempt, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactIndex {
    entries: Vec<IndexEntry>,
}

impl ArtifactIndex {
    pub fn new(mut entries: Vec<IndexEntry>) -> Self {
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Self { entries }
    }

    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.length).sum()
    }

    /// The file with exactly this path.
    pub fn find(&self, path: &str) -> Option<&IndexEntry> {
        let at = self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        self.entries.get(at)
    }

    /// The positions of all files whose path begins with `prefix`.
    pub fn beginning_with(&self, prefix: &str) -> Range<usize> {
        let from = self.entries.partition_point(|entry| entry.path.as_str() < prefix);
        let rest = self.entries.get(from..).unwrap_or_default();
        from..from + rest.partition_point(|entry| entry.path.as_str().starts_with(prefix))
    }

    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
        serde_json::to_writer(&mut encoder, self)?;
        encoder.finish()
    }

    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let plain = zstd::decode_all(bytes)?;
        Ok(serde_json::from_slice(&plain)?)
    }

    fn footprint(&self) -> usize {
        let names: usize = self.entries.iter().map(|entry| entry.path.as_str().len()).sum();
        names + self.entries.len() * size_of::<IndexEntry>()
    }
}

/// Indexes of attempts that are over, whose artifacts can change no more: the least recently used go first.
#[derive(Default)]
pub struct IndexCache(Mutex<Cached>);

#[derive(Default)]
struct Cached {
    indexes: HashMap<BlobKey, Slot>,
    bytes: usize,
    uses: u64,
}

struct Slot {
    index: Arc<ArtifactIndex>,
    bytes: usize,
    used: u64,
}

impl IndexCache {
    pub fn get(&self, key: &BlobKey) -> Option<Arc<ArtifactIndex>> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.uses += 1;
        let now = cached.uses;
        let slot = cached.indexes.get_mut(key)?;
        slot.used = now;
        Some(slot.index.clone())
    }

    pub fn put(&self, key: BlobKey, index: Arc<ArtifactIndex>) {
        let bytes = index.footprint();
        if bytes > MAX_CACHED_BYTES {
            return;
        }
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.uses += 1;
        let used = cached.uses;
        cached.bytes += bytes;
        if let Some(before) = cached.indexes.insert(key, Slot { index, bytes, used }) {
            cached.bytes -= before.bytes;
        }
        while cached.bytes > MAX_CACHED_BYTES
            && let Some(oldest) =
                cached.indexes.iter().min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone())
        {
            if let Some(gone) = cached.indexes.remove(&oldest) {
                cached.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gantry_blobs::BlobKind;
    use gantry_domain::id::{OrganizationId, RunId};

    use super::*;

    fn index(paths: &[&str]) -> ArtifactIndex {
        let entry =
            |path: &&str| IndexEntry { path: ArtifactPath::parse(path).unwrap(), offset: 7, length: 3 };
        ArtifactIndex::new(paths.iter().map(entry).collect())
    }

    #[test]
    fn an_index_survives_its_encoding() {
        let index = index(&["b/ü \"x\".png", "a.txt", "<img onerror=alert(1)>"]);
        assert_eq!(ArtifactIndex::decode(&index.encode().unwrap()).unwrap(), index);
        assert!(ArtifactIndex::decode(b"not an index").is_err());
    }

    #[test]
    fn a_prefix_selects_what_begins_with_it() {
        let index = index(&["a/1", "a/2", "a-b", "ab", "b", "zz"]);
        let found = |prefix: &str| -> Vec<_> {
            index.entries()[index.beginning_with(prefix)].iter().map(|entry| entry.path.as_str()).collect()
        };
        assert_eq!(found("a/"), ["a/1", "a/2"]);
        assert_eq!(found("a"), ["a-b", "a/1", "a/2", "ab"]);
        assert_eq!(found("").len(), 6);
        assert_eq!(found("zzz"), [""; 0]);
    }

    #[test]
    fn the_cache_forgets_what_was_used_least_recently() {
        let cache = IndexCache::default();
        let key = |attempt| BlobKey {
            organization: OrganizationId::from_u128(1),
            run: RunId::from_u128(1),
            attempt,
            kind: BlobKind::ArtifactIndex,
        };
        let path = "x".repeat(200);
        let entry = |n| IndexEntry {
            path: ArtifactPath::parse(&format!("{n}/{path}")).unwrap(),
            offset: 0,
            length: 0,
        };
        let large = Arc::new(ArtifactIndex::new((0..100_000).map(entry).collect()));
        for attempt in 1..=2 {
            cache.put(key(attempt), large.clone());
        }
        assert!(cache.get(&key(1)).is_some(), "two fit");
        cache.put(key(3), large);
        assert!(cache.get(&key(2)).is_none(), "the third takes the place of the one not used since");
        assert!(cache.get(&key(1)).is_some());
        assert!(cache.get(&key(3)).is_some());
    }
}
