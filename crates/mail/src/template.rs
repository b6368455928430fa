//! What Gantry writes to people. Short, plain, and the same in both parts.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::address::MailAddress;
use crate::line::Line;
use crate::message::Mail;

/// Why a text is not where people find this installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a public address: it looks like https://gantry.example.com or https://example.com/gantry")]
pub struct BadPublicUrl;

/// Where people find this installation, without a slash at its end. Links in mail lead there, whatever `Host` a request named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A link to a page with a token. In the fragment, which browsers send to no server and no log sees.
    fn link(&self, page: &str, token: &str) -> String {
        let mut link = format!("{}/{page}#token=", self.0);
        for byte in token.bytes() {
            match byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                true => link.push(char::from(byte)),
                // Writing to a string cannot fail.
                false => drop(write!(link, "%{byte:02X}")),
            }
        }
        link
    }
}

impl FromStr for PublicUrl {
    type Err = BadPublicUrl;

    fn from_str(text: &str) -> Result<Self, BadPublicUrl> {
        let url = Url::parse(text.trim()).map_err(|_| BadPublicUrl)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        match plain {
            true => Ok(Self(url.as_str().trim_end_matches('/').to_owned())),
            false => Err(BadPublicUrl),
        }
    }
}

/// Asks somebody to join. The link is `PUBLIC_URL/invitation#token=…`.
#[derive(Debug)]
pub struct Invitation<'a> {
    pub organization: &'a str,
    /// Name or address of whoever invites.
    pub invited_by: &'a str,
    pub role: &'a str,
    pub token: &'a str,
    pub valid_for: Duration,
}

impl Invitation<'_> {
    pub fn mail(&self, to: MailAddress, at: &PublicUrl) -> Mail {
        let (organization, by, role) =
            (Line::new(self.organization), Line::new(self.invited_by), Line::new(self.role));
        let letter = Letter {
            opening: format!("{by} invites you to {organization} on Gantry, as {role}."),
            action: "Join",
            link: at.link("invitation", self.token),
            closing: format!(
                "The link is good for {}, once. If you did not expect it, do nothing.",
                human(self.valid_for)
            ),
        };
        letter.to(to, Line::new(&format!("Join {organization} on Gantry")))
    }
}

/// Lets somebody go on with signing up. The link is `PUBLIC_URL/sign-up#token=…`.
#[derive(Debug)]
pub struct SignUp<'a> {
    pub token: &'a str,
    pub valid_for: Duration,
}

impl SignUp<'_> {
    pub fn mail(&self, to: MailAddress, at: &PublicUrl) -> Mail {
        let letter = Letter {
            opening: format!("Somebody, probably you, asked for an account on Gantry for {to}."),
            action: "Choose a name and a password",
            link: at.link("sign-up", self.token),
            closing: format!(
                "The link is good for {}. If it was not you, do nothing: there will be no account.",
                human(self.valid_for)
            ),
        };
        letter.to(to, Line::new("Your account on Gantry"))
    }
}

/// Tells somebody who asked for an account that there is one. The link is `PUBLIC_URL/sign-in`.
#[derive(Debug)]
pub struct AlreadySignedUp;

impl AlreadySignedUp {
    pub fn mail(&self, to: MailAddress, at: &PublicUrl) -> Mail {
        let letter = Letter {
            opening: format!(
                "Somebody, probably you, asked for an account on Gantry for {to}. You have one."
            ),
            action: "Sign in",
            link: format!("{}/sign-in", at.0),
            closing: "If you forgot your password, choose another one there. If it was not you, do nothing."
                .to_owned(),
        };
        letter.to(to, Line::new("Your account on Gantry"))
    }
}

/// Lets somebody choose a new password. The link is `PUBLIC_URL/reset-password#token=…`.
#[derive(Debug)]
pub struct PasswordReset<'a> {
    pub token: &'a str,
    pub valid_for: Duration,
}

impl PasswordReset<'_> {
    pub fn mail(&self, to: MailAddress, at: &PublicUrl) -> Mail {
        let letter = Letter {
            opening: format!("Somebody, probably you, asked to choose a new password for {to} on Gantry."),
            action: "Choose a new password",
            link: at.link("reset-password", self.token),
            closing: format!(
                "The link is good for {}, once. If it was not you, do nothing: your password stays as it is.",
                human(self.valid_for)
            ),
        };
        letter.to(to, Line::new("Choose a new password on Gantry"))
    }
}

/// A sentence, a link, a sentence. Texts as people read them: escaped here, in one place.
struct Letter {
    opening: String,
    action: &'static str,
    link: String,
    closing: String,
}

impl Letter {
    fn to(&self, to: MailAddress, subject: Line) -> Mail {
        let text = format!("{}\n\n{}:\n{}\n\n{}\n", self.opening, self.action, self.link, self.closing);
        let [opening, link, closing] = [&self.opening, &self.link, &self.closing].map(|text| escape(text));
        let html = format!(
            "<!doctype html>\n<html lang=\"en\"><body style=\"font-family: sans-serif; line-height: 1.5; max-width: 36em\">\n\
             <p>{opening}</p>\n\
             <p><a href=\"{link}\">{action}</a></p>\n\
             <p>If that does not work, open this address:<br>{link}</p>\n\
             <p>{closing}</p>\n\
             </body></html>\n",
            action = escape(self.action),
        );
        Mail::new(to, subject, text, html)
    }
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut html, c| {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(c),
        }
        html
    })
}

/// `7 days`, `30 minutes`: the largest unit that loses nothing.
fn human(duration: Duration) -> String {
    let minutes = (duration.as_secs() / 60).max(1);
    let (count, unit) = match minutes {
        m if m % (24 * 60) == 0 => (m / (24 * 60), "day"),
        m if m % 60 == 0 => (m / 60, "hour"),
        m => (m, "minute"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn at() -> PublicUrl {
        "https://gantry.example.com/".parse().unwrap()
    }

    fn to() -> MailAddress {
        "anna@example.com".parse().unwrap()
    }

    #[test]
    fn an_invitation_says_who_where_and_how_long() {
        let invitation = Invitation {
            organization: "Shop",
            invited_by: "Berta",
            role: "member",
            token: "gantry_iv_00ff",
            valid_for: DAY * 7,
        };
        let mail = invitation.mail(to(), &at());
        assert_eq!(mail.subject.as_str(), "Join Shop on Gantry");
        assert_eq!(
            mail.text,
            "Berta invites you to Shop on Gantry, as member.\n\nJoin:\n\
             https://gantry.example.com/invitation#token=gantry_iv_00ff\n\n\
             The link is good for 7 days, once. If you did not expect it, do nothing.\n"
        );
        assert!(
            mail.html
                .contains("<a href=\"https://gantry.example.com/invitation#token=gantry_iv_00ff\">Join</a>")
        );
    }

    #[test]
    fn a_reset_says_what_to_do_if_it_was_somebody_else() {
        let reset = PasswordReset { token: "gantry_pr_00ff", valid_for: Duration::from_secs(1800) };
        let mail = reset.mail(to(), &"https://example.com/gantry".parse().unwrap());
        assert!(mail.text.contains("for anna@example.com on Gantry."));
        assert!(mail.text.contains("\nhttps://example.com/gantry/reset-password#token=gantry_pr_00ff\n"));
        assert!(mail.text.contains("good for 30 minutes, once. If it was not you, do nothing"));
    }

    #[test]
    fn names_are_text_wherever_they_are_inserted() {
        let evil = "<img src=x onerror=alert(1)>\"'&\r\nBcc: x@example.com";
        let invitation = Invitation {
            organization: evil,
            invited_by: "</p><a href=\"https://evil.example\">click</a>",
            role: "admin\u{202e}",
            token: "a\"><script>b\r\n",
            valid_for: DAY,
        };
        let mail = invitation.mail(to(), &at());
        for tag in ["<img", "<script", "evil.example\"", "onerror=alert(1)>"] {
            assert!(!mail.html.contains(tag), "{tag} in {}", mail.html);
        }
        assert_eq!(mail.html.matches("<a ").count(), 1);
        assert!(mail.html.contains("&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp; Bcc: x@example.com"));
        assert!(mail.text.contains("#token=a%22%3E%3Cscript%3Eb%0D%0A\n"));
        assert!(!mail.subject.as_str().contains(['\r', '\n']) && mail.text.lines().count() == 6);
    }

    #[test]
    fn links_lead_to_an_address_without_extras() {
        assert_eq!(at().as_str(), "https://gantry.example.com");
        for bad in [
            "",
            "gantry.example.com",
            "ftp://gantry.example.com",
            "https://",
            "https://me:secret@gantry.example.com",
            "https://gantry.example.com/?a=b",
            "https://gantry.example.com/#x",
            "javascript:alert(1)",
        ] {
            assert_eq!(bad.parse::<PublicUrl>(), Err(BadPublicUrl), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_by_people() {
        for (minutes, text) in
            [(0, "1 minute"), (30, "30 minutes"), (60, "1 hour"), (90, "90 minutes"), (1440, "1 day")]
        {
            assert_eq!(human(Duration::from_secs(minutes * 60)), text);
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_a_tag(organization in any::<String>(), invited_by in "[<>\"'&a-z/= ]{0,40}", token in any::<String>()) {
            let plain = Invitation { organization: "o", invited_by: "b", role: "r", token: "t", valid_for: DAY };
            let tags = |mail: &Mail| (mail.html.matches('<').count(), mail.html.matches('"').count(), mail.html.lines().count());
            let expected = tags(&plain.mail(to(), &at()));
            let mail = Invitation { organization: &organization, invited_by: &invited_by, role: &invited_by, token: &token, ..plain }
                .mail(to(), &at());
            prop_assert_eq!(tags(&mail), expected);
            prop_assert!(mail.text.lines().count() == 6);
        }
    }
}
