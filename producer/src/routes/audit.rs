//! The audit log: what happened in the organization, by whom. Nothing changes or removes an entry.

use std::sync::Arc;

use async_stream::stream;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use gantry_api_types::Page;
use gantry_api_types::identity::AuditEntry;
use gantry_api_types::problem::Problem;
use gantry_domain::id::{AuditId, OrganizationId};
use gantry_domain::identity::AuditAction;
use gantry_domain::run::Actor;
use gantry_store::AuditFilter;
use serde::Deserialize;
use utoipa::IntoParams;

use super::view;
use crate::access::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::ApiQuery;
use crate::extract::query::{after, limit, time};
use crate::services::identity::audit;
use crate::state::App;

/// Entries read at once for an export.
const BATCH: u32 = 500;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditParams {
    /// 1 to 100; 25 if absent.
    limit: Option<u32>,
    /// From `next_cursor`.
    cursor: Option<String>,
    /// At this time or later.
    from: Option<String>,
    /// Before this time.
    before: Option<String>,
    /// Of this person (`usr_…`) or key (`key_…`).
    actor: Option<String>,
    /// Such as `sign_in` or `member_role_changed`.
    action: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FilterParams {
    /// At this time or later.
    from: Option<String>,
    /// Before this time.
    before: Option<String>,
    /// Of this person (`usr_…`) or key (`key_…`).
    actor: Option<String>,
    /// Such as `sign_in` or `member_role_changed`.
    action: Option<String>,
}

impl FilterParams {
    fn read(&self) -> ApiResult<AuditFilter> {
        let actor = match self.actor.as_deref() {
            None => None,
            Some("system") => Some(Actor::System),
            Some(text) => {
                let user = text.parse().map(Actor::User).ok();
                let key = || text.parse().map(Actor::Key).ok();
                Some(user.or_else(key).ok_or_else(|| {
                    ApiError::invalid_parameter(
                        "`actor` is the id of a person (`usr_…`) or of a key (`key_…`), or `system`.",
                    )
                })?)
            }
        };
        let action = match self.action.as_deref().map(AuditAction::named) {
            Some(AuditAction::Other(_)) => {
                let known: Vec<_> = AuditAction::KNOWN.iter().map(AuditAction::as_str).collect();
                return Err(ApiError::invalid_parameter(format!("`action` takes {}.", known.join(", "))));
            }
            known => known,
        };
        let (from, before) = (time("from", self.from.as_deref())?, time("before", self.before.as_deref())?);
        Ok(AuditFilter { from, before, actor, action })
    }
}

/// List what happened, newest first.
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "list_audit", tag = "organization", params(AuditParams),
    responses((status = 200, body = Page<AuditEntry>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(params): ApiQuery<AuditParams>,
) -> ApiResult<Json<Page<AuditEntry>>> {
    let limit = limit(params.limit)?;
    let after: Option<AuditId> = after(params.cursor.as_deref())?;
    let AuditParams { from, before, actor, action, .. } = params;
    let filter = FilterParams { from, before, actor, action }.read()?;
    let page = app.parts.stores.audit.list(Some(caller.organization), &filter, after, limit).await?;
    Ok(Json(Page {
        items: page.items.iter().map(view::audit).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    }))
}

/// Export what happened, newest first: one JSON object per line. An export that breaks off ends without its last line, which
/// is `{"complete":true}`.
#[utoipa::path(get, path = "/api/v1/audit/export", operation_id = "export_audit", tag = "organization", params(FilterParams),
    responses((status = 200, body = String, content_type = "application/x-ndjson"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn export(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(params): ApiQuery<FilterParams>,
) -> ApiResult<Response> {
    let filter = params.read()?;
    audit::write(&app, audit::done(&app, &caller, AuditAction::AuditExported)).await;
    let lines = lines(app, caller.organization, filter);
    let mut response = Body::from_stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"audit.ndjson\""),
    );
    Ok(response)
}

fn lines(
    app: Arc<App>,
    organization: OrganizationId,
    filter: AuditFilter,
) -> impl futures::Stream<Item = Result<Bytes, gantry_store::StoreError>> + Send + 'static {
    stream! {
        let mut after = None;
        loop {
            match app.parts.stores.audit.list(Some(organization), &filter, after, BATCH).await {
                Ok(page) => {
                    let mut text = String::new();
                    for entry in &page.items {
                        text.push_str(&serde_json::to_string(&view::audit(entry)).unwrap_or_default());
                        text.push('\n');
                    }
                    if page.next.is_none() {
                        text.push_str("{\"complete\":true}\n");
                    }
                    yield Ok(Bytes::from(text));
                    after = page.next;
                    if after.is_none() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, org.id = %organization, "an export of the audit log broke off");
                    yield Err(error);
                    return;
                }
            }
        }
    }
}
