//! Why a request got no answer.

use std::net::IpAddr;

use http::StatusCode;
use http::header::HeaderName;

use crate::target::BadTarget;

/// Why a request got no answer. Its text may be shown to whoever gave the address: it tells nothing about our network, such as
/// which names exist in it. The fields are for logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutgoingError {
    #[error(transparent)]
    Target(#[from] BadTarget),
    #[error("port {0} cannot be used: take 80, 443, or one from 1024 up")]
    Port(u16),
    #[error("this address does not lead to a public server")]
    NotPublic { address: IpAddr },
    #[error("this address does not lead to a public server")]
    NotResolved { reason: String },
    /// A mistake of ours: the request itself says such things.
    #[error("the header {0} cannot be set")]
    Header(HeaderName),
    #[error("requests with this method cannot be sent")]
    Method,
    #[error("the request is larger than {0} bytes")]
    Large(usize),
    #[error("the server did not accept a connection: {reason}")]
    Connect { reason: String },
    #[error("no encrypted connection to the server could be made: {reason}")]
    Tls { reason: String },
    #[error("the server answered {0}, a redirect, which is not followed")]
    Redirected(StatusCode),
    #[error("the server did not answer as HTTP servers do: {reason}")]
    Broken { reason: String },
    #[error("the server did not answer in time")]
    Slow,
}

impl OutgoingError {
    /// Whether the same request may get an answer later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NotResolved { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Broken { .. }
            | Self::Slow => true,
            Self::Target(_)
            | Self::Port(_)
            | Self::NotPublic { .. }
            | Self::Header(_)
            | Self::Method
            | Self::Large(_)
            | Self::Redirected(_) => false,
        }
    }
}
