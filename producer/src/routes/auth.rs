//! Signing up, in and out. Refresh tokens travel in a cookie that scripts cannot read, or in the body for programs.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gantry_api_types::identity::{
    ConfirmSignUp, Delivery, ForgotPassword, Hidden, Refresh, ResetPassword, SignIn, SignUp, SignedIn, Switch,
};
use gantry_api_types::problem::Problem;
use gantry_domain::id::OrganizationId;

use super::view;
use crate::access::unauthorized;
use crate::error::{ApiError, ApiResult};
use crate::extract::{ApiJson, Person, request_id};
use crate::services::identity::sessions::{self, Signed};
use crate::services::identity::{passwords, sign_up};
use crate::state::App;

/// Where https is, no other host of the domain and no plain connection can set a cookie of this name.
const COOKIE: &str = "__Host-gantry_refresh";
const PLAIN_COOKIE: &str = "gantry_refresh";

/// How browsers hold a refresh token here.
#[derive(Clone, Copy)]
enum Jar {
    Secure,
    /// To this machine, without TLS.
    Loopback,
}

impl Jar {
    fn of(app: &App) -> ApiResult<Self> {
        let url = app.config.identity.public_url.as_ref().map(|url| url.as_str());
        let local = request_id::client().is_some_and(|address| address.0.is_loopback());
        match url {
            Some(url) if url.starts_with("https://") => Ok(Self::Secure),
            _ if local => Ok(Self::Loopback),
            _ => Err(ApiError::field(
                "/delivery",
                "a browser can sign in over https only: whoever operates Gantry sets `public_url`; programs give \
                 `\"delivery\": \"body\"`",
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Secure => COOKIE,
            Self::Loopback => PLAIN_COOKIE,
        }
    }

    fn cookie(self, value: &str, seconds: u64) -> String {
        let secure = match self {
            Self::Secure => "; Secure",
            Self::Loopback => "",
        };
        format!("{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}", self.name())
    }
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// What signing in gives, its refresh token where it was asked for.
pub fn signed_in(app: &App, signed: &Signed, delivery: Option<Delivery>) -> ApiResult<Response> {
    let (in_body, jar) = match delivery.unwrap_or(Delivery::Cookie) {
        Delivery::Body => (true, None),
        Delivery::Cookie => (false, Some(Jar::of(app)?)),
    };
    let refresh = signed.refresh.as_ref().map(sessions::RefreshToken::expose);
    let body = SignedIn {
        access_token: Hidden(signed.access.expose().to_owned()),
        expires_at: signed.access.claims.expires_at,
        refresh_token: refresh.clone().filter(|_| in_body).map(Hidden),
        user: view::user(&signed.user),
        organization: signed
            .organization
            .as_ref()
            .map(|(organization, role)| view::membership(organization, *role)),
    };
    let response = Json(body).into_response();
    Ok(match jar.zip(refresh) {
        Some((jar, token)) => {
            let life = app.config.identity.sessions.longest.as_secs();
            with_cookie(response, &jar.cookie(&token, life))
        }
        None => response,
    })
}

/// What a browser calls itself.
pub fn agent(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::USER_AGENT)?.to_str().ok()
}

/// The refresh token in the cookie of this name, and in no other: what anybody nearby can set is not believed beside what only
/// we can.
fn cookie(app: &App, headers: &HeaderMap) -> Option<String> {
    let name = Jar::of(app).ok()?.name();
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(of, _)| *of == name).map(|(_, value)| value.to_owned())
}

/// Refuses what could not be delivered, before anything is done.
pub(super) fn deliverable(app: &App, delivery: Option<Delivery>) -> ApiResult<()> {
    match delivery.unwrap_or(Delivery::Cookie) {
        Delivery::Body => Ok(()),
        Delivery::Cookie => Jar::of(app).map(drop),
    }
}

pub(super) fn organization_id(text: Option<&str>) -> ApiResult<Option<OrganizationId>> {
    text.map(|text| {
        text.parse().map_err(|_| ApiError::field("/organization", "is not the id of an organization"))
    })
    .transpose()
}

/// Ask for an account. A link to go on comes by mail, whether there is an account already or not.
#[utoipa::path(post, path = "/api/v1/auth/signup", operation_id = "sign_up", tag = "auth", request_body = SignUp,
    responses((status = 202, description = "A mail is on its way"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn begin_sign_up(State(app): State<Arc<App>>, body: ApiJson<SignUp>) -> ApiResult<StatusCode> {
    sign_up::begin(&app, &body.value.email).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Make the account and an organization, by the link that came by mail.
#[utoipa::path(post, path = "/api/v1/auth/signup/confirm", operation_id = "confirm_sign_up", tag = "auth", request_body = ConfirmSignUp,
    responses((status = 200, body = SignedIn),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn confirm_sign_up(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: ApiJson<ConfirmSignUp>,
) -> ApiResult<Response> {
    deliverable(&app, body.value.delivery)?;
    let said = sign_up::Confirmed {
        token: &body.value.token.0,
        password: &body.value.password.0,
        name: body.value.name.as_deref(),
        organization: &body.value.organization,
    };
    let signed = sign_up::confirm(&app, said, sessions::client(agent(&headers))).await?;
    signed_in(&app, &signed, body.value.delivery)
}

/// Sign in with e-mail address and password.
#[utoipa::path(post, path = "/api/v1/auth/login", operation_id = "sign_in", tag = "auth", request_body = SignIn,
    responses((status = 200, body = SignedIn),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn sign_in(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: ApiJson<SignIn>,
) -> ApiResult<Response> {
    let SignIn { email, password, organization, delivery } = &body.value;
    let organization = organization_id(organization.as_deref())?;
    deliverable(&app, *delivery)?;
    let client = sessions::client(agent(&headers));
    let signed = passwords::sign_in(&app, email, &password.0, organization, client).await?;
    signed_in(&app, &signed, *delivery)
}

/// Get another access token for a refresh token, and the refresh token's successor. Presenting one that was replaced more than
/// some seconds ago ends the session.
#[utoipa::path(post, path = "/api/v1/auth/refresh", operation_id = "refresh", tag = "auth", request_body = Refresh,
    responses((status = 200, body = SignedIn),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn refresh(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: ApiJson<Refresh>,
) -> ApiResult<Response> {
    let (token, delivery) = match body.value.refresh_token {
        Some(token) => (token.0, Delivery::Body),
        None => (
            cookie(&app, &headers).ok_or_else(|| unauthorized("There is no refresh token: sign in."))?,
            Delivery::Cookie,
        ),
    };
    let signed = sessions::refresh(&app, &token).await?;
    signed_in(&app, &signed, Some(delivery))
}

/// Sign out: end the session of a refresh token, from the cookie or the body. Fine with none, or one that is over.
#[utoipa::path(post, path = "/api/v1/auth/logout", operation_id = "sign_out", tag = "auth", request_body = Refresh,
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn sign_out(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: ApiJson<Refresh>,
) -> ApiResult<Response> {
    let held = cookie(&app, &headers);
    if let Some(token) = body.value.refresh_token.map(|token| token.0).or_else(|| held.clone()) {
        sessions::sign_out(&app, &token).await?;
    }
    let response = StatusCode::NO_CONTENT.into_response();
    Ok(match (held, Jar::of(&app)) {
        (Some(_), Ok(jar)) => with_cookie(response, &jar.cookie("", 0)),
        _ => response,
    })
}

/// Work in another organization of one's own from now on.
#[utoipa::path(post, path = "/api/v1/auth/switch", operation_id = "switch_organization", tag = "auth", request_body = Switch,
    responses((status = 200, body = SignedIn),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn switch(
    State(app): State<Arc<App>>,
    person: Person,
    body: ApiJson<Switch>,
) -> ApiResult<Response> {
    let to = organization_id(Some(&body.value.organization))?.ok_or_else(ApiError::not_found)?;
    let signed = sessions::switch(&app, person.user, person.session, to).await?;
    signed_in(&app, &signed, Some(Delivery::Body))
}

/// Ask for a link to choose another password. The answer is the same whether there is such an account or not.
#[utoipa::path(post, path = "/api/v1/auth/password/forgot", operation_id = "forgot_password", tag = "auth", request_body = ForgotPassword,
    responses((status = 202, description = "If there is such an account, a mail is on its way"),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn forgot(State(app): State<Arc<App>>, body: ApiJson<ForgotPassword>) -> ApiResult<StatusCode> {
    passwords::forgot(&app, &body.value.email).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Choose another password by the link that came by mail. Every session ends.
#[utoipa::path(post, path = "/api/v1/auth/password/reset", operation_id = "reset_password", tag = "auth", request_body = ResetPassword,
    responses((status = 204),
        (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn reset(State(app): State<Arc<App>>, body: ApiJson<ResetPassword>) -> ApiResult<StatusCode> {
    passwords::reset(&app, &body.value.token.0, &body.value.password.0).await?;
    Ok(StatusCode::NO_CONTENT)
}
