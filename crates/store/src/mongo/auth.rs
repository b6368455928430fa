use async_trait::async_trait;
use gantry_domain::id::{InstallationId, OrganizationId};
use mongodb::bson::{Bson, Document, RawDocument, doc};

use super::calls::Call;
use super::document::{bad, bytes, text, time, time_of};
use super::errors::Fault;
use super::{Core, Mongo, names};
use crate::{ApiKey, AuthStore, Bootstrap, Organization, Result, StoreError};

const INSTALLATION: &str = "installation";
const BOOTSTRAP: &str = "bootstrap";
const CHECKED: &str = "checked";

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
            "organization": organization_document(organization),
            "user": {
                "_id": user.id.to_string(),
                "organization": user.organization.to_string(),
                "email": &user.email,
                "password_hash": &user.password_hash,
                "created_at": time(user.created_at),
            },
            "key": key_document(key),
        };
        core.insert_new(&call, names::SETTINGS, &elected).await?;
        let settings = core.documents(names::SETTINGS);
        let stored = call.run(|| async { settings.find_one(doc! { "_id": BOOTSTRAP }).await }).await?;
        let stored =
            stored.ok_or_else(|| StoreError::Unavailable("the first start was undone".to_owned()))?;
        if !stored.get_bool("done").unwrap_or(false) {
            for (collection, part) in
                [(names::ORGANIZATIONS, "organization"), (names::USERS, "user"), (names::KEYS, "key")]
            {
                let unreadable = |_| StoreError::Corrupt(format!("the first start has no {part}"));
                core.insert_new(&call, collection, stored.get_document(part).map_err(unreadable)?).await?;
            }
            // What it held is where it belongs now.
            let done = doc! {
                "$set": { "done": true, "organization": { "_id": stored_organization(&stored) } },
                "$unset": { "user": "", "key": "" },
            };
            call.run(|| async { settings.update_one(doc! { "_id": BOOTSTRAP }, done.clone()).await }).await?;
        }
        Ok(stored_organization(&stored) == organization.id.to_string())
    }

    async fn first_organization(&self) -> Result<Option<Organization>> {
        let organizations = self.core.raw(names::ORGANIZATIONS);
        let first = self.core.call().run(|| async {
            organizations.find_one(doc! { "_id": { "$gt": "" } }).sort(doc! { "_id": 1 }).await
        });
        first.await?.map(|organization| read_organization(&organization)).transpose()
    }

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>> {
        let organizations = self.core.raw(names::ORGANIZATIONS);
        let found =
            self.core.call().run(|| async { organizations.find_one(doc! { "_id": id.to_string() }).await });
        found.await?.map(|organization| read_organization(&organization)).transpose()
    }

    async fn key_by_hash(&self, secret_hash: &[u8; 32]) -> Result<Option<ApiKey>> {
        let keys = self.core.raw(names::KEYS);
        let wanted = doc! { "secret_hash": bytes(secret_hash) };
        let found = self.core.call().run(|| async { keys.find_one(wanted.clone()).await }).await?;
        found.map(|key| read_key(&key)).transpose()
    }

    async fn add_key(&self, key: &ApiKey) -> Result<()> {
        let call = self.core.call();
        let keys = self.core.documents(names::KEYS);
        let document = key_document(key);
        match call.answer(|| async { keys.insert_one(&document).await }).await {
            Ok(_) => Ok(()),
            // By an earlier try whose answer was lost.
            Err(Fault::Duplicate) if self.key_by_hash(&key.secret_hash).await?.as_ref() == Some(key) => {
                Ok(())
            }
            Err(fault) => Err(fault.into()),
        }
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
    async fn insert_new(&self, call: &Call, collection: &str, document: &Document) -> Result<()> {
        let documents = self.documents(collection);
        match call.run(|| async { documents.insert_one(document).await }).await {
            Ok(_) | Err(Fault::Duplicate) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }
}

fn stored_organization(bootstrap: &Document) -> String {
    let organization = bootstrap.get_document("organization").ok();
    organization.and_then(|organization| organization.get_str("_id").ok()).unwrap_or_default().to_owned()
}

fn organization_document(organization: &Organization) -> Document {
    doc! {
        "_id": organization.id.to_string(),
        "name": &organization.name,
        "created_at": time(organization.created_at),
    }
}

fn read_organization(document: &RawDocument) -> Result<Organization> {
    Ok(Organization {
        id: text(document, "_id")?.parse().map_err(|_| bad(document, "_id"))?,
        name: text(document, "name")?.to_owned(),
        created_at: time_of(document, "created_at")?,
    })
}

fn key_document(key: &ApiKey) -> Document {
    doc! {
        "_id": key.id.to_string(),
        "organization": key.organization.to_string(),
        "name": &key.name,
        "secret_hash": bytes(&key.secret_hash),
        "created_at": time(key.created_at),
        "revoked_at": key.revoked_at.map_or(Bson::Null, |at| time(at).into()),
    }
}

fn read_key(document: &RawDocument) -> Result<ApiKey> {
    let hash = document.get_binary("secret_hash").map_err(|_| bad(document, "secret_hash"))?;
    Ok(ApiKey {
        id: text(document, "_id")?.parse().map_err(|_| bad(document, "_id"))?,
        organization: super::document::organization_of(document)?,
        name: text(document, "name")?.to_owned(),
        secret_hash: hash.bytes.try_into().map_err(|_| bad(document, "secret_hash"))?,
        created_at: time_of(document, "created_at")?,
        revoked_at: time_of(document, "revoked_at").ok(),
    })
}
