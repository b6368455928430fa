//! The tenant and who belongs to it. Members are part of their organization, so that whether the last admin stays is
//! decided by one compare-and-set: of two admins who demote each other at the same moment, on two replicas, one conflicts
//! and then finds himself the last.

use crate::id::{OrganizationId, UserId};
use crate::role::Role;
use crate::time::Timestamp;

/// Members of one organization at most: all of them are one document.
pub const MAX_MEMBERS: usize = 2_000;

/// The tenant that everything belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    /// Counts writes; every change, one of a member included, is a compare-and-set on it.
    pub version: u64,
    pub name: String,
    pub limits: OrganizationLimits,
    pub created_at: Timestamp,
    members: Vec<Member>,
}

/// What a person is to an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub user: UserId,
    pub role: Role,
    pub since: Timestamp,
}

/// What an organization may use; what is not set is as the installation's configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrganizationLimits {
    pub api_per_minute: Option<u32>,
    pub run_creations_per_minute: Option<u32>,
    pub concurrent_runs: Option<u32>,
    pub queued_runs: Option<u32>,
    pub artifact_bytes: Option<u64>,
    pub log_bytes: Option<u64>,
}

/// Why a member cannot come, change or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    #[error("this person does not belong to the organization")]
    NotAMember,
    #[error("this person already belongs to the organization")]
    AlreadyAMember,
    #[error("the organization's last admin cannot be removed or demoted: make somebody else an admin first")]
    LastAdmin,
    #[error("an organization has at most {MAX_MEMBERS} members")]
    Full,
}

impl Organization {
    /// A new organization and its first admin.
    pub fn found(id: OrganizationId, name: String, admin: UserId, now: Timestamp) -> Self {
        let members = vec![Member { user: admin, role: Role::Admin, since: now }];
        Self { id, version: 1, name, limits: OrganizationLimits::default(), created_at: now, members }
    }

    /// An organization as it was stored.
    pub fn stored(
        id: OrganizationId,
        version: u64,
        name: String,
        limits: OrganizationLimits,
        created_at: Timestamp,
        members: Vec<Member>,
    ) -> Self {
        Self { id, version, name, limits, created_at, members }
    }

    fn next(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    /// Longest-standing first.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub fn member(&self, user: UserId) -> Option<Member> {
        self.members.iter().copied().find(|member| member.user == user)
    }

    pub fn admins(&self) -> impl Iterator<Item = UserId> {
        self.members.iter().filter(|member| member.role == Role::Admin).map(|member| member.user)
    }

    #[must_use]
    pub fn rename(&self, name: String) -> Self {
        Self { name, ..self.next() }
    }

    #[must_use]
    pub fn limit(&self, limits: OrganizationLimits) -> Self {
        Self { limits, ..self.next() }
    }

    /// Somebody comes in.
    pub fn join(&self, user: UserId, role: Role, now: Timestamp) -> Result<Self, MembershipError> {
        if self.member(user).is_some() {
            return Err(MembershipError::AlreadyAMember);
        }
        if self.members.len() >= MAX_MEMBERS {
            return Err(MembershipError::Full);
        }
        let mut next = self.next();
        next.members.push(Member { user, role, since: now });
        Ok(next)
    }

    /// Makes a member something else; the same role again is fine.
    pub fn change_role(&self, user: UserId, role: Role) -> Result<Self, MembershipError> {
        self.may_lose(user, role)?;
        let mut next = self.next();
        for member in next.members.iter_mut().filter(|member| member.user == user) {
            member.role = role;
        }
        Ok(next)
    }

    /// Somebody goes, or is sent away.
    pub fn remove(&self, user: UserId) -> Result<Self, MembershipError> {
        self.may_lose(user, Role::Viewer)?;
        let mut next = self.next();
        next.members.retain(|member| member.user != user);
        Ok(next)
    }

    fn may_lose(&self, user: UserId, becomes: Role) -> Result<(), MembershipError> {
        let member = self.member(user).ok_or(MembershipError::NotAMember)?;
        let loses_admin = member.role == Role::Admin && becomes != Role::Admin;
        if loses_admin && self.admins().all(|admin| admin == user) {
            return Err(MembershipError::LastAdmin);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1);

    fn with(roles: &[Role]) -> (Organization, Vec<UserId>) {
        let users: Vec<_> = (0..=roles.len()).map(|_| UserId::new()).collect();
        let mut organization = Organization::found(OrganizationId::new(), "acme".into(), users[0], NOW);
        for (user, role) in users[1..].iter().zip(roles) {
            organization = organization.join(*user, *role, NOW).unwrap();
        }
        (organization, users)
    }

    #[test]
    fn the_last_admin_stays() {
        let (organization, users) = with(&[Role::Maintainer]);
        assert_eq!(organization.remove(users[0]), Err(MembershipError::LastAdmin));
        for role in [Role::Viewer, Role::Member, Role::Maintainer] {
            assert_eq!(organization.change_role(users[0], role), Err(MembershipError::LastAdmin));
        }
        assert!(organization.change_role(users[0], Role::Admin).is_ok(), "nothing changes");
        let two = organization.change_role(users[1], Role::Admin).unwrap();
        let one = two.change_role(users[0], Role::Viewer).unwrap();
        assert_eq!(one.admins().collect::<Vec<_>>(), [users[1]]);
        assert_eq!(one.remove(users[1]), Err(MembershipError::LastAdmin));
        assert!(one.remove(users[0]).unwrap().member(users[0]).is_none());
    }

    #[test]
    fn whatever_happens_an_admin_is_left() {
        let (mut organization, users) = with(&[Role::Admin, Role::Member, Role::Viewer]);
        let mut refused = 0;
        for step in 0..2_000_u64 {
            let pick = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            let user = users[pick as usize % users.len()];
            let role = Role::ALL[(pick / 7) as usize % 4];
            let next = match pick % 3 {
                0 => organization.remove(user),
                1 => organization.join(user, role, NOW),
                _ => organization.change_role(user, role),
            };
            match next {
                Ok(next) => {
                    assert_eq!(next.version, organization.version + 1);
                    organization = next;
                }
                Err(MembershipError::LastAdmin) => refused += 1,
                Err(_) => {}
            }
            assert!(organization.admins().next().is_some());
        }
        assert!(refused > 50, "{refused}");
    }

    #[test]
    fn strangers_and_members_are_told_apart() {
        let (organization, users) = with(&[]);
        let stranger = UserId::new();
        assert_eq!(organization.remove(stranger), Err(MembershipError::NotAMember));
        assert_eq!(organization.change_role(stranger, Role::Admin), Err(MembershipError::NotAMember));
        assert_eq!(organization.join(users[0], Role::Viewer, NOW), Err(MembershipError::AlreadyAMember));
        let full = (1..MAX_MEMBERS).fold(organization, |organization, _| {
            organization.join(UserId::new(), Role::Viewer, NOW).unwrap()
        });
        assert_eq!(full.join(stranger, Role::Viewer, NOW), Err(MembershipError::Full));
    }
}
