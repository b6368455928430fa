//! The signing keys in force, which may change while requests go on.

use std::sync::{Arc, PoisonError, RwLock};

use gantry_credentials::jwt::AccessTokens;
use gantry_credentials::key::{BadKey, SigningKeys};
use gantry_credentials::signed_link::LinkSigner;
use gantry_domain::id::InstallationId;
use gantry_domain::time::Clock;

/// Whom access tokens are for.
const AUDIENCE: &str = "gantry-api";

/// What signs and checks access tokens and links.
pub struct LiveKeys {
    issuer: String,
    clock: Arc<dyn Clock>,
    live: RwLock<Live>,
}

struct Live {
    tokens: Arc<AccessTokens>,
    links: Arc<LinkSigner>,
}

impl LiveKeys {
    pub fn new(keys: &SigningKeys, installation: InstallationId, clock: Arc<dyn Clock>) -> Self {
        let issuer = installation.to_string();
        let live = RwLock::new(Live::new(&issuer, keys, &clock));
        Self { issuer, clock, live }
    }

    pub fn tokens(&self) -> Arc<AccessTokens> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).tokens.clone()
    }

    pub fn links(&self) -> Arc<LinkSigner> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).links.clone()
    }

    /// Takes the keys of this text into use; text that is none changes nothing.
    pub fn reload(&self, text: &str) -> Result<(), BadKey> {
        let keys = text.parse()?;
        let live = Live::new(&self.issuer, &keys, &self.clock);
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
        Ok(())
    }
}

impl Live {
    fn new(issuer: &str, keys: &SigningKeys, clock: &Arc<dyn Clock>) -> Self {
        Self {
            tokens: Arc::new(AccessTokens::new(issuer, AUDIENCE, keys, clock.clone())),
            links: Arc::new(LinkSigner::new(keys.clone(), clock.clone())),
        }
    }
}
