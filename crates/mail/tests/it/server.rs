//! A mail server on the loopback address that speaks as much SMTP as clients do, with STARTTLS, AUTH and moods.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// How a server behaves.
#[derive(Clone, Default)]
pub struct Mood {
    /// Recipients it does not know.
    pub unknown: Option<&'static str>,
    /// How many recipients it asks to come again first.
    pub greylists: usize,
    /// How many connections it drops after the first line of a message.
    pub drops_in_data: usize,
    /// Takes a message and never says so.
    pub silent_after_data: bool,
    /// Says nothing at all.
    pub silent: bool,
    /// Sends its greeting one byte at a time, for ever.
    pub drips: bool,
    pub user: Option<(&'static str, &'static str)>,
    pub tls: Tls,
    /// Whom its certificate is for, instead of this machine.
    pub named: Option<&'static str>,
    /// Says this right behind its answer to STARTTLS, as somebody on the line would.
    pub injects: Option<&'static str>,
    /// Asks everybody to leave after one message.
    pub one_each: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Tls {
    #[default]
    None,
    Upgraded,
    Implicit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub from: String,
    pub to: Vec<String>,
    pub data: String,
    pub encrypted: bool,
    pub user: Option<String>,
    /// Which connection it came over, from 1.
    pub connection: usize,
}

#[derive(Default)]
pub struct Log {
    pub received: Vec<Received>,
    pub connections: usize,
    /// Every line a client sent outside a message.
    pub commands: Vec<String>,
    greylisted: usize,
    dropped: usize,
}

pub struct Server {
    pub address: SocketAddr,
    /// Its authority, as PEM.
    pub authority: Vec<u8>,
    log: Arc<Mutex<Log>>,
    task: AbortHandle,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec![mood.named.unwrap_or("127.0.0.1").to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let authority = certificate.pem().into_bytes();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let log = Arc::new(Mutex::new(Log::default()));
        let shared = log.clone();
        let task = tokio::spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut log = shared.lock().unwrap();
                    log.connections += 1;
                    log.connections
                };
                let (mood, log, acceptor) = (mood.clone(), shared.clone(), acceptor.clone());
                sessions.spawn(async move {
                    let mut session = Session { mood, log, number, encrypted: false, user: None };
                    // A client may leave whenever it wants.
                    let _ = session.connection(stream, acceptor).await;
                });
            }
        });
        Self { address, authority, log, task: task.abort_handle() }
    }

    pub fn log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.log.lock().unwrap())
    }

    pub fn received(&self) -> Vec<Received> {
        self.log(|log| log.received.clone())
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Session {
    mood: Mood,
    log: Arc<Mutex<Log>>,
    number: usize,
    encrypted: bool,
    user: Option<String>,
}

enum Next {
    Done,
    StartTls,
}

type Lines = BufReader<Box<dyn Stream>>;

async fn say(lines: &mut Lines, reply: &str) -> std::io::Result<()> {
    lines.write_all(format!("{reply}\r\n").as_bytes()).await?;
    lines.flush().await
}

async fn hear(lines: &mut Lines) -> std::io::Result<String> {
    let mut line = String::new();
    if lines.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    assert!(line.ends_with("\r\n"), "lines end in CRLF: {line:?}");
    line.truncate(line.len() - 2);
    Ok(line)
}

impl Session {
    async fn connection(
        &mut self,
        stream: tokio::net::TcpStream,
        acceptor: TlsAcceptor,
    ) -> std::io::Result<()> {
        let mut lines: Lines = match self.mood.tls {
            Tls::Implicit => {
                self.encrypted = true;
                BufReader::new(Box::new(acceptor.accept(stream).await?))
            }
            Tls::None | Tls::Upgraded => BufReader::new(Box::new(stream)),
        };
        if self.mood.silent {
            std::future::pending::<()>().await;
        }
        if self.mood.drips {
            loop {
                lines.write_all(b"2").await?;
                lines.flush().await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        say(&mut lines, "220 test ESMTP").await?;
        while let Next::StartTls = self.talk(&mut lines).await? {
            assert!(lines.buffer().is_empty(), "nothing is said between STARTTLS and the handshake");
            self.encrypted = true;
            lines = BufReader::new(Box::new(acceptor.accept(lines.into_inner()).await?));
        }
        Ok(())
    }

    async fn talk(&mut self, lines: &mut Lines) -> std::io::Result<Next> {
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let line = hear(lines).await?;
            self.log.lock().unwrap().commands.push(line.clone());
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" => {
                    let mut features = vec!["test", "8BITMIME"];
                    if self.mood.tls == Tls::Upgraded && !self.encrypted {
                        features.push("STARTTLS");
                    }
                    if self.mood.user.is_some() {
                        features.push("AUTH PLAIN");
                    }
                    let (last, others) = features.split_last().unwrap();
                    for feature in others {
                        say(lines, &format!("250-{feature}")).await?;
                    }
                    say(lines, &format!("250 {last}")).await?;
                }
                "STARTTLS" => {
                    let injected = self.mood.injects.unwrap_or_default();
                    say(lines, &format!("220 go ahead{injected}")).await?;
                    return Ok(Next::StartTls);
                }
                "AUTH" => {
                    let given =
                        STANDARD.decode(line.rsplit(' ').next().unwrap_or_default()).unwrap_or_default();
                    let known = self
                        .mood
                        .user
                        .filter(|(user, password)| given == format!("\0{user}\0{password}").into_bytes());
                    match known {
                        Some((user, _)) => {
                            self.user = Some(user.to_owned());
                            say(lines, "235 welcome").await?;
                        }
                        None => say(lines, "535 5.7.8 not with this password").await?,
                    }
                }
                "MAIL" if self.mood.user.is_some() && self.user.is_none() => {
                    say(lines, "530 5.7.0 who are you?").await?;
                }
                "MAIL" => {
                    from = address(&line);
                    say(lines, "250 ok").await?;
                }
                "RCPT" => self.recipient(lines, address(&line), &mut to).await?,
                "DATA" => {
                    self.message(lines, std::mem::take(&mut from), std::mem::take(&mut to)).await?;
                    if self.mood.one_each {
                        return Ok(Next::Done);
                    }
                }
                "NOOP" | "RSET" => say(lines, "250 ok").await?,
                "QUIT" => {
                    say(lines, "221 bye").await?;
                    return Ok(Next::Done);
                }
                _ => say(lines, "502 what?").await?,
            }
        }
    }

    async fn recipient(
        &self,
        lines: &mut Lines,
        address: String,
        to: &mut Vec<String>,
    ) -> std::io::Result<()> {
        let patience = {
            let mut log = self.log.lock().unwrap();
            let patience = log.greylisted < self.mood.greylists;
            log.greylisted += usize::from(patience);
            patience
        };
        if self.mood.unknown == Some(address.as_str()) {
            say(lines, "550 5.1.1 no such\u{7} mailbox").await
        } else if patience {
            say(lines, "451 4.7.1 greylisted, try again later").await
        } else {
            to.push(address);
            say(lines, "250 ok").await
        }
    }

    async fn message(&self, lines: &mut Lines, from: String, to: Vec<String>) -> std::io::Result<()> {
        say(lines, "354 go on").await?;
        let mut data = String::new();
        loop {
            let line = hear(lines).await?;
            let drop_it = {
                let mut log = self.log.lock().unwrap();
                let drop_it = log.dropped < self.mood.drops_in_data;
                log.dropped += usize::from(drop_it);
                drop_it
            };
            if drop_it {
                return Err(std::io::ErrorKind::ConnectionAborted.into());
            }
            if line == "." {
                break;
            }
            data.push_str(line.strip_prefix('.').unwrap_or(&line));
            data.push_str("\r\n");
        }
        let received = Received {
            from,
            to,
            data,
            encrypted: self.encrypted,
            user: self.user.clone(),
            connection: self.number,
        };
        self.log.lock().unwrap().received.push(received);
        if self.mood.silent_after_data {
            std::future::pending::<()>().await;
        }
        say(lines, "250 taken").await
    }
}

fn address(line: &str) -> String {
    line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).unwrap().0.to_owned()
}
