//! The first start of a deployment: the organization `default` and the key that was configured. Any number of replicas may
//! do this at once, and every start does it again.

use gantry_domain::id::KeyId;
use gantry_domain::identity::{ApiKey, Organization, PasswordHash};
use gantry_service_kit::config::Secret;
use gantry_store::{ApiKeyStore, Bootstrap};

use crate::services::{credentials, founding};
use crate::state::Parts;

const ADMIN: &str = "admin@localhost";

/// Makes what is missing. Without a key an empty installation stays empty, and the log says what to do.
pub async fn ensure(parts: &Parts, key: Option<&Secret>) -> anyhow::Result<()> {
    let (auth, keys) = (&*parts.stores.auth, &*parts.stores.keys);
    let Some(key) = key else {
        if auth.first_organization().await?.is_none() {
            tracing::warn!(
                "there is no organization yet, so nobody can call the API: set GANTRY_BOOTSTRAP_API_KEY to a key \
                 that `gantry-producer new-key` prints, and start again"
            );
        }
        return Ok(());
    };
    let (secret, now) = (key.expose(), parts.clock.now());
    let named = |key: ApiKey| ApiKey { id: id_of(&key.secret_hash), name: "bootstrap".to_owned(), ..key };
    let key = |organization: &Organization| named(founding::key(organization, "bootstrap", secret, now));
    if let Some(organization) = auth.first_organization().await? {
        return add(keys, &key(&organization)).await;
    }
    // Nobody knows it: who signs in with a password has to set one first.
    let password = PasswordHash::from_phc(credentials::hash_password(&credentials::new_token())?);
    let first = founding::begin("default", ADMIN.parse()?, password, secret, now);
    let first = Bootstrap { key: named(first.key), ..first };
    if auth.bootstrap(&first).await? {
        tracing::info!(org.id = %first.organization.id, "first start: made the organization `default` and its key");
        return Ok(());
    }
    // Another replica was faster.
    match auth.first_organization().await? {
        Some(organization) => add(keys, &key(&organization)).await,
        None => anyhow::bail!("another replica began the installation and did not end: start again"),
    }
}

async fn add(keys: &dyn ApiKeyStore, key: &ApiKey) -> anyhow::Result<()> {
    if let Some(known) = keys.by_hash(&key.secret_hash).await? {
        if known.revoked_at.is_some() {
            tracing::warn!("the key of GANTRY_BOOTSTRAP_API_KEY was revoked, and stays so");
        }
        return Ok(());
    }
    if let Err(error) = keys.add(key).await
        && keys.by_hash(&key.secret_hash).await?.is_none()
    {
        return Err(error.into());
    }
    tracing::info!(org.id = %key.organization, "made the key of GANTRY_BOOTSTRAP_API_KEY");
    Ok(())
}

/// The same in every replica, so that two can't both add the key.
fn id_of(secret_hash: &[u8; 32]) -> KeyId {
    let mut bits = [0; 16];
    bits.copy_from_slice(&secret_hash[..16]);
    KeyId::from_u128(u128::from_be_bytes(bits))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gantry_blobs::ObjectBlobs;
    use gantry_bus::LocalBus;
    use gantry_domain::permission::Scope;
    use gantry_domain::time::SystemClock;
    use gantry_queue::EmbeddedQueue;
    use gantry_ratelimit::LocalLimiter;
    use gantry_store::sqlite::{self, SqliteOptions};

    use super::*;

    fn parts(dir: &tempfile::TempDir) -> Parts {
        let stores = sqlite::open(SqliteOptions::new(dir.path().join("gantry.db"))).unwrap().stores();
        Parts {
            stores,
            blobs: Arc::new(ObjectBlobs::in_memory()),
            queue: Arc::new(EmbeddedQueue::new()),
            bus: Arc::new(LocalBus::new()),
            limiter: Arc::new(LocalLimiter::new(Arc::new(SystemClock))),
            clock: Arc::new(SystemClock),
        }
    }

    #[tokio::test]
    async fn replicas_that_start_at_once_make_one_organization_and_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let parts = parts(&dir);
        let secret = Secret::new(credentials::new_api_key());
        let starts = (0..8).map(|_| ensure(&parts, Some(&secret)));
        for started in futures::future::join_all(starts).await {
            started.unwrap();
        }
        let (auth, keys) = (&parts.stores.auth, &parts.stores.keys);
        let organization = auth.first_organization().await.unwrap().unwrap();
        assert_eq!(organization.name, "default");
        let key = keys.by_hash(&credentials::hash(secret.expose())).await.unwrap().unwrap();
        assert_eq!(key.organization, organization.id);
        assert_eq!(key.scopes, [Scope::Admin].into());
        let presented = keys.look_up(&key.secret_hash).await.unwrap().unwrap();
        assert_eq!(presented.role, Some(gantry_domain::role::Role::Admin));
        assert_eq!(presented.user.unwrap().email.as_str(), ADMIN);
        ensure(&parts, Some(&secret)).await.unwrap();

        let second = Secret::new(credentials::new_api_key());
        ensure(&parts, Some(&second)).await.unwrap();
        let key = keys.by_hash(&credentials::hash(second.expose())).await.unwrap().unwrap();
        assert_eq!(key.organization, organization.id, "a new key for the organization that is there");
    }

    #[tokio::test]
    async fn without_a_key_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let parts = parts(&dir);
        ensure(&parts, None).await.unwrap();
        assert_eq!(parts.stores.auth.first_organization().await.unwrap(), None);
    }
}
