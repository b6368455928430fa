//! The first start: the organization `default`, its admin, and an API key; printed once.

use gantry_domain::identity::{ApiKey, PasswordHash};
use gantry_domain::time::Clock;
use gantry_producer::services::{credentials, founding};
use gantry_store::{Bootstrap, Stores};

use crate::data_dir::{Credentials, DataDir};

const ADMIN: &str = "admin@localhost";

/// What a first start made, to be shown once.
pub struct FirstStart {
    pub email: &'static str,
    pub password: String,
}

/// Makes sure that there is an organization, and credentials for the commands of this machine.
pub async fn ensure(
    stores: &Stores,
    clock: &dyn Clock,
    dir: &DataDir,
    url: &str,
) -> anyhow::Result<Option<FirstStart>> {
    let kept = Credentials::load(dir.path())?;
    if let Some(kept) = kept {
        let known = stores.keys.by_hash(&credentials::hash(&kept.api_key)).await?;
        if known.is_some_and(|key| key.check(clock.now()).is_ok()) {
            Credentials { url: url.to_owned(), ..kept }.store(dir.path())?;
            return Ok(None);
        }
    }
    let now = clock.now();
    let secret = credentials::new_api_key();
    let first = match stores.auth.first_organization().await? {
        // The credentials were removed, or the process died before it wrote them.
        Some(organization) => {
            stores.keys.add(&founding::key(&organization, "local", &secret, now)).await?;
            None
        }
        None => {
            let password = password();
            let hash = PasswordHash::from_phc(credentials::hash_password(&password)?);
            let first = founding::begin("default", ADMIN.parse()?, hash, &secret, now);
            let key = ApiKey { name: "local".to_owned(), ..first.key };
            stores.auth.bootstrap(&Bootstrap { key, ..first }).await?;
            Some(FirstStart { email: ADMIN, password })
        }
    };
    Credentials { url: url.to_owned(), email: ADMIN.to_owned(), api_key: secret }.store(dir.path())?;
    Ok(first)
}

/// 20 letters and digits that are not mistaken for each other: about 115 bits.
fn password() -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    (0..20).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}
