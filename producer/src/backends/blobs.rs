//! Where artifacts and sealed logs are.

use std::path::PathBuf;

use gantry_blobs::{S3Credentials, S3Options};
use gantry_service_kit::config::{Secret, Source};

use super::{Composition, StoreConfig};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobsConfig {
    /// Files; producers of one installation must all see the same directory.
    Directory { path: PathBuf },
    /// In the database of a MongoDB store.
    GridFs { uri: Secret },
    /// A bucket of S3 or its like.
    S3(S3Config),
}

/// A bucket, and the way to it. What is not said comes from the variables that all tools for S3 know (`AWS_…`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    bucket: S3Options,
    credentials: Option<(String, Secret)>,
}

impl S3Config {
    fn read(source: &mut Source, bucket: S3Options) -> Self {
        let bucket = S3Options {
            endpoint: source.optional("s3.endpoint"),
            region: source.optional("s3.region"),
            path_style: source.bool("s3.path_style", true),
            ..bucket
        };
        let (id, secret) = (source.optional("s3.access_key_id"), source.secret("s3.secret_access_key"));
        let credentials = match (id, secret) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            (Some(_), None) => {
                source.reject("s3.secret_access_key", "is required beside s3.access_key_id");
                None
            }
            (None, Some(_)) => {
                source.reject("s3.access_key_id", "is required beside s3.secret_access_key");
                None
            }
        };
        Self { bucket, credentials }
    }

    pub(super) fn options(&self) -> S3Options {
        let credentials = self.credentials.as_ref().map(|(id, secret)| S3Credentials {
            access_key_id: id.clone(),
            secret_access_key: secret.expose().to_owned(),
        });
        S3Options { credentials, ..self.bucket.clone() }
    }
}

const EXPECTED: &str = "expected gridfs, s3://BUCKET/PREFIX or file:///PATH";

impl BlobsConfig {
    pub(super) fn read(source: &mut Source, composition: Composition<'_>, store: &StoreConfig) -> Self {
        let own = match composition {
            Composition::OneProcess { data_dir } => data_dir.join("blobs"),
            Composition::Deployment => PathBuf::new(),
        };
        let given = match (composition, store) {
            (Composition::Deployment, StoreConfig::Mongo { .. }) => {
                Some(source.parse("blobs", "gridfs".to_owned()))
            }
            _ => source.optional::<String>("blobs"),
        };
        match (given.as_deref().map(str::trim), composition, store) {
            // Without a store the error is the store's.
            (None, _, _) => Self::Directory { path: own },
            (Some("gridfs"), _, StoreConfig::Mongo { uri }) => Self::GridFs { uri: uri.clone() },
            (Some("gridfs"), _, StoreConfig::Sqlite { .. }) => {
                source.reject("blobs", "gridfs is a part of MongoDB: set the store to mongodb://… too");
                Self::Directory { path: own }
            }
            (Some(text), _, _) if let Some(bucket) = S3Options::from_uri(text) => {
                Self::S3(S3Config::read(source, bucket))
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
