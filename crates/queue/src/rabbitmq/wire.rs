//! Messages as bytes: versioned JSON of ids, with the trace context beside it in the headers.
//!
//! Fields that are not known are skipped, so that an older reader understands a newer writer. A version that is not
//! known means that skipping would be wrong: such a message is not read at all.

use std::collections::BTreeMap;

use gantry_domain::id::{DispatchId, RunId};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{ControlMessage, RunMessage};

/// What this code writes, and the newest that it reads.
const VERSION: u64 = 1;
/// Nothing of ours is longer; whoever sends more is not one of us.
const LONGEST_BODY: usize = 64 * 1024;
/// W3C trace context.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];
const PERSISTENT: u8 = 2;

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is longer than any of ours")]
    TooLong,
    #[error("it is of version {0}, newer than this worker")]
    Newer(u64),
    #[error("it is not what its version says: {0}")]
    Malformed(String),
}

impl Unreadable {
    /// For metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Newer(_) => "newer_version",
            Self::Malformed(_) => "malformed",
        }
    }
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

#[derive(Serialize)]
struct Versioned<T> {
    v: u64,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize, Deserialize)]
struct RunBody {
    run: RunId,
    dispatch: DispatchId,
}

fn encode<T: Serialize>(content: T) -> Vec<u8> {
    // Structures of strings and numbers: nothing that JSON cannot say.
    serde_json::to_vec(&Versioned { v: VERSION, content }).unwrap_or_default()
}

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    if body.len() > LONGEST_BODY {
        return Err(Unreadable::TooLong);
    }
    let malformed = |error: serde_json::Error| Unreadable::Malformed(error.to_string());
    let Version { v } = serde_json::from_slice(body).map_err(malformed)?;
    if v > VERSION {
        return Err(Unreadable::Newer(v));
    }
    serde_json::from_slice(body).map_err(malformed)
}

fn properties() -> BasicProperties {
    BasicProperties::default()
        .with_content_type(ShortString::from("application/json"))
        .with_app_id(ShortString::from("gantry"))
}

pub(super) fn encode_run(message: &RunMessage) -> (Vec<u8>, BasicProperties) {
    let mut headers = FieldTable::default();
    for name in TRACE_HEADERS {
        if let Some(value) = message.trace.get(name) {
            headers.insert(name.into(), AMQPValue::LongString(LongString::from(value.as_str())));
        }
    }
    let body = encode(RunBody { run: message.run, dispatch: message.dispatch });
    (body, properties().with_delivery_mode(PERSISTENT).with_headers(headers))
}

pub(super) fn decode_run(body: &[u8], properties: &BasicProperties) -> Result<RunMessage, Unreadable> {
    let RunBody { run, dispatch } = decode(body)?;
    let mut trace = BTreeMap::new();
    if let Some(headers) = properties.headers() {
        for name in TRACE_HEADERS {
            // A context that is not text is no reason to leave the run alone.
            if let Some(AMQPValue::LongString(value)) = headers.inner().get(name)
                && let Ok(value) = std::str::from_utf8(value.as_bytes())
            {
                trace.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    Ok(RunMessage { run, dispatch, trace })
}

pub(super) fn encode_control(message: &ControlMessage) -> (Vec<u8>, BasicProperties) {
    (encode(message), properties())
}

pub(super) fn decode_control(body: &[u8]) -> Result<ControlMessage, Unreadable> {
    decode(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> RunMessage {
        let trace = BTreeMap::from([
            ("traceparent".to_owned(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            ("tracestate".to_owned(), "vendor=1".to_owned()),
        ]);
        RunMessage { run: RunId::from_u128(1), dispatch: DispatchId::from_u128(2), trace }
    }

    #[test]
    fn a_run_message_is_ids_in_the_body_and_the_trace_in_the_headers() {
        let (body, properties) = encode_run(&message());
        let expected = format!(r#"{{"v":1,"run":"{}","dispatch":"{}"}}"#, message().run, message().dispatch);
        assert_eq!(String::from_utf8(body.clone()).unwrap(), expected);
        assert!(body.len() < 1024);
        assert_eq!(*properties.delivery_mode(), Some(PERSISTENT));
        assert_eq!(decode_run(&body, &properties), Ok(message()));
    }

    #[test]
    fn a_message_of_a_later_writer_is_read_if_its_version_says_that_it_can_be() {
        let (run, dispatch) = (message().run, message().dispatch);
        let properties = BasicProperties::default();
        let body =
            format!(r#"{{"v":1,"shard":3,"run":"{run}","dispatch":"{dispatch}","later":{{"a":[1]}}}}"#);
        let read = decode_run(body.as_bytes(), &properties).unwrap();
        assert_eq!((read.run, read.dispatch, read.trace.len()), (run, dispatch, 0));
        let body = format!(r#"{{"v":2,"run":"{run}","dispatch":"{dispatch}"}}"#);
        assert_eq!(decode_run(body.as_bytes(), &properties), Err(Unreadable::Newer(2)));
    }

    #[test]
    fn what_is_none_of_ours_is_unreadable_and_never_a_panic() {
        let long = vec![b' '; LONGEST_BODY + 1];
        let bodies: [&[u8]; 8] =
            [b"", b"\xff\xfe", b"null", b"{}", br#"{"v":1}"#, br#"{"v":-1}"#, br#"{"v":"1"}"#, &long];
        for body in bodies {
            assert!(decode_run(body, &BasicProperties::default()).is_err());
            assert!(decode_control(body).is_err());
        }
    }

    #[test]
    fn a_broken_trace_context_does_not_make_a_message_unreadable() {
        let (body, _) = encode_run(&message());
        let mut headers = FieldTable::default();
        headers.insert("traceparent".into(), AMQPValue::LongInt(7));
        headers.insert("tracestate".into(), AMQPValue::LongString(LongString::from(&b"\xff"[..])));
        let properties = BasicProperties::default().with_headers(headers);
        assert_eq!(decode_run(&body, &properties).unwrap().trace, BTreeMap::new());
    }

    #[test]
    fn a_control_message_survives_the_wire() {
        let cancel = ControlMessage::Cancel { run: RunId::from_u128(1), attempt: 3 };
        let (body, properties) = encode_control(&cancel);
        assert_eq!(*properties.delivery_mode(), None, "it need not outlive the broker");
        assert_eq!(decode_control(&body), Ok(cancel));
        assert!(decode_control(br#"{"v":1,"kind":"unheard_of"}"#).is_err());
    }
}
