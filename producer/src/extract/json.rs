//! A JSON body, refused with the field that is wrong.

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use gantry_api_types::object::Object;
use gantry_api_types::problem::ProblemCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::{DeserializeOwned, DeserializeSeed as _};

use crate::error::ApiError;
use crate::state::App;

const WORKER_API: &str = "/worker/";
/// Room for the leases of a thousand slots: however little callers may send, workers keep theirs.
const WORKER_BODY: usize = 2 << 20;

/// A parsed body with the bytes it was parsed from.
pub struct ApiJson<T> {
    pub value: T,
    pub bytes: Bytes,
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let content_type =
            request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let essence = content_type.split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(ApiError::new(
                ProblemCode::UnsupportedMediaType,
                "Send the body as JSON with `Content-Type: application/json`.",
            ));
        }
        let limit = app.config.limits.body_bytes;
        let limit = if request.uri().path().starts_with(WORKER_API) { limit.max(WORKER_BODY) } else { limit };
        let bytes = read(request.into_body(), limit).await?;
        Ok(Self { value: parse(&bytes)?, bytes })
    }
}

/// A whole body of at most `limit` bytes.
pub async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let too_large =
        || ApiError::new(ProblemCode::PayloadTooLarge, format!("The body may have {limit} bytes at most."));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(broken_body(&*error)),
    }
}

/// A body that did not arrive.
pub fn broken_body(error: &(dyn std::error::Error + 'static)) -> ApiError {
    if gantry_service_kit::http::BodyTimedOut::caused(error) {
        ApiError::new(ProblemCode::RequestTimeout, "The body arrived too slowly. Send it again.")
    } else {
        ApiError::new(ProblemCode::MalformedBody, "The body was cut off. Send it again.")
    }
}

/// Parses JSON; an error names the field by JSON pointer.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let detail = format!("The body is not UTF-8: see byte {}.", error.valid_up_to());
        ApiError::new(ProblemCode::MalformedBody, detail)
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    let value = Object::<T>::default().deserialize(tracked).map_err(|error| {
        let pointer = pointer(&track.path());
        // A number that no type can hold is a syntax error to the parser, and a wrong field to everybody else.
        let absurd = !pointer.is_empty() && error.to_string().starts_with("number out of range");
        match error.classify() {
            serde_json::error::Category::Data => refuse(pointer, &error),
            _ if absurd => refuse(pointer, &error),
            _ => ApiError::new(ProblemCode::MalformedBody, format!("The body is not JSON: {error}.")),
        }
    })?;
    deserializer.end().map_err(|error| {
        ApiError::new(ProblemCode::MalformedBody, format!("The body is not JSON: {error}."))
    })?;
    Ok(value)
}

fn refuse(mut pointer: String, error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    // serde reports an unknown field at the object around it.
    for prefix in ["unknown field `", "duplicate field `"] {
        if let Some(name) = message.strip_prefix(prefix).and_then(|rest| rest.split('`').next()) {
            let token = format!("/{}", escape(name));
            if !pointer.ends_with(&token) {
                pointer.push_str(&token);
            }
        }
    }
    let message: String = message.chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect();
    ApiError::field(&pointer, message)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", escape(key))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use gantry_api_types::request::CreateRun;

    use super::*;

    fn refusal(body: &[u8]) -> (ProblemCode, String) {
        let error = parse::<CreateRun>(body).unwrap_err();
        (error.code, error.errors.first().map(|field| field.pointer.clone()).unwrap_or_default())
    }

    #[test]
    fn a_wrong_field_is_named_by_pointer() {
        for (body, pointer) in [
            (r#"{"timeout_seconds": "10"}"#, "/timeout_seconds"),
            (r#"{"timeout_seconds": 1e99}"#, "/timeout_seconds"),
            (r#"{"timeout_seconds": -1}"#, "/timeout_seconds"),
            (r#"{"resources": {"cpus": "two"}}"#, "/resources/cpus"),
            (r#"{"resources": {"gpus": 2}}"#, "/resources/gpus"),
            (r#"{"command": ["a", 2]}"#, "/command/1"),
            (r#"{"variables": {"A/B": 1}}"#, "/variables/A~1B"),
            (r#"{"privileged": true}"#, "/privileged"),
            (r#"{"image": "a", "image": "b"}"#, "/image"),
            (r#"{"priority": "urgent"}"#, "/priority"),
            (r#"{"timeout_seconds": 1e999}"#, "/timeout_seconds"),
            (r#"{"resources": [2, 512]}"#, "/resources"),
            (r#"{"retries": []}"#, "/retries"),
            (r#"[1]"#, ""),
            (r#"[null, "busybox"]"#, ""),
            (r#"null"#, ""),
            (r#""image""#, ""),
        ] {
            assert_eq!(
                refusal(body.as_bytes()),
                (ProblemCode::ValidationFailed, pointer.to_owned()),
                "{body}"
            );
        }
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in [&b"{"[..], b"", b"{} {}", b"{\"image\": \"\xff\"}", b"\0", b"{\"image\": \"a\""] {
            assert_eq!(refusal(body).0, ProblemCode::MalformedBody, "{body:?}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        let body = format!("{{\"source\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(refusal(body.as_bytes()).0, ProblemCode::MalformedBody);
    }
}
