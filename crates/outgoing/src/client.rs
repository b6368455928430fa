//! From an address that somebody wrote to a connection with the server it was checked to be.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::address::is_public;
use crate::allow::AllowList;
use crate::error::OutgoingError;
use crate::exchange::{Answer, Io, OutgoingRequest, exchange};
use crate::resolve::{Resolve, SystemResolver};
use crate::target::Target;

/// Of many addresses the first ones are tried.
const MAX_ADDRESSES: usize = 4;

/// What one request may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From resolving to the last byte of the answer.
    pub total: Duration,
    /// For one address.
    pub connect: Duration,
    /// Of the answer's body; the rest is not read.
    pub answer_bytes: usize,
    pub request_bytes: usize,
}

impl Default for Limits {
    /// 10 s, 3 s, 64 KiB, 1 MiB.
    fn default() -> Self {
        Self {
            total: Duration::from_secs(10),
            connect: Duration::from_secs(3),
            answer_bytes: 64 * 1024,
            request_bytes: 1024 * 1024,
        }
    }
}

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct OutgoingOptions {
    pub allowed: AllowList,
    /// Authorities to believe besides those of the Mozilla list, as PEM.
    pub authorities: Option<Vec<u8>>,
    pub limits: Limits,
    pub resolver: Arc<dyn Resolve>,
}

impl Default for OutgoingOptions {
    fn default() -> Self {
        Self {
            allowed: AllowList::default(),
            authorities: None,
            limits: Limits::default(),
            resolver: Arc::new(SystemResolver::default()),
        }
    }
}

/// The configured authorities are not certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the authorities for outgoing requests are not certificates in PEM: {0}")]
pub struct BadAuthorities(String);

/// Sends requests to addresses that users give. Cheap to share; keeps no connections, so that every request is checked anew.
pub struct Outgoing {
    allowed: AllowList,
    limits: Limits,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
}

impl Outgoing {
    pub fn new(options: OutgoingOptions) -> Result<Self, BadAuthorities> {
        let tls = tls(options.authorities.as_deref())?;
        let OutgoingOptions { allowed, limits, resolver, .. } = options;
        Ok(Self { allowed, limits, resolver, tls })
    }

    /// Says at once what will never work, when somebody saves an address. Asks no resolver; the request itself is what is safe.
    pub fn check(&self, target: &Target) -> Result<(), OutgoingError> {
        match target.literal() {
            Some(address) => self.admit(address, target.port()),
            // Where a name leads decides about its port as well.
            None => Ok(()),
        }
    }

    /// Sends `request` and waits for the answer, within the limits.
    pub async fn send(&self, request: OutgoingRequest) -> Result<Answer, OutgoingError> {
        request.check(self.limits.request_bytes)?;
        let whole = async {
            let addresses = self.addresses(&request.target).await?;
            let stream = self.connect(&addresses).await?;
            let stream = self.encrypt(&request.target, stream).await?;
            exchange(stream, request, self.limits.answer_bytes).await
        };
        timeout(self.limits.total, whole).await.unwrap_or(Err(OutgoingError::Slow))
    }

    /// Where the target leads, if all of that is allowed: a name that leads inside in part is not a public server's.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, OutgoingError> {
        let found = match (target.literal(), target.name()) {
            (Some(address), _) => vec![address],
            (None, name) => {
                let name = name.unwrap_or_default();
                let not_resolved =
                    |error: io::Error| OutgoingError::NotResolved { reason: error.to_string() };
                self.resolver.resolve(name).await.map_err(not_resolved)?
            }
        };
        if found.is_empty() {
            return Err(OutgoingError::NotResolved { reason: "no address".to_owned() });
        }
        found.iter().try_for_each(|&address| self.admit(address, target.port()))?;
        Ok(found
            .into_iter()
            .take(MAX_ADDRESSES)
            .map(|address| SocketAddr::new(address, target.port()))
            .collect())
    }

    fn admit(&self, address: IpAddr, port: u16) -> Result<(), OutgoingError> {
        if self.allowed.allows(address, port) {
            Ok(())
        } else if !is_public(address) {
            Err(OutgoingError::NotPublic { address })
        } else {
            check_port(port)
        }
    }

    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, OutgoingError> {
        let mut reason = "no address".to_owned();
        for address in addresses {
            match timeout(self.limits.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => reason = error.kind().to_string(),
                Err(_) => "no answer in time".clone_into(&mut reason),
            }
        }
        Err(OutgoingError::Connect { reason })
    }

    async fn encrypt(&self, target: &Target, stream: TcpStream) -> Result<Box<dyn Io>, OutgoingError> {
        if !target.is_https() {
            return Ok(Box::new(stream));
        }
        let tls_error = |reason: String| OutgoingError::Tls { reason };
        let name = match (target.literal(), target.name()) {
            (Some(address), _) => ServerName::from(address),
            (None, name) => ServerName::try_from(name.unwrap_or_default().to_owned())
                .map_err(|error| tls_error(error.to_string()))?,
        };
        let stream = self.tls.connect(name, stream).await.map_err(|error| tls_error(error.to_string()))?;
        Ok(Box::new(stream))
    }
}

/// Ports of web servers; below 1024 there are other servers, some of which take lines of a request for commands.
fn check_port(port: u16) -> Result<(), OutgoingError> {
    match port {
        80 | 443 | 1024.. => Ok(()),
        _ => Err(OutgoingError::Port(port)),
    }
}

fn tls(authorities: Option<&[u8]>) -> Result<TlsConnector, BadAuthorities> {
    let bad = |error: &dyn fmt::Display| BadAuthorities(error.to_string());
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(pem) = authorities {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
        }
        if roots.len() == before {
            return Err(bad(&"there is none"));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("allowed", &self.allowed)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
