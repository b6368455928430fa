//! Sessions: a sign-in and the refresh tokens that come from it, one after the other.
//!
//! A refresh token has two random parts: the family's, which stays, and the token's own, which every refresh replaces.
//! A session is found by the hash of the first. Whoever knows that but not the current second part once had a token of
//! this family: a thief, or somebody who was stolen from. Nobody can tell which, so the session ends for both. The successor
//! is stored by compare-and-set, so however many refresh at once, one of them has it.

use std::time::Duration;

use crate::id::{OrganizationId, SessionId, UserId};
use crate::identity::{SecretHash, User};
use crate::time::Timestamp;

/// How long the token before the current one is forgiven: two tabs that refresh at once are not a theft.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long sessions last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLife {
    /// Without a refresh.
    pub idle: Duration,
    /// From sign-in, whatever happens.
    pub longest: Duration,
}

impl Default for SessionLife {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { idle: 14 * DAY, longest: 90 * DAY }
    }
}

/// Where somebody signed in from, for the list of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    pub address: String,
    pub agent: String,
}

/// One sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    /// Counts writes; every change is a compare-and-set on it.
    pub version: u64,
    pub user: UserId,
    /// The user's when the session began.
    pub epoch: u64,
    /// The organization worked in at the moment.
    pub organization: Option<OrganizationId>,
    pub family_hash: SecretHash,
    pub current_hash: SecretHash,
    pub previous_hash: Option<SecretHash>,
    pub client: Client,
    pub begun_at: Timestamp,
    pub refreshed_at: Timestamp,
    pub expires_at: Timestamp,
    pub ended: Option<Ended>,
}

/// When and why a session was ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub at: Timestamp,
    pub why: EndedWhy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedWhy {
    SignedOut,
    /// From the list of sessions.
    Revoked,
    /// A token was presented that had been replaced.
    Reused,
}

/// The session is over: sign in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over: sign in again")]
pub struct SessionOver;

/// What came of presenting a refresh token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refresh {
    /// Once this is stored, and only then, the fresh token works.
    Rotated(Session),
    /// It was replaced a moment ago, by another tab or an answer that was lost: the session goes on with that one.
    Superseded,
    /// It was replaced long ago. The session is over as soon as this is stored.
    Reused(Session),
}

impl Session {
    /// A session of somebody who just proved who he is.
    pub fn begin(
        user: &User,
        organization: Option<OrganizationId>,
        family_hash: SecretHash,
        current_hash: SecretHash,
        client: Client,
        life: SessionLife,
        now: Timestamp,
    ) -> Self {
        Self {
            id: SessionId::new(),
            version: 1,
            user: user.id,
            epoch: user.epoch,
            organization,
            family_hash,
            current_hash,
            previous_hash: None,
            client,
            begun_at: now,
            refreshed_at: now,
            expires_at: now + life.idle.min(life.longest),
            ended: None,
        }
    }

    /// Whether it goes on, for this state of its user.
    pub fn check(&self, user: Option<&User>, now: Timestamp) -> Result<(), SessionOver> {
        let user = user.filter(|user| user.id == self.user).ok_or(SessionOver)?;
        let over = self.ended.is_some() || self.expires_at <= now;
        if over || user.is_disabled() || user.epoch != self.epoch { Err(SessionOver) } else { Ok(()) }
    }

    /// Decides about a presented token, by the hash of its own part; `fresh` is that of the token to be given out.
    pub fn refresh(
        &self,
        user: Option<&User>,
        presented: &SecretHash,
        fresh: SecretHash,
        life: SessionLife,
        now: Timestamp,
    ) -> Result<Refresh, SessionOver> {
        self.check(user, now)?;
        if *presented == self.current_hash {
            let next = Self {
                version: self.version + 1,
                current_hash: fresh,
                previous_hash: Some(self.current_hash),
                refreshed_at: now,
                expires_at: (now + life.idle).min(self.begun_at + life.longest),
                ..self.clone()
            };
            return Ok(Refresh::Rotated(next));
        }
        let just_replaced = self.previous_hash.as_ref() == Some(presented);
        if just_replaced && now.since(self.refreshed_at) <= GRACE {
            return Ok(Refresh::Superseded);
        }
        Ok(Refresh::Reused(self.end(EndedWhy::Reused, now)))
    }

    /// The session is over, for good; the first reason stays.
    #[must_use]
    pub fn end(&self, why: EndedWhy, now: Timestamp) -> Self {
        let ended = self.ended.or(Some(Ended { at: now, why }));
        Self { ended, version: self.version + 1, ..self.clone() }
    }

    /// Goes on in another organization.
    #[must_use]
    pub fn switch(&self, organization: Option<OrganizationId>) -> Self {
        Self { organization, version: self.version + 1, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PasswordHash;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    const LIFE: SessionLife =
        SessionLife { idle: Duration::from_secs(1000), longest: Duration::from_secs(1500) };

    fn begun() -> (User, Session) {
        let password = PasswordHash::from_phc("");
        let user = User::new(UserId::new(), "a@b.c".parse().unwrap(), String::new(), password, at(0));
        let session = Session::begin(&user, None, [0; 32], [1; 32], Client::default(), LIFE, at(0));
        (user, session)
    }

    fn rotated(user: &User, session: &Session, presented: u8, fresh: u8, now: i64) -> Session {
        match session.refresh(Some(user), &[presented; 32], [fresh; 32], LIFE, at(now)) {
            Ok(Refresh::Rotated(next)) => next,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_refresh_replaces_the_token() {
        let (user, session) = begun();
        let second = rotated(&user, &session, 1, 2, 10);
        assert_eq!((second.version, second.current_hash, second.previous_hash), (2, [2; 32], Some([1; 32])));
        let third = rotated(&user, &second, 2, 3, 20);
        assert_eq!((third.current_hash, third.refreshed_at), ([3; 32], at(20)));
    }

    #[test]
    fn a_token_replaced_a_moment_ago_is_forgiven_and_a_later_one_ends_the_session() {
        let (user, session) = begun();
        let second = rotated(&user, &session, 1, 2, 100);
        let refresh = |session: &Session, token: u8, now| {
            session.refresh(Some(&user), &[token; 32], [9; 32], LIFE, at(now)).unwrap()
        };
        assert_eq!(refresh(&second, 1, 110), Refresh::Superseded);
        let Refresh::Reused(over) = refresh(&second, 1, 111) else { panic!("a reuse") };
        assert_eq!(over.ended, Some(Ended { at: at(111), why: EndedWhy::Reused }));
        assert_eq!(over.refresh(Some(&user), &[2; 32], [9; 32], LIFE, at(112)), Err(SessionOver));
        // Older ones, and ones that never were, are not forgiven for a moment.
        let third = rotated(&user, &second, 2, 3, 101);
        for token in [1, 77] {
            assert!(matches!(refresh(&third, token, 101), Refresh::Reused(_)), "{token}");
        }
    }

    #[test]
    fn a_session_ends_with_its_time_its_user_or_an_epoch() {
        let (user, session) = begun();
        assert_eq!(session.check(Some(&user), at(999)), Ok(()));
        assert_eq!(session.check(Some(&user), at(1000)), Err(SessionOver));
        assert_eq!(session.check(None, at(1)), Err(SessionOver));
        assert_eq!(session.check(Some(&begun().0), at(1)), Err(SessionOver));
        assert_eq!(session.check(Some(&user.disable(at(1))), at(1)), Err(SessionOver));
        let enabled = user.disable(at(1)).enable();
        assert_eq!(session.check(Some(&enabled), at(1)), Err(SessionOver));
        let password = PasswordHash::from_phc("2");
        assert_eq!(session.check(Some(&user.set_password(password, at(1))), at(1)), Err(SessionOver));
        assert_eq!(session.check(Some(&user.rename("x".into())), at(1)), Ok(()));
    }

    #[test]
    fn refreshing_prolongs_up_to_the_longest_life() {
        let (user, session) = begun();
        let second = rotated(&user, &session, 1, 2, 400);
        assert_eq!(second.expires_at, at(1400));
        assert_eq!(rotated(&user, &second, 2, 3, 1300).expires_at, at(1500));
    }

    #[test]
    fn the_first_reason_to_end_stays() {
        let (_, session) = begun();
        let over = session.end(EndedWhy::SignedOut, at(5)).end(EndedWhy::Reused, at(6));
        assert_eq!(over.ended, Some(Ended { at: at(5), why: EndedWhy::SignedOut }));
        assert_eq!(over.version, 3);
    }
}
