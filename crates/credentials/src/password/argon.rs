//! Argon2id with 19 MiB, two passes and one lane, in PHC form, which says with what it was made.

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version};

/// Compared against when there is no account, so that the answer takes as long. Nobody knows its password: the
/// bytes are random, no password's hash.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$xEQob2Lvuh25r6Z5nzqSkA$Q2VYpYHudUEml5D74gG1tsf31PUWxFPZ9i6MwJ0DOYA";

/// The system gave no randomness or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct PasswordHashError;

/// What comparing a password with what is stored gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Wrong,
    /// Right; `rehash` when it is kept weaker than passwords are now, and is to be hashed anew while it is at hand.
    Right {
        rehash: bool,
    },
}

/// A password as Argon2id (19 MiB, 2 passes) in PHC form. Takes some tens of milliseconds: for first starts and tools; servers
/// use [`super::Passwords`].
pub fn hash_password(password: &str) -> Result<String, PasswordHashError> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|_| PasswordHashError)?;
    Ok(hash.to_string())
}

/// Compares `password` with a stored hash. Without one, or with one that nobody can read, it is wrong after the same work.
pub(super) fn verify(password: &str, stored: Option<&str>) -> Verdict {
    let known = stored.filter(|stored| {
        let readable = readable(stored).is_some();
        if !readable {
            tracing::error!("a stored password hash cannot be read; its account cannot sign in");
        }
        readable
    });
    let right = Argon2::default().verify_password(password.as_bytes(), known.unwrap_or(NOBODY)).is_ok();
    match known {
        Some(stored) if right => Verdict::Right { rehash: needs_rehash(stored) },
        _ => Verdict::Wrong,
    }
}

/// Whether a stored hash was made with less than passwords are hashed with now.
pub fn needs_rehash(stored: &str) -> bool {
    readable(stored).is_none_or(|(algorithm, version, params)| {
        algorithm != Algorithm::Argon2id
            || version != Version::V0x13
            || params.m_cost() < Params::DEFAULT_M_COST
            || params.t_cost() < Params::DEFAULT_T_COST
            || params.p_cost() < Params::DEFAULT_P_COST
    })
}

fn readable(stored: &str) -> Option<(Algorithm, Version, Params)> {
    let hash = PasswordHash::new(stored).ok()?;
    hash.hash.as_ref()?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash.version.map_or(Some(Version::V0x10), |version| Version::try_from(version).ok())?;
    Some((algorithm, version, Params::try_from(&hash.params).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_is_right() {
        let stored = hash_password("correct horse battery").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert_eq!(verify("correct horse battery", Some(&stored)), Verdict::Right { rehash: false });
        for wrong in ["", "correct horse batter", "Correct horse battery", "correct horse battery "] {
            assert_eq!(verify(wrong, Some(&stored)), Verdict::Wrong);
        }
        assert_ne!(stored, hash_password("correct horse battery").unwrap());
    }

    #[test]
    fn nobody_is_compared_at_the_same_cost_as_everybody() {
        assert!(!needs_rehash(NOBODY));
        let (ours, nobodys) = (hash_password("x").unwrap(), NOBODY);
        let cost = |hash: &str| readable(hash).map(|(_, _, p)| (p.m_cost(), p.t_cost(), p.p_cost()));
        assert_eq!(cost(&ours), cost(nobodys));
        assert_eq!(ours.len(), nobodys.len());
        assert_eq!(verify("", None), Verdict::Wrong);
        assert_eq!(verify("password", None), Verdict::Wrong);
    }

    #[test]
    fn a_weaker_hash_is_right_and_to_be_made_anew() {
        let weaker = [
            (Algorithm::Argon2id, Version::V0x13, Params::new(8 * 1024, 2, 1, None)),
            (Algorithm::Argon2id, Version::V0x13, Params::new(19 * 1024, 1, 1, None)),
            (Algorithm::Argon2i, Version::V0x13, Params::new(19 * 1024, 2, 1, None)),
            (Algorithm::Argon2id, Version::V0x10, Params::new(19 * 1024, 2, 1, None)),
        ];
        for (algorithm, version, params) in weaker {
            let stored =
                Argon2::new(algorithm, version, params.unwrap()).hash_password(b"old").unwrap().to_string();
            assert_eq!(verify("old", Some(&stored)), Verdict::Right { rehash: true }, "{stored}");
            assert_eq!(verify("new", Some(&stored)), Verdict::Wrong);
        }
    }

    #[test]
    fn what_cannot_be_read_is_wrong_for_everybody() {
        for stored in [
            "",
            "!",
            "plain text",
            "$argon2id$",
            "$2b$10$abcdefghijklmnopqrstuv",
            "$argon2id$v=19$m=19456,t=2,p=1",
        ] {
            assert_eq!(verify("", Some(stored)), Verdict::Wrong, "{stored}");
            assert_eq!(verify(stored, Some(stored)), Verdict::Wrong, "{stored}");
            assert!(needs_rehash(stored));
        }
    }
}
