//! Writing down what was set aside, and looking again at every start.

use futures::stream::{StreamExt as _, TryStreamExt as _, iter};
use gantry_domain::id::OrganizationId;
use gantry_domain::run::Run;
use mongodb::bson::{Bson, RawDocument, RawDocumentBuf, doc};

use super::document::{bad, decode, id_of, number, organization_of, text, time, time_of};
use super::schema::ASIDE_BY_TIME;
use super::{Core, names, workers};
use crate::Result;
use crate::aside::{DocumentKind, SetAside, Subject};

/// Documents looked at again at once, and at most.
const TOGETHER: usize = 16;
const LOOKED_AT: i64 = 10_000;

impl Core {
    /// The run in a document, unless it cannot be read.
    pub fn sift(&self, document: &RawDocument) -> Result<Option<Run>> {
        let subject = Subject {
            kind: DocumentKind::Run,
            id: id_of(document)?.as_u128(),
            organization: organization_of(document).ok(),
            state: number(document, "version").unwrap_or(0),
        };
        self.aside.sift(subject, || decode(document))
    }

    /// Writes down what was set aside since the last time. A failure costs nobody his answer.
    pub async fn write_down_aside(&self) {
        let fresh = self.aside.take_fresh();
        if fresh.is_empty() {
            return;
        }
        let documents: Vec<_> = fresh
            .iter()
            .map(|aside| {
                doc! {
                    "_id": format!("{}/{}", aside.kind.as_str(), aside.id),
                    "organization": aside.organization.map_or(Bson::Null, |id| id.to_string().into()),
                    "why": &aside.why,
                    "at": time(aside.at),
                }
            })
            .collect();
        let borrowed: Vec<_> = documents.iter().collect();
        let written = self.insert_all(&self.call(), names::SET_ASIDE, &borrowed).await;
        let mut failed = Vec::new();
        for (aside, outcome) in fresh.into_iter().zip(written) {
            // One that is there already was seen by another process, or in another state.
            if let Err(super::errors::Fault::Store(error)) = outcome {
                tracing::warn!(%error, "what was set aside is not written down yet");
                failed.push(aside);
            }
        }
        self.aside.put_back(failed);
    }

    pub async fn list_aside(&self, organization: OrganizationId, limit: u32) -> Result<Vec<SetAside>> {
        let own = doc! {
            "at": { "$gt": time(gantry_domain::time::Timestamp::EPOCH) },
            "organization": { "$in": [Bson::from(organization.to_string()), Bson::Null] },
        };
        let aside = self.raw(names::SET_ASIDE);
        let query = || async {
            let found = aside.find(own.clone()).sort(doc! { "at": -1 });
            found.limit(i64::from(limit.max(1))).hint(ASIDE_BY_TIME.hint()).await
        };
        self.call().all(query, |_| false).await?.iter().map(|document| read(document)).collect()
    }

    /// Strikes out what this version can read, and what is gone.
    pub async fn look_again(&self) -> Result<()> {
        let aside = self.raw(names::SET_ASIDE);
        let query = || async { aside.find(doc! { "_id": { "$gt": "" } }).limit(LOOKED_AT).await };
        let listed: Vec<RawDocumentBuf> = self.call().all(query, |_| false).await?;
        let checked = listed.into_iter().map(|document| self.is_readable(document));
        let readable = iter(checked).buffer_unordered(TOGETHER).try_collect::<Vec<_>>().await?;
        let readable: Vec<_> = readable.into_iter().flatten().collect();
        if !readable.is_empty() {
            let these = doc! { "_id": { "$in": readable } };
            self.call().run(|| async { aside.delete_many(these.clone()).await }).await?;
        }
        Ok(())
    }
}

impl Core {
    /// The id of a note whose document this version can read, or that is gone.
    async fn is_readable(&self, note: RawDocumentBuf) -> Result<Option<String>> {
        let (kind, id) = named(&note)?;
        let collection = match kind {
            DocumentKind::Run => names::RUNS,
            DocumentKind::Worker => names::WORKERS,
        };
        let documents = self.raw(collection);
        let found = self.call().run(|| async { documents.find_one(doc! { "_id": id }).await }).await?;
        let readable = found.is_none_or(|found| match kind {
            DocumentKind::Run => decode(&found).is_ok(),
            DocumentKind::Worker => workers::decode(&found).is_ok(),
        });
        Ok(readable.then(|| text(&note, "_id").unwrap_or_default().to_owned()))
    }
}

fn named(document: &RawDocument) -> Result<(DocumentKind, &str)> {
    let (kind, id) = text(document, "_id")?.split_once('/').ok_or_else(|| bad(document, "_id"))?;
    Ok((DocumentKind::parse(kind).ok_or_else(|| bad(document, "_id"))?, id))
}

fn read(document: &RawDocument) -> Result<SetAside> {
    let (kind, id) = named(document)?;
    Ok(SetAside {
        kind,
        id: id.to_owned(),
        organization: organization_of(document).ok(),
        why: text(document, "why")?.to_owned(),
        at: time_of(document, "at")?,
    })
}
