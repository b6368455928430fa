//! One request and its answer over one connection.

use std::convert::Infallible;
use std::fmt;
use std::future::pending;

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::OutgoingError;
use crate::target::Target;

/// Of the answer's head.
const MAX_HEAD_BYTES: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;
/// What the connection itself decides.
const OWN_HEADERS: &[HeaderName] =
    &[HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE, TE, TRAILER, EXPECT, PROXY_AUTHORIZATION];

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What is sent.
#[derive(Clone)]
pub struct OutgoingRequest {
    pub method: Method,
    pub target: Target,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl OutgoingRequest {
    /// A JSON document, as webhooks take it.
    pub fn post_json(target: Target, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { method: Method::POST, target, headers, body: body.into() }
    }

    pub fn get(target: Target) -> Self {
        Self { method: Method::GET, target, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(crate) fn check(&self, max_bytes: usize) -> Result<(), OutgoingError> {
        let usual = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        if !usual.contains(&self.method) {
            return Err(OutgoingError::Method);
        }
        if let Some(name) = OWN_HEADERS.iter().find(|&name| self.headers.contains_key(name)) {
            return Err(OutgoingError::Header(name.clone()));
        }
        match self.body.len() > max_bytes {
            true => Err(OutgoingError::Large(max_bytes)),
            false => Ok(()),
        }
    }

    fn into_http(self) -> Result<Request<Full<Bytes>>, OutgoingError> {
        // Both were there when the target was read.
        let (path, host) = self
            .target
            .path()
            .zip(self.target.host_header())
            .ok_or(OutgoingError::Target(crate::target::BadTarget::Malformed))?;
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = path;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("Gantry/", env!("CARGO_PKG_VERSION"))));
        headers.extend(self.headers);
        headers.insert(HOST, host);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(request)
    }
}

/// The origin alone: paths, headers and bodies may hold secrets.
impl fmt::Debug for OutgoingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.method, self.target)
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// As it was sent, up to the limit.
    pub body: Bytes,
    /// Whether there was more.
    pub truncated: bool,
}

/// Sends `request` over `stream`, which ends with it. Drives the connection itself: nothing goes on when this is dropped.
pub(crate) async fn exchange(
    stream: Box<dyn Io>,
    request: OutgoingRequest,
    max_body: usize,
) -> Result<Answer, OutgoingError> {
    let request = request.into_http()?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // A connection that has ended may have left an answer to be read.
    let drive = async {
        let _ = connection.await;
        pending::<Infallible>().await
    };
    let converse = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = answer.into_parts();
        if is_redirect(head.status) {
            return Err(OutgoingError::Redirected(head.status));
        }
        let (body, truncated) = read(body, max_body).await?;
        Ok(Answer { status: head.status, headers: head.headers, body, truncated })
    };
    tokio::select! {
        answer = converse => answer,
        never = drive => match never {},
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 300..=303 | 305..=308)
}

async fn read(mut body: Incoming, max: usize) -> Result<(Bytes, bool), OutgoingError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let room = max - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((read.freeze(), true));
        }
    }
    Ok((read.freeze(), false))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn broken(error: hyper::Error) -> OutgoingError {
    OutgoingError::Broken { reason: error.to_string() }
}
