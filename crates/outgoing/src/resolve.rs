//! Names to addresses.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Asks who a name is. Answered once for a request: what it says is what is checked and connected to.
#[async_trait]
pub trait Resolve: Send + Sync + fmt::Debug {
    /// All addresses of both families; an error when there are none.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Questions under way at once. Each holds a thread, also when whoever asked has given up.
const MAX_QUESTIONS: usize = 16;

/// The resolver of the system, `/etc/hosts` and search domains included. A name server that does not answer holds up other
/// names, never more threads.
#[derive(Debug, Clone)]
pub struct SystemResolver {
    places: Arc<Semaphore>,
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_QUESTIONS)) }
    }
}

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let place = self.places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let name = name.to_owned();
        let answer = spawn_blocking(move || {
            let addresses = (name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect();
            drop(place);
            Ok(addresses)
        });
        answer.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let resolver = SystemResolver::default();
        let addresses = resolver.resolve("localhost").await.unwrap();
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        assert!(resolver.resolve("no such name").await.is_err());
        assert_eq!(resolver.places.available_permits(), MAX_QUESTIONS);
    }

    #[tokio::test]
    async fn questions_wait_for_a_place() {
        let resolver = SystemResolver::default();
        let held =
            resolver.places.clone().try_acquire_many_owned(u32::try_from(MAX_QUESTIONS).unwrap()).unwrap();
        let mut question = resolver.resolve("localhost");
        let waits =
            std::future::poll_fn(|cx| std::task::Poll::Ready(question.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        drop(held);
        assert!(question.await.is_ok());
    }
}
