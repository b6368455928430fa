//! API keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gantry_api_types::Page;
use gantry_api_types::identity::{ApiKey, CreateKey, Hidden, NewKey};
use gantry_api_types::problem::Problem;
use gantry_domain::id::KeyId;
use serde::Deserialize;
use utoipa::IntoParams;

use super::view;
use crate::access::Caller;
use crate::error::ApiResult;
use crate::extract::query::{after, limit};
use crate::extract::{ApiJson, ApiPath, ApiQuery};
use crate::services::identity::{keys, sign_up};
use crate::state::App;

/// Make an API key. Its secret is shown in this answer and never again.
#[utoipa::path(post, path = "/api/v1/keys", operation_id = "create_key", tag = "keys", request_body = CreateKey,
    responses((status = 201, body = NewKey),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    body: ApiJson<CreateKey>,
) -> ApiResult<Response> {
    let CreateKey { name, scopes, expires_in_days } = body.value;
    let name = sign_up::name(&name, "/name")?;
    let (key, secret) = keys::create(&app, &caller, name, scopes, expires_in_days).await?;
    Ok((StatusCode::CREATED, Json(NewKey { key: view::key(&key), secret: Hidden(secret) })).into_response())
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct KeyParams {
    /// 1 to 100; 25 if absent.
    limit: Option<u32>,
    /// From `next_cursor`.
    cursor: Option<String>,
    /// `true`: those of all members, for admins.
    all: Option<bool>,
}

/// List one's API keys in the organization, newest first; revoked ones too.
#[utoipa::path(get, path = "/api/v1/keys", operation_id = "list_keys", tag = "keys", params(KeyParams),
    responses((status = 200, body = Page<ApiKey>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(params): ApiQuery<KeyParams>,
) -> ApiResult<Json<Page<ApiKey>>> {
    let limit = limit(params.limit)?;
    let after: Option<KeyId> = after(params.cursor.as_deref())?;
    let page = keys::list(&app, &caller, params.all.unwrap_or(false), after, limit).await?;
    Ok(Json(Page {
        items: page.items.iter().map(view::key).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    }))
}

/// Give a key another secret. The old one stops working, within five seconds everywhere.
#[utoipa::path(post, path = "/api/v1/keys/{id}/rotate", operation_id = "rotate_key", tag = "keys", params(("id" = String, Path)),
    responses((status = 200, body = NewKey),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(id): ApiPath<KeyId>,
) -> ApiResult<Json<NewKey>> {
    let (key, secret) = keys::rotate(&app, &caller, id).await?;
    Ok(Json(NewKey { key: view::key(&key), secret: Hidden(secret) }))
}

/// Revoke a key, for good.
#[utoipa::path(delete, path = "/api/v1/keys/{id}", operation_id = "revoke_key", tag = "keys", params(("id" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiPath(id): ApiPath<KeyId>,
) -> ApiResult<StatusCode> {
    keys::revoke(&app, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
