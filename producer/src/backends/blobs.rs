//! Where artifacts and sealed logs are.

use std::path::PathBuf;

use gantry_service_kit::config::{Secret, Source};

use super::{Composition, StoreConfig};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobsConfig {
    /// Files; producers of one installation must all see the same directory.
    Directory { path: PathBuf },
    /// In the database of a MongoDB store.
    GridFs { uri: Secret },
}

const EXPECTED: &str = "expected gridfs, s3://BUCKET/PREFIX or file:///PATH";

impl BlobsConfig {
    pub(super) fn read(source: &mut Source, composition: Composition<'_>, store: &StoreConfig) -> Self {
        let own = match composition {
            Composition::OneProcess { data_dir } => data_dir.join("blobs"),
            Composition::Deployment => PathBuf::new(),
        };
        let given = source.optional::<String>("blobs");
        match (given.as_deref().map(str::trim), composition, store) {
            (None, Composition::Deployment, StoreConfig::Mongo { uri }) => Self::GridFs { uri: uri.clone() },
            // Without a store the error is the store's.
            (None, _, _) => Self::Directory { path: own },
            (Some("gridfs"), _, StoreConfig::Mongo { uri }) => Self::GridFs { uri: uri.clone() },
            (Some("gridfs"), _, StoreConfig::Sqlite { .. }) => {
                source.reject("blobs", "gridfs is a part of MongoDB: set the store to mongodb://… too");
                Self::Directory { path: own }
            }
            (Some(text), _, _) => match text.strip_prefix("file://") {
                Some(path) if path.starts_with('/') => Self::Directory { path: path.into() },
                Some(_) => {
                    source.reject("blobs", "the path must be absolute, as in file:///var/lib/gantry/blobs");
                    Self::Directory { path: own }
                }
                None => {
                    source.reject("blobs", EXPECTED);
                    Self::Directory { path: own }
                }
            },
        }
    }
}
