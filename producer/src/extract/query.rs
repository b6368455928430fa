//! Query parameters; unknown and wrong ones are refused by name.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use gantry_domain::time::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::error::{ApiError, ApiResult};
use crate::state::App;

pub struct ApiQuery<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<App>> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, ApiError> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                let cause = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                let cause: String = cause.chars().filter(|c| !c.is_control()).take(500).collect();
                Err(ApiError::invalid_parameter(format!("A query parameter is wrong: {cause}.")))
            }
        }
    }
}

/// Page sizes: 25 if absent, 100 at most.
pub fn limit(limit: Option<u32>) -> Result<u32, ApiError> {
    match limit.unwrap_or(25) {
        limit @ 1..=100 => Ok(limit),
        other => Err(ApiError::invalid_parameter(format!("`limit` is 1 to 100, not {other}."))),
    }
}

/// The id that a page begins behind.
pub fn after<T: FromStr>(cursor: Option<&str>) -> ApiResult<Option<T>> {
    cursor
        .map(str::parse)
        .transpose()
        .map_err(|_| ApiError::invalid_parameter("`cursor` is not one that a list gave you."))
}

/// A list that takes nothing else.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// 1 to 100; 25 if absent.
    pub limit: Option<u32>,
    /// From `next_cursor`.
    pub cursor: Option<String>,
}

impl PageParams {
    pub fn limit(&self) -> ApiResult<u32> {
        limit(self.limit)
    }

    pub fn after<T: FromStr>(&self) -> ApiResult<Option<T>> {
        after(self.cursor.as_deref())
    }
}

pub fn time(name: &str, text: Option<&str>) -> ApiResult<Option<Timestamp>> {
    text.map(str::parse)
        .transpose()
        .map_err(|error| ApiError::invalid_parameter(format!("`{name}`: {error}.")))
}

/// The values of a comma-separated parameter.
pub fn values(parameter: Option<&str>) -> impl Iterator<Item = &str> {
    parameter.unwrap_or("").split(',').map(str::trim).filter(|value| !value.is_empty())
}

/// Each value parsed, or an error that lists what is possible.
pub fn parse_all<T>(
    name: &str,
    parameter: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    possible: &[&str],
) -> Result<Vec<T>, ApiError> {
    values(parameter)
        .map(|value| {
            parse(value).ok_or_else(|| {
                ApiError::invalid_parameter(format!("`{name}` takes {}.", possible.join(", ")))
            })
        })
        .collect()
}
