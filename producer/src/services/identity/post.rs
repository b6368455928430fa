//! Writing to people.

use std::sync::Arc;

use gantry_api_types::problem::ProblemCode;
use gantry_domain::identity::Email;
use gantry_mail::{
    ConsoleMailer, FileMailer, Mail, MailAddress, Mailer, Outbox, OutboxOptions, OutboxTask, PublicUrl,
    SmtpMailer, outbox,
};

use super::IdentityError;
use crate::config::identity::{IdentityConfig, MailConfig};
use crate::error::{ApiError, ApiResult};

/// An outbox, and where links in mail lead.
#[derive(Debug, Clone)]
pub struct Post {
    outbox: Outbox,
    public_url: PublicUrl,
}

impl Post {
    /// `None` when mail is off.
    pub fn new(config: &IdentityConfig) -> Result<Option<(Self, OutboxTask)>, IdentityError> {
        let bad = |error: String| IdentityError::Mail(error);
        let mailer: Arc<dyn Mailer> = match &config.mail {
            MailConfig::Off | MailConfig::Unset => return Ok(None),
            MailConfig::Console => Arc::new(ConsoleMailer::new(std::io::stderr())),
            MailConfig::Directory(path, from) => {
                Arc::new(FileMailer::new(path.clone(), from.clone()).map_err(|error| bad(error.to_string()))?)
            }
            MailConfig::Smtp(options) => {
                Arc::new(SmtpMailer::new((**options).clone()).map_err(|error| bad(error.to_string()))?)
            }
        };
        let public_url = config.public_url.clone().ok_or_else(|| bad("public_url is not set".to_owned()))?;
        let (outbox, task) = outbox(mailer, OutboxOptions::default());
        Ok(Some((Self { outbox, public_url }, task)))
    }

    /// Puts a letter into the box.
    pub fn send(&self, to: &Email, letter: impl FnOnce(MailAddress, &PublicUrl) -> Mail) -> ApiResult<()> {
        let to = to
            .as_str()
            .parse()
            .map_err(|_| ApiError::field("/email", "no mail can be sent to this address"))?;
        self.outbox
            .post(letter(to, &self.public_url))
            .map_err(|error| ApiError::unavailable("The mail server", error.to_string()))
    }

    /// The same as a refusal where mail is off.
    pub fn required(post: Option<&Self>) -> ApiResult<&Self> {
        post.ok_or_else(|| {
            ApiError::new(
                ProblemCode::NotConfigured,
                "This needs mail, which is off here: whoever operates Gantry sets `mail.to` and `public_url`.",
            )
        })
    }
}
