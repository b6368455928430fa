//! Where the broker is and how patient to be with it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::topology::Names;
use crate::QueueError;

/// How to reach a RabbitMQ.
#[derive(Clone)]
pub struct RabbitOptions {
    /// `amqp[s]://user:password@host:port/virtual-host`; the virtual host is percent-encoded, none means `/`.
    pub uri: String,
    /// Begins every name at the broker, so that installations can share a virtual host.
    pub prefix: String,
    /// Certificates (PEM) to trust besides the system's, for `amqps`.
    pub ca_file: Option<PathBuf>,
    /// What the broker's own tools show for the connections.
    pub name: String,
    /// For TCP, TLS and the handshake together.
    pub connect_timeout: Duration,
    /// For a question to the broker, and for the first connection to come up.
    pub call_timeout: Duration,
    /// For a message to be confirmed.
    pub publish_timeout: Duration,
    /// A peer that is silent for twice this long is gone.
    pub heartbeat: Duration,
    /// Between tries to connect.
    pub longest_pause: Duration,
}

impl RabbitOptions {
    /// Sensible patience; prefix `gantry`.
    pub fn new(uri: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            prefix: "gantry".to_owned(),
            ca_file: None,
            name: "gantry".to_owned(),
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// Never the address itself: it carries the password.
impl fmt::Debug for RabbitOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitOptions")
            .field("prefix", &self.prefix)
            .field("ca_file", &self.ca_file)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Checked options.
pub(super) struct Target {
    pub uri: AMQPUri,
    /// For `amqps` with certificates of one's own.
    pub tls: Option<RustlsConnector>,
    pub names: Names,
    pub options: RabbitOptions,
}

impl Target {
    pub(super) async fn check(options: RabbitOptions) -> Result<Self, QueueError> {
        let uri = parse(&options.uri, options.heartbeat)?;
        let prefix_is_plain = !options.prefix.is_empty()
            && options.prefix.len() <= 100
            && options.prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !prefix_is_plain {
            return Err(misconfigured("the prefix is 1 to 100 of a-z, A-Z, 0-9, `-`, `_` and `.`"));
        }
        let tls = match &options.ca_file {
            Some(path) => {
                let pem = tokio::fs::read(path)
                    .await
                    .map_err(|error| misconfigured(format!("{}: {error}", path.display())))?;
                let trusting =
                    trust(&pem).map_err(|why| misconfigured(format!("{}: {why}", path.display())))?;
                Some(trusting)
            }
            None => None,
        };
        Ok(Self { uri, tls, names: Names::new(options.prefix.clone()), options })
    }

    /// Where the broker is, without credentials.
    pub(super) fn address(&self) -> String {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        format!("{scheme}://{}:{} (virtual host {vhost})", authority.host, authority.port)
    }

    pub(super) fn encrypted(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }
}

fn misconfigured(why: impl Into<String>) -> QueueError {
    QueueError::Misconfigured(why.into())
}

/// The parser's errors quote the address, so none of them is passed on.
fn parse(text: &str, heartbeat: Duration) -> Result<AMQPUri, QueueError> {
    let shape = "the address looks like amqp://user:password@host:5672/virtual-host, or amqps://…, with every part \
                 percent-encoded";
    let mut uri = AMQPUri::from_str(text).map_err(|_| misconfigured(shape))?;
    // The parser takes an IPv6 address for none and falls back to localhost.
    let authority =
        text.split_once("://").map_or("", |(_, rest)| rest).split(['/', '?']).next().unwrap_or("");
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        uri.authority.host = address.to_owned();
    } else if host.is_empty() || host.starts_with(':') {
        return Err(misconfigured(shape));
    }
    // A slash and nothing after it is what people write for the default one; the empty name cannot be made with the
    // broker's own tools.
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    if uri.query.heartbeat.is_none() {
        uri.query.heartbeat = Some(u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX).max(1));
    }
    Ok(uri)
}

fn trust(pem: &[u8]) -> Result<RustlsConnector, String> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    // A machine without certificates of its own is fine: these will do.
    let mut config = RustlsConnectorConfig::new_with_native_certs().unwrap_or_default();
    config.add_parsable_certificates(certificates);
    config.connector_with_no_client_auth().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> AMQPUri {
        parse(text, Duration::from_secs(10)).unwrap()
    }

    #[test]
    fn addresses_are_understood() {
        let uri = parsed("amqps://me:p%40ss@broker.example/team%2fa");
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("broker.example", 5671));
        assert_eq!((uri.authority.userinfo.password.as_str(), uri.vhost.as_str()), ("p@ss", "team/a"));
        assert_eq!(uri.query.heartbeat, Some(10));
        for default in ["amqp://h", "amqp://h/", "amqp://h/%2f"] {
            assert_eq!(parsed(default).vhost, "/", "{default}");
        }
        assert_eq!(parsed("amqp://h/%2f?heartbeat=3").query.heartbeat, Some(3));
        let uri = parsed("amqp://u:p@[::1]:5673/x");
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("::1", 5673));
    }

    #[test]
    fn a_refused_address_is_not_repeated() {
        for text in
            ["http://u:hunter2@h/", "amqp:hunter2", "amqp://u:hunter2@h:notaport/", "hunter2", "amqp://"]
        {
            let error = parse(text, Duration::from_secs(10)).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn nothing_shows_the_password() {
        let options = RabbitOptions::new("amqp://user:hunter2@h/");
        assert!(!format!("{options:?}").contains("hunter2"));
        let target = Target::check(options).await.unwrap();
        assert_eq!(target.address(), "amqp://h:5672 (virtual host /)");
    }

    #[tokio::test]
    async fn a_ca_file_must_hold_a_certificate() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut options = RabbitOptions::new("amqps://h/");
        for path in [file.path().to_owned(), PathBuf::from("/does/not/exist.pem")] {
            options.ca_file = Some(path);
            assert!(matches!(Target::check(options.clone()).await, Err(QueueError::Misconfigured(_))));
        }
    }
}
