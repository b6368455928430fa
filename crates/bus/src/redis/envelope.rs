//! What replicas tell each other, as JSON.

use gantry_domain::event::Event;
use serde::{Deserialize, Serialize};

/// The version that this replica writes. Fields may be added within a version; a reader that meets a later one counts the
/// message as missed.
const VERSION: u32 = 1;

/// One message. `sequence` counts all events of its origin, those included that could not be sent: a reader sees by it
/// how much it missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Envelope {
    v: u32,
    pub(super) origin: u64,
    pub(super) sequence: u64,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    Event(Event),
    /// A sign of life.
    Beat,
    /// This replica ends; nothing more will come.
    Farewell,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

impl Envelope {
    pub(super) fn new(origin: u64, sequence: u64, content: Content) -> Self {
        Self { v: VERSION, origin, sequence, content }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Nothing in it can fail: no maps with keys that are no text, no foreign serializers.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` when it is not for this version of the reader.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let version: Version = serde_json::from_slice(bytes).ok()?;
        (version.v == VERSION).then(|| serde_json::from_slice(bytes).ok())?
    }
}

#[cfg(test)]
mod tests {
    use gantry_domain::event::Change;
    use gantry_domain::id::{OrganizationId, RunId};

    use super::*;

    #[test]
    fn a_message_reads_back() {
        let event = Event {
            organization: OrganizationId::new(),
            run: RunId::new(),
            change: Change::Log { attempt: 2, end: 1 << 40 },
            version: Some(3),
        };
        for content in [Content::Event(event), Content::Beat, Content::Farewell] {
            let envelope = Envelope::new(u64::MAX, 7, content);
            assert_eq!(Envelope::from_bytes(&envelope.to_bytes()), Some(envelope));
        }
    }

    #[test]
    fn a_message_as_version_1_writes_it_is_read_by_every_later_reader() {
        let text = br#"{"v":1,"origin":1234567890123456789,"sequence":3,"added":"later",
            "content":{"event":{"organization":"org_01M7Z994J5EBSSJ5CA293H8316",
            "run":"run_01M7Z994J6E309J2FETM8C8D0Y","change":{"log":{"attempt":1,"end":10}}}}}"#;
        let read = Envelope::from_bytes(text).map(|envelope| envelope.content);
        assert!(matches!(
            read,
            Some(Content::Event(Event { change: Change::Log { attempt: 1, end: 10 }, .. }))
        ));
    }

    #[test]
    fn what_is_not_for_this_reader_is_refused() {
        for text in [
            &b""[..],
            b"{}",
            b"\xff",
            br#"{"v":1}"#,
            br#"{"v":2,"origin":1234567890123456789,"sequence":3,"content":"beat"}"#,
            br#"{"v":1,"origin":1234567890123456789,"sequence":3,"content":"song"}"#,
        ] {
            assert_eq!(Envelope::from_bytes(text), None, "{}", String::from_utf8_lossy(text));
        }
    }
}
