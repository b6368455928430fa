//! Who may sign up, with what access tokens are signed, how long sessions last, and how mail is sent.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use gantry_credentials::key::SigningKeys;
use gantry_domain::identity::session::SessionLife;
use gantry_mail::{PublicUrl, Sender, SmtpCredentials, SmtpOptions, SmtpSecurity};
use gantry_ratelimit::Limit;
use gantry_service_kit::config::{Secret, Source};

/// People and how they come in.
#[derive(Debug, Clone)]
pub struct IdentityConfig {
    /// Whether anybody may make an account and an organization; else people come by invitation.
    pub open_sign_up: bool,
    /// Where people find this installation: links in mail lead there.
    pub public_url: Option<PublicUrl>,
    /// Of access tokens and signed links. All replicas have the same; without any, a process makes its own.
    pub signing_keys: Option<SigningKeys>,
    pub sessions: SessionLife,
    pub mail: MailConfig,
    /// Of attempts to sign in and the like, per address and per account.
    pub sign_ins: Option<Limit>,
    /// Passwords that may wait to be hashed; some 25 a second are.
    pub waiting_passwords: NonZeroUsize,
}

/// Where mail goes.
#[derive(Debug, Clone)]
pub enum MailConfig {
    /// As it fits: `gantry up` shows mail on the console, a producer sends none.
    Unset,
    /// Nobody is written to, and what needs mail is refused.
    Off,
    /// To standard error.
    Console,
    /// Into a directory.
    Directory(PathBuf, Sender),
    Smtp(Box<SmtpOptions>),
}

const SIGN_INS: u32 = 5;
const WAITING_PASSWORDS: usize = 50;
const SENDER: &str = "Gantry <gantry@localhost>";

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            open_sign_up: false,
            public_url: None,
            signing_keys: None,
            sessions: SessionLife::default(),
            mail: MailConfig::Unset,
            sign_ins: None,
            waiting_passwords: NonZeroUsize::MIN.saturating_add(WAITING_PASSWORDS - 1),
        }
    }
}

impl IdentityConfig {
    /// Reads every setting; errors are kept in `source`.
    pub fn read(source: &mut Source) -> Self {
        let default = Self::default();
        let public_url = source.optional("public_url");
        let open_sign_up = source.bool("sign_up.open", default.open_sign_up);
        let mail = MailConfig::read(source);
        if matches!(mail, Some(MailConfig::Directory(..) | MailConfig::Smtp(_))) && public_url.is_none() {
            source.reject(
                "public_url",
                "is required with `mail.to`: links in mail lead there, such as https://gantry.example.com",
            );
        }
        let day = Duration::from_secs(24 * 3600);
        let sessions = SessionLife {
            idle: source.duration("sessions.idle", default.sessions.idle),
            longest: source.duration("sessions.longest", default.sessions.longest),
        };
        if sessions.idle < Duration::from_secs(3600)
            || sessions.longest < sessions.idle
            || sessions.longest > 366 * day
        {
            source.reject(
                "sessions.idle",
                "is an hour at least, sessions.longest not shorter, and a year at most",
            );
        }
        let count = NonZeroU32::new(source.parse("rate_limits.sign_ins", SIGN_INS));
        let waiting = source.parse("passwords.waiting", WAITING_PASSWORDS);
        Self {
            open_sign_up,
            public_url,
            signing_keys: signing_keys(source),
            sessions,
            mail: mail.unwrap_or(MailConfig::Unset),
            sign_ins: count.map(|count| Limit::per_minute(count, count)),
            waiting_passwords: NonZeroUsize::new(waiting).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

fn signing_keys(source: &mut Source) -> Option<SigningKeys> {
    let text = source.secret("signing_keys")?;
    text.expose()
        .parse()
        .map_err(|error| {
            source.reject("signing_keys", format!("{error}; `gantry-producer new-signing-key` prints one"))
        })
        .ok()
}

impl MailConfig {
    fn read(source: &mut Source) -> Option<Self> {
        let to = source.address("mail.to");
        let from = source.parse("mail.from", SENDER.to_owned());
        let username: Option<String> = source.optional("mail.username");
        let password = source.secret("mail.password");
        let authorities: Option<PathBuf> = source.optional("mail.ca_file");
        let from =
            from.parse::<Sender>().map_err(|error| source.reject("mail.from", error.to_string())).ok()?;
        let credentials = match (username, password) {
            (Some(username), Some(password)) => {
                Some(SmtpCredentials { username, password: password.expose().to_owned() })
            }
            (None, None) => None,
            _ => {
                source.reject("mail.username", "and mail.password belong together: set both, or none");
                None
            }
        };
        let read = Self::parse(to.as_ref()?, from, credentials, authorities);
        read.map_err(|message| source.reject("mail.to", message)).ok()
    }

    fn parse(
        to: &Secret,
        from: Sender,
        credentials: Option<SmtpCredentials>,
        authorities: Option<PathBuf>,
    ) -> Result<Self, String> {
        let text = to.expose();
        let (scheme, rest) = match text.split_once(':') {
            None if text == "off" => return Ok(Self::Off),
            None if text == "console" => return Ok(Self::Console),
            None => return Err(FORMS.to_owned()),
            Some(parts) => parts,
        };
        let security = match scheme {
            "directory" if !rest.is_empty() => return Ok(Self::Directory(PathBuf::from(rest), from)),
            "smtp" => SmtpSecurity::StartTls,
            "smtps" => SmtpSecurity::Tls,
            "smtp+plain" => SmtpSecurity::Plain,
            _ => return Err(FORMS.to_owned()),
        };
        let server = rest.strip_prefix("//").ok_or(FORMS)?.trim_end_matches('/');
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().map_err(|_| FORMS)?)),
            _ => (server, None),
        };
        let authorities = authorities
            .map(|file| {
                std::fs::read(&file).map_err(|error| format!("{} can't be read: {error}", file.display()))
            })
            .transpose()?;
        let options =
            SmtpOptions { port, credentials, authorities, ..SmtpOptions::new(host, security, from) };
        gantry_mail::SmtpMailer::new(options.clone()).map_err(|error| error.to_string())?;
        Ok(Self::Smtp(Box::new(options)))
    }
}

const FORMS: &str = "is `off`, `console`, `directory:PATH`, `smtp://HOST:587` (STARTTLS), `smtps://HOST:465`, or `smtp+plain://localhost:25`; \
     credentials are mail.username and mail.password";

#[cfg(test)]
mod tests {
    use gantry_credentials::key::SigningKey;

    use super::*;

    fn read(variables: &[(&'static str, &str)]) -> Result<IdentityConfig, String> {
        let mut source = Source::new(variables.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let config = IdentityConfig::read(&mut source);
        source.finish().map(|_| config).map_err(|errors| errors.to_string())
    }

    #[test]
    fn nothing_set_is_closed_and_writes_to_nobody() {
        let config = read(&[]).unwrap();
        assert!(!config.open_sign_up && matches!(config.mail, MailConfig::Unset));
        assert_eq!(config.sign_ins.unwrap().count.get(), 5);
        assert!(read(&[("GANTRY_RATE_LIMITS_SIGN_INS", "0")]).unwrap().sign_ins.is_none());
    }

    #[test]
    fn mail_is_encrypted_or_stays_on_this_machine() {
        let url = ("GANTRY_PUBLIC_URL", "https://gantry.example.com");
        let with = |to: &str| read(&[("GANTRY_MAIL_TO", to), url]);
        for to in [
            "smtp://mail.example.com",
            "smtps://mail.example.com:1465",
            "smtp+plain://localhost:1025",
            "smtp+plain://[::1]:25",
        ] {
            assert!(matches!(with(to).unwrap().mail, MailConfig::Smtp(_)), "{to}");
        }
        assert!(matches!(with("directory:/tmp/mail").unwrap().mail, MailConfig::Directory(..)));
        for to in [
            "smtp+plain://mail.example.com",
            "mail.example.com",
            "smtp:mail",
            "smtp://mail:port",
            "directory:",
            "http://x",
            "smtp://a b",
        ] {
            let error = with(to).unwrap_err();
            assert!(error.contains("GANTRY_MAIL_TO"), "{to}: {error}");
        }
        let error = read(&[("GANTRY_MAIL_TO", "smtp://mail.example.com")]).unwrap_err();
        assert!(
            error.contains("GANTRY_PUBLIC_URL") && error.contains("https://gantry.example.com"),
            "{error}"
        );
        let error =
            read(&[("GANTRY_MAIL_TO", "smtp://mail.example.com"), url, ("GANTRY_MAIL_USERNAME", "ann")])
                .unwrap_err();
        assert!(error.contains("belong together"), "{error}");
    }

    #[test]
    fn weak_signing_keys_are_refused_without_showing_them() {
        let error = read(&[("GANTRY_SIGNING_KEYS", "a:c2hvcnQ=")]).unwrap_err();
        assert!(
            error.contains("too short") && error.contains("new-signing-key") && !error.contains("c2hvcnQ"),
            "{error}"
        );
        let good = SigningKey::random("a".parse().unwrap()).to_config();
        read(&[("GANTRY_SIGNING_KEYS", &good)]).unwrap();
    }
}
