//! What people need of an installation that nobody configured: keys of its own, an address, and mail that is shown where it
//! runs.

use anyhow::Context as _;
use gantry_producer::config::identity::{IdentityConfig, MailConfig};
use gantry_producer::services::credentials::key::SigningKey;

use crate::data_dir::DataDir;

const FILE: &str = "signing-keys";

/// Fills in what is not set.
pub fn settle(config: &mut IdentityConfig, dir: &DataDir, url: &str) -> anyhow::Result<()> {
    if config.signing_keys.is_none() {
        let keys = dir.secret(FILE, || Ok(SigningKey::random("first".parse()?).to_config()))?;
        let keys = keys.parse().with_context(|| {
            format!("{} cannot be used: remove it, and everybody signs in again", dir.join(FILE).display())
        })?;
        config.signing_keys = Some(keys);
    }
    if config.public_url.is_none() {
        config.public_url = Some(url.parse()?);
    }
    if matches!(config.mail, MailConfig::Unset) {
        config.mail = MailConfig::Console;
    }
    Ok(())
}
