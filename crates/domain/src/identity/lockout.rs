//! How long to wait after wrong passwords: per account, so that one password cannot be guessed from many addresses, and per
//! address, so that one address cannot guess at many accounts. Each further failure makes the wait longer.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::identity::Email;
use crate::time::Timestamp;

/// Whose failures are counted. Accounts that do not exist are counted as well: otherwise a lock would tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    Account(Email),
    Address(IpAddr),
}

impl Subject {
    /// Who calls from this address: of IPv6 the network, since anybody has a whole one.
    pub fn address(address: IpAddr) -> Self {
        let canonical = match address {
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(mapped) => IpAddr::V4(mapped),
                None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            },
            address => address,
        };
        Self::Address(canonical)
    }

    pub fn policy(&self) -> LockoutPolicy {
        match self {
            Self::Account(_) => LockoutPolicy::ACCOUNT,
            Self::Address(_) => LockoutPolicy::ADDRESS,
        }
    }
}

/// As stored: `account:ann@example.com`, `address:192.0.2.1`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(email) => write!(f, "account:{email}"),
            Self::Address(address) => write!(f, "address:{address}"),
        }
    }
}

/// How patient to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutPolicy {
    /// Failures without a wait.
    pub free: u32,
    /// The wait after the last free one; each further failure doubles it.
    pub first: Duration,
    pub longest: Duration,
    /// After so long without a failure all are forgotten.
    pub forget: Duration,
}

impl LockoutPolicy {
    pub const ACCOUNT: Self = Self {
        free: 5,
        first: Duration::from_secs(30),
        longest: Duration::from_secs(15 * 60),
        forget: Duration::from_secs(24 * 60 * 60),
    };
    /// Many people may share one.
    pub const ADDRESS: Self = Self { free: 20, longest: Duration::from_secs(60 * 60), ..Self::ACCOUNT };
}

/// Failures since the last success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    pub count: u32,
    pub last_at: Timestamp,
}

impl Failures {
    /// Until when no further attempt is let through; `None`: one may be made.
    pub fn locked_until(self, policy: LockoutPolicy) -> Option<Timestamp> {
        let beyond = self.count.checked_sub(policy.free)?;
        let wait = policy.first.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX));
        Some(self.last_at + wait.min(policy.longest))
    }

    /// Counts an attempt, before it is known how it ends, so that a thousand at once are not all let through; or says until
    /// when to wait. An attempt that is not let through is not counted: nobody can lock an account for ever.
    pub fn attempt(known: Option<Self>, policy: LockoutPolicy, now: Timestamp) -> Result<Self, Timestamp> {
        let Some(known) = known.filter(|known| now.since(known.last_at) < policy.forget) else {
            return Ok(Self { count: 1, last_at: now });
        };
        match known.locked_until(policy) {
            Some(until) if now < until => Err(until),
            _ => Ok(Self { count: known.count.saturating_add(1), last_at: now.max(known.last_at) }),
        }
    }

    /// Without an attempt that turned out not to be a failure: as it was `before`, unless somebody `counted` another one since.
    /// An attempt that is taken back prolongs no wait.
    #[must_use]
    pub fn take_back(self, counted: Self, before: Option<Self>) -> Self {
        let fewer = Self { count: self.count.saturating_sub(1), ..self };
        if self == counted { before.unwrap_or(fewer) } else { fewer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_wait_grows_with_each_failure_up_to_the_longest() {
        let policy = LockoutPolicy::ACCOUNT;
        let wait = |count| {
            let until = Failures { count, last_at: at(1000) }.locked_until(policy)?;
            Some(until.since(at(1000)).as_secs())
        };
        assert_eq!([0, 1, 4].map(wait), [None; 3]);
        assert_eq!([5, 6, 7, 8, 9, 10, 11].map(wait), [30, 60, 120, 240, 480, 900, 900].map(Some));
        assert_eq!(wait(u32::MAX), Some(900));
    }

    #[test]
    fn attempts_are_let_through_as_the_wait_allows() {
        let policy = LockoutPolicy::ACCOUNT;
        let mut failures = None;
        for count in 1..=5 {
            failures = Some(Failures::attempt(failures, policy, at(0)).unwrap());
            assert_eq!(failures.unwrap().count, count);
        }
        assert_eq!(Failures::attempt(failures, policy, at(29)), Err(at(30)));
        let sixth = Failures::attempt(failures, policy, at(30)).unwrap();
        assert_eq!(Failures::attempt(Some(sixth), policy, at(31)), Err(at(90)));
        let before = sixth.take_back(sixth, failures);
        assert_eq!(Some(before), failures);
        assert_eq!(
            Failures::attempt(Some(before), policy, at(31)),
            Ok(Failures { count: 6, last_at: at(31) })
        );
        let seventh = Failures { count: 7, last_at: at(90) };
        assert_eq!(seventh.take_back(sixth, failures), Failures { count: 6, ..seventh });
        let first = Failures { count: 1, last_at: at(5) };
        assert_eq!(first.take_back(first, None).count, 0);
        let next_day = Failures::attempt(Some(sixth), policy, at(30 + 24 * 60 * 60)).unwrap();
        assert_eq!(next_day.count, 1);
    }

    #[test]
    fn an_attacker_gets_few_guesses_a_day() {
        let (mut failures, mut guesses) = (None, 0);
        for second in 0..24 * 60 * 60 {
            if let Ok(next) = Failures::attempt(failures, LockoutPolicy::ACCOUNT, at(second)) {
                (failures, guesses) = (Some(next), guesses + 1);
            }
        }
        assert!((90..120).contains(&guesses), "{guesses}");
    }

    #[test]
    fn addresses_of_one_network_are_one_subject() {
        let subject = |text: &str| Subject::address(text.parse().unwrap()).to_string();
        assert_eq!(subject("192.0.2.1"), "address:192.0.2.1");
        assert_eq!(subject("::ffff:192.0.2.1"), "address:192.0.2.1");
        assert_eq!(subject("2001:db8:1:2:3::4"), subject("2001:db8:1:2::9"));
        assert_ne!(subject("2001:db8:1:2::9"), subject("2001:db8:1:3::9"));
        let account = Subject::Account("Ann@example.com".parse().unwrap());
        assert_eq!(account.to_string(), "account:ann@example.com");
    }
}
