//! Taking a port, or saying plainly why not.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Why a server can't listen; the text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0} is already in use: stop the program that listens there, or choose another address")]
    InUse(SocketAddr),
    #[error("no permission to listen on {0}: ports below 1024 need privileges, choose a higher one")]
    Denied(SocketAddr),
    #[error("{0} is not an address of this machine")]
    NotOurs(SocketAddr),
    #[error("can't listen on {0}: {1}")]
    Other(SocketAddr, #[source] io::Error),
}

/// Binds `address`; port 0 picks a free one (`listener.local_addr()` tells which).
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        io::ErrorKind::PermissionDenied => ListenError::Denied(address),
        io::ErrorKind::AddrNotAvailable => ListenError::NotOurs(address),
        _ => ListenError::Other(address, error),
    })
}
