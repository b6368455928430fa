//! Invitations: a mailed token that makes one person a member, once.
//!
//! Accepting changes two documents, the invitation and the organization. The first write elects who accepts
//! ([`accept`](Invitation::accept)), the second makes him a member, the third says that it is done
//! ([`settle`](Invitation::settle)): whoever is interrupted in between can go on with the same token, nobody else can, and
//! after the third nobody can, so that somebody who was removed later does not come back with an old mail.

use std::time::Duration;

use crate::id::{InvitationId, OrganizationId, UserId};
use crate::identity::{Email, SecretHash, User};
use crate::role::Role;
use crate::time::Timestamp;

/// How long a mailed token works.
pub const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// An invitation as kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub id: InvitationId,
    /// Counts writes; every change is a compare-and-set on it.
    pub version: u64,
    pub organization: OrganizationId,
    /// One invitation of an organization to an address can be open.
    pub email: Email,
    pub role: Role,
    pub invited_by: UserId,
    pub token_hash: SecretHash,
    pub created_at: Timestamp,
    /// When the present token was mailed.
    pub sent_at: Timestamp,
    pub expires_at: Timestamp,
    pub state: InvitationState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvitationState {
    Open,
    /// Somebody accepted and is being made a member.
    Accepting {
        user: UserId,
        at: Timestamp,
    },
    Accepted {
        user: UserId,
        at: Timestamp,
    },
    Revoked {
        at: Timestamp,
    },
}

/// Why an invitation does nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvitationRefused {
    #[error("the invitation has expired: ask for another one")]
    Expired,
    #[error("the invitation was revoked")]
    Revoked,
    #[error("the invitation was accepted already")]
    Accepted,
    #[error("the invitation is for another e-mail address")]
    OtherAddress,
}

/// Who invites whom to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    pub organization: OrganizationId,
    pub email: Email,
    pub role: Role,
    pub invited_by: UserId,
}

impl Invitation {
    pub fn new(invite: Invite, token_hash: SecretHash, now: Timestamp) -> Self {
        let Invite { organization, email, role, invited_by } = invite;
        Self {
            id: InvitationId::new(),
            version: 1,
            organization,
            email,
            role,
            invited_by,
            token_hash,
            created_at: now,
            sent_at: now,
            expires_at: now + LIFE,
            state: InvitationState::Open,
        }
    }

    fn next(&self, state: InvitationState) -> Self {
        Self { state, version: self.version + 1, ..self.clone() }
    }

    /// Nobody accepted or revoked it; it may have expired, and can then be sent again.
    pub fn is_open(&self) -> bool {
        self.state == InvitationState::Open
    }

    fn must_be_open(&self) -> Result<(), InvitationRefused> {
        match self.state {
            InvitationState::Open => Ok(()),
            InvitationState::Revoked { .. } => Err(InvitationRefused::Revoked),
            InvitationState::Accepting { .. } | InvitationState::Accepted { .. } => {
                Err(InvitationRefused::Accepted)
            }
        }
    }

    /// Whether the token can be used at this moment.
    pub fn check(&self, now: Timestamp) -> Result<(), InvitationRefused> {
        self.must_be_open()?;
        if self.expires_at <= now { Err(InvitationRefused::Expired) } else { Ok(()) }
    }

    /// Another token, another seven days, perhaps another role; the token before stops at once.
    pub fn resend(
        &self,
        token_hash: SecretHash,
        role: Role,
        now: Timestamp,
    ) -> Result<Self, InvitationRefused> {
        self.must_be_open()?;
        Ok(Self { token_hash, role, sent_at: now, expires_at: now + LIFE, ..self.next(self.state) })
    }

    /// Also while somebody is accepting: whoever did not get to the end of it does not any more.
    pub fn revoke(&self, now: Timestamp) -> Result<Self, InvitationRefused> {
        match self.state {
            InvitationState::Accepting { .. } => {}
            _ => self.must_be_open()?,
        }
        Ok(self.next(InvitationState::Revoked { at: now }))
    }

    /// This person takes it. Whoever began already may go on within the seven days; the successor is then the invitation
    /// as it is.
    pub fn accept(&self, user: &User, now: Timestamp) -> Result<Accept, InvitationRefused> {
        match self.state {
            InvitationState::Accepting { user: elected, .. } if elected == user.id => {
                match self.expires_at <= now {
                    true => Err(InvitationRefused::Expired),
                    false => Ok(Accept::GoOn),
                }
            }
            _ => {
                self.check(now)?;
                if user.email != self.email {
                    return Err(InvitationRefused::OtherAddress);
                }
                let state = InvitationState::Accepting { user: user.id, at: now };
                Ok(Accept::Begin(self.next(state)))
            }
        }
    }

    /// The member is one: the token is used up. `None` when there is nothing to settle.
    pub fn settle(&self) -> Option<Self> {
        match self.state {
            InvitationState::Accepting { user, at } => {
                Some(self.next(InvitationState::Accepted { user, at }))
            }
            _ => None,
        }
    }
}

/// What accepting takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accept {
    /// Store this first.
    Begin(Invitation),
    /// It was stored before; the same person tries again.
    GoOn,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PasswordHash;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn day(days: i64) -> Timestamp {
        Timestamp::from_millis(days * DAY)
    }

    fn user(email: &str) -> User {
        User::new(
            UserId::new(),
            email.parse().unwrap(),
            String::new(),
            PasswordHash::from_phc(""),
            Timestamp::EPOCH,
        )
    }

    fn invitation() -> Invitation {
        let invite = Invite {
            organization: OrganizationId::new(),
            email: "ann@example.com".parse().unwrap(),
            role: Role::Member,
            invited_by: UserId::new(),
        };
        Invitation::new(invite, [1; 32], day(0))
    }

    fn begun(invitation: &Invitation, user: &User, now: Timestamp) -> Invitation {
        match invitation.accept(user, now) {
            Ok(Accept::Begin(next)) => next,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_person_accepts_once() {
        let (invitation, ann) = (invitation(), user("ann@example.com"));
        let accepting = begun(&invitation, &ann, day(6));
        assert_eq!(accepting.accept(&ann, day(6)), Ok(Accept::GoOn), "an interrupted one goes on");
        assert_eq!(accepting.accept(&ann, day(7)), Err(InvitationRefused::Expired), "within the seven days");
        assert_eq!(accepting.accept(&user("ann@example.com"), day(6)), Err(InvitationRefused::Accepted));
        let accepted = accepting.settle().unwrap();
        assert_eq!(accepted.version, 3);
        assert_eq!(accepted.accept(&ann, day(6)), Err(InvitationRefused::Accepted));
        assert_eq!(accepted.settle(), None);
        assert_eq!(invitation.settle(), None);
    }

    #[test]
    fn it_is_for_one_address() {
        let refused = invitation().accept(&user("bob@example.com"), day(1));
        assert_eq!(refused, Err(InvitationRefused::OtherAddress));
    }

    #[test]
    fn it_lasts_seven_days_and_can_be_sent_again() {
        let (invitation, ann) = (invitation(), user("ann@example.com"));
        assert_eq!(invitation.accept(&ann, day(7)), Err(InvitationRefused::Expired));
        let again = invitation.resend([2; 32], Role::Viewer, day(9)).unwrap();
        assert_eq!((again.token_hash, again.role, again.expires_at), ([2; 32], Role::Viewer, day(16)));
        assert_eq!(again.created_at, day(0));
        begun(&again, &ann, day(15));
    }

    #[test]
    fn what_is_over_stays_over() {
        let (invitation, ann) = (invitation(), user("ann@example.com"));
        let revoked = invitation.revoke(day(1)).unwrap();
        assert_eq!(revoked.accept(&ann, day(2)), Err(InvitationRefused::Revoked));
        assert_eq!(revoked.resend([2; 32], Role::Admin, day(2)), Err(InvitationRefused::Revoked));
        assert_eq!(revoked.revoke(day(2)), Err(InvitationRefused::Revoked));
        let accepting = begun(&invitation, &ann, day(1));
        let stopped = accepting.revoke(day(2)).unwrap();
        assert_eq!(stopped.accept(&ann, day(2)), Err(InvitationRefused::Revoked), "half-way in is not in");
        assert_eq!(accepting.settle().unwrap().revoke(day(2)), Err(InvitationRefused::Accepted));
        assert_eq!(accepting.resend([2; 32], Role::Admin, day(2)), Err(InvitationRefused::Accepted));
    }
}
