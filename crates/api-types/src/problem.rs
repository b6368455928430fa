//! Errors as RFC 9457 problem details.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)*) => {
        /// Every error the API answers with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ProblemCode {
            $($(#[$doc])* $name,)*
        }

        impl ProblemCode {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name, as on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status it always comes with.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON at all.
    MalformedBody = "malformed_body", 400, "The body cannot be read";
    /// A query parameter or header is not what it should be.
    InvalidParameter = "invalid_parameter", 400, "A parameter is wrong";
    Unauthorized = "unauthorized", 401, "Credentials are missing or wrong";
    /// You are known, and may not do this.
    Forbidden = "forbidden", 403, "Not allowed";
    /// A page of another origin may not do this.
    ForeignOrigin = "foreign_origin", 403, "Not from this page";
    /// No such thing, or not yours.
    NotFound = "not_found", 404, "Not found";
    MethodNotAllowed = "method_not_allowed", 405, "Method not allowed";
    /// The request took too long to arrive.
    RequestTimeout = "request_timeout", 408, "The request took too long";
    /// It cannot be done as things are; `detail` says why.
    Conflict = "conflict", 409, "It conflicts with how things are";
    /// The run is already over.
    RunFinished = "run_finished", 409, "The run is already over";
    /// The run is still going on.
    RunNotFinished = "run_not_finished", 409, "The run is still going on";
    /// The first request with this key has not been answered yet.
    IdempotencyInFlight = "idempotency_in_flight", 409, "A request with this key is in flight";
    /// The attempt's lease is over: stop, clean up, forget.
    StaleAttempt = "stale_attempt", 409, "The attempt is over";
    /// A log batch does not continue the log.
    LogOffset = "log_offset", 409, "The log does not continue there";
    /// Something of this name is there.
    AlreadyExists = "already_exists", 409, "It exists already";
    PayloadTooLarge = "payload_too_large", 413, "The body is too large";
    UnsupportedMediaType = "unsupported_media_type", 415, "Send application/json";
    RangeNotSatisfiable = "range_not_satisfiable", 416, "The range is outside the content";
    /// The request names a host that this installation does not answer for.
    UnknownHost = "unknown_host", 421, "This host is not served here";
    /// One or more fields are wrong; `errors` names them.
    ValidationFailed = "validation_failed", 422, "The request is not valid";
    /// This key was used with another body.
    IdempotencyKeyReused = "idempotency_key_reused", 422, "The idempotency key was used with another body";
    /// Planned, not built yet.
    NotSupported = "not_supported", 422, "Not supported yet";
    /// More requests than a limit allows; try again after `Retry-After`.
    RateLimited = "rate_limited", 429, "Too many requests";
    /// The organization uses all it may; something of it has to end first.
    QuotaExceeded = "quota_exceeded", 429, "A quota is used up";
    Internal = "internal", 500, "Something went wrong on our side";
    /// Try again after `Retry-After`.
    Unavailable = "unavailable", 503, "A part that this needs is down";
    /// The worker and this producer are too far apart; workers wait, and are served once one of them was upgraded.
    UnsupportedProtocol = "unsupported_protocol", 503, "The worker protocol is not understood";
    /// The installation's operator has to configure something first.
    NotConfigured = "not_configured", 422, "This is not configured here";
    StorageFull = "storage_full", 507, "There is no space left";
}

/// An error. `detail` says what to do; `request_id` finds it in the server's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI reference that names the code.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub code: ProblemCode,
    pub request_id: String,
    /// The fields that are wrong, for `validation_failed` and `not_supported`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// JSON pointer (RFC 6901) into the request's body.
    pub pointer: String,
    pub message: String,
}

impl Problem {
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/api/docs/errors#{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            request_id: String::new(),
            errors: Vec::new(),
        }
    }
}
