//! Which passwords may be chosen. Length and rareness are what guessing costs; rules of composition only move the digit to the
//! end.

use std::collections::HashSet;
use std::fmt;
use std::sync::LazyLock;

use zeroize::Zeroizing;

/// In characters.
pub const MIN_LENGTH: usize = 8;
/// In characters; so that hashing costs no more than it should.
pub const MAX_LENGTH: usize = 128;
/// `aaaaaaaa` and `abcabcabc` are guessed as soon as any list is.
const FEWEST_DIFFERENT: usize = 4;
/// A shorter part of an address is in too many good passwords.
const MIN_RELATED: usize = 4;

static COMMON: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    include_str!("common_passwords.txt").lines().filter(|line| !line.starts_with("# ")).collect()
});

/// Why a password may not be chosen; tells its reader what to do instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    #[error("A password has at least {MIN_LENGTH} characters.")]
    Short,
    #[error("A password has at most {MAX_LENGTH} characters.")]
    Long,
    #[error(
        "This password is one of the first that are guessed. Choose another, such as several random words."
    )]
    Common,
    #[error("This password repeats a few characters. Choose another, such as several random words.")]
    Repetitive,
    #[error("This password is your name or address. Choose another, such as several random words.")]
    Related,
}

/// A password that somebody may have from now on.
pub struct NewPassword(Zeroizing<String>);

impl NewPassword {
    /// Judges what somebody chose; `related` are their own address and names, which are guessed first.
    pub fn choose(text: impl Into<String>, related: &[&str]) -> Result<Self, WeakPassword> {
        let text = Zeroizing::new(text.into());
        let length = text.chars().take(MAX_LENGTH + 1).count();
        if length < MIN_LENGTH {
            return Err(WeakPassword::Short);
        }
        if length > MAX_LENGTH {
            return Err(WeakPassword::Long);
        }
        let lower = Zeroizing::new(text.to_lowercase());
        if COMMON.contains(lower.trim()) {
            return Err(WeakPassword::Common);
        }
        if lower.chars().collect::<HashSet<_>>().len() < FEWEST_DIFFERENT {
            return Err(WeakPassword::Repetitive);
        }
        if related.iter().any(|related| is_related(&lower, &related.to_lowercase())) {
            return Err(WeakPassword::Related);
        }
        Ok(Self(text))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether a password is a name, an address or a part of one, with nothing but digits and signs around it.
fn is_related(password: &str, related: &str) -> bool {
    let bare = password.trim_matches(|c: char| !c.is_alphabetic());
    let parts = related.split(|c: char| !c.is_alphanumeric());
    [related].into_iter().chain(parts).any(|part| {
        part.chars().count() >= MIN_RELATED
            && (password == part
                || bare == part.trim_matches(|c: char| !c.is_alphabetic()) && !bare.is_empty())
    })
}

/// What somebody types to sign in: any text, to be compared.
pub struct PresentedPassword(Zeroizing<String>);

impl PresentedPassword {
    /// What is longer than any password may be is cut, to take no longer than one, and is never right.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = Zeroizing::new(text.into());
        if let Some((end, _)) = text.char_indices().nth(MAX_LENGTH + 1) {
            text.truncate(end);
        }
        Self(text)
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(new password)")
    }
}

impl fmt::Debug for PresentedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(password)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(text: &str) -> Result<(), WeakPassword> {
        NewPassword::choose(text, &["anna.schmidt@example.com", "Anna Schmidt"]).map(|_| ())
    }

    #[test]
    fn length_counts_characters() {
        assert_eq!(judge("kq7Vp2x"), Err(WeakPassword::Short));
        assert_eq!(judge("kq7Vp2xz"), Ok(()));
        assert_eq!(judge("żółćęśąź"), Ok(()));
        let long = "kq7Vp2xz".repeat(16);
        assert_eq!(judge(&long), Ok(()));
        assert_eq!(judge(&format!("{long}x")), Err(WeakPassword::Long));
        assert_eq!(judge(&"ü".repeat(1_000_000)), Err(WeakPassword::Long));
    }

    #[test]
    fn common_and_repetitive_ones_are_refused_in_any_case() {
        for common in
            ["password", "Password1", "12345678", "QWERTYUIOP", "iloveyou", "sunshine1", " password "]
        {
            assert_eq!(judge(common), Err(WeakPassword::Common), "{common}");
        }
        for repetitive in ["aaaaaaaaaaaa", "xyxyxyxyxy", "        "] {
            assert!(matches!(judge(repetitive), Err(WeakPassword::Repetitive)), "{repetitive}");
        }
        assert!(COMMON.len() > 5_000 && !COMMON.iter().any(|line| line.contains("Django")));
    }

    #[test]
    fn ones_own_name_is_refused() {
        for related in [
            "anna.schmidt@example.com",
            "Anna.Schmidt@Example.com",
            "Anna Schmidt",
            "schmidt1",
            "!!Schmidt2026!!",
        ] {
            assert_eq!(judge(related), Err(WeakPassword::Related), "{related}");
        }
        assert_eq!(judge("schmidt likes cheese"), Ok(()));
    }

    #[test]
    fn passwords_do_not_print_themselves() {
        let new = NewPassword::choose("correct horse battery", &[]).unwrap();
        assert_eq!(format!("{new:?} {:?}", PresentedPassword::new("x")), "(new password) (password)");
    }

    proptest! {
        #[test]
        fn any_text_is_judged_and_cut(text in ".{0,300}") {
            let chosen = NewPassword::choose(text.clone(), &[&text]);
            let presented = PresentedPassword::new(text.clone());
            let length = text.chars().count();
            prop_assert!(presented.expose().chars().count() == length.min(MAX_LENGTH + 1));
            if let Ok(chosen) = chosen {
                prop_assert!((MIN_LENGTH..=MAX_LENGTH).contains(&length) && chosen.expose() == presented.expose());
            }
        }
    }
}
