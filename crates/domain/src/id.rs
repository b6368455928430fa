//! Typed ids: `run_01JABC…`. A prefix that names the kind, then a UUIDv7 in Crockford's base 32, so that ids sort by
//! age, can be found with grep, and one kind cannot be passed for another.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::time::Timestamp;

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an id of this kind looks like `{prefix}01J…`: the prefix and 26 characters of 0-9 A-Z")]
pub struct ParseIdError {
    prefix: &'static str,
}

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const DIGITS: usize = 26;

fn encode(value: u128) -> [u8; DIGITS] {
    std::array::from_fn(|i| ALPHABET[((value >> (5 * (DIGITS - 1 - i))) & 31) as usize])
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != DIGITS || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0_u128, |value, byte| {
        let digit = ALPHABET.iter().position(|&letter| letter == byte)?;
        Some(value << 5 | digit as u128)
    })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id; later ones sort behind earlier ones.
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id made of these bits; for fixed ids and tests.
            pub const fn from_u128(bits: u128) -> Self {
                Self(Uuid::from_u128(bits))
            }

            pub const fn as_u128(self) -> u128 {
                self.0.as_u128()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let digits = encode(self.0.as_u128());
                f.write_str($prefix)?;
                digits.iter().try_for_each(|&digit| fmt::Write::write_char(f, digit as char))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.strip_prefix($prefix)
                    .and_then(decode)
                    .map(|bits| Self(Uuid::from_u128(bits)))
                    .ok_or(ParseIdError { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

ids! {
    /// A run: one request to execute an automation.
    RunId = "run_";
    /// The tenant that everything belongs to.
    OrganizationId = "org_";
    /// A person's account; one person may belong to several organizations.
    UserId = "usr_";
    /// An API key (its public id, never the secret).
    KeyId = "key_";
    WorkerId = "wrk_";
    /// One hand-over of a run to the queue; a message without the current one is stale.
    DispatchId = "dsp_";
    /// One try of a worker to claim; the same id again gets the same answer.
    ClaimId = "clm_";
    /// One data directory or database: containers carry it, so that two installations on an engine leave each other alone.
    InstallationId = "ins_";
    /// A signed-in browser or command line: the family of all refresh tokens that came from one sign-in.
    SessionId = "ses_";
    InvitationId = "inv_";
    /// One request to set a forgotten password anew.
    ResetId = "rst_";
    /// An entry of the audit log.
    AuditId = "aud_";
    ProjectId = "prj_";
}

/// Entries of one process in the same millisecond keep their order.
static ENTRIES: AtomicU64 = AtomicU64::new(0);

impl AuditId {
    /// A new id that sorts where this time belongs, so that a range of times is a range of ids.
    pub fn at(time: Timestamp) -> Self {
        let entry = u128::from(ENTRIES.fetch_add(1, Ordering::Relaxed));
        let version = 7_u128 << 76 | (entry >> 8 & 0xfff) << 64;
        let variant = 2_u128 << 62 | (entry & 0xff) << 54 | u128::from(rand::random::<u64>() >> 10);
        Self::from_u128(Self::first_at(time).as_u128() | version | variant)
    }

    /// Less than every id of this time, and more than every earlier one.
    pub fn first_at(time: Timestamp) -> Self {
        let millis = u128::try_from(time.as_millis()).unwrap_or(0) & 0xffff_ffff_ffff;
        Self::from_u128(millis << 80)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        for bits in [0, 1, u128::MAX, 0x0192_3456_789a_7bcd_8ef0_1234_5678_9abc] {
            let id = RunId::from_u128(bits);
            assert_eq!(id.to_string().parse::<RunId>(), Ok(id));
            assert_eq!(id.to_string().len(), 30);
        }
    }

    #[test]
    fn text_order_is_age_order() {
        let (older, newer) = (RunId::new(), RunId::new());
        assert!(older < newer && older.to_string() < newer.to_string());
    }

    #[test]
    fn entries_sort_by_the_time_they_were_given() {
        let time = Timestamp::from_millis(1_767_225_600_000);
        let later = Timestamp::from_millis(1_767_225_600_001);
        let ids = [AuditId::at(time), AuditId::at(time), AuditId::at(time)];
        assert!(ids.is_sorted() && ids[0] != ids[1]);
        assert!(AuditId::first_at(time) < ids[0] && ids[2] < AuditId::first_at(later));
        assert_eq!(ids[0].0.get_version_num(), 7);
    }

    #[test]
    fn other_kinds_and_sloppy_forms_are_refused() {
        let run = RunId::new().to_string();
        assert!(run.parse::<WorkerId>().is_err());
        for bad in [
            "",
            "run_",
            "run_8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            &run.to_lowercase(),
            &format!("{run} "),
            "run_é0000000000000000000000000",
        ] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
