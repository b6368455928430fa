//! What could not be read and was left out.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gantry_api_types::problem::Problem;
use gantry_api_types::set_aside::{SetAside, SetAsideDocument};
use gantry_domain::permission::Permission;
use gantry_store::DocumentKind;

use crate::access::Caller;
use crate::error::ApiResult;
use crate::state::App;

const LISTED: u32 = 100;

/// Runs of the caller's organization that are stored and cannot be read. They are kept, and left out of lists and of
/// dispatching. Who operates the installation sees workers as well, and how many messages the broker keeps that no worker
/// could read.
#[utoipa::path(get, path = "/api/v1/system/set-aside", operation_id = "list_set_aside", tag = "system",
    responses((status = 200, body = SetAside),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(State(app): State<Arc<App>>, caller: Caller) -> ApiResult<Json<SetAside>> {
    let listed = app.parts.stores.runs.set_aside(caller.organization, LISTED).await?;
    let operates = caller.permissions.contains(Permission::SystemRead);
    let own = |document: &gantry_store::SetAside| operates || document.kind != DocumentKind::Worker;
    let items = listed.into_iter().filter(own).map(|document| SetAsideDocument {
        kind: document.kind.as_str().to_owned(),
        id: document.id,
        why: document.why,
        at: document.at,
    });
    let messages = match operates {
        false => None,
        true => app
            .parts
            .queue
            .unreadable()
            .await
            .inspect_err(
                |error| tracing::debug!(%error, "the broker does not say how many messages were set aside"),
            )
            .ok(),
    };
    Ok(Json(SetAside { items: items.collect(), messages }))
}
