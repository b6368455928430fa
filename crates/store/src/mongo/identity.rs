//! People, organizations and credentials as documents: the record as its JSON text, and beside it what it is looked up by.
//! Every kind is added, found and compared and set in the same way. Each write leaves an operation id behind, which tells
//! whether one whose answer was lost had its effect.

mod audit;
mod invitations;
mod keys;
mod organizations;
mod resets;
mod sessions;
mod sign_ins;
mod users;

use gantry_domain::identity::{ApiKey, Invitation, Organization, PasswordReset, Session, User};
use gantry_domain::project::Project;
use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};

use super::calls::Call;
use super::document::{bytes, integer, number, record_text, text, time};
use super::errors::Fault;
use super::schema::Index;
use super::{Core, names};
use crate::kept::{Field, Kept, sift};
use crate::{Changed, Page, Result};

/// Which collection a kind is in.
pub(super) trait Stored: Kept {
    const COLLECTION: &'static str;

    /// Fields that only this backend keeps.
    fn more(&self) -> Document {
        Document::new()
    }

    fn of_document(document: &RawDocument) -> Result<Self> {
        Self::decode(text(document, "record")?.as_bytes())
    }
}

macro_rules! collections {
    ($($kind:ty: $name:ident;)*) => {$(
        impl Stored for $kind {
            const COLLECTION: &'static str = names::$name;
        }
    )*};
}

collections! {
    User: USERS;
    Session: SESSIONS;
    Invitation: INVITATIONS;
    PasswordReset: RESETS;
    Project: PROJECTS;
}

impl Stored for Organization {
    const COLLECTION: &'static str = names::ORGANIZATIONS;

    fn more(&self) -> Document {
        organizations::members(self)
    }
}

impl Stored for ApiKey {
    const COLLECTION: &'static str = names::KEYS;

    fn of_document(document: &RawDocument) -> Result<Self> {
        keys::read(document)
    }
}

/// The parts of an update: what is there, and the names of what is not.
fn parts<T: Stored>(kept: &T, operation: i64) -> Result<(Document, Vec<&'static str>)> {
    let record = record_text(&format!("a {}", T::KIND), kept.encode()?)?;
    let mut set = doc! { "version": integer(kept.version()), "operation": operation, "record": record };
    let mut absent = Vec::new();
    for (name, field) in kept.fields() {
        let value: Bson = match field {
            Field::Id(id) => id.text.into(),
            Field::Text(text) => text.into(),
            Field::Hash(hash) => bytes(&hash),
            Field::Time(at) | Field::Since(Some(at)) => time(at).into(),
            Field::While(true) => true.into(),
            Field::While(false) | Field::Since(None) => {
                absent.push(name);
                continue;
            }
        };
        set.insert(name, value);
    }
    set.extend(kept.more());
    Ok((set, absent))
}

/// A new document.
pub(super) fn document<T: Stored>(kept: &T) -> Result<Document> {
    let (set, _) = parts(kept, rand::random())?;
    let mut document = doc! { "_id": kept.id().text };
    document.extend(set);
    Ok(document)
}

impl Core {
    /// Stores a new value unless its id or another unique value is there.
    pub async fn add_kept<T: Stored>(&self, kept: &T) -> Result<bool> {
        let call = self.call();
        let document = document(kept)?;
        let documents = self.documents(T::COLLECTION);
        match call.run(|| async { documents.insert_one(&document).await }).await {
            Ok(_) => Ok(true),
            // Perhaps by an earlier try whose answer was lost.
            Err(Fault::Duplicate) => {
                let ours = doc! { "_id": kept.id().text };
                let stored = self.first(&call, T::COLLECTION, &ours).await?;
                let operation = document.get_i64("operation").ok();
                Ok(stored.is_some_and(|stored| stored.get_i64("operation").ok() == operation))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// Stores a successor if the stored version is the one before.
    pub async fn swap_kept<T: Stored>(&self, next: &T) -> Result<Changed<T>> {
        let call = self.call();
        let operation: i64 = rand::random();
        let (set, absent) = parts(next, operation)?;
        let id = next.id().text;
        let filter = doc! { "_id": &id, "version": integer(next.version().saturating_sub(1)) };
        let mut update = doc! { "$set": set };
        if !absent.is_empty() {
            let unset: Document = absent.into_iter().map(|name| (name.to_owned(), "".into())).collect();
            update.insert("$unset", unset);
        }
        let documents = self.documents(T::COLLECTION);
        match call.run(|| async { documents.update_one(filter.clone(), update.clone()).await }).await {
            Ok(updated) if updated.matched_count > 0 => return Ok(Changed::Updated),
            Ok(_) => {}
            Err(Fault::Duplicate) => return Ok(Changed::Taken),
            Err(fault) => return Err(fault.into()),
        }
        let Some(current) = self.first(&call, T::COLLECTION, &doc! { "_id": &id }).await? else {
            return Ok(Changed::NotFound);
        };
        // By an earlier try whose answer was lost.
        let ours = current.get_i64("operation").is_ok_and(|stored| stored == operation);
        if ours && number(&current, "version")? == next.version() {
            return Ok(Changed::Updated);
        }
        Ok(Changed::Conflict(T::of_document(&current)?))
    }

    /// The one value that is so.
    pub async fn find_kept<T: Stored>(&self, filter: Document) -> Result<Option<T>> {
        let found = self.first(&self.call(), T::COLLECTION, &filter).await?;
        found.map(|document| T::of_document(&document)).transpose()
    }

    async fn first(
        &self,
        call: &Call,
        collection: &str,
        filter: &Document,
    ) -> Result<Option<RawDocumentBuf>> {
        let documents = self.raw(collection);
        Ok(call.run(|| async { documents.find_one(filter.clone()).await }).await?)
    }

    /// Newest first, through this index; one more than `limit`, so that it is known whether there are more.
    pub(super) async fn newest(
        &self,
        collection: &str,
        filter: Document,
        index: Index,
        limit: u32,
    ) -> Result<Vec<RawDocumentBuf>> {
        let documents = self.raw(collection);
        let count = i64::from(limit.max(1)) + 1;
        let query = || async {
            documents.find(filter.clone()).sort(doc! { "_id": -1 }).limit(count).hint(index.hint()).await
        };
        Ok(self.call().all(query, |_| false).await?)
    }

    /// Removes what is so; answers how many.
    pub(super) async fn forget_kept(&self, collection: &str, filter: Document) -> Result<u64> {
        let documents = self.documents(collection);
        let deleted = self.call().run(|| async { documents.delete_many(filter.clone()).await }).await?;
        Ok(deleted.deleted_count)
    }
}

/// Those that can be read.
fn readable<T>(
    kind: &'static str,
    found: &[RawDocumentBuf],
    read: impl Fn(&RawDocument) -> Result<T>,
) -> Result<Vec<T>> {
    let mut values = Vec::with_capacity(found.len());
    for document in found {
        values.extend(sift(kind, document.get_str("_id").unwrap_or("?"), read(document))?);
    }
    Ok(values)
}

/// The first `limit` of what was found with one more.
pub(super) fn page<T, C: std::str::FromStr>(
    kind: &'static str,
    mut found: Vec<RawDocumentBuf>,
    limit: u32,
    read: impl Fn(&RawDocument) -> Result<T>,
) -> Result<Page<T, C>> {
    let limit = limit.max(1) as usize;
    let more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| more);
    let next = last.map(|last| text(last, "_id")).transpose()?.and_then(|id| id.parse().ok());
    Ok(Page { items: readable(kind, &found, read)?, next })
}

/// A filter with the ids that come after a page's end.
pub(super) fn below(mut filter: Document, after: Option<impl ToString>) -> Document {
    if let Some(after) = after {
        filter.insert("_id", doc! { "$lt": after.to_string() });
    }
    filter
}
