//! Requests with an `Idempotency-Key` that are being answered right now. Across replicas the store decides; here it
//! only spares the second caller a wait.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use gantry_domain::id::OrganizationId;

type Keys = Arc<Mutex<HashSet<(OrganizationId, String)>>>;

#[derive(Default)]
pub struct InFlight(Keys);

/// Held while a request is being answered.
pub struct InFlightGuard {
    keys: Keys,
    key: (OrganizationId, String),
}

impl InFlight {
    /// `None` when a request with this key is being answered.
    pub fn enter(&self, organization: OrganizationId, key: &str) -> Option<InFlightGuard> {
        let key = (organization, key.to_owned());
        let fresh = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        fresh.then(|| InFlightGuard { keys: self.0.clone(), key })
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
