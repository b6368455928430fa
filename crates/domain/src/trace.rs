//! Where a run stands in a distributed trace: the W3C context of the request that created it. It is kept with the run,
//! because what follows may happen much later and in another process.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A checked W3C trace context (`traceparent`, and `tracestate` if the caller sent one).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Headers", into = "Headers")]
pub struct TraceContext {
    traceparent: String,
    tracestate: Option<String>,
}

type Headers = BTreeMap<String, String>;

/// Longer ones may be dropped, says the W3C; the trace does not need them.
const MAX_STATE_BYTES: usize = 512;

impl TraceContext {
    pub const PARENT: &str = "traceparent";
    pub const STATE: &str = "tracestate";

    /// `None` for anything that is not a context of version 00; a `tracestate` that cannot be a header is left out.
    pub fn new(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let mut fields = traceparent.split('-');
        let lengths = [2, 32, 16, 2];
        for length in lengths {
            let field = fields.next()?;
            let hexadecimal = field.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            let nothing = length > 2 && field.bytes().all(|b| b == b'0');
            if field.len() != length || !hexadecimal || nothing {
                return None;
            }
        }
        if fields.next().is_some() || !traceparent.starts_with("00-") {
            return None;
        }
        let plain = |state: &&str| {
            (1..=MAX_STATE_BYTES).contains(&state.len()) && state.bytes().all(|b| matches!(b, b' '..=b'~'))
        };
        Some(Self {
            traceparent: traceparent.to_owned(),
            tracestate: tracestate.filter(plain).map(str::to_owned),
        })
    }

    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// 32 hexadecimal digits, by which every tracing tool finds it.
    pub fn trace_id(&self) -> &str {
        &self.traceparent[3..35]
    }

    /// From the headers of a message.
    pub fn from_headers(headers: &Headers) -> Option<Self> {
        Self::new(headers.get(Self::PARENT)?, headers.get(Self::STATE).map(String::as_str))
    }

    /// As headers of a message.
    pub fn to_headers(&self) -> Headers {
        let state = self.tracestate.iter().map(|state| (Self::STATE.to_owned(), state.clone()));
        std::iter::once((Self::PARENT.to_owned(), self.traceparent.clone())).chain(state).collect()
    }
}

impl From<TraceContext> for Headers {
    fn from(context: TraceContext) -> Self {
        context.to_headers()
    }
}

impl TryFrom<Headers> for TraceContext {
    type Error = &'static str;

    fn try_from(headers: Headers) -> Result<Self, Self::Error> {
        Self::from_headers(&headers).ok_or("not a trace context")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_context_goes_through_headers_and_back() {
        let context = TraceContext::new(PARENT, Some("vendor=1,other=x y")).unwrap();
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(TraceContext::from_headers(&context.to_headers()), Some(context));
        assert_eq!(TraceContext::from_headers(&BTreeMap::new()), None);
    }

    #[test]
    fn what_is_no_context_is_none() {
        for bad in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
            "00-é3f7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::new(bad, None), None, "{bad}");
        }
        let long = "x".repeat(513);
        for state in ["", "a=\n", "ä=1", &long] {
            assert_eq!(TraceContext::new(PARENT, Some(state)).unwrap().tracestate(), None, "{state}");
        }
    }
}
