use async_trait::async_trait;
use gantry_domain::id::{KeyId, OrganizationId, UserId};
use gantry_domain::identity::key::USE_STEP;
use gantry_domain::identity::{ApiKey, SecretHash};
use gantry_domain::time::Timestamp;
use mongodb::bson::{RawDocument, doc};

use super::super::document::{bytes, text, time, time_of};
use super::super::options::relaxed;
use super::super::schema::{KEYS_BY_ORGANIZATION, KEYS_BY_OWNER};
use super::super::{Mongo, names};
use super::{Stored, below, page};
use crate::kept::Kept;
use crate::{ApiKeyStore, Changed, Page, Presented, Result, StoreError};

/// The record, with the last use that stands beside it.
pub(super) fn read(document: &RawDocument) -> Result<ApiKey> {
    let key = ApiKey::decode(text(document, "record")?.as_bytes())?;
    Ok(ApiKey { last_used_at: time_of(document, "last_used_at").ok(), ..key })
}

#[async_trait]
impl ApiKeyStore for Mongo {
    async fn add(&self, key: &ApiKey) -> Result<()> {
        if self.core.add_kept(key).await? {
            return Ok(());
        }
        match self.core.find_kept::<ApiKey>(doc! { "_id": key.id.to_string() }).await? {
            Some(known) if known.secret_hash == key.secret_hash => Ok(()),
            _ => Err(StoreError::Corrupt("another key has this id or this secret".to_owned())),
        }
    }

    async fn by_hash(&self, secret_hash: &SecretHash) -> Result<Option<ApiKey>> {
        self.core.find_kept(doc! { "secret_hash": bytes(secret_hash) }).await
    }

    async fn look_up(&self, secret_hash: &SecretHash) -> Result<Option<Presented<ApiKey>>> {
        let Some(key) = self.by_hash(secret_hash).await? else { return Ok(None) };
        let (user, role) = tokio::try_join!(
            self.core.find_kept(doc! { "_id": key.owner.to_string() }),
            self.core.role_of(key.organization, key.owner),
        )?;
        Ok(Some(Presented { credential: key, user, role }))
    }

    async fn get(&self, organization: OrganizationId, id: KeyId) -> Result<Option<ApiKey>> {
        self.core.find_kept(doc! { "_id": id.to_string(), "organization": organization.to_string() }).await
    }

    async fn list(
        &self,
        organization: OrganizationId,
        owner: Option<UserId>,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Page<ApiKey, KeyId>> {
        let mut filter = doc! { "organization": organization.to_string() };
        let index = match owner {
            Some(owner) => {
                filter.insert("owner", owner.to_string());
                KEYS_BY_OWNER
            }
            None => KEYS_BY_ORGANIZATION,
        };
        let found = self.core.newest(names::KEYS, below(filter, after), index, limit).await?;
        page(ApiKey::KIND, found, limit, ApiKey::of_document)
    }

    async fn update(&self, next: &ApiKey) -> Result<Changed<ApiKey>> {
        self.core.swap_kept(next).await
    }

    async fn used(&self, id: KeyId, at: Timestamp) -> Result<()> {
        let keys = self.core.documents(names::KEYS);
        let noted_lately = doc! { "$gt": time(at - USE_STEP) };
        let filter = doc! { "_id": id.to_string(), "last_used_at": { "$not": noted_lately } };
        let update = doc! { "$set": { "last_used_at": time(at) } };
        let noted = self
            .core
            .call()
            .run(|| async { keys.update_one(filter.clone(), update.clone()).write_concern(relaxed()).await });
        noted.await?;
        Ok(())
    }
}
