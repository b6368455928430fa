//! HTTP: extract, call one service, map. The OpenAPI document comes from these functions.

mod artifacts;
mod audit;
mod auth;
mod errors_page;
mod events;
mod keys;
mod logs;
mod me;
mod organization;
mod projects;
mod runs;
mod set_aside;
mod system;
mod tests;
mod view;
mod worker;
mod workers;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use gantry_api_types::problem::{Problem, ProblemCode};
use gantry_domain::permission::Permission;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::{Needs, needs};
use crate::error::ApiError;
use crate::extract::{rate, request_id};
use crate::http;
use crate::state::App;
use crate::trace::{known_method, route};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Gantry",
        description = "Runs containerised automation on a fleet, reliably, and shows what happened.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem, ProblemCode, gantry_api_types::log::LogEvent)),
    modifiers(&Security),
    tags(
        (name = "runs", description = "Requests to execute an automation"),
        (name = "results", description = "What a run left: log, tests, artifacts"),
        (name = "auth", description = "Signing up, in and out, and who one is"),
        (name = "organization", description = "The tenant, who belongs to it, and what happened"),
        (name = "keys", description = "API keys"),
        (name = "projects", description = "Defaults, variables, secrets and rules of named automations"),
        (name = "workers", description = "The fleet"),
        (name = "system", description = "Health and operation"),
    )
)]
struct ApiDoc;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (name, description) in [
            (API_KEY, "An API key: `Authorization: Bearer gantry_…`"),
            (ACCESS_TOKEN, "What signing in gives, for 15 minutes: `Authorization: Bearer eyJ…`"),
        ] {
            let mut scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
            scheme.description = Some(description.to_owned());
            components.add_security_scheme(name, SecurityScheme::Http(scheme));
        }
    }
}

const API_KEY: &str = "api_key";
const ACCESS_TOKEN: &str = "access_token";

/// Writes what each operation needs into its description, so that it is said once.
fn with_needs(mut openapi: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    for (path, item) in &mut openapi.paths.paths {
        for (method, operation) in operations(item) {
            let Some(operation) = operation else { continue };
            let either = || vec![scheme(API_KEY), scheme(ACCESS_TOKEN)];
            let (security, needs) = match needs(&method, path) {
                None | Some(Needs::Nothing) => (vec![SecurityRequirement::default()], None),
                Some(Needs::Credential) => (either(), None),
                Some(Needs::Permission(Permission::Account)) => {
                    (vec![scheme(ACCESS_TOKEN)], Some("For a person who signed in.".to_owned()))
                }
                Some(Needs::Permission(permission)) => {
                    let scope =
                        permission.scope().map(|scope| format!(", as an API key the scope `{scope}`"));
                    let role = permission.least_role();
                    let whose = match permission.is_of_installation() {
                        true => " of the organization that operates the installation",
                        false => "",
                    };
                    let scope = scope.unwrap_or_default();
                    (either(), Some(format!("Needs the role `{role}`{whose} or more{scope}.")))
                }
            };
            operation.security = Some(security);
            if let Some(needs) = needs {
                let text = operation.description.get_or_insert_default();
                *text = format!("{text}\n\n{needs}").trim_start().to_owned();
            }
        }
    }
    openapi
}

fn scheme(name: &str) -> SecurityRequirement {
    SecurityRequirement::new(name, [""; 0])
}

fn operations(item: &mut PathItem) -> [(Method, Option<&mut Operation>); 5] {
    [
        (Method::GET, item.get.as_mut()),
        (Method::POST, item.post.as_mut()),
        (Method::PUT, item.put.as_mut()),
        (Method::PATCH, item.patch.as_mut()),
        (Method::DELETE, item.delete.as_mut()),
    ]
}

fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(runs::create, runs::list))
        .routes(routes!(runs::bulk))
        .routes(routes!(runs::groups))
        .routes(routes!(runs::show, runs::delete))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::rerun))
        .routes(routes!(runs::attempts))
        .routes(routes!(logs::read))
        .routes(routes!(events::run))
        .routes(routes!(events::organization))
        .routes(routes!(projects::create, projects::list))
        .routes(routes!(projects::show, projects::change, projects::delete))
        .routes(routes!(projects::set_variable, projects::delete_variable))
        .routes(routes!(projects::secrets))
        .routes(routes!(projects::set_secret, projects::delete_secret))
        .routes(routes!(projects::registries))
        .routes(routes!(projects::set_registry, projects::delete_registry))
        .routes(routes!(tests::list))
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::download))
        .routes(routes!(auth::begin_sign_up))
        .routes(routes!(auth::confirm_sign_up))
        .routes(routes!(auth::sign_in))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::sign_out))
        .routes(routes!(auth::switch))
        .routes(routes!(auth::forgot))
        .routes(routes!(auth::reset))
        .routes(routes!(me::show, me::change))
        .routes(routes!(me::password))
        .routes(routes!(me::list_sessions, me::revoke_sessions))
        .routes(routes!(me::revoke_session))
        .routes(routes!(me::leave))
        .routes(routes!(organization::show, organization::change))
        .routes(routes!(organization::create))
        .routes(routes!(organization::members))
        .routes(routes!(organization::change_role, organization::remove_member))
        .routes(routes!(organization::invite, organization::list_invitations))
        .routes(routes!(organization::resend_invitation))
        .routes(routes!(organization::revoke_invitation))
        .routes(routes!(organization::look_up_invitation))
        .routes(routes!(organization::accept_invitation))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::revoke))
        .routes(routes!(workers::list))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::undrain))
        .routes(routes!(system::queue))
        .routes(routes!(system::reconcilers))
        .routes(routes!(set_aside::list))
        .routes(routes!(system::version))
        .routes(routes!(system::health))
        .routes(routes!(system::live))
        .routes(routes!(system::ready))
        .routes(routes!(system::metrics))
}

pub fn openapi() -> utoipa::openapi::OpenApi {
    as_written(documented().split_for_parts().1)
}

/// The router's `{*path}` is `{path}` in OpenAPI, which knows no parameter that spans slashes.
fn as_written(mut openapi: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let paths = std::mem::take(&mut openapi.paths.paths);
    openapi.paths.paths = paths.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
    with_needs(openapi)
}

/// The public API with its reference.
pub fn public(app: Arc<App>) -> Router {
    let (router, openapi) = documented().split_for_parts();
    let reference =
        utoipa_swagger_ui::SwaggerUi::new("/api/docs").url("/api/openapi.json", as_written(openapi));
    let router = router.route("/api/docs/errors", axum::routing::get(errors_page::show)).merge(reference);
    let served = finish(http::guard(inner(router), &app), app.clone());
    // Outermost: what a request's task needs to know is told inside.
    served.layer(middleware::from_fn_with_state(app, http::begun))
}

/// The worker protocol.
pub fn worker(app: Arc<App>) -> Router {
    finish(inner(worker::routes()), app)
}

/// What happens to a request that was let in.
fn inner(router: Router<Arc<App>>) -> Router<Arc<App>> {
    router
        .fallback(async || ApiError::not_found())
        .method_not_allowed_fallback(async || {
            ApiError::new(ProblemCode::MethodNotAllowed, "This path exists, but not with this method.")
        })
        // Inside `observe`: an answer to a panic is counted and gets its headers like any other.
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(rate::layer))
}

/// What every request gets, let in or not.
fn finish(router: Router<Arc<App>>, app: Arc<App>) -> Router {
    router
        .layer(middleware::from_fn_with_state(app.clone(), http::headers))
        .layer(middleware::from_fn(observe))
        .layer(middleware::from_fn_with_state(app.clone(), request_id::layer))
        .with_state(app)
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("of an unknown kind");
    ApiError::internal(format!("panic: {text}")).into_response()
}

/// Times every request by its route.
async fn observe(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let (method, route) = (known_method(request.method()), route(&request).to_owned());
    let response = next.run(request).await;
    let labels =
        [("method", method.to_owned()), ("route", route), ("status", class(response.status()).to_owned())];
    metrics::histogram!("gantry_http_request_seconds", &labels).record(begun.elapsed().as_secs_f64());
    response
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
