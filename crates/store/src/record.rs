//! What is written down: versioned documents, apart from the domain's types so that those can change while stored data
//! stays readable. Every backend stores the same documents. A document may have fields that this program does not know
//! (a newer one wrote them); a document of a version it does not know is refused with a sentence that says so.

mod attempt;
mod identity;
mod log;
mod project;
mod results;
mod run;
mod spec;
#[cfg(test)]
mod tests;
mod worker;

use gantry_domain::identity::SecretHash;
use gantry_domain::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use identity::{
    decode_entry, decode_invitation, decode_key, decode_organization, decode_reset, decode_session,
    decode_user, encode_entry, encode_invitation, encode_key, encode_organization, encode_reset,
    encode_session, encode_user,
};
pub(crate) use log::{decode_chunk, encode_chunk};
pub(crate) use project::{decode_project, encode_project};
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

/// A hash of a secret as hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Hex(SecretHash);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&digits)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut hash = [0; 32];
        let pairs = text.as_bytes().chunks_exact(2);
        if text.len() != 2 * hash.len() {
            return Err(serde::de::Error::custom("a hash has 64 digits"));
        }
        for (byte, pair) in hash.iter_mut().zip(pairs) {
            let digits = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
            *byte = digits.ok_or_else(|| serde::de::Error::custom("a hash has digits 0-9 a-f"))?;
        }
        Ok(Self(hash))
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
