use std::time::Duration;

use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};

use crate::StoreError;

/// The database when the address names none.
const DEFAULT_DATABASE: &str = "gantry";

/// Where the store is and how long it may take. Its `Debug` form shows no password.
#[derive(Clone)]
pub struct MongoOptions {
    /// `mongodb://` or `mongodb+srv://`; its path names the database (`gantry` by default).
    pub uri: String,
    /// How long to look for a server that can be written to.
    pub server_selection: Duration,
    /// On opening one connection.
    pub connect: Duration,
    /// On one call of the store, tries included.
    pub operation: Duration,
    /// Connections at most.
    pub pool: u32,
    /// Accepts and changes that may stand in line before callers wait.
    pub waiting: usize,
}

impl MongoOptions {
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            server_selection: Duration::from_secs(3),
            connect: Duration::from_secs(2),
            operation: Duration::from_millis(4500),
            pool: 64,
            waiting: 1024,
        }
    }

    /// The driver's options and the database's name.
    pub(super) async fn resolve(&self) -> Result<(ClientOptions, String), OptionsError> {
        let parsed = ClientOptions::parse(&self.uri).await;
        let mut options = parsed.map_err(|error| OptionsError(self.redact(&super::errors::text(&error))))?;
        let database = options.default_database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        options.app_name.get_or_insert_with(|| "gantry".to_owned());
        options.server_selection_timeout = Some(self.server_selection);
        options.connect_timeout = Some(self.connect);
        options.heartbeat_freq = Some(Duration::from_secs(5));
        options.max_pool_size = Some(self.pool.max(2));
        // What is compared and set is read where it is written, and tried again by us.
        options.selection_criteria = None;
        options.read_concern = None;
        options.retry_reads = Some(false);
        options.retry_writes = Some(false);
        options.write_concern = Some(synced());
        Ok((options, database))
    }

    /// `text` without anything that came from the address's user and password.
    pub(super) fn redact(&self, text: &str) -> String {
        let Some((credentials, _)) = self.uri.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'))
        else {
            return text.to_owned();
        };
        let password = credentials.split_once(':').map_or("", |(_, password)| password);
        let mut text = text.replace(credentials, "…");
        for secret in [password.to_owned(), decoded(password)] {
            if !secret.is_empty() {
                text = text.replace(&secret, "…");
            }
        }
        text
    }
}

impl std::fmt::Debug for MongoOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoOptions").field("uri", &self.redact(&self.uri)).finish_non_exhaustive()
    }
}

/// The address cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store's address is not a MongoDB address (mongodb://user:password@host:27017/gantry): {0}")]
pub struct OptionsError(String);

impl From<OptionsError> for StoreError {
    fn from(error: OptionsError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Survives the loss of any one server, and a power cut of all of them.
pub(super) fn synced() -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build()
}

/// Survives the loss of any one server.
pub(super) fn relaxed() -> WriteConcern {
    WriteConcern::builder().w(Acknowledgment::Majority).build()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let hex = text.get(i + 1..i + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[i], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_path_names_the_database() {
        let database = async |uri: &str| MongoOptions::new(uri).resolve().await.unwrap().1;
        assert_eq!(database("mongodb://localhost/other").await, "other");
        assert_eq!(database("mongodb://localhost").await, "gantry");
        assert_eq!(database("mongodb://localhost/?appName=x").await, "gantry");
    }

    #[tokio::test]
    async fn what_the_address_says_of_reading_and_retrying_does_not_count() {
        let uri = "mongodb://localhost/?retryWrites=true&w=1&readPreference=secondary&readConcernLevel=local";
        let (options, _) = MongoOptions::new(uri).resolve().await.unwrap();
        assert_eq!(options.retry_writes, Some(false));
        assert_eq!(options.write_concern, Some(synced()));
        assert!(options.selection_criteria.is_none());
    }

    #[tokio::test]
    async fn no_password_is_told() {
        for uri in [
            "mongodb://ann:s3cr%40t@localhost:99999/x",
            "mongodb://ann:s3cr%40t@",
            "mongodb://ann:s3cr%40t@localhost/?authMechanism=nonsense",
            "mongodb://ann:s3cr@t@localhost/",
        ] {
            let options = MongoOptions::new(uri);
            assert!(!format!("{options:?}").contains("s3cr"), "{options:?}");
            if let Err(error) = options.resolve().await {
                assert!(!error.to_string().contains("s3cr"), "{error}");
            }
        }
        assert!(MongoOptions::new("postgres://localhost").resolve().await.is_err());
    }
}
