//! Documents of other versions, written beside the store while it works.

use futures::TryStreamExt as _;
use gantry_domain::id::RunId;
use mongodb::Database;
use mongodb::bson::{Document, doc};
use serde_json::Value;

use crate::dress::{LATER, Version};

/// Documents altered in one pass.
const AT_ONCE: i64 = 20;

/// The database of a deployment.
#[derive(Clone)]
pub struct Documents(Database);

impl Documents {
    pub async fn of(uri: &str) -> Self {
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        Self(client.default_database().expect("the address names the database"))
    }

    pub async fn run_record(&self, run: RunId) -> String {
        let runs = self.0.collection::<Document>("runs");
        let run = runs.find_one(doc! { "_id": run.to_string() }).await.unwrap().expect("the run");
        run.get_str("record").unwrap().to_owned()
    }

    /// As whoever changes a run does: with a new version of the document.
    pub async fn write_run_record(&self, run: RunId, record: &str) {
        let change = doc! { "$set": { "record": record }, "$inc": { "version": 1_i64 } };
        let runs = self.0.collection::<Document>("runs");
        let written = runs.update_one(doc! { "_id": run.to_string() }, change).await.unwrap();
        assert_eq!(written.modified_count, 1);
    }

    /// Dresses some runs that go on, and the workers, where nobody changed them meanwhile; how many.
    pub async fn alter(&self, version: Version) -> u64 {
        self.alter_some("runs", doc! { "live": { "$exists": true } }, version).await
            + self.alter_some("workers", doc! {}, version).await
    }

    async fn alter_some(&self, collection: &str, which: Document, version: Version) -> u64 {
        let documents = self.0.collection::<Document>(collection);
        let Ok(found) = documents.find(which).limit(AT_ONCE).await else { return 0 };
        let Ok(found) = found.try_collect::<Vec<_>>().await else { return 0 };
        let mut altered = 0;
        for document in found {
            let (Ok(id), Ok(record)) = (document.get_str("_id"), document.get_str("record")) else {
                continue;
            };
            // Whoever changes a run drops what he does not know, so a dressed one was not changed since.
            let Ok(read) = serde_json::from_str::<Value>(record) else { continue };
            if read["v"] != 1 || read.get(LATER).is_some() {
                continue;
            }
            let mut dressed = read.clone();
            version.dress(&mut dressed);
            if dressed == read {
                continue;
            }
            let mut set = doc! { "record": dressed.to_string() };
            if version != Version::Older {
                set.insert(LATER, doc! { "a": [1, 2] });
            }
            let mut change = doc! { "$set": set };
            if document.contains_key("version") {
                change.insert("$inc", doc! { "version": 1_i64 });
            }
            let unchanged = doc! { "_id": id, "record": record };
            altered += documents.update_one(unchanged, change).await.map_or(0, |done| done.modified_count);
        }
        altered
    }
}
