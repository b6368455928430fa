//! How many requests one subject may make: the generic cell rate algorithm (GCRA), which keeps one number per subject, lets a
//! burst through at once and then a steady rate, and has no windows at whose edges twice as much would pass.
//!
//! A limiter always answers. The shared one falls back to a local one rather than to letting everybody in or keeping
//! everybody out.

#[cfg(test)]
mod contract;
mod gcra;
mod local;
mod redis;

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;
use gantry_domain::id::{KeyId, OrganizationId, UserId};

pub use self::local::LocalLimiter;
pub use self::redis::{BadRedisOptions, RedisLimiter, RedisLimiterOptions};

/// Whose requests are counted together. Where there is an organization, it is part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimitKey {
    Organization(OrganizationId),
    ApiKey(OrganizationId, KeyId),
    /// Attempts to sign in and the like from an address.
    SignInAddress(IpAddr),
    /// The same at an account that may or may not exist, by the hash of its address.
    SignInAccount(u128),
    /// Letters that an address asks for.
    LetterAddress(IpAddr),
    /// Letters to one mailbox, by the hash of its address.
    LetterTo(u128),
    /// A person who signed in, wherever he works.
    Account(UserId),
    /// Of runs, not of requests.
    RunCreation(OrganizationId),
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(organization) => write!(f, "{organization}"),
            Self::ApiKey(organization, key) => write!(f, "{organization}:{key}"),
            Self::SignInAddress(address) => write!(f, "sign-in:{address}"),
            Self::SignInAccount(account) => write!(f, "sign-in:{account:032x}"),
            Self::LetterAddress(address) => write!(f, "letter:{address}"),
            Self::LetterTo(mailbox) => write!(f, "letter:{mailbox:032x}"),
            Self::Account(user) => write!(f, "{user}"),
            Self::RunCreation(organization) => write!(f, "{organization}:runs"),
        }
    }
}

/// A steady rate, and how much of it may come at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Requests that may come at once after a quiet time.
    pub burst: NonZeroU32,
    /// Requests that are let through in `per` in the long run.
    pub count: NonZeroU32,
    pub per: Duration,
}

impl Limit {
    pub fn per_minute(count: NonZeroU32, burst: NonZeroU32) -> Self {
        Self { burst, count, per: Duration::from_secs(60) }
    }

    /// Between two requests at the steady rate, in microseconds; never zero.
    fn interval(&self) -> u64 {
        let period = u64::try_from(self.per.as_micros()).unwrap_or(u64::MAX);
        // No interval is longer than a year, so that sums stay far from where numbers end.
        (period / u64::from(self.count.get())).clamp(1, 365 * 24 * 3600 * 1_000_000)
    }

    /// What one of `replicas` may let through on its own so that all together keep the limit.
    fn share(&self, replicas: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(self.burst.get() / replicas).unwrap_or(NonZeroU32::MIN);
        Self { burst, count: self.count, per: self.per.saturating_mul(replicas.get()) }
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// The limit's burst.
    pub limit: u32,
    /// Requests that would be let through right now, after this one.
    pub remaining: u32,
    /// When the same request would be let through; zero for one that is.
    pub retry_after: Duration,
    /// When the whole burst is there again if nothing more comes.
    pub reset: Duration,
}

/// Counts requests. Concurrent checks of one key are each counted once; what is refused costs nothing.
#[async_trait]
pub trait Limiter: Send + Sync + 'static {
    /// Takes `cost` from what `key` has left, or nothing and refuses. A cost above the burst is never allowed. Answers
    /// within about 50 ms whatever is down; a dropped call may or may not have counted.
    async fn check(&self, key: &LimitKey, limit: Limit, cost: NonZeroU32) -> Decision;
}
