//! How a call fails.

use std::time::Duration;

use gantry_api_types::problem::{Problem, ProblemCode};
use http::StatusCode;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server refused, and says why.
    #[error("{}", .problem.detail)]
    Problem {
        problem: Box<Problem>,
        /// As asked for by `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// No answer, or not all of it: whether the server did what was asked is unknown.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// An answer that is none of ours: a proxy's, or another version's.
    #[error("{message}")]
    Protocol { status: Option<StatusCode>, message: String, retry_after: Option<Duration> },
}

/// What went wrong on the way.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Nothing was sent: nobody listens, the name is unknown, or TLS failed.
    #[error("cannot connect to {address}: {reason}")]
    Connect { address: String, reason: String },
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl ClientError {
    pub(crate) fn protocol(status: Option<StatusCode>, message: impl Into<String>) -> Self {
        Self::Protocol { status, message: message.into(), retry_after: None }
    }

    /// The server's own name for what is wrong.
    pub fn code(&self) -> Option<ProblemCode> {
        match self {
            Self::Problem { problem, .. } => Some(problem.code),
            _ => None,
        }
    }

    /// The status of the answer, when there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Problem { problem, .. } => StatusCode::from_u16(problem.status).ok(),
            Self::Protocol { status, .. } => *status,
            Self::Transport(_) => None,
        }
    }

    /// The attempt's lease is over: stop, clean up, forget.
    pub fn is_stale(&self) -> bool {
        self.code() == Some(ProblemCode::StaleAttempt)
    }

    pub fn is_not_found(&self) -> bool {
        self.code() == Some(ProblemCode::NotFound)
    }

    /// Whether the same call may succeed later, as far as anyone can tell.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Problem { problem, .. } => match problem.code {
                ProblemCode::IdempotencyInFlight | ProblemCode::RequestTimeout => true,
                _ => is_retryable_status(problem.status),
            },
            Self::Protocol { status, .. } => {
                status.is_some_and(|status| is_retryable_status(status.as_u16()))
            }
        }
    }

    /// How long the server asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem { retry_after, .. } | Self::Protocol { retry_after, .. } => *retry_after,
            Self::Transport(_) => None,
        }
    }
}

fn is_retryable_status(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}
