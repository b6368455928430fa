//! API keys: made, shown once, replaced, ended.

use std::time::Duration;

use gantry_domain::id::{KeyId, UserId};
use gantry_domain::identity::{ApiKey, AuditAction};
use gantry_domain::permission::{Permission, Scope};
use gantry_domain::run::Actor;
use gantry_store::Page;

use super::audit;
use super::change::change;
use crate::access::Caller;
use crate::error::{ApiError, ApiResult};
use crate::services::credentials;
use crate::state::App;

const LONGEST_LIFE_DAYS: u32 = 3650;

/// A new key of the caller's, and its secret.
pub async fn create(
    app: &App,
    caller: &Caller,
    name: String,
    scopes: Vec<Scope>,
    expires_in_days: Option<u32>,
) -> ApiResult<(ApiKey, String)> {
    if scopes.is_empty() {
        return Err(ApiError::field("/scopes", "name one at least, such as `runs:write`"));
    }
    if expires_in_days.is_some_and(|days| !(1..=LONGEST_LIFE_DAYS).contains(&days)) {
        return Err(ApiError::field(
            "/expires_in_days",
            format!("give 1 to {LONGEST_LIFE_DAYS}, or nothing"),
        ));
    }
    let (secret, now) = (credentials::new_api_key(), app.now());
    let (hash, prefix) = (credentials::hash(&secret), credentials::shown_prefix(&secret));
    let key = ApiKey::new(caller.organization, caller.user, name, scopes, hash, prefix, now);
    let life = expires_in_days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600));
    // Else whoever finds a key that ends would have one that does not.
    let bound = match caller.actor {
        Actor::Key(maker) => {
            app.parts.stores.keys.get(caller.organization, maker).await?.and_then(|maker| maker.expires_at)
        }
        Actor::User(_) | Actor::System => None,
    };
    let wanted = life.map(|life| now + life);
    let key = ApiKey { expires_at: wanted.into_iter().chain(bound).min(), ..key };
    app.parts.stores.keys.add(&key).await?;
    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let entry = audit::done(app, caller, AuditAction::KeyCreated).to(key.id);
    audit::write(app, entry.with("name", &key.name).with("scopes", scopes.join(" "))).await;
    Ok((key, secret))
}

/// The caller's keys, or everybody's.
pub async fn list(
    app: &App,
    caller: &Caller,
    everybodys: bool,
    after: Option<KeyId>,
    limit: u32,
) -> ApiResult<Page<ApiKey, KeyId>> {
    let owner: Option<UserId> = if everybodys { None } else { Some(caller.user) };
    if everybodys {
        caller.must(Permission::KeysAll)?;
    }
    Ok(app.parts.stores.keys.list(caller.organization, owner, after, limit).await?)
}

/// A key that the caller may change: another's does not exist to those who may not.
async fn get(app: &App, caller: &Caller, id: KeyId) -> ApiResult<ApiKey> {
    let found = app.parts.stores.keys.get(caller.organization, id).await?;
    let mine = |key: &ApiKey| key.owner == caller.user || caller.permissions.contains(Permission::KeysAll);
    found.filter(mine).ok_or_else(ApiError::not_found)
}

pub async fn revoke(app: &App, caller: &Caller, id: KeyId) -> ApiResult<()> {
    let (key, now, keys) = (get(app, caller, id).await?, app.now(), &app.parts.stores.keys);
    if key.revoked_at.is_some() {
        return Ok(());
    }
    change(&**keys, key, |key| Ok(key.revoke(now))).await?;
    app.identity.credentials.forget();
    audit::write(app, audit::done(app, caller, AuditAction::KeyRevoked).to(id)).await;
    Ok(())
}

/// The key with another secret; the old one stops at once.
pub async fn rotate(app: &App, caller: &Caller, id: KeyId) -> ApiResult<(ApiKey, String)> {
    let (key, now, keys) = (get(app, caller, id).await?, app.now(), &app.parts.stores.keys);
    if matches!(caller.actor, Actor::Key(other) if other != id) {
        // It may end, and be allowed less.
        return Err(ApiError::conflict(
            "A key can give only itself another secret: sign in to replace others.",
        ));
    }
    if key.owner != caller.user {
        // Its secret would let somebody act as its owner.
        return Err(ApiError::conflict("Only its owner can give a key another secret. You can revoke it."));
    }
    let secret = credentials::new_api_key();
    let decide = |key: &ApiKey| {
        let (hash, prefix) = (credentials::hash(&secret), credentials::shown_prefix(&secret));
        key.rotate(hash, prefix, now)
            .map_err(|error| ApiError::conflict(format!("It cannot be rotated: {error}.")))
    };
    let (_, key) = change(&**keys, key, decide).await?;
    app.identity.credentials.forget();
    audit::write(app, audit::done(app, caller, AuditAction::KeyRotated).to(id)).await;
    Ok((key, secret))
}
