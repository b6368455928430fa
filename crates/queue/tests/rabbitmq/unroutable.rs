//! Somebody deletes the queue as often as it is made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use gantry_domain::spec::Pool;
use gantry_queue::{Queue as _, QueueError, RabbitQueue};
use lapin::options::QueueDeleteOptions;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::setup::{message, next, options};

/// `basic.publish`, as every publishing frame's payload begins.
const PUBLISH: [u8; 4] = [0, 60, 0, 40];

/// Deletes the queue whenever a message is about to be published, as often as it is told to.
struct Spoiler {
    channel: Channel,
    queue: String,
    left: AtomicU32,
}

impl Spoiler {
    async fn publishing(&self) {
        let more = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if more.is_ok() {
            self.channel
                .queue_delete(self.queue.as_str().into(), QueueDeleteOptions::default())
                .await
                .unwrap();
        }
    }
}

/// A line to the broker on which the spoiler sits.
async fn line(spoiler: Arc<Spoiler>, to: SocketAddr) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut line = JoinSet::new();
    line.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(to).await.unwrap();
            connections.spawn(carry(client, server, Arc::clone(&spoiler)));
        }
    });
    (address, line)
}

async fn carry(client: TcpStream, server: TcpStream, spoiler: Arc<Spoiler>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there = async {
        let mut seen = Vec::new();
        loop {
            let before = seen.len();
            if from_client.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                return;
            }
            if seen.windows(PUBLISH.len()).any(|bytes| bytes == PUBLISH) {
                spoiler.publishing().await;
            }
            if to_server.write_all(&seen[before..]).await.is_err() {
                return;
            }
            // The beginning of a frame's payload may come in two pieces.
            seen.drain(..seen.len().saturating_sub(PUBLISH.len() - 1));
        }
    };
    let back = async { drop(tokio::io::copy(&mut from_server, &mut to_client).await) };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_back_is_sent_once_more_and_then_said_to_be_unroutable() {
    let broker = Broker::started().await;
    let connection = Connection::connect(&broker.uri(), ConnectionProperties::default()).await.unwrap();
    let mut options = options(&broker.uri());
    let pool = Pool::default();
    let spoiler = Arc::new(Spoiler {
        channel: connection.create_channel().await.unwrap(),
        queue: format!("{}.runs.{pool}", options.prefix),
        left: AtomicU32::new(0),
    });
    let (address, _line) = line(Arc::clone(&spoiler), broker.address()).await;
    options.uri = format!("amqp://guest:guest@{address}/%2f");
    let queue = RabbitQueue::connect(options).await.unwrap();
    queue.publish(&pool, message()).await.unwrap();

    spoiler.left.store(2, Ordering::SeqCst);
    let lost = message();
    assert_eq!(queue.publish(&pool, lost).await, Err(QueueError::Unroutable(pool.clone())));
    assert_eq!(spoiler.left.load(Ordering::SeqCst), 0);

    // Once only: nobody notices, and the message is there.
    spoiler.left.store(1, Ordering::SeqCst);
    let expected = message();
    queue.publish(&pool, expected.clone()).await.unwrap();
    assert_eq!(spoiler.left.load(Ordering::SeqCst), 0);
    assert_eq!(queue.depth(&pool).await.unwrap(), 1, "what was unroutable is nowhere");
    let mut consumer = queue.consume(&pool).await.unwrap();
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message, expected);
    delivery.ack().await.unwrap();
    queue.close().await;
}
