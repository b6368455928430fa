//! One message: to one person, as plain text and as HTML.

use std::time::SystemTime;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};

use crate::address::{MailAddress, Sender};
use crate::line::Line;
use crate::mailer::SendError;

/// A message, ready to be sent any number of times as the same one.
#[derive(Clone)]
pub struct Mail {
    pub to: MailAddress,
    pub subject: Line,
    /// Holds links that let somebody in: never logged.
    pub text: String,
    pub html: String,
    /// Becomes the `Message-ID`; the same in every try.
    id: u128,
    written_at: SystemTime,
}

impl Mail {
    /// `html` is taken as it is: what it inserts is escaped already, as the templates do.
    pub fn new(to: MailAddress, subject: Line, text: String, html: String) -> Self {
        Self { to, subject, text, html, id: rand::random(), written_at: SystemTime::now() }
    }

    /// Names the message in logs.
    pub fn id(&self) -> String {
        format!("{:032x}", self.id)
    }

    pub(crate) fn written_at(&self) -> SystemTime {
        self.written_at
    }

    /// As it goes over the wire.
    pub(crate) fn compose(&self, from: &Sender) -> Result<lettre::Message, SendError> {
        let domain = from.address().inner().domain();
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        lettre::Message::builder()
            .from(from.mailbox())
            .to(Mailbox::new(None, self.to.inner().clone()))
            .subject(self.subject.as_str())
            .message_id(Some(format!("<{}@{domain}>", self.id())))
            .date(self.written_at)
            // Absence notes are not sent in answer.
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(self.text.clone(), self.html.clone()))
            .map_err(SendError::refused)
    }
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail")
            .field("id", &self.id())
            .field("subject", &self.subject.as_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn composed(mail: &Mail) -> String {
        let sender: Sender = "Gantry <gantry@example.com>".parse().unwrap();
        String::from_utf8(mail.compose(&sender).unwrap().formatted()).unwrap()
    }

    fn mail(subject: &str) -> Mail {
        Mail::new(
            "anna@example.com".parse().unwrap(),
            Line::new(subject),
            "Hello\n.\nBye".to_owned(),
            "<p>Hello</p>".to_owned(),
        )
    }

    #[test]
    fn a_message_has_both_parts_and_stays_the_same() {
        let mail = mail("Join Exämple");
        let wire = composed(&mail);
        for part in [
            "From: Gantry <gantry@example.com>\r\n",
            "To: anna@example.com\r\n",
            "Subject: Join =?utf-8?b?",
            "Auto-Submitted: auto-generated\r\n",
            "multipart/alternative",
            "text/plain; charset=utf-8",
            "text/html; charset=utf-8",
            &format!("Message-ID: <{}@example.com>\r\n", mail.id()),
            "Date: ",
        ] {
            assert!(wire.contains(part), "{part} in {wire}");
        }
        let id = |wire: &str| wire.lines().find(|line| line.starts_with("Message-ID")).map(str::to_owned);
        assert_eq!(id(&composed(&mail)), id(&wire));
        assert!(!format!("{mail:?}").contains("Hello"), "what it says is not logged");
    }

    proptest! {
        #[test]
        fn no_subject_adds_a_header(subject in any::<String>(), injected in "(\r\n|\n|\r|\u{0}){1,3}(Bcc: x@example.com|[ -~]{0,90})") {
            let names = |wire: &str| {
                let head = wire.split("\r\n\r\n").next().unwrap_or_default().to_owned();
                let names = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
                names.map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
            };
            let plain = names(&composed(&mail("plain")));
            for subject in [subject.clone(), injected.clone(), format!("{subject}{injected}")] {
                let wire = composed(&mail(&subject));
                prop_assert_eq!(&names(&wire), &plain);
                prop_assert!(!wire.replace("\r\n", "").contains(['\r', '\n']));
            }
        }
    }
}
