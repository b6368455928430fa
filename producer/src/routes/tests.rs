//! What the tests inside a run said.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use gantry_api_types::Page;
use gantry_api_types::problem::Problem;
use gantry_api_types::run::TestResult;
use gantry_domain::results::TestStatus;
use gantry_store::LogKey;
use serde::Deserialize;
use utoipa::IntoParams;

use super::artifacts::{attempt_of, position};
use crate::error::ApiResult;
use crate::extract::query::{limit, parse_all};
use crate::extract::{ApiQuery, Loaded};
use crate::state::App;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// Which attempt's; the last if absent.
    attempt: Option<u32>,
    /// `passed`, `failed`, `skipped`, `flaky`: one or more, separated by commas.
    status: Option<String>,
    /// 1 to 100; 25 if absent.
    limit: Option<u32>,
    /// From `next_cursor`.
    cursor: Option<String>,
}

/// List test results, in the order of the reports.
#[utoipa::path(get, path = "/api/v1/runs/{id}/tests", operation_id = "list_tests", tag = "results",
    params(("id" = String, Path), ListParams),
    responses((status = 200, body = Page<TestResult>),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(
    State(app): State<Arc<App>>,
    Loaded { run, .. }: Loaded,
    ApiQuery(params): ApiQuery<ListParams>,
) -> ApiResult<Json<Page<TestResult>>> {
    let limit = limit(params.limit)?;
    let from = position(params.cursor.as_deref())?;
    let possible = TestStatus::ALL.map(TestStatus::as_str);
    let statuses = parse_all("status", params.status.as_deref(), TestStatus::parse, &possible)?;
    let attempt = attempt_of(&run, params.attempt)?.filter(|attempt| attempt.tests.total > 0);
    let Some(attempt) = attempt else { return Ok(Json(Page { items: Vec::new(), next_cursor: None })) };
    let key = LogKey { organization: run.organization, run: run.id, attempt: attempt.number };
    // One more than asked for tells whether there are more.
    let mut found = app.parts.stores.tests.list(key, &statuses, from, limit + 1).await?;
    let next = found.get(limit as usize).map(|(position, _)| position.to_string());
    found.truncate(limit as usize);
    Ok(Json(Page { items: found.into_iter().map(|(_, result)| result.into()).collect(), next_cursor: next }))
}
