//! Passwords: which ones people may choose, and how they are kept and checked.
//!
//! Hashing one takes tens of milliseconds and 19 MiB on purpose. It happens on one thread of its own ([`Passwords`]), so that
//! many sign-ins at once slow each other down and nothing else.

mod argon;
mod hashing;
mod policy;

pub use self::argon::{PasswordHashError, Verdict, hash_password, needs_rehash};
pub use self::hashing::{PasswordError, Passwords};
pub use self::policy::{MAX_LENGTH, MIN_LENGTH, NewPassword, PresentedPassword, WeakPassword};
