//! What stands in front of replicas in a deployment: hands each connection to the next of them that takes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A listener in front of any number of servers.
pub struct Balancer {
    address: SocketAddr,
    servers: watch::Sender<Vec<SocketAddr>>,
    listener: JoinHandle<()>,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Balancer {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (servers, seen) = watch::channel(Vec::new());
        let listener = tokio::spawn(async move {
            let turn = Arc::new(AtomicUsize::new(0));
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((client, _)) = listener.accept() => {
                        connections.spawn(serve(client, seen.clone(), turn.clone()));
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, servers, listener })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For connections that are made from now on.
    pub fn lead_to(&self, servers: Vec<SocketAddr>) {
        self.servers.send_replace(servers);
    }
}

async fn serve(mut client: TcpStream, servers: watch::Receiver<Vec<SocketAddr>>, turn: Arc<AtomicUsize>) {
    let servers = servers.borrow().clone();
    let first = turn.fetch_add(1, Ordering::Relaxed);
    for i in 0..servers.len() {
        let Ok(mut server) = TcpStream::connect(servers[(first + i) % servers.len()]).await else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        return;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_server_that_is_gone_is_passed_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let balancer = Balancer::start().await.unwrap();
        balancer.lead_to(vec![gone, there]);
        for _ in 0..4 {
            let mut client = TcpStream::connect(balancer.address()).await.unwrap();
            client.write_all(b"x").await.unwrap();
            let (mut server, _) = listener.accept().await.unwrap();
            assert_eq!(server.read_u8().await.unwrap(), b'x');
        }
    }
}
