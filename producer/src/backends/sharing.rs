//! What replicas share for convenience: live events and rate limits.

use std::num::NonZeroU32;

use gantry_service_kit::config::{Secret, Source};

use super::queue::DEFAULT_PREFIX;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SharingConfig {
    /// Nothing: other replicas' events are found in the store a little later, and each keeps limits for itself.
    Local,
    Redis {
        uri: Secret,
        /// What names begin with; the same for all producers of an installation.
        prefix: String,
        /// How many producers there are: while Redis is away each lets through its share of a rate limit.
        replicas: NonZeroU32,
    },
}

impl SharingConfig {
    pub(super) fn read(source: &mut Source) -> Self {
        let Some(uri) = source.address("redis") else { return Self::Local };
        let text = uri.expose().trim();
        if text.starts_with("redis://") || text.starts_with("rediss://") {
            let prefix = source.parse("redis_prefix", DEFAULT_PREFIX.to_owned());
            let replicas = source.parse("rate_limits.replicas", NonZeroU32::MIN);
            return Self::Redis { uri: Secret::new(text), prefix, replicas };
        }
        source.reject("redis", "expected redis://HOST:PORT/DB or rediss://…");
        Self::Local
    }
}
