//! Mail through a server, by SMTP. Encrypted, or to this machine: there is no third way to configure it.
//!
//! Connections are kept by hand instead of by the library's pool, because that one keeps connections whose last call was given
//! up half-way: the next message would read the answers of the one before.

mod options;
mod starttls;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::options::{BadSmtpOptions, SmtpCredentials, SmtpOptions, SmtpSecurity};
use self::starttls::Upgradable;
use crate::mailer::{Mailer, SendError};
use crate::message::Mail;

/// Servers close idle connections after some minutes; one this old is not tried.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// Sends through one server, over a few connections that are kept for a while.
pub struct SmtpMailer {
    options: SmtpOptions,
    way: Way,
    credentials: Option<Credentials>,
    hello: ClientId,
    places: Semaphore,
    /// Connections between two messages; in nobody's hands, so with nothing under way.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

/// How a connection is made; each way has what it needs, and no other.
enum Way {
    Tls(TlsParameters),
    StartTls(TlsParameters),
    /// In the clear. Never asked of a resolver.
    ThisMachine(Vec<SocketAddr>),
}

impl SmtpMailer {
    /// Connects to nothing yet.
    pub fn new(options: SmtpOptions) -> Result<Self, BadSmtpOptions> {
        options.check()?;
        let way = match options.security {
            SmtpSecurity::Tls => Way::Tls(options.tls()?),
            SmtpSecurity::StartTls => Way::StartTls(options.tls()?),
            SmtpSecurity::Plain => {
                let addresses = loopback(&options.host).ok_or(BadSmtpOptions::PlainToOthers)?;
                Way::ThisMachine(addresses.iter().map(|&ip| SocketAddr::new(ip, options.port())).collect())
            }
        };
        let credentials =
            options.credentials.as_ref().map(|c| Credentials::new(c.username.clone(), c.password.clone()));
        let hello = options.hello.clone().map_or_else(ClientId::default, ClientId::Domain);
        let places = Semaphore::new(options.connections.get());
        Ok(Self { way, credentials, hello, places, idle: Mutex::default(), options })
    }

    /// A kept connection that still answers, or a new one.
    async fn connection(&self) -> Result<AsyncSmtpConnection, SendError> {
        while let Some(mut idle) = self.take_idle() {
            if idle.since.elapsed() < MAX_IDLE && idle.connection.test_connected().await {
                return Ok(idle.connection);
            }
        }
        timeout(self.options.connect_timeout, self.connect())
            .await
            .map_err(|_| SendError::unavailable("the server did not answer in time to a new connection"))?
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let server = (self.options.host.as_str(), self.options.port());
        let connected = match &self.way {
            Way::Tls(tls) => {
                AsyncSmtpConnection::connect_tokio1(server, None, &self.hello, Some(tls.clone()), None).await
            }
            Way::StartTls(tls) => {
                let stream = TcpStream::connect(server).await.map_err(SendError::unavailable)?;
                self.upgrade(stream, tls.clone()).await
            }
            Way::ThisMachine(addresses) => {
                AsyncSmtpConnection::connect_tokio1(&addresses[..], None, &self.hello, None, None).await
            }
        };
        let mut connection = connected.map_err(SendError::unavailable)?;
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(SendError::unavailable)?;
        }
        Ok(connection)
    }

    async fn upgrade(&self, stream: TcpStream, tls: TlsParameters) -> Result<AsyncSmtpConnection, SmtpError> {
        let stream = Box::new(Upgradable::new(stream));
        let mut connection = AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await?;
        connection.starttls(tls, &self.hello).await?;
        Ok(connection)
    }

    fn take_idle(&self) -> Option<Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let idle = Idle { connection, since: Instant::now() };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
    }

    async fn deliver(&self, message: &lettre::Message) -> Result<(), SendError> {
        let _place = self.places.acquire().await.map_err(SendError::unavailable)?;
        let mut connection = self.connection().await?;
        match connection.send(message.envelope(), &message.formatted()).await {
            Ok(_) => {
                self.keep(connection);
                Ok(())
            }
            // What only this message is at fault for: an answer of 5xx, or an address that the server cannot carry.
            Err(error) if error.is_permanent() || error.is_client() => Err(SendError::refused(error)),
            Err(error) => Err(SendError::unavailable(error)),
        }
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    /// Bounded by `send_timeout`, the wait for a free connection included.
    async fn send(&self, mail: &Mail) -> Result<(), SendError> {
        let message = mail.compose(&self.options.from)?;
        timeout(self.options.send_timeout, self.deliver(&message))
            .await
            .map_err(|_| SendError::unavailable("the server did not take the message in time"))?
    }
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SmtpMailer").field(&self.options).finish()
    }
}

/// The addresses behind a name of this machine.
fn loopback(host: &str) -> Option<Vec<IpAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok()?;
    ip.is_loopback().then(|| vec![ip])
}
