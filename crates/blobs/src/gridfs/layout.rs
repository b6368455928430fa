//! The collections and their indexes. `blobs.files` and `blobs.chunks` are a GridFS bucket that its tools can read.

use std::time::Duration;

use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{IndexOptions, SelectionCriteria};
use mongodb::{Collection, Database, IndexModel};

use super::calls::call;
use crate::BlobError;

/// Which file, or which bytes, are the blob of a key.
pub(super) const INDEX: &str = "blobs.index";
const FILES: &str = "blobs.files";
const CHUNKS: &str = "blobs.chunks";
/// Files that are not in the index yet, or not any more.
const GARBAGE: &str = "blobs.garbage";

/// Every index, so that no query walks through a collection. GridFS's own have the names that drivers give them.
pub(super) const INDEXES: [(&str, &str, bool); 4] = [
    (INDEX, "by_run", false),
    (FILES, "filename_1_uploadDate_1", false),
    (CHUNKS, "files_id_1_n_1", true),
    (GARBAGE, "by_age", false),
];

fn keys(index: &str) -> Document {
    match index {
        "by_run" => doc! { "organization": 1, "run": 1 },
        "filename_1_uploadDate_1" => doc! { "filename": 1, "uploadDate": 1 },
        "files_id_1_n_1" => doc! { "files_id": 1, "n": 1 },
        _ => doc! { "at": 1 },
    }
}

pub(super) struct Layout {
    database: Database,
    pub(super) index: Collection<Document>,
    pub(super) files: Collection<Document>,
    pub(super) chunks: Collection<Document>,
    pub(super) garbage: Collection<Document>,
}

impl Layout {
    pub(super) fn new(database: Database) -> Self {
        Self {
            index: database.collection(INDEX),
            files: database.collection(FILES),
            chunks: database.collection(CHUNKS),
            garbage: database.collection(GARBAGE),
            database,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.database.name()
    }

    /// The same collection, for reading bytes without taking every document apart.
    pub(super) fn raw(collection: &Collection<Document>) -> Collection<RawDocumentBuf> {
        collection.clone_with_type()
    }

    pub(super) async fn make_indexes(&self) -> Result<(), BlobError> {
        for (collection, name, unique) in INDEXES {
            let options =
                IndexOptions::builder().name(name.to_owned()).unique(unique.then_some(true)).build();
            let model = IndexModel::builder().keys(keys(name)).options(options).build();
            let collection = self.database.collection::<Document>(collection);
            call(|| async { collection.create_index(model.clone()).await }).await?;
        }
        Ok(())
    }

    pub(super) async fn check(&self) -> Result<(), BlobError> {
        let ping = self
            .database
            .run_command(doc! { "ping": 1 })
            .selection_criteria(SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary));
        // Whoever asks wants to know soon.
        match tokio::time::timeout(Duration::from_secs(2), ping).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(super::error::refused(&error)),
            Err(_) => Err(BlobError::Unavailable("the server does not answer in time".to_owned())),
        }
    }

    #[cfg(test)]
    pub(super) fn database(&self) -> &Database {
        &self.database
    }
}
