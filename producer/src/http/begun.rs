//! What changes something is gone through with, though its caller hangs up in the middle: no deed without its entry in the audit
//! log, and no step of several without the next.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::state::App;

/// Goes on with a request that changes something in a task of the producer's own. Runs are accepted by one already, and reading
/// ends with its reader.
pub async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let accepts_run = request.uri().path() == "/api/v1/runs";
    let Some(tasks) = app.tasks.get().filter(|_| !reads && !accepts_run) else {
        return next.run(request).await;
    };
    let (answer, answered) = oneshot::channel();
    tasks.spawn("request", async move {
        // Nobody may be there any more.
        let _ = answer.send(next.run(request).await);
    });
    answered.await.unwrap_or_else(|_| ApiError::internal("a request was broken off").into_response())
}
