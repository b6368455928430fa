//! Addresses of people. Two spellings that reach the same mailbox everywhere are one address, so that an account cannot be
//! had twice.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An e-mail address, in lower case and without space around it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an e-mail address looks like ann@example.com: letters without accents, one @, no spaces")]
pub struct EmailError;

impl Email {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Dots and hyphens only between other characters.
fn label_like(part: &str, allowed: fn(u8) -> bool, separator: char) -> bool {
    part.split(separator).all(|label| !label.is_empty() && label.bytes().all(allowed))
}

impl FromStr for Email {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        let address = text.trim().to_ascii_lowercase();
        let (mailbox, domain) = address.split_once('@').ok_or(EmailError)?;
        // What RFC 5321 allows without quotes; nothing in it can end a header line or begin another address.
        let in_mailbox = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        let in_domain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let mailbox_fits = mailbox.len() <= 64 && label_like(mailbox, in_mailbox, '.');
        let domain_fits = label_like(domain, in_domain, '.')
            && domain
                .split('.')
                .all(|label| label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-'));
        if address.len() <= 254 && mailbox_fits && domain_fits { Ok(Self(address)) } else { Err(EmailError) }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Email {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_one_address() {
        let email: Email = "ann.lee+ci@example.com".parse().unwrap();
        for spelling in ["Ann.Lee+CI@Example.COM", "  ann.lee+ci@example.com\n"] {
            assert_eq!(spelling.parse(), Ok(email.clone()));
        }
        assert_ne!("annlee+ci@example.com".parse(), Ok(email.clone()), "dots count but at some providers");
        assert_eq!(serde_json::from_str::<Email>("\"ANN.LEE+CI@example.com\"").unwrap(), email);
        assert_eq!("admin@localhost".parse::<Email>().unwrap().as_str(), "admin@localhost");
    }

    #[test]
    fn what_could_mean_something_else_in_a_mail_is_refused() {
        let long = format!("{}@example.com", "a".repeat(65));
        for bad in [
            "",
            "ann",
            "@example.com",
            "ann@",
            "ann@@example.com",
            "ann@one@two.com",
            "ann lee@example.com",
            "ann@exa mple.com",
            "ann@example..com",
            ".ann@example.com",
            "ann@-example.com",
            "ann@example.com>",
            "ann@example.com,bob@example.com",
            "ann@example.com\r\nBcc: bob@example.com",
            "\"ann\"@example.com",
            "änn@example.com",
            "ann@exämple.com",
            &long,
            &format!("ann@{}", ["a".repeat(60).as_str(); 5].join(".")),
        ] {
            assert!(bad.parse::<Email>().is_err(), "{bad:?}");
        }
    }
}
