//! What is written down: versioned documents, apart from the domain's types so that those can change while stored data
//! stays readable. Every backend stores the same documents. A document may have fields that this program does not know
//! (a newer one wrote them); a document of a version it does not know is refused with a sentence that says so.

mod attempt;
mod log;
mod results;
mod run;
mod spec;
#[cfg(test)]
mod tests;
mod worker;

use gantry_domain::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use log::{decode_chunk, encode_chunk};
pub(crate) use results::{ResultBlock, decode_results, encode_results, status_bit};
pub(crate) use run::{Head, decode_run, encode_run};
pub(crate) use worker::{decode_worker, encode_worker};

use crate::{Result, StoreError};

/// The version of every document written now.
const VERSION: u32 = 1;

/// Milliseconds since 1970: a number parses several times faster than RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Millis(i64);

impl From<Timestamp> for Millis {
    fn from(time: Timestamp) -> Self {
        Self(time.as_millis())
    }
}

impl From<Millis> for Timestamp {
    fn from(millis: Millis) -> Self {
        Self::from_millis(millis.0)
    }
}

/// A record type whose first field is its version.
trait Record: Serialize + DeserializeOwned {
    const KIND: &'static str;
    fn version(&self) -> u32;
}

fn write<T: Record>(record: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(record)
        .map_err(|error| StoreError::Corrupt(format!("a {} record cannot be written: {error}", T::KIND)))
}

fn read<T: Record>(bytes: &[u8]) -> Result<T> {
    let unknown = |version| {
        StoreError::Corrupt(format!(
            "a {} record has version {version}, this program reads version {VERSION}: use a newer version of Gantry",
            T::KIND
        ))
    };
    match serde_json::from_slice::<T>(bytes) {
        Ok(record) if record.version() == VERSION => Ok(record),
        Ok(record) => Err(unknown(record.version())),
        Err(error) => match serde_json::from_slice::<VersionOnly>(bytes) {
            Ok(VersionOnly { v }) if v != VERSION => Err(unknown(v)),
            _ => Err(StoreError::Corrupt(format!("a {} record: {error}", T::KIND))),
        },
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
