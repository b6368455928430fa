//! A trace across processes: its W3C context as headers (`traceparent`, `tracestate`), from one span here to another
//! there. Without a collector configured there are no contexts, and all of this does nothing.

use std::collections::BTreeMap;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The context of a span; empty when there is none.
pub fn context_of(span: &Span) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut Carrier(&mut headers));
    // The empty state that the propagator adds says nothing.
    headers.retain(|_, value| !value.is_empty());
    headers
}

/// The context of where this is called.
pub fn current() -> BTreeMap<String, String> {
    context_of(&Span::current())
}

/// Makes `span` a part of the trace these headers name. Before the span is entered.
pub fn continue_from(span: &Span, headers: &BTreeMap<String, String>) {
    adopt(span, &Reader(headers));
}

/// The same for a request.
pub fn continue_from_request(span: &Span, headers: &HeaderMap) {
    adopt(span, &HeaderExtractor(headers));
}

/// What a span does with a message of the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Messaging {
    Send,
    Process,
}

/// Says so in the trace only: log lines are about the run.
pub fn messaging(span: &Span, operation: Messaging, destination: &str) {
    span.set_attribute(
        "messaging.operation.type",
        match operation {
            Messaging::Send => "send",
            Messaging::Process => "process",
        },
    );
    span.set_attribute("messaging.destination.name", destination.to_owned());
}

/// Gives a request the context of where this is called; for `gantry_client`'s transport.
pub fn propagate(headers: &mut HeaderMap) {
    let context = Span::current().context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
    }
}

fn adopt(span: &Span, headers: &dyn Extractor) {
    let parent = TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), headers);
    if parent.span().span_context().is_valid() {
        // Refused where no layer listens: then there is nothing to continue.
        let _ = span.set_parent(parent);
    }
}

struct Carrier<'a>(&'a mut BTreeMap<String, String>);

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key.to_owned(), value);
    }
}

struct Reader<'a>(&'a BTreeMap<String, String>);

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}
