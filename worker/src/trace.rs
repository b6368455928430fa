//! An attempt in traces and log lines: one span from its message to its end, in the trace that the message names, and
//! one for each step. What the command makes of the trace it is told about (`TRACEPARENT`) is its own affair.

use gantry_api_types::worker::Grant;
use gantry_domain::spec::Pool;
use gantry_domain::trace::TraceContext;
use gantry_queue::RunMessage;
use gantry_service_kit::telemetry::trace;
use tracing::Span;
use tracing::field::{Empty, display};

/// The span of everything that follows from a message; its log lines name the run.
pub(crate) fn of_message(message: &RunMessage, pool: &Pool) -> Span {
    let span = tracing::info_span!(
        "attempt",
        run.id = %message.run,
        org.id = Empty,
        attempt = Empty,
        ending = Empty,
        error.type = Empty,
    );
    trace::continue_from(&span, &message.trace);
    trace::messaging(&span, trace::Messaging::Process, pool.as_str());
    span
}

/// Whose run it is, is known once it was claimed.
pub(crate) fn granted(grant: &Grant) {
    let span = Span::current();
    span.record("org.id", display(grant.organization)).record("attempt", grant.attempt);
}

/// The trace as the command is told of it: from this attempt on, or as it came, if this worker makes no spans.
pub(crate) fn context(message: &RunMessage) -> Option<TraceContext> {
    TraceContext::from_headers(&trace::current()).or_else(|| TraceContext::from_headers(&message.trace))
}

/// The span of a step, named and ended like the step.
macro_rules! step {
    ($name:literal, $grant:expr) => {
        tracing::debug_span!(
            $name,
            run.id = %$grant.run,
            org.id = %$grant.organization,
            attempt = $grant.attempt,
            error.type = tracing::field::Empty,
        )
    };
}
pub(crate) use step;
