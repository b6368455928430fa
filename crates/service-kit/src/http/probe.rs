//! Asks a server of this machine how it is: for the health checks of containers that have no other client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Of an answer that a person may read.
const MAX_ANSWER: usize = 64 * 1024;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("nobody answers at {0} within {1:?}")]
    Silent(SocketAddr, Duration),
    #[error("no answer from {0}: {1}")]
    Failed(SocketAddr, String),
}

/// `GET path` at the server that listens on `address` (every address of the machine counts as the loopback one).
pub async fn probe(
    address: SocketAddr,
    path: &str,
    bound: Duration,
) -> Result<(StatusCode, String), ProbeError> {
    let address = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => address,
    };
    match tokio::time::timeout(bound, get(address, path)).await {
        Ok(answer) => answer.map_err(|error| ProbeError::Failed(address, error.to_string())),
        Err(_) => Err(ProbeError::Silent(address, bound)),
    }
}

async fn get(
    address: SocketAddr,
    path: &str,
) -> Result<(StatusCode, String), Box<dyn std::error::Error + Send + Sync>> {
    let socket = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let request = Request::get(path).header("host", address.to_string()).body(Body::empty())?;
    let exchange = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = connection => {
            ended?;
            // The answer may have arrived with the connection's end.
            exchange.await
        }
    }
}
