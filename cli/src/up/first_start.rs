//! The first start: the organization `default`, its admin, and an API key; printed once.

use gantry_domain::id::{KeyId, OrganizationId, UserId};
use gantry_domain::time::Clock;
use gantry_producer::services::credentials;
use gantry_store::{ApiKey, AuthStore, Bootstrap, Organization, User};

use crate::data_dir::{Credentials, DataDir};

const ADMIN: &str = "admin@localhost";

/// What a first start made, to be shown once.
pub struct FirstStart {
    pub email: &'static str,
    pub password: String,
}

/// Makes sure that there is an organization, and credentials for the commands of this machine.
pub async fn ensure(
    auth: &dyn AuthStore,
    clock: &dyn Clock,
    dir: &DataDir,
    url: &str,
) -> anyhow::Result<Option<FirstStart>> {
    let kept = Credentials::load(dir.path())?;
    if let Some(kept) = kept {
        let known = auth.key_by_hash(&credentials::hash(&kept.api_key)).await?;
        if known.is_some_and(|key| key.revoked_at.is_none()) {
            Credentials { url: url.to_owned(), ..kept }.store(dir.path())?;
            return Ok(None);
        }
    }
    let now = clock.now();
    let secret = credentials::new_api_key();
    let key = |organization| ApiKey {
        id: KeyId::new(),
        organization,
        name: "local".to_owned(),
        secret_hash: credentials::hash(&secret),
        created_at: now,
        revoked_at: None,
    };
    let first = match auth.first_organization().await? {
        // The credentials were removed, or the process died before it wrote them.
        Some(organization) => {
            auth.add_key(&key(organization.id)).await?;
            None
        }
        None => {
            let password = password();
            let organization = OrganizationId::new();
            auth.bootstrap(&Bootstrap {
                organization: Organization { id: organization, name: "default".to_owned(), created_at: now },
                user: User {
                    id: UserId::new(),
                    organization,
                    email: ADMIN.to_owned(),
                    password_hash: credentials::hash_password(&password)?,
                    created_at: now,
                },
                key: key(organization),
            })
            .await?;
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
