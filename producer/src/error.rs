//! Every error turned into HTTP, in one place: public text goes to the caller, internal text to the log, once.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_api_types::problem::{FieldProblem, Problem, ProblemCode};
use gantry_blobs::BlobError;
use gantry_domain::spec::Violation;
use gantry_store::StoreError;

use crate::extract::request_id;

/// An error's text as a sentence of its own.
pub fn sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str())
}

pub type ApiResult<T> = Result<T, ApiError>;

/// An answer that is not the wanted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    pub code: ProblemCode,
    /// For the caller: what is wrong and what to do.
    pub detail: String,
    pub errors: Vec<FieldProblem>,
    retry_after_seconds: Option<u32>,
    /// For the log only.
    internal: Option<String>,
}

impl ApiError {
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after_seconds: None, internal: None }
    }

    pub fn not_found() -> Self {
        Self::new(ProblemCode::NotFound, "There is no such thing here, or it is not yours.")
    }

    pub fn stale() -> Self {
        Self::new(ProblemCode::StaleAttempt, "This attempt is over: stop, clean up, forget it.")
    }

    pub fn invalid_parameter(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::InvalidParameter, detail)
    }

    pub fn field(pointer: &str, message: impl Into<String>) -> Self {
        Self::validation(vec![Violation { pointer: pointer.to_owned(), message: message.into() }])
    }

    pub fn validation(violations: Vec<Violation>) -> Self {
        let detail = match violations.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.message),
            many => format!("{} fields are wrong; `errors` names them.", many.len()),
        };
        let errors =
            violations.into_iter().map(|v| FieldProblem { pointer: v.pointer, message: v.message }).collect();
        Self { errors, ..Self::new(ProblemCode::ValidationFailed, detail) }
    }

    pub fn unavailable(what: &str, internal: impl Into<String>) -> Self {
        Self {
            retry_after_seconds: Some(5),
            internal: Some(internal.into()),
            ..Self::new(
                ProblemCode::Unavailable,
                format!("{what} cannot be reached just now. Try again in some seconds."),
            )
        }
    }

    pub fn internal(internal: impl Into<String>) -> Self {
        let detail = "This is a defect in Gantry. Its log has the details under this request id.";
        Self { internal: Some(internal.into()), ..Self::new(ProblemCode::Internal, detail) }
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(ProblemCode::Conflict, detail)
    }

    /// Not now, but in so many seconds.
    pub fn later(code: ProblemCode, detail: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self { retry_after_seconds: Some(retry_after_seconds.max(1)), ..Self::new(code, detail) }
    }

    pub fn rate_limited(retry_after_seconds: u32) -> Self {
        let detail = format!("Too many requests. Wait {retry_after_seconds} s before the next one.");
        Self {
            retry_after_seconds: Some(retry_after_seconds.max(1)),
            ..Self::new(ProblemCode::RateLimited, detail)
        }
    }

    /// Room comes as runs end: soon, but nobody knows when.
    pub fn quota_exceeded(detail: String) -> Self {
        Self { retry_after_seconds: Some(10), ..Self::new(ProblemCode::QuotaExceeded, detail) }
    }

    /// A worker waits for an upgrade, so it need not ask often.
    pub fn unsupported_protocol(detail: String) -> Self {
        Self { retry_after_seconds: Some(30), ..Self::new(ProblemCode::UnsupportedProtocol, detail) }
    }

    fn storage_full() -> Self {
        let detail = "The server's disk is full. Free some space, or delete old runs.";
        Self { retry_after_seconds: Some(30), ..Self::new(ProblemCode::StorageFull, detail) }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(detail) => Self::unavailable("The store", detail),
            StoreError::NoSpace => Self::storage_full(),
            StoreError::Corrupt(_) | StoreError::TooNew { .. } => Self::internal(error.to_string()),
        }
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotFound => Self::not_found(),
            BlobError::OutOfRange { .. } => Self::internal(error.to_string()),
            BlobError::NoSpace => Self::storage_full(),
            BlobError::Unavailable(detail) => Self::unavailable("The blob store", detail),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() || self.internal.is_some() {
            tracing::error!(code = self.code.as_str(), internal = self.internal.as_deref(), "request failed");
        }
        let mut problem = Problem::new(self.code, self.detail);
        problem.errors = self.errors;
        problem.request_id = request_id::current();
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
