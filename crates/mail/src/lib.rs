//! Mail to people: what Gantry writes to them, and the ways it is sent. A [`Mailer`] sends one message and tells whether trying
//! again can help; the [`outbox`](outbox()) tries again.
//!
//! Nothing that a person typed gets into a header or into HTML as it is: names are [`Line`]s, which hold no line end, and
//! templates escape them.

mod address;
mod console;
mod file;
mod line;
mod mailer;
mod message;
mod outbox;
mod smtp;
mod template;

pub use self::address::{BadAddress, MailAddress, Sender};
pub use self::console::ConsoleMailer;
pub use self::file::FileMailer;
pub use self::line::Line;
pub use self::mailer::{Mailer, SendError};
pub use self::message::Mail;
pub use self::outbox::{Outbox, OutboxFull, OutboxOptions, OutboxTask, Undelivered, outbox};
pub use self::smtp::{BadSmtpOptions, SmtpCredentials, SmtpMailer, SmtpOptions, SmtpSecurity};
pub use self::template::{AlreadySignedUp, BadPublicUrl, Invitation, PasswordReset, PublicUrl, SignUp};
