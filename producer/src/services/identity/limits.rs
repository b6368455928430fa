//! How often somebody may try who is not known yet.

use std::num::NonZeroU32;
use std::time::Duration;

use gantry_api_types::problem::ProblemCode;
use gantry_domain::identity::Email;
use gantry_ratelimit::{Limit, LimitKey};

use crate::error::{ApiError, ApiResult};
use crate::extract::{ClientAddress, rate, request_id};
use crate::services::credentials;
use crate::state::App;

/// To one mailbox in an hour.
const LETTERS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4);

/// Counts an attempt of the request's address, and at this account whether it exists or not.
pub async fn admit(app: &App, account: Option<&Email>) -> ApiResult<()> {
    let Some(limit) = app.config.identity.sign_ins else { return Ok(()) };
    let address = request_id::client().map(ClientAddress::network).map(LimitKey::SignInAddress);
    let account = account.map(|email| LimitKey::SignInAccount(of(email)));
    check(app, limit, address.into_iter().chain(account)).await
}

/// Counts a letter to this mailbox that nobody who is known asked for. Apart from signing in: whoever has letters sent keeps
/// nobody out.
pub async fn letter(app: &App, to: &Email) -> ApiResult<()> {
    let Some(limit) = app.config.identity.sign_ins else { return Ok(()) };
    let address = request_id::client().map(ClientAddress::network).map(LimitKey::LetterAddress);
    check(app, limit, address).await?;
    letter_to(app, to).await
}

/// Counts a letter to this mailbox: nobody is written to without end, whoever asks for it.
pub async fn letter_to(app: &App, to: &Email) -> ApiResult<()> {
    if app.config.identity.sign_ins.is_none() {
        return Ok(());
    }
    let hourly = Limit { burst: LETTERS, count: LETTERS, per: Duration::from_secs(3600) };
    check(app, hourly, [LimitKey::LetterTo(of(to))]).await
}

async fn check(app: &App, limit: Limit, keys: impl IntoIterator<Item = LimitKey>) -> ApiResult<()> {
    for key in keys {
        let decision = app.parts.limiter.check(&key, limit, NonZeroU32::MIN).await;
        if !decision.allowed {
            metrics::counter!("gantry_rate_limited_total", "limit" => "sign_in").increment(1);
            return Err(too_often(decision.retry_after));
        }
    }
    Ok(())
}

/// The same whatever it was too much of: it does not tell whether there is an account.
pub fn too_often(wait: Duration) -> ApiError {
    let seconds = rate::seconds(wait);
    let detail = format!("Too many attempts. Wait {} s before the next one.", seconds.max(1));
    ApiError::later(ProblemCode::RateLimited, detail, seconds)
}

fn of(email: &Email) -> u128 {
    let mut bits = [0; 16];
    bits.copy_from_slice(&credentials::hash(email.as_str())[..16]);
    u128::from_be_bytes(bits)
}
