//! Changing by compare-and-set: decide on what is stored, store the successor, and decide again where somebody was faster.

use async_trait::async_trait;
use gantry_api_types::problem::ProblemCode;
use gantry_domain::identity::{ApiKey, Invitation, Organization, Session, User};
use gantry_store::{
    ApiKeyStore, Changed, InvitationStore, OrganizationStore, SessionStore, StoreError, UserStore,
};

use crate::error::{ApiError, ApiResult};

/// More than that at once on one thing is an attack or a defect.
const TRIES: u32 = 32;

/// Keeps values of a kind, and replaces one by its successor.
#[async_trait]
pub trait Keeper<T>: Send + Sync {
    async fn replace(&self, next: &T) -> Result<Changed<T>, StoreError>;
}

macro_rules! keepers {
    ($($store:ident of $value:ident;)*) => {$(
        #[async_trait]
        impl Keeper<$value> for dyn $store {
            async fn replace(&self, next: &$value) -> Result<Changed<$value>, StoreError> {
                self.update(next).await
            }
        }
    )*};
}

keepers! {
    UserStore of User;
    SessionStore of Session;
    OrganizationStore of Organization;
    InvitationStore of Invitation;
    ApiKeyStore of ApiKey;
}

/// The value before and after.
pub async fn change<T: Send + Sync, K: Keeper<T> + ?Sized>(
    keeper: &K,
    mut current: T,
    decide: impl Fn(&T) -> ApiResult<T> + Send,
) -> ApiResult<(T, T)> {
    for _ in 0..TRIES {
        let next = decide(&current)?;
        match keeper.replace(&next).await? {
            Changed::Updated => return Ok((current, next)),
            Changed::Conflict(now) => current = now,
            Changed::NotFound => return Err(ApiError::not_found()),
            Changed::Taken => return Err(ApiError::conflict("Somebody else has this already.")),
        }
    }
    Err(ApiError::later(ProblemCode::Unavailable, "Too much changes here at once. Try again in a moment.", 1))
}
