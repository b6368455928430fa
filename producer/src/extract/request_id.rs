//! Gives every request an id that its answer and its log lines carry.

use std::cell::RefCell;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

tokio::task_local! {
    static REQUEST_ID: RefCell<String>;
}

const HEADER: &str = "x-request-id";

/// The id of the request being answered; empty outside of one.
pub fn current() -> String {
    REQUEST_ID.try_with(|id| id.borrow().clone()).unwrap_or_default()
}

/// Takes the caller's id if it is a plain one, else makes one.
pub async fn layer(request: Request, next: Next) -> Response {
    let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).filter(|id| plain(id));
    let id = match given {
        Some(id) => id.to_owned(),
        None => format!("{:032x}", rand::random::<u128>()),
    };
    let span = tracing::info_span!("request", request.id = %id);
    let header = HeaderValue::from_str(&id).ok();
    let mut response = REQUEST_ID.scope(RefCell::new(id), next.run(request).instrument(span)).await;
    if let Some(header) = header {
        response.headers_mut().insert(HEADER, header);
    }
    response
}

/// No caller writes into our log lines.
fn plain(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
