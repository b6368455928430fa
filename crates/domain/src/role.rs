//! What a member is to an organization. What each role may do is the table in [`permission`](crate::permission).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A member's role; each may do everything the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Runs, cancels, runs again.
    Member,
    /// Sets up projects and their secrets, and has API keys.
    Maintainer,
    /// Decides who belongs to the organization, and as what.
    Admin,
}

impl Role {
    /// From the least to the most powerful.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Member, Self::Maintainer, Self::Admin];

    /// The stable name used on the wire and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Member => "member",
            Self::Maintainer => "maintainer",
            Self::Admin => "admin",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_by_power_and_survive_their_text_form() {
        assert!(Role::ALL.is_sorted());
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert_eq!(Role::parse("Admin"), None);
    }
}
