//! Runs: create, find, change, remove.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_api_types::Page;
use gantry_api_types::problem::Problem;
use gantry_api_types::request::{BulkAction, BulkRequest, BulkResponse, BulkResult, CreateRun};
use gantry_api_types::run::{Attempt, Attempts, Group, Run};
use gantry_domain::id::RunId;
use gantry_domain::permission::Permission;
use gantry_domain::run::{RunStatus, TriggerKind};
use gantry_store::{Idempotency, ListFilter};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::IntoParams;

use crate::access::Caller;
use crate::error::{ApiError, ApiResult};
use crate::extract::query::{PageParams, after, limit, parse_all, time, values};
use crate::extract::{ApiJson, ApiQuery, Loaded, RunPath};
use crate::services::{accept, cancel, overview};
use crate::state::App;

fn accepted(app: &App, run: &gantry_domain::run::Run) -> Response {
    let location = HeaderValue::from_str(&format!("/api/v1/runs/{}", run.id));
    let mut response = (StatusCode::ACCEPTED, Json(overview::brief(app, run))).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Create a run. It is stored durably before this answers.
#[utoipa::path(post, path = "/api/v1/runs", operation_id = "create_run", tag = "runs", request_body = CreateRun,
    params(("Idempotency-Key" = Option<String>, Header, description = "Same key, same body: the same run, for 24 hours")),
    responses(
        (status = 202, description = "Accepted", body = Run, headers(("Location" = String))),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Failed; not accepted unless a later look says so", body = Problem, content_type = "application/problem+json"),
    ))]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    ApiJson { value, bytes }: ApiJson<CreateRun>,
) -> ApiResult<Response> {
    let idempotency =
        idempotency_key(&headers)?.map(|key| Idempotency { key, body_hash: Sha256::digest(&bytes).into() });
    let run = accept::create(&app, caller, value, idempotency).await?;
    Ok(accepted(&app, &run))
}

fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(ApiError::invalid_parameter("Give one `Idempotency-Key`, not several."));
    }
    let key = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    key.map(|key| Some(key.to_owned()))
        .ok_or_else(|| ApiError::invalid_parameter("`Idempotency-Key` is 1 to 255 visible ASCII characters."))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// 1 to 100; 25 if absent.
    limit: Option<u32>,
    /// From `next_cursor`.
    cursor: Option<String>,
    /// One or more statuses, separated by commas.
    status: Option<String>,
    project: Option<String>,
    environment: Option<String>,
    group: Option<String>,
    /// `api`, `rerun`.
    trigger: Option<String>,
    /// `key=value`, several separated by commas; all must be there.
    label: Option<String>,
    created_from: Option<String>,
    created_before: Option<String>,
    /// Part of the id, number, image, command, project or group.
    text: Option<String>,
}

impl ListParams {
    fn filter(&self) -> ApiResult<ListFilter> {
        let statuses = RunStatus::ALL.map(RunStatus::as_str);
        let owned = |parameter: &Option<String>| values(parameter.as_deref()).map(str::to_owned).collect();
        let labels = values(self.label.as_deref()).map(|label| {
            let (key, value) = label
                .split_once('=')
                .ok_or_else(|| ApiError::invalid_parameter("`label` looks like `key=value`."))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        let trigger = |name: &str| match name {
            "api" => Some(TriggerKind::Api),
            "rerun" => Some(TriggerKind::Rerun),
            _ => None,
        };
        let found = parse_all("status", self.status.as_deref(), RunStatus::parse, &statuses)?;
        Ok(ListFilter {
            statuses: found.into_iter().map(RunStatus::as_str).collect(),
            projects: owned(&self.project),
            environments: owned(&self.environment),
            groups: owned(&self.group),
            triggers: parse_all("trigger", self.trigger.as_deref(), trigger, &["api", "rerun"])?,
            labels: labels.collect::<ApiResult<_>>()?,
            created_from: time("created_from", self.created_from.as_deref())?,
            created_before: time("created_before", self.created_before.as_deref())?,
            text: self.text.clone().filter(|text| !text.trim().is_empty()),
        })
    }
}

/// List runs, newest first.
#[utoipa::path(get, path = "/api/v1/runs", operation_id = "list_runs", tag = "runs", params(ListParams),
    responses((status = 200, body = Page<Run>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(params): ApiQuery<ListParams>,
) -> ApiResult<Json<Page<Run>>> {
    let limit = limit(params.limit)?;
    let after: Option<RunId> = after(params.cursor.as_deref())?;
    let page = app.parts.stores.runs.list(caller.organization, &params.filter()?, after, limit).await?;
    Ok(Json(Page {
        items: page.items.iter().map(|run| overview::brief(&app, run)).collect(),
        next_cursor: page.next.map(|id| id.to_string()),
    }))
}

/// List the groups that runs carry, by name.
#[utoipa::path(get, path = "/api/v1/runs/groups", operation_id = "list_groups", tag = "runs", params(PageParams),
    responses((status = 200, body = Page<Group>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn groups(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiQuery(params): ApiQuery<PageParams>,
) -> ApiResult<Json<Page<Group>>> {
    let limit = params.limit()?;
    let page = app.parts.stores.runs.groups(caller.organization, params.cursor.as_deref(), limit).await?;
    let items = page.items.into_iter().map(|group| Group {
        name: group.name,
        runs: group.runs,
        by_status: group.by_status.into_iter().map(|(s, count)| (s.as_str().to_owned(), count)).collect(),
        last_created_at: group.last_created_at,
    });
    Ok(Json(Page { items: items.collect(), next_cursor: page.next }))
}

/// Show a run.
#[utoipa::path(get, path = "/api/v1/runs/{id}", operation_id = "show_run", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = Run),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn show(State(app): State<Arc<App>>, Loaded { run, .. }: Loaded) -> ApiResult<Json<Run>> {
    Ok(Json(overview::detail(&app, &run).await?))
}

/// Show every attempt of a run.
#[utoipa::path(get, path = "/api/v1/runs/{id}/attempts", operation_id = "list_attempts", tag = "runs", params(("id" = String, Path)),
    responses((status = 200, body = Attempts),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn attempts(Loaded { run, .. }: Loaded) -> Json<Attempts> {
    Json(Attempts { items: run.attempts.iter().map(Attempt::of).collect() })
}

/// Cancel a run. Asking twice is fine.
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", operation_id = "cancel_run", tag = "runs", params(("id" = String, Path)),
    responses((status = 202, description = "Cancelled, or its worker was told to end it", body = Run),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn cancel(State(app): State<Arc<App>>, RunPath { caller, id }: RunPath) -> ApiResult<Response> {
    let run = cancel::cancel(&app, caller, id).await?;
    Ok(accepted(&app, &run))
}

/// Run the same again: the resolved specification of the original, with today's secrets.
#[utoipa::path(post, path = "/api/v1/runs/{id}/rerun", operation_id = "rerun", tag = "runs",
    params(("id" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Same key, same run: the same new run, for 24 hours")),
    responses((status = 202, description = "The new run", body = Run),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn rerun(
    State(app): State<Arc<App>>,
    Loaded { caller, run }: Loaded,
    headers: HeaderMap,
) -> ApiResult<Response> {
    // There is no body: what was asked for is in the path.
    let asked = || Sha256::digest(format!("rerun of {}", run.id)).into();
    let idempotency = idempotency_key(&headers)?.map(|key| Idempotency { key, body_hash: asked() });
    let run = accept::rerun(&app, caller, &run, idempotency).await?;
    Ok(accepted(&app, &run))
}

/// Delete a run that is over, with its log, results and artifacts.
#[utoipa::path(delete, path = "/api/v1/runs/{id}", operation_id = "delete_run", tag = "runs", params(("id" = String, Path)),
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn delete(State(app): State<Arc<App>>, RunPath { caller, id }: RunPath) -> ApiResult<StatusCode> {
    cancel::delete(&app, caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancel, delete or regroup up to 100 runs. Each is done for itself; the answer says which were.
#[utoipa::path(post, path = "/api/v1/runs/bulk", operation_id = "bulk_runs", tag = "runs", request_body = BulkRequest,
    responses((status = 200, body = BulkResponse),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn bulk(
    State(app): State<Arc<App>>,
    caller: Caller,
    ApiJson { value: request, .. }: ApiJson<BulkRequest>,
) -> ApiResult<Json<BulkResponse>> {
    if !(1..=100).contains(&request.ids.len()) {
        return Err(ApiError::field("/ids", format!("give 1 to 100 ids, not {}", request.ids.len())));
    }
    if let Some(group) = &request.group
        && (group.trim().is_empty() || group.len() > 200 || group.chars().any(char::is_control))
    {
        return Err(ApiError::field("/group", "a group's name has 1 to 200 printable bytes"));
    }
    if request.group.is_some() && request.action != BulkAction::Regroup {
        return Err(ApiError::field("/group", "only `regroup` takes a group"));
    }
    caller.must(match request.action {
        BulkAction::Cancel => Permission::RunsCancel,
        BulkAction::Delete => Permission::RunsDelete,
        BulkAction::Regroup => Permission::RunsRegroup,
    })?;
    let mut results = Vec::with_capacity(request.ids.len());
    for id in request.ids {
        let done = match id.parse::<RunId>() {
            Err(_) => Err(ApiError::not_found()),
            Ok(run) => match request.action {
                BulkAction::Cancel => cancel::cancel(&app, caller, run).await.map(drop),
                BulkAction::Delete => cancel::delete(&app, caller, run).await,
                BulkAction::Regroup => {
                    cancel::regroup(&app, caller, run, request.group.clone()).await.map(drop)
                }
            },
        };
        let (code, detail) = done.err().map(|error| (error.code, error.detail)).unzip();
        results.push(BulkResult { id, ok: code.is_none(), code, detail });
    }
    Ok(Json(BulkResponse { results }))
}
