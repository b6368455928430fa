//! How a request reaches a producer: over a socket, or as a plain call within the process. Both carry the same requests,
//! so that the embedded worker speaks exactly what a worker in a cluster speaks.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, TryStreamExt as _};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tower::{Service, ServiceExt as _};

use crate::error::TransportError;

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Below the idle timeout of our server (75 s) and of usual proxies (60 s), so that a request rarely meets a closing connection.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A request's body: bytes at hand, or a stream.
pub struct Body(Inner);

enum Inner {
    Full(Option<Bytes>),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    pub fn empty() -> Self {
        Self(Inner::Full(None))
    }

    pub fn full(bytes: Bytes) -> Self {
        Self(Inner::Full(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// Of unknown length; sent as it comes.
    pub fn stream<E: Into<BoxError> + 'static>(
        stream: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Self {
        let frames = stream.map_ok(Frame::data).map_err(Into::into);
        Self(Inner::Stream(UnsyncBoxBody::new(StreamBody::new(frames))))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Inner::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Full(bytes) => bytes.is_none(),
            Inner::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Inner::Stream(body) => body.size_hint(),
        }
    }
}

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// Why a text is not the address of a producer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not an address of a server: use http://HOST:PORT or https://HOST[:PORT]")]
pub struct InvalidBaseUrl {
    url: String,
}

/// A way to a producer. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Transport {
    way: Arc<Way>,
    headers: Option<fn(&mut HeaderMap)>,
}

enum Way {
    Http(Box<Http>),
    InProcess(Box<InProcess>),
}

type InProcess = dyn Fn(Request<Body>) -> BoxFuture<'static, Result<Answer, BoxError>> + Send + Sync;

struct Http {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    /// Replicas of one producer; at least one.
    targets: Vec<Target>,
    /// Which of them is asked, until it does not answer.
    current: AtomicUsize,
}

struct Target {
    scheme: Scheme,
    authority: Authority,
    /// What precedes every path, without a slash at its end.
    prefix: String,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transport({})", self.address())
    }
}

impl Transport {
    /// Through a socket to `http://…` or `https://…` (roots of the Mozilla list), with a pool of kept-alive connections.
    /// Several addresses, separated by commas, are replicas: when one does not answer, the next is asked.
    pub fn http(base_url: &str) -> Result<Self, InvalidBaseUrl> {
        let targets = base_url.split(',').map(Target::parse).collect::<Result<Vec<_>, _>>()?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        connector.set_keepalive(Some(Duration::from_secs(30)));
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .build(connector);
        Ok(Self::over(Way::Http(Box::new(Http { client, targets, current: AtomicUsize::new(0) }))))
    }

    /// Straight into `service`, such as the producer's router: no socket, no serialization of the request's head.
    pub fn in_process<S, B>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::over(Way::InProcess(Box::new(move |request| {
            let answer = service.clone().oneshot(request);
            answer
                .map(|answer| match answer {
                    Ok(answer) => Ok(answer.map(|body| UnsyncBoxBody::new(body.map_err(Into::into)))),
                    Err(error) => Err(error.into()),
                })
                .boxed()
        })))
    }

    fn over(way: Way) -> Self {
        Self { way: Arc::new(way), headers: None }
    }

    /// With what `headers` adds to every request where it is sent, such as the context of the caller's trace.
    #[must_use]
    pub fn with_headers(self, headers: fn(&mut HeaderMap)) -> Self {
        Self { headers: Some(headers), ..self }
    }

    /// Where it leads, for messages.
    pub fn address(&self) -> String {
        match &*self.way {
            Way::Http(http) => http.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
            Way::InProcess(_) => "this process".to_owned(),
        }
    }

    /// Sends `request`, whose URI is a path with its query, and waits for the answer's head.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Result<Answer, TransportError> {
        if let Some(headers) = self.headers {
            headers(request.headers_mut());
        }
        match &*self.way {
            Way::InProcess(call) => {
                call(request).await.map_err(|error| TransportError::Broken(error.to_string()))
            }
            Way::Http(http) => http.send(request).await,
        }
    }
}

impl Http {
    /// Asks the current replica; one that nothing was sent to is passed over at once, for a body that is still at hand.
    async fn send(&self, mut request: Request<Body>) -> Result<Answer, TransportError> {
        let path = request.uri().clone();
        let mut passed_over = 0;
        loop {
            let turn = Turn::take(self);
            let target = &self.targets[turn.asked];
            *request.uri_mut() = target.absolute(&path)?;
            let again = again(&request);
            let error = match self.client.request(request).await {
                Ok(answer) => {
                    turn.answered();
                    return Ok(answer.map(|body| UnsyncBoxBody::new(body.map_err(Into::into))));
                }
                Err(error) => error,
            };
            if !error.is_connect() {
                return Err(TransportError::Broken(root_cause(&error)));
            }
            passed_over += 1;
            match again {
                Some(again) if passed_over < self.targets.len() => request = again,
                _ => {
                    let address = target.to_string();
                    return Err(TransportError::Connect { address, reason: root_cause(&error) });
                }
            }
        }
    }
}

/// One replica being asked. Unless it answers, also when the caller has waited long enough, the next one has its turn.
struct Turn<'a> {
    http: &'a Http,
    asked: usize,
    answered: bool,
}

impl<'a> Turn<'a> {
    fn take(http: &'a Http) -> Self {
        let asked = http.current.load(Ordering::Relaxed) % http.targets.len();
        Self { http, asked, answered: false }
    }

    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let next = (self.asked + 1) % self.http.targets.len();
            // Somebody else may have moved on already.
            let _ =
                self.http.current.compare_exchange(self.asked, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// The same request once more, if its body can be sent twice.
fn again(request: &Request<Body>) -> Option<Request<Body>> {
    let Inner::Full(bytes) = &request.body().0 else { return None };
    let mut again = Request::new(Body(Inner::Full(bytes.clone())));
    *again.method_mut() = request.method().clone();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}

impl Target {
    fn parse(base_url: &str) -> Result<Self, InvalidBaseUrl> {
        let invalid = || InvalidBaseUrl { url: base_url.to_owned() };
        let parts = base_url.trim().parse::<Uri>().map_err(|_| invalid())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else { return Err(invalid()) };
        let query = parts.path_and_query.as_ref().and_then(PathAndQuery::query);
        if (scheme != Scheme::HTTP && scheme != Scheme::HTTPS)
            || query.is_some()
            || authority.as_str().contains('@')
        {
            return Err(invalid());
        }
        let prefix =
            parts.path_and_query.map_or(String::new(), |path| path.path().trim_end_matches('/').to_owned());
        Ok(Self { scheme, authority, prefix })
    }

    fn absolute(&self, path: &Uri) -> Result<Uri, TransportError> {
        let path = path.path_and_query().map_or("/", PathAndQuery::as_str);
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path}", self.prefix))
            .build()
            .map_err(|error| TransportError::Broken(error.to_string()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

/// The innermost error says what happened; the outer ones only where.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_perhaps_a_prefix() {
        for (given, kept) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://gantry.example/", "https://gantry.example"),
            ("https://example.com/tools/gantry/", "https://example.com/tools/gantry"),
            ("http://a:3000, http://b:3000/", "http://a:3000 or http://b:3000"),
        ] {
            assert_eq!(Transport::http(given).unwrap().address(), kept);
        }
        for bad in [
            "",
            "localhost",
            "localhost:8080",
            "ftp://host",
            "http://",
            "http://me@host",
            "http://h/?q=1",
            "http://a,b",
        ] {
            assert!(Transport::http(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_body_tells_its_length() {
        use http_body::Body as _;
        assert_eq!(Body::empty().size_hint().exact(), Some(0));
        assert!(Body::full(Bytes::new()).is_end_stream());
        assert_eq!(Body::full(Bytes::from_static(b"abc")).size_hint().exact(), Some(3));
    }
}
