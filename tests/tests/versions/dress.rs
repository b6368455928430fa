//! How the same thing looks when another version says it.
//!
//! There is one version of this program, so the others are played on the wire and in the store: what passes is dressed as
//! the next version would send it (with fields that nobody here knows) or as an older one (without those that may be
//! absent). The programs themselves know nothing of it.

use serde_json::{Value, json};

/// Which version somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Before there were fields that may be absent, and before workers told their protocol.
    Older,
    /// With fields that nobody here knows.
    Newer,
    /// The same, and it speaks the next version of the worker protocol; as a producer it still understands this one.
    NextProtocol,
}

/// What a field of a later version is called.
pub const LATER: &str = "of_a_later_version";
/// Objects with fixed fields, where a later version may add one; others are maps with keys of users.
const EXTENSIBLE: [&str; 13] = [
    "spec",
    "trigger",
    "retries",
    "resources",
    "lease",
    "leases",
    "attempts",
    "over",
    "observed",
    "errors",
    "queued",
    "running",
    "analyzing",
];
/// Fields of bodies and records that may be absent, whatever they hold.
const OPTIONAL: [&str; 7] =
    ["disk_free_bytes", "disk_total_bytes", "paused", "prepare_ms", "execute_ms", "collect_ms", "trace"];

impl Version {
    pub fn dress(self, value: &mut Value) {
        match self {
            Self::Older => without_what_may_be_absent(value),
            Self::Newer | Self::NextProtocol => with_unknown_fields(value),
        }
    }

    /// The same for text; none when it is no JSON object.
    pub fn dressed(self, text: &[u8]) -> Option<Vec<u8>> {
        let mut value: Value = serde_json::from_slice(text).ok().filter(Value::is_object)?;
        self.dress(&mut value);
        serde_json::to_vec(&value).ok()
    }
}

fn with_unknown_fields(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(with_unknown_fields),
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if EXTENSIBLE.contains(&name.as_str()) {
                    with_unknown_fields(field);
                } else if name == "state" {
                    // Its only key names the variant.
                    field
                        .as_object_mut()
                        .into_iter()
                        .flatten()
                        .for_each(|(_, inner)| with_unknown_fields(inner));
                }
            }
            fields.insert(LATER.to_owned(), json!({"a": [1, null, "x"], "v": 9}));
        }
        _ => {}
    }
}

fn without_what_may_be_absent(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_what_may_be_absent),
        Value::Object(fields) => {
            fields.retain(|name, field| !field.is_null() && !OPTIONAL.contains(&name.as_str()));
            fields.values_mut().for_each(without_what_may_be_absent);
        }
        _ => {}
    }
}
