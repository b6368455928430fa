//! The signing keys in force, which may change while requests go on.

use std::sync::{Arc, PoisonError, RwLock};

use gantry_credentials::jwt::AccessTokens;
use gantry_credentials::key::{BadKey, SigningKey, SigningKeys};
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
    /// Without keys it makes one, which is good for this process alone.
    pub fn new(
        keys: Option<&SigningKeys>,
        installation: InstallationId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BadKey> {
        let issuer = installation.to_string();
        let own = SigningKeys::new(SigningKey::random("process".parse()?), None)?;
        let live = RwLock::new(Live::new(&issuer, keys.unwrap_or(&own), &clock));
        Ok(Self { issuer, clock, live })
    }

    pub fn tokens(&self) -> Arc<AccessTokens> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).tokens.clone()
    }

    pub fn links(&self) -> Arc<LinkSigner> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).links.clone()
    }

    /// Takes the keys of this text into use; true when they have other names than before.
    pub fn reload(&self, text: &str) -> Result<bool, BadKey> {
        let live = Live::new(&self.issuer, &text.parse()?, &self.clock);
        let mut known = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let changed = live.tokens.key_names().ne(known.tokens.key_names());
        *known = live;
        Ok(changed)
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
