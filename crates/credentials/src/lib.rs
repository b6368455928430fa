//! What callers present to say who they are, and how it is made, checked and kept: access tokens, passwords, API keys,
//! one-time tokens, signed links, and secrets at rest. One place, so that each rule about secrets is written once and read by
//! whoever reviews them.
//!
//! It knows neither the store nor HTTP. Whatever holds a secret prints its kind instead of the secret and wipes its memory.

pub mod api_key;
pub mod jwt;
pub mod key;
pub mod password;
pub mod seal;
pub mod secret;
pub mod signed_link;
pub mod token;

mod encode;

pub use self::api_key::{API_KEY_PREFIX, check_strength, looks_like_api_key, new_api_key, shown_prefix};
pub use self::encode::{hash, same};
pub use self::password::{PasswordHashError, hash_password};
pub use self::token::new_token;
