//! The first start: the organization `default`, its admin, and an API key; printed once.

use gantry_domain::id::{OrganizationId, UserId};
use gantry_domain::identity::{ApiKey, Organization, PasswordHash, User};
use gantry_domain::permission::Scope;
use gantry_domain::time::Clock;
use gantry_producer::services::credentials;
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
    let key = |organization: &Organization| {
        let owner = organization.admins().next().unwrap_or(UserId::from_u128(0));
        let (hash, prefix) = (credentials::hash(&secret), credentials::shown_prefix(&secret));
        ApiKey::new(organization.id, owner, "local", [Scope::Admin], hash, prefix, now)
    };
    let first = match stores.auth.first_organization().await? {
        // The credentials were removed, or the process died before it wrote them.
        Some(organization) => {
            stores.keys.add(&key(&organization)).await?;
            None
        }
        None => {
            let password = password();
            let hash = PasswordHash::from_phc(credentials::hash_password(&password)?);
            let user = User::new(UserId::new(), ADMIN.parse()?, String::new(), hash, now);
            let organization = Organization::found(OrganizationId::new(), "default".to_owned(), user.id, now);
            stores.auth.bootstrap(&Bootstrap { key: key(&organization), organization, user }).await?;
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
