//! How a mail server is reached.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use lettre::transport::smtp::client::{Certificate, TlsParameters};

use crate::address::Sender;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// Begins in the clear and says nothing before it is encrypted; a server that cannot is not used. Port 587.
    StartTls,
    /// Encrypted from the first byte. Port 465.
    Tls,
    /// In the clear, to this machine only. Port 25.
    Plain,
}

/// Who we are to the server.
#[derive(Clone)]
pub struct SmtpCredentials {
    pub username: String,
    pub password: String,
}

impl fmt::Debug for SmtpCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpCredentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A mail server and how long it may take.
#[derive(Debug, Clone)]
pub struct SmtpOptions {
    pub host: String,
    /// The usual one of `security` when absent.
    pub port: Option<u16>,
    pub security: SmtpSecurity,
    pub credentials: Option<SmtpCredentials>,
    pub from: Sender,
    /// For connecting, encrypting and signing in together.
    pub connect_timeout: Duration,
    /// For one message, all of the above and the wait for a free connection included.
    pub send_timeout: Duration,
    /// How many may be open at once.
    pub connections: NonZeroUsize,
    /// Authorities to believe besides those of the Mozilla list, as PEM.
    pub authorities: Option<Vec<u8>>,
    /// What we call ourselves; the machine's name when absent.
    pub hello: Option<String>,
}

/// Why a mail server cannot be used as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSmtpOptions {
    #[error("the host of the mail server is not a name or an address")]
    Host,
    #[error(
        "without encryption mail goes to this machine only: name a loopback address, or use starttls or tls"
    )]
    PlainToOthers,
    #[error("the name to greet the mail server with is not a host name")]
    Hello,
    #[error("the authorities of the mail server are not certificates in PEM: {0}")]
    Authorities(String),
}

impl SmtpOptions {
    /// With 10 s to connect, 60 s for a message, and two connections.
    pub fn new(host: impl Into<String>, security: SmtpSecurity, from: Sender) -> Self {
        Self {
            host: host.into(),
            port: None,
            security,
            credentials: None,
            from,
            connect_timeout: Duration::from_secs(10),
            send_timeout: Duration::from_secs(60),
            connections: NonZeroUsize::MIN.saturating_add(1),
            authorities: None,
            hello: None,
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(match self.security {
            SmtpSecurity::StartTls => 587,
            SmtpSecurity::Tls => 465,
            SmtpSecurity::Plain => 25,
        })
    }

    pub(super) fn check(&self) -> Result<(), BadSmtpOptions> {
        let host_like = |text: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
            !text.is_empty() && text.len() <= 255 && text.chars().all(plain)
        };
        if !host_like(&self.host) {
            return Err(BadSmtpOptions::Host);
        }
        match self.hello.as_deref().is_none_or(host_like) {
            true => Ok(()),
            false => Err(BadSmtpOptions::Hello),
        }
    }

    pub(super) fn tls(&self) -> Result<TlsParameters, BadSmtpOptions> {
        let bad = |error: lettre::transport::smtp::Error| BadSmtpOptions::Authorities(error.to_string());
        let mut parameters = TlsParameters::builder(self.host.clone());
        if let Some(pem) = &self.authorities {
            parameters = parameters.add_root_certificate(Certificate::from_pem(pem).map_err(bad)?);
        }
        parameters.build().map_err(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::SmtpMailer;

    fn options(host: &str, security: SmtpSecurity) -> SmtpOptions {
        SmtpOptions::new(host, security, "gantry@example.com".parse().unwrap())
    }

    #[test]
    fn without_encryption_mail_stays_on_this_machine() {
        for host in ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"] {
            assert!(SmtpMailer::new(options(host, SmtpSecurity::Plain)).is_ok(), "{host}");
        }
        for host in [
            "mail.example.com",
            "10.0.0.1",
            "0.0.0.0",
            "localhost.example.com",
            "::",
            "::ffff:127.0.0.1",
            "2130706433",
        ] {
            let error = SmtpMailer::new(options(host, SmtpSecurity::Plain)).unwrap_err();
            assert_eq!(error, BadSmtpOptions::PlainToOthers, "{host}");
            assert!(SmtpMailer::new(options(host, SmtpSecurity::StartTls)).is_ok(), "{host}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_sent() {
        for host in ["", "a b", "host\r\nQUIT", "user@host"] {
            let error = SmtpMailer::new(options(host, SmtpSecurity::Tls)).unwrap_err();
            assert_eq!(error, BadSmtpOptions::Host, "{host:?}");
        }
        let hello = SmtpOptions { hello: Some("me\r\nQUIT".to_owned()), ..options("h", SmtpSecurity::Tls) };
        assert_eq!(SmtpMailer::new(hello).unwrap_err(), BadSmtpOptions::Hello);
    }

    #[test]
    fn the_password_is_not_printed() {
        let credentials = SmtpCredentials { username: "gantry".to_owned(), password: "hunter2".to_owned() };
        let mailer = SmtpMailer::new(SmtpOptions {
            credentials: Some(credentials),
            ..options("h", SmtpSecurity::Tls)
        });
        let printed = format!("{mailer:?}");
        assert!(printed.contains("gantry") && !printed.contains("hunter2"));
    }
}
