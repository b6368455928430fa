//! Credentials that were presented a moment ago.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use gantry_domain::id::{OrganizationId, SessionId};
use gantry_domain::identity::{ApiKey, Session};
use gantry_store::Presented;

use crate::believed::Believed;

const MOST: usize = 10_000;

type SessionKey = (SessionId, Option<OrganizationId>);

/// Credentials and who stands behind them. What is not found is not kept.
pub struct Credentials {
    keys: Believed<[u8; 32], Arc<Presented<ApiKey>>>,
    sessions: Believed<SessionKey, Arc<Presented<Session>>>,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { keys: Believed::new(MOST), sessions: Believed::new(MOST) }
    }
}

impl Credentials {
    pub async fn key<E>(
        &self,
        hash: [u8; 32],
        ask: impl Future<Output = Result<Option<Presented<ApiKey>>, E>>,
    ) -> Result<Option<Arc<Presented<ApiKey>>>, E> {
        look_up(&self.keys, hash, ask).await
    }

    pub async fn session<E>(
        &self,
        key: SessionKey,
        ask: impl Future<Output = Result<Option<Presented<Session>>, E>>,
    ) -> Result<Option<Arc<Presented<Session>>>, E> {
        look_up(&self.sessions, key, ask).await
    }

    /// Something changed here: this replica need not wait to believe it.
    pub fn forget(&self) {
        self.keys.forget_all();
        self.sessions.forget_all();
    }
}

async fn look_up<K: Eq + Hash, T, E>(
    known: &Believed<K, Arc<Presented<T>>>,
    key: K,
    ask: impl Future<Output = Result<Option<Presented<T>>, E>>,
) -> Result<Option<Arc<Presented<T>>>, E> {
    if let Some(found) = known.get(&key) {
        return Ok(Some(found));
    }
    let asked = Instant::now();
    let Some(found) = ask.await?.map(Arc::new) else { return Ok(None) };
    known.put(key, found.clone(), asked);
    Ok(Some(found))
}
