use async_trait::async_trait;
use gantry_domain::id::WorkerId;
use gantry_domain::time::Timestamp;
use gantry_domain::worker::Worker;
use mongodb::bson::{RawDocument, doc};
use mongodb::options::ReturnDocument;

use super::document::{bad, text, time, time_of};
use super::errors::Fault;
use super::options::relaxed;
use super::{Mongo, names};
use crate::aside::{DocumentKind, Subject, state_of};
use crate::record::{decode_worker, encode_worker};
use crate::{Result, StoreError, WorkerStore};

/// What a worker does not decide itself stands beside its record, and wins over it.
pub(super) fn decode(document: &RawDocument) -> Result<Worker> {
    let mut worker = decode_worker(text(document, "record")?.as_bytes())?;
    worker.draining = document.get_bool("draining").map_err(|_| bad(document, "draining"))?;
    worker.registered_at = time_of(document, "registered_at")?;
    Ok(worker)
}

#[async_trait]
impl WorkerStore for Mongo {
    async fn put(&self, worker: &Worker) -> Result<Worker> {
        let call = self.core.call();
        let record = String::from_utf8(encode_worker(worker)?)
            .map_err(|_| StoreError::Corrupt("a worker record is not text".to_owned()))?;
        let update = doc! {
            "$set": {
                "pool": worker.pool.as_str(),
                "last_seen_at": time(worker.last_seen_at),
                "record": record,
            },
            "$setOnInsert": { "draining": worker.draining, "registered_at": time(worker.registered_at) },
        };
        let workers = self.core.raw(names::WORKERS);
        let id = worker.id.to_string();
        loop {
            let put = call.run(|| async {
                workers
                    .find_one_and_update(doc! { "_id": &id }, update.clone())
                    .upsert(true)
                    .return_document(ReturnDocument::After)
                    .write_concern(relaxed())
                    .await
            });
            match put.await {
                Ok(Some(stored)) => return decode(&stored),
                // Two first words of one worker met: the next try finds it there.
                Ok(None) | Err(Fault::Duplicate) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    async fn get(&self, id: WorkerId) -> Result<Option<Worker>> {
        let workers = self.core.raw(names::WORKERS);
        let found =
            self.core.call().run(|| async { workers.find_one(doc! { "_id": id.to_string() }).await }).await?;
        found.map(|worker| decode(&worker)).transpose()
    }

    async fn list(&self) -> Result<Vec<Worker>> {
        let workers = self.core.raw(names::WORKERS);
        let all = || async { workers.find(doc! { "_id": { "$gt": "" } }).await };
        let found = self.core.call().all(all, |_| false).await?;
        let mut workers = Vec::with_capacity(found.len());
        for document in &found {
            let id: WorkerId = text(document, "_id")?.parse().map_err(|_| bad(document, "_id"))?;
            let (kind, state) = (DocumentKind::Worker, state_of(document.as_bytes()));
            let subject = Subject { kind, id: id.as_u128(), organization: None, state };
            workers.extend(self.core.aside.sift(subject, || decode(document))?);
        }
        self.core.write_down_aside().await;
        workers.sort_by_key(|worker| std::cmp::Reverse((worker.registered_at, worker.id)));
        Ok(workers)
    }

    async fn set_draining(&self, id: WorkerId, draining: bool) -> Result<bool> {
        let workers = self.core.documents(names::WORKERS);
        let update = doc! { "$set": { "draining": draining } };
        let known = self
            .core
            .call()
            .run(|| async { workers.update_one(doc! { "_id": id.to_string() }, update.clone()).await });
        Ok(known.await?.matched_count > 0)
    }

    async fn forget(&self, id: Option<WorkerId>, before: Timestamp) -> Result<u64> {
        let call = self.core.call();
        let workers = self.core.documents(names::WORKERS);
        let silent = doc! { "last_seen_at": { "$lt": time(before) } };
        let gone = id.map(|id| doc! { "_id": id.to_string() });
        let mut forgotten = 0;
        for filter in gone.into_iter().chain([silent]) {
            let deleted =
                call.run(|| async { workers.delete_many(filter.clone()).write_concern(relaxed()).await });
            forgotten += deleted.await?.deleted_count;
        }
        Ok(forgotten)
    }
}
