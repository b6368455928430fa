//! Who mail is from and to.

use std::fmt;
use std::str::FromStr;

use lettre::message::Mailbox;

use crate::line::Line;

/// RFC 5321, with the angle brackets that the envelope adds.
const MAX_BYTES: usize = 254;

/// Why a text is not an address that mail can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a mail address: it looks like name@example.com")]
pub struct BadAddress;

/// One mailbox, without a display name and without the forms that only standards know (quotes, comments, routes).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MailAddress(lettre::Address);

impl MailAddress {
    pub(crate) fn inner(&self) -> &lettre::Address {
        &self.0
    }
}

impl FromStr for MailAddress {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let odd = |c: char| c.is_control() || c.is_whitespace() || "\"\\<>()[],;:".contains(c);
        if text.len() > MAX_BYTES || text.contains(odd) {
            return Err(BadAddress);
        }
        text.parse().map(Self).map_err(|_| BadAddress)
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Whom mail of this installation is from: `gantry@example.com`, or `Gantry <gantry@example.com>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    name: Option<Line>,
    address: MailAddress,
}

impl Sender {
    pub fn address(&self) -> &MailAddress {
        &self.address
    }

    pub(crate) fn mailbox(&self) -> Mailbox {
        Mailbox::new(self.name.as_ref().map(ToString::to_string), self.address.0.clone())
    }
}

impl FromStr for Sender {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let Some((name, rest)) = text.trim().split_once('<') else {
            return Ok(Self { name: None, address: text.trim().parse()? });
        };
        let address = rest.strip_suffix('>').ok_or(BadAddress)?.parse()?;
        let name = Line::new(name.trim().trim_matches('"'));
        Ok(Self { name: (!name.as_str().is_empty()).then_some(name), address })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_a_mailbox_and_nothing_more() {
        for good in ["anna@example.com", "anna.schmidt+ci@mail.example.co.uk", "o'hara@example.com"] {
            assert_eq!(good.parse::<MailAddress>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "anna",
            "@example.com",
            "anna@",
            "anna@example.com\r\nBcc: x@example.com",
            "anna@example.com\n",
            "anna@example.com, x@example.com",
            "Anna <anna@example.com>",
            "\"a b\"@example.com",
            "anna@@example.com",
            " anna@example.com",
            "a@b@example.com",
            &format!("{}@example.com", "a".repeat(300)),
        ] {
            assert_eq!(bad.parse::<MailAddress>(), Err(BadAddress), "{bad}");
        }
    }

    #[test]
    fn a_sender_may_have_a_name() {
        let sender: Sender = "Gantry at Example <gantry@example.com>".parse().unwrap();
        assert_eq!(sender.mailbox().to_string(), "Gantry at Example <gantry@example.com>");
        assert_eq!(
            "gantry@example.com".parse::<Sender>().unwrap().mailbox().to_string(),
            "gantry@example.com"
        );
        for bad in ["Gantry <gantry@example.com", "Gantry <>", "", "<a@b.example>\r\nX: y"] {
            assert!(bad.parse::<Sender>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_address_holds_what_ends_a_header(text in any::<String>(), middle in "[\\x00-\\x7f]{0,5}") {
            for text in [text, format!("a{middle}b@example.com"), format!("ab@exam{middle}ple.com")] {
                if let Ok(address) = text.parse::<MailAddress>() {
                    prop_assert!(!address.to_string().contains(|c: char| c.is_control() || "<>, ".contains(c)));
                }
            }
        }
    }
}
