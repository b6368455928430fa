//! Health has no version and needs no key; not being ready is an answer, not an error.

use gantry_api_types::system::Health;
use http::StatusCode;

use crate::call::Caller;
use crate::error::ClientError;

pub(crate) async fn health(caller: &Caller) -> Result<Health, ClientError> {
    caller.get("/health").answer_of(&[StatusCode::SERVICE_UNAVAILABLE]).await
}

pub(crate) async fn live(caller: &Caller) -> Result<(), ClientError> {
    caller.get("/health/live").done().await
}
