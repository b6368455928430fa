//! Brings organizations, users and keys of version 1 over: each user had one organization, and a key had no owner. Every
//! write is guarded by the document having no version yet, so that several processes may do this at once.

use mongodb::bson::{Document, doc};

use super::super::auth::BOOTSTRAP;
use super::super::calls::Call;
use super::super::{Core, names};
use crate::{Result, StoreError};

fn record(value: &serde_json::Value) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

pub(super) async fn bring_over(core: &Core, call: &Call) -> Result<()> {
    let settings = core.documents(names::SETTINGS);
    let begun = doc! { "_id": BOOTSTRAP, "done": false };
    if call.run(|| async { settings.find_one(begun.clone()).await }).await?.is_some() {
        core.finish_bootstrap(call).await?;
    }
    // An installation had one user.
    let users = all(core, call, names::USERS).await?;
    for user in users.iter().filter(|user| is_old(user)) {
        let email = text(user, "email").trim().to_ascii_lowercase();
        let created_at = millis(user, "created_at");
        let document = serde_json::json!({
            "v": 1, "id": text(user, "_id"), "version": 1, "email": email, "password": text(user, "password_hash"),
            "created_at": created_at, "password_changed_at": created_at,
        });
        write(core, call, names::USERS, user, doc! { "record": record(&document)?, "email": email }).await?;
    }
    let members = |organization: &str| -> Vec<&Document> {
        users.iter().filter(|user| user.get_str("organization").is_ok_and(|of| of == organization)).collect()
    };
    for organization in all(core, call, names::ORGANIZATIONS).await?.iter().filter(|found| is_old(found)) {
        let members = members(text(organization, "_id"));
        let listed: Vec<_> = members
            .iter()
            .map(|user| serde_json::json!({ "user": text(user, "_id"), "role": "admin", "since": millis(user, "created_at") }))
            .collect();
        let document = serde_json::json!({
            "v": 1, "id": text(organization, "_id"), "version": 1, "name": text(organization, "name"),
            "created_at": millis(organization, "created_at"), "members": listed,
        });
        let members: Vec<_> =
            members.iter().map(|user| doc! { "user": text(user, "_id"), "role": "admin" }).collect();
        let beside = doc! { "record": record(&document)?, "members": members };
        write(core, call, names::ORGANIZATIONS, organization, beside).await?;
    }
    for key in all(core, call, names::KEYS).await?.iter().filter(|key| is_old(key)) {
        // Whoever made the installation had its keys; without him a key is nobody's, and can do nothing.
        let nobody = gantry_domain::id::UserId::from_u128(0).to_string();
        let owner = members(text(key, "organization"));
        let owner = owner.first().map_or(nobody.as_str(), |user| text(user, "_id"));
        let hash = key.get_binary_generic("secret_hash").cloned().unwrap_or_default();
        let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut document = serde_json::json!({
            "v": 1, "id": text(key, "_id"), "version": 1, "organization": text(key, "organization"), "owner": owner,
            "name": text(key, "name"), "scopes": ["admin"], "secret_hash": digits,
            "created_at": millis(key, "created_at"),
        });
        if key.get_datetime("revoked_at").is_ok() {
            document["revoked_at"] = millis(key, "revoked_at").into();
        }
        write(core, call, names::KEYS, key, doc! { "record": record(&document)?, "owner": owner }).await?;
    }
    Ok(())
}

async fn all(core: &Core, call: &Call, collection: &str) -> Result<Vec<Document>> {
    let documents = core.raw(collection);
    let found = call.all(|| async { documents.find(doc! { "_id": { "$gt": "" } }).await }, |_| false).await?;
    let read = |document: &mongodb::bson::RawDocumentBuf| {
        Document::try_from(document.as_ref()).map_err(|error| StoreError::Corrupt(error.to_string()))
    };
    found.iter().map(read).collect()
}

async fn write(core: &Core, call: &Call, collection: &str, old: &Document, mut set: Document) -> Result<()> {
    set.insert("version", 1_i64);
    set.insert("operation", 0_i64);
    let documents = core.documents(collection);
    let filter = doc! { "_id": text(old, "_id"), "version": { "$exists": false } };
    let update = doc! { "$set": set };
    call.run(|| async { documents.update_one(filter.clone(), update.clone()).await }).await?;
    Ok(())
}

fn is_old(document: &Document) -> bool {
    !document.contains_key("version")
}

fn text<'a>(document: &'a Document, field: &str) -> &'a str {
    document.get_str(field).unwrap_or_default()
}

fn millis(document: &Document, field: &str) -> i64 {
    document.get_datetime(field).map(|at| at.timestamp_millis()).unwrap_or_default()
}
