//! Who may do what: one table says of every kind of action which role is the least that may do it, and which scope an API
//! key needs for it. A key can never do more than its owner could at the same moment.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::role::Role;

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal: $role:ident, $scope:expr;)*) => {
        /// A kind of action.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Permission {
            $($(#[$doc])* $name,)*
        }

        impl Permission {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            const fn row(self) -> (&'static str, Role, Option<Scope>) {
                match self {
                    $(Self::$name => ($text, Role::$role, $scope),)*
                }
            }
        }
    };
}

permissions! {
    RunsRead = "runs.read": Viewer, Some(Scope::RunsRead);
    LogsRead = "logs.read": Viewer, Some(Scope::RunsRead);
    ArtifactsRead = "artifacts.read": Viewer, Some(Scope::RunsRead);
    RunsCreate = "runs.create": Member, Some(Scope::RunsWrite);
    RunsCancel = "runs.cancel": Member, Some(Scope::RunsWrite);
    RunsRerun = "runs.rerun": Member, Some(Scope::RunsWrite);
    RunsRegroup = "runs.regroup": Member, Some(Scope::RunsWrite);
    /// With log, results and artifacts.
    RunsDelete = "runs.delete": Maintainer, Some(Scope::RunsWrite);
    WorkersRead = "workers.read": Viewer, Some(Scope::WorkersRead);
    WorkersDrain = "workers.drain": Admin, Some(Scope::WorkersWrite);
    /// Names of variables and secrets included, values of secrets never.
    ProjectsRead = "projects.read": Viewer, Some(Scope::ProjectsRead);
    ProjectsWrite = "projects.write": Maintainer, Some(Scope::ProjectsWrite);
    VariablesWrite = "variables.write": Maintainer, Some(Scope::ProjectsWrite);
    /// Secrets and registry credentials.
    SecretsWrite = "secrets.write": Maintainer, Some(Scope::ProjectsWrite);
    /// Create, list, rotate and revoke keys of one's own.
    KeysOwn = "keys.own": Maintainer, Some(Scope::Admin);
    /// List and revoke everybody's keys.
    KeysAll = "keys.all": Admin, Some(Scope::Admin);
    MembersRead = "members.read": Viewer, Some(Scope::OrganizationRead);
    /// Change roles, remove members.
    MembersManage = "members.manage": Admin, Some(Scope::Admin);
    InvitationsManage = "invitations.manage": Admin, Some(Scope::Admin);
    OrganizationRead = "organization.read": Viewer, Some(Scope::OrganizationRead);
    OrganizationWrite = "organization.write": Admin, Some(Scope::Admin);
    AuditRead = "audit.read": Admin, Some(Scope::AuditRead);
    /// Queue depths, reconcilers, documents that cannot be read.
    SystemRead = "system.read": Maintainer, Some(Scope::SystemRead);
    /// One's own profile, password and sessions: for a signed-in person only, no scope gives it to a key.
    Account = "account": Viewer, None;
}

impl Permission {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The least role that has it.
    pub fn least_role(self) -> Role {
        self.row().1
    }

    /// The scope that gives it to an API key; `None`: no key has it.
    pub fn scope(self) -> Option<Scope> {
        self.row().2
    }

    /// Whether it is about what all organizations share: only the one that the installation began with has it, since it
    /// operates the installation.
    pub fn is_of_installation(self) -> bool {
        matches!(self, Self::WorkersRead | Self::WorkersDrain | Self::SystemRead)
    }

    const fn bit(self) -> u64 {
        1 << self as u32
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u64);

impl Permissions {
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// What both have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |permission| self.contains(*permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |set, permission| set | permission.bit()))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Role {
    pub fn permissions(self) -> Permissions {
        Permission::ALL.iter().copied().filter(|permission| permission.least_role() <= self).collect()
    }
}

/// What an API key was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    #[serde(rename = "runs:read")]
    RunsRead,
    #[serde(rename = "runs:write")]
    RunsWrite,
    #[serde(rename = "workers:read")]
    WorkersRead,
    #[serde(rename = "workers:write")]
    WorkersWrite,
    #[serde(rename = "projects:read")]
    ProjectsRead,
    #[serde(rename = "projects:write")]
    ProjectsWrite,
    #[serde(rename = "organization:read")]
    OrganizationRead,
    #[serde(rename = "audit:read")]
    AuditRead,
    #[serde(rename = "system:read")]
    SystemRead,
    /// All that the owner may do through a key.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    pub const ALL: [Self; 10] = [
        Self::RunsRead,
        Self::RunsWrite,
        Self::WorkersRead,
        Self::WorkersWrite,
        Self::ProjectsRead,
        Self::ProjectsWrite,
        Self::OrganizationRead,
        Self::AuditRead,
        Self::SystemRead,
        Self::Admin,
    ];

    /// The stable name used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunsRead => "runs:read",
            Self::RunsWrite => "runs:write",
            Self::WorkersRead => "workers:read",
            Self::WorkersWrite => "workers:write",
            Self::ProjectsRead => "projects:read",
            Self::ProjectsWrite => "projects:write",
            Self::OrganizationRead => "organization:read",
            Self::AuditRead => "audit:read",
            Self::SystemRead => "system:read",
            Self::Admin => "admin",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    /// Whether a key with this scope can do all that one with `other` can: who may write may read.
    pub fn includes(self, other: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::RunsWrite => matches!(other, Self::RunsWrite | Self::RunsRead),
            Self::WorkersWrite => matches!(other, Self::WorkersWrite | Self::WorkersRead),
            Self::ProjectsWrite => matches!(other, Self::ProjectsWrite | Self::ProjectsRead),
            _ => self == other,
        }
    }

    pub fn permissions(self) -> Permissions {
        let carried = |permission: &Permission| permission.scope().is_some_and(|scope| self.includes(scope));
        Permission::ALL.iter().copied().filter(carried).collect()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a key may do: what its scopes name and its owner's role allows.
pub fn of_key(scopes: &BTreeSet<Scope>, owner: Role) -> Permissions {
    let named: Permissions = scopes.iter().flat_map(|scope| scope.permissions().iter()).collect();
    named.and(owner.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(permissions: Permissions) -> Vec<&'static str> {
        permissions.iter().map(Permission::as_str).collect()
    }

    /// The table, written out: a change of what a role may do must be made here as well.
    #[test]
    fn every_role_may_do_what_is_settled() {
        let viewer = [
            "runs.read",
            "logs.read",
            "artifacts.read",
            "workers.read",
            "projects.read",
            "members.read",
            "organization.read",
            "account",
        ];
        let member = ["runs.create", "runs.cancel", "runs.rerun", "runs.regroup"];
        let maintainer =
            ["runs.delete", "projects.write", "variables.write", "secrets.write", "keys.own", "system.read"];
        let admin = [
            "workers.drain",
            "keys.all",
            "members.manage",
            "invitations.manage",
            "organization.write",
            "audit.read",
        ];
        let mut expected: BTreeSet<&str> = BTreeSet::new();
        for (role, more) in Role::ALL.into_iter().zip([&viewer[..], &member, &maintainer, &admin]) {
            expected.extend(more);
            assert_eq!(names(role.permissions()).into_iter().collect::<BTreeSet<_>>(), expected, "{role}");
        }
        assert_eq!(expected.len(), Permission::ALL.len());
        assert!(Permission::ALL.len() <= 64, "the set has 64 bits");
    }

    #[test]
    fn a_key_may_do_what_both_its_scopes_and_its_owner_allow() {
        let of = |scopes: &[Scope], role| names(of_key(&scopes.iter().copied().collect(), role));
        assert_eq!(of(&[], Role::Admin), [""; 0]);
        assert_eq!(of(&[Scope::RunsRead], Role::Admin), ["runs.read", "logs.read", "artifacts.read"]);
        assert_eq!(of(&[Scope::RunsWrite], Role::Viewer), ["runs.read", "logs.read", "artifacts.read"]);
        assert_eq!(of(&[Scope::WorkersWrite], Role::Admin), ["workers.read", "workers.drain"]);
        assert_eq!(of(&[Scope::AuditRead], Role::Maintainer), [""; 0]);
        for role in Role::ALL {
            let mut own = names(role.permissions());
            own.retain(|name| *name != "account");
            assert_eq!(of(&[Scope::Admin], role), own, "all but the account itself");
            assert_eq!(of(&Scope::ALL, role), own);
        }
    }

    #[test]
    fn every_scope_gives_something_and_survives_its_text_form() {
        for scope in Scope::ALL {
            assert_ne!(scope.permissions(), Permissions::default(), "{scope}");
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
    }

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = Permission::ALL.iter().map(|permission| permission.as_str()).collect();
        assert_eq!(names.len(), Permission::ALL.len());
    }
}
