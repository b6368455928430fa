//! One call: the request's head, the time it may take, and what the answer means.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use gantry_api_types::problem::Problem;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RANGE, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyStream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ClientError, TransportError};
use crate::transport::{Answer, Body, Transport, root_cause};

/// From sending a request to the whole of a bounded answer, or to the head of a streamed one.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// No answer of the API that is not streamed comes near this.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
const MAX_PROBLEM_BYTES: usize = 256 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Bytes of an answer as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>;

/// Which bytes of a log are wanted; both ends included, as in HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByteRange {
    From(u64),
    Between(RangeInclusive<u64>),
    /// The last so many.
    Last(u64),
}

impl ByteRange {
    fn header(&self) -> String {
        match self {
            Self::From(start) => format!("bytes={start}-"),
            Self::Between(range) => format!("bytes={}-{}", range.start(), range.end()),
            Self::Last(length) => format!("bytes=-{length}"),
        }
    }
}

/// A way to a producer with the credentials for it.
#[derive(Clone)]
pub(crate) struct Caller {
    transport: Transport,
    authorization: Arc<RwLock<HeaderValue>>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.transport.fmt(f)
    }
}

impl Caller {
    /// A credential that cannot be a header is sent as none, and refused by the server.
    pub(crate) fn new(transport: Transport, credential: &str) -> Self {
        Self { transport, authorization: Arc::new(RwLock::new(bearer(credential))) }
    }

    /// Another credential from now on, in every clone.
    pub(crate) fn present(&self, credential: &str) {
        *self.authorization.write().unwrap_or_else(PoisonError::into_inner) = bearer(credential);
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call<'_> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        let problem = match path.parse() {
            Ok(uri) => {
                *request.uri_mut() = uri;
                None
            }
            Err(_) => Some(ClientError::protocol(None, format!("{path:?} cannot be requested"))),
        };
        let headers = request.headers_mut();
        let authorization = self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone();
        headers.insert(AUTHORIZATION, authorization);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("gantry/", env!("CARGO_PKG_VERSION"))));
        Call { transport: &self.transport, request, problem, timeout: Some(CALL_TIMEOUT) }
    }

    pub(crate) fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call<'_> {
        self.call(Method::POST, path)
    }
}

fn bearer(credential: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", credential.trim()))
        .unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
    value.set_sensitive(true);
    value
}

/// A request under construction.
pub(crate) struct Call<'a> {
    transport: &'a Transport,
    request: Request<Body>,
    problem: Option<ClientError>,
    timeout: Option<Duration>,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => {
                self.request.headers_mut().insert(name, value);
            }
            Err(_) => {
                let message = format!("{value:?} cannot be sent as {name}: use visible ASCII characters");
                self.problem = Some(ClientError::protocol(None, message));
            }
        }
        self
    }

    pub(crate) fn range(self, range: Option<&ByteRange>) -> Self {
        match range {
            Some(range) => self.header(RANGE, &range.header()),
            None => self,
        }
    }

    pub(crate) fn json<T: Serialize>(mut self, body: &T) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.body(JSON, Body::full(bytes.into())),
            Err(error) => {
                self.problem = Some(ClientError::protocol(None, error.to_string()));
                self
            }
        }
    }

    /// An action without arguments: writes need a JSON content type.
    pub(crate) fn no_body(self) -> Self {
        self.body(JSON, Body::empty())
    }

    pub(crate) fn body(mut self, kind: HeaderValue, body: Body) -> Self {
        self.request.headers_mut().insert(CONTENT_TYPE, kind);
        *self.request.body_mut() = body;
        self
    }

    /// For a body that takes as long as it takes; the caller sets the bound.
    pub(crate) fn without_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// The answer's JSON.
    pub(crate) async fn answer<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        self.answer_of(&[]).await
    }

    /// The answer's JSON, also with one of these statuses.
    pub(crate) async fn answer_of<T: DeserializeOwned>(
        mut self,
        also: &[StatusCode],
    ) -> Result<T, ClientError> {
        self.request.headers_mut().insert(ACCEPT, JSON);
        let (transport, timeout) = (self.transport.clone(), self.timeout);
        within(timeout, async {
            let (status, bytes) = self.complete(also).await?;
            serde_json::from_slice(&bytes).map_err(|error| {
                let message = format!(
                    "{} answered with something else than expected ({error}); is it a Gantry server of this version?",
                    transport.address()
                );
                ClientError::protocol(Some(status), message)
            })
        })
        .await
    }

    /// Success or not; an answer's body is read and dropped.
    pub(crate) async fn done(self) -> Result<(), ClientError> {
        let timeout = self.timeout;
        within(timeout, self.complete(&[])).await.map(|_| ())
    }

    /// The answer's bytes as they come.
    pub(crate) async fn stream(self) -> Result<ByteStream, ClientError> {
        let timeout = self.timeout;
        within(timeout, self.checked(&[])).await.map(byte_stream)
    }

    /// A stream of events, from behind the event with this id.
    pub(crate) async fn events(mut self, last_id: Option<&str>) -> Result<ByteStream, ClientError> {
        self.request.headers_mut().insert(ACCEPT, EVENT_STREAM);
        if let Some(id) = last_id {
            self = self.header(LAST_EVENT_ID, id);
        }
        let timeout = self.timeout;
        let answer = within(timeout, self.checked(&[])).await?;
        let kind = answer.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        if !kind.starts_with(EVENT_STREAM.as_bytes()) {
            return Err(ClientError::protocol(Some(answer.status()), "the answer is not a stream of events"));
        }
        Ok(byte_stream(answer))
    }

    async fn complete(self, also: &[StatusCode]) -> Result<(StatusCode, Bytes), ClientError> {
        let answer = self.checked(also).await?;
        let status = answer.status();
        Ok((status, read(answer, MAX_ANSWER_BYTES).await?))
    }

    /// The answer if it is a success, or has one of these statuses.
    async fn checked(self, also: &[StatusCode]) -> Result<Answer, ClientError> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let answer = self.transport.send(self.request).await?;
        if answer.status().is_success() || also.contains(&answer.status()) {
            return Ok(answer);
        }
        Err(refusal(answer).await)
    }
}

fn byte_stream(answer: Answer) -> ByteStream {
    let frames = BodyStream::new(answer.into_body()).filter_map(|frame| async {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(broken(&*error))),
        }
    });
    Box::pin(frames)
}

async fn within<T>(
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match timeout {
        None => work.await,
        Some(limit) => match tokio::time::timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => Err(TransportError::Timeout(limit).into()),
        },
    }
}

async fn refusal(answer: Answer) -> ClientError {
    let status = answer.status();
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = match read(answer, MAX_PROBLEM_BYTES).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => ClientError::Problem { problem: Box::new(problem), retry_after },
        Err(_) => ClientError::Protocol {
            status: Some(status),
            message: unknown_refusal(status, &body),
            retry_after,
        },
    }
}

/// A problem with a code of a later version still has its text.
fn unknown_refusal(status: StatusCode, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Detail {
        detail: String,
    }
    match serde_json::from_slice::<Detail>(body) {
        Ok(Detail { detail }) => detail,
        Err(_) => format!("the answer was {status}, without an explanation"),
    }
}

/// The whole of a bounded body; one that comes in one piece is not copied.
async fn read(answer: Answer, limit: usize) -> Result<Bytes, ClientError> {
    let mut pieces = byte_stream(answer);
    let mut whole = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        if whole.len() + rest.len() + piece.len() > limit {
            return Err(ClientError::protocol(None, format!("the answer is longer than {limit} bytes")));
        }
        if whole.is_empty() {
            whole = piece;
        } else {
            rest.extend_from_slice(&piece);
        }
    }
    if rest.is_empty() {
        return Ok(whole);
    }
    let mut joined = BytesMut::from(whole);
    joined.unsplit(rest);
    Ok(joined.freeze())
}

fn broken(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ClientError {
    TransportError::Broken(root_cause(error)).into()
}
