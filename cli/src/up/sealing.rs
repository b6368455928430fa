//! The keys that projects' secrets are kept under. Without configured ones the data directory has its own, made at the first
//! start: whoever copies only the database cannot read the secrets in it.

use std::sync::Arc;

use anyhow::Context as _;
use gantry_domain::time::Clock;
use gantry_producer::services::credentials::key::SealingKey;
use gantry_producer::services::credentials::seal::Sealer;
use gantry_producer::services::rotation;
use gantry_store::Stores;

use crate::data_dir::DataDir;

const FILE: &str = "sealing-keys";

/// The data directory's keys: `NAME:BASE64`, one a line, the present one first.
pub fn of_directory(dir: &DataDir) -> anyhow::Result<Arc<Sealer>> {
    let new = || Ok(SealingKey::random("first".parse()?).to_config());
    let keys = dir.secret(FILE, new)?;
    let sealer: Sealer = keys.parse().with_context(|| {
        format!(
            "{} cannot be used: bring it back from a backup, or set the secrets anew",
            dir.join(FILE).display()
        )
    })?;
    Ok(Arc::new(sealer))
}

/// Seals anew what is under older keys. That some of it cannot be opened keeps nobody from starting.
pub async fn rotate(stores: &Stores, sealer: &Sealer, clock: &dyn Clock) -> anyhow::Result<()> {
    let rotation = rotation::rotate(&*stores.projects, sealer, || clock.now()).await?;
    if !rotation.is_complete() {
        tracing::warn!("{rotation}");
    } else if rotation.resealed > 0 {
        tracing::info!(secrets = rotation.resealed, "secrets are encrypted under the present key now");
    }
    Ok(())
}
