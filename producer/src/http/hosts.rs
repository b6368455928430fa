//! By which names we are called. A page on the web can point a name of its own at this machine (DNS rebinding), and its
//! reader's browser then takes us for that page's server; what it cannot do is call us by one of our names.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use gantry_api_types::problem::ProblemCode;

use crate::config::{Hosts, HttpConfig, as_address};
use crate::error::ApiError;
use crate::http::is_operations;
use crate::state::App;

/// Refuses a request for a host that is not ours.
pub async fn check(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if is_ours(&app.config.http, &request) {
        return next.run(request).await;
    }
    let detail = match app.config.http.hosts {
        Hosts::Machine(_) => {
            "This Gantry answers to localhost and to the address it listens on. If it is yours and has this name, add the \
             name to http.hosts (GANTRY_HTTP_HOSTS)."
        }
        _ => {
            "This Gantry does not answer to this name. If it is yours, add the name to http.hosts (GANTRY_HTTP_HOSTS)."
        }
    };
    ApiError::new(ProblemCode::UnknownHost, detail).into_response()
}

fn is_ours(config: &HttpConfig, request: &Request) -> bool {
    if config.hosts == Hosts::Any {
        return true;
    }
    // Probes and scrapers come by address, which is no name that could be pointed elsewhere.
    let by_address = is_operations(request.uri().path());
    let known = |host: &str| config.answers_to(host) || (by_address && as_address(host).is_some());
    let mut named = request.headers().get_all(HOST).iter().map(|value| {
        let authority = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
        authority.is_some_and(|authority| known(authority.host()))
    });
    // Whoever writes a whole address in the request line means that, and must not say otherwise below it.
    let asked = request.uri().authority().map(|authority| known(authority.host()));
    match (asked, named.next()) {
        (None, None) => false,
        (asked, first) => asked.unwrap_or(true) && first.unwrap_or(true) && named.next().is_none(),
    }
}
