//! People, organizations and the credentials between them: what each is, and how one value becomes the next.
//!
//! As with [`Run`](crate::run::Run), everything is a pure function from a value to its successor; a step that is not
//! allowed is an error. Whoever changes something reads it, asks it for its successor, and stores that by compare-and-set
//! on its `version`; a conflict means: read again and decide again. So no rule here needs a lock or a transaction.

pub mod audit;
pub mod email;
pub mod invitation;
pub mod key;
pub mod lockout;
pub mod organization;
pub mod reset;
pub mod session;
pub mod user;

pub use audit::{AuditAction, AuditEntry, Outcome};
pub use email::Email;
pub use invitation::Invitation;
pub use key::ApiKey;
pub use organization::{Member, Organization, OrganizationLimits};
pub use reset::PasswordReset;
pub use session::Session;
pub use user::{PasswordHash, User};

/// SHA-256 of a secret with full entropy: all that is kept of it.
pub type SecretHash = [u8; 32];

/// The longest name of a person, an organization or a key, in characters.
pub const LONGEST_NAME: usize = 100;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {LONGEST_NAME} characters and no line breaks or control characters")]
pub struct NameError;

/// The text as a name: without space around it.
pub fn name(text: &str) -> Result<String, NameError> {
    let name = text.trim();
    let fits = (1..=LONGEST_NAME).contains(&name.chars().count());
    if fits && !name.chars().any(char::is_control) { Ok(name.to_owned()) } else { Err(NameError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_visible() {
        assert_eq!(name("  Grace Hopper ").as_deref(), Ok("Grace Hopper"));
        assert_eq!(name(&"é".repeat(100)).as_deref(), Ok("é".repeat(100).as_str()));
        for bad in ["", "  ", "a\nb", "a\u{7f}", &"x".repeat(101)] {
            assert_eq!(name(bad), Err(NameError), "{bad:?}");
        }
    }
}
