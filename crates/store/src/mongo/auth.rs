use async_trait::async_trait;
use gantry_domain::id::{InstallationId, OrganizationId};
use gantry_domain::identity::Organization;
use mongodb::bson::{Document, doc};

use super::calls::Call;
use super::document::{bad, text};
use super::errors::Fault;
use super::identity::{Stored, document};
use super::{Core, Mongo, names};
use crate::{AuthStore, Bootstrap, Result, StoreError};

const INSTALLATION: &str = "installation";
pub(super) const BOOTSTRAP: &str = "bootstrap";
const CHECKED: &str = "checked";

/// What a first start makes, and where, in this order.
pub(super) const FIRST: [(&str, &str); 3] =
    [(names::ORGANIZATIONS, "organization"), (names::USERS, "user"), (names::KEYS, "key")];

#[async_trait]
impl AuthStore for Mongo {
    async fn installation(&self) -> Result<InstallationId> {
        let (core, call) = (&self.core, self.core.call());
        loop {
            if let Some(known) = core.setting(&call, INSTALLATION).await? {
                return text(&known, "value")?.parse().map_err(|_| bad(&known, "value"));
            }
            let fresh = doc! { "_id": INSTALLATION, "value": InstallationId::new().to_string() };
            core.insert_new(&call, names::SETTINGS, &fresh).await?;
        }
    }

    async fn bootstrap(&self, first: &Bootstrap) -> Result<bool> {
        let (core, call) = (&self.core, self.core.call());
        if self.first_organization().await?.is_some() && core.setting(&call, BOOTSTRAP).await?.is_none() {
            return Ok(false);
        }
        // One insert elects who is first; it holds all there is to do, so that anybody can finish what he began.
        let Bootstrap { organization, user, key } = first;
        let elected = doc! {
            "_id": BOOTSTRAP,
            "done": false,
            "organization": document(organization)?,
            "user": document(user)?,
            "key": document(key)?,
        };
        core.insert_new(&call, names::SETTINGS, &elected).await?;
        let elected = core.finish_bootstrap(&call).await?;
        Ok(elected == organization.id.to_string())
    }

    async fn first_organization(&self) -> Result<Option<Organization>> {
        let organizations = self.core.raw(names::ORGANIZATIONS);
        let first = self.core.call().run(|| async {
            organizations.find_one(doc! { "_id": { "$gt": "" } }).sort(doc! { "_id": 1 }).await
        });
        first.await?.map(|organization| Organization::of_document(&organization)).transpose()
    }

    async fn operators(&self) -> Result<Option<OrganizationId>> {
        let call = self.core.call();
        let Some(stored) = self.core.setting(&call, BOOTSTRAP).await? else { return Ok(None) };
        let elected =
            stored.get_document("organization").ok().and_then(|elected| elected.get_str("_id").ok());
        let elected = elected.and_then(|id| id.parse().ok());
        elected.map(Some).ok_or_else(|| bad(&stored, "organization"))
    }

    async fn check(&self) -> Result<()> {
        let (core, call) = (&self.core, self.core.call());
        let settings = core.documents(names::SETTINGS);
        let update = doc! { "$inc": { "times": 1_i64 } };
        let checked =
            call.run(|| async { settings.update_one(doc! { "_id": CHECKED }, update.clone()).await });
        if checked.await?.matched_count == 0 {
            core.insert_new(&call, names::SETTINGS, &doc! { "_id": CHECKED, "times": 1_i64 }).await?;
        }
        core.setting(&call, CHECKED).await?;
        Ok(())
    }
}

impl Core {
    async fn setting(&self, call: &Call, name: &str) -> Result<Option<mongodb::bson::RawDocumentBuf>> {
        let settings = self.raw(names::SETTINGS);
        Ok(call.run(|| async { settings.find_one(doc! { "_id": name }).await }).await?)
    }

    /// Inserts a document unless one with its id, or another unique value, is there.
    pub async fn insert_new(&self, call: &Call, collection: &str, document: &Document) -> Result<()> {
        let documents = self.documents(collection);
        match call.run(|| async { documents.insert_one(document).await }).await {
            Ok(_) | Err(Fault::Duplicate) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Makes what the elected first start holds, if that is not done; answers whose organization it is.
    pub async fn finish_bootstrap(&self, call: &Call) -> Result<String> {
        let settings = self.documents(names::SETTINGS);
        let stored = call.run(|| async { settings.find_one(doc! { "_id": BOOTSTRAP }).await }).await?;
        let stored =
            stored.ok_or_else(|| StoreError::Unavailable("the first start was undone".to_owned()))?;
        let elected = stored.get_document("organization").ok().and_then(|stored| stored.get_str("_id").ok());
        let elected = elected.unwrap_or_default().to_owned();
        if !stored.get_bool("done").unwrap_or(false) {
            for (collection, part) in FIRST {
                let unreadable = |_| StoreError::Corrupt(format!("the first start has no {part}"));
                self.insert_new(call, collection, stored.get_document(part).map_err(unreadable)?).await?;
            }
            // What it held is where it belongs now.
            let done = doc! {
                "$set": { "done": true, "organization": { "_id": &elected } },
                "$unset": { "user": "", "key": "" },
            };
            call.run(|| async { settings.update_one(doc! { "_id": BOOTSTRAP }, done.clone()).await }).await?;
        }
        Ok(elected)
    }
}
