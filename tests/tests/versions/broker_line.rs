//! The broker's protocol as it passes between one program and RabbitMQ: what the program publishes is dressed as another
//! version's, or spoiled.
//!
//! A frame is its type, channel and size, the payload, and an end octet. A published message is a method frame, a header
//! frame that says how long the body is, and body frames.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::dress::Version;

const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xCE;
/// Bits of a header frame's flags, which say what properties follow, in this order.
const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;

/// What becomes of a message that nobody shall be able to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// It is of the next version.
    NextVersion,
    Garbage,
}

/// A run message that was spoiled: as the broker got it, and whose it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoiled {
    pub body: Vec<u8>,
    pub run: String,
}

struct Shared {
    version: Mutex<Version>,
    to_spoil: Mutex<VecDeque<Spoil>>,
    spoiled: Mutex<Vec<Spoiled>>,
    passed: Mutex<BTreeMap<Version, u64>>,
}

/// Stands before the broker for one program, until it is dropped.
pub struct BrokerLine {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

impl BrokerLine {
    pub async fn start(broker: String, version: Version) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            version: Mutex::new(version),
            to_spoil: Mutex::default(),
            spoiled: Mutex::default(),
            passed: Mutex::default(),
        });
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, broker, Arc::clone(&shared))));
        Self { address, shared, _accepting: accepting }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Which version the program is from now on.
    pub fn program_is(&self, version: Version) {
        *self.shared.version.lock().unwrap() = version;
    }

    /// The next run message that passes.
    pub fn spoil(&self, how: Spoil) {
        self.shared.to_spoil.lock().unwrap().push_back(how);
    }

    pub fn spoiled(&self) -> Vec<Spoiled> {
        self.shared.spoiled.lock().unwrap().clone()
    }

    /// Run messages that passed as of this version.
    pub fn passed(&self, version: Version) -> u64 {
        self.shared.passed.lock().unwrap().get(&version).copied().unwrap_or_default()
    }
}

async fn accept(listener: TcpListener, broker: String, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&broker).await else { continue };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = server.into_split();
            // Whichever way ends first, the other has nobody to talk to.
            tokio::select! {
                _ = publishes(from_client, to_server, shared) => {}
                _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
            }
        });
    }
}

struct Frame {
    kind: u8,
    channel: u16,
    payload: Vec<u8>,
}

impl Frame {
    async fn read(from: &mut OwnedReadHalf) -> std::io::Result<Self> {
        let (kind, channel, size) = (from.read_u8().await?, from.read_u16().await?, from.read_u32().await?);
        let mut payload = vec![0; size as usize];
        from.read_exact(&mut payload).await?;
        assert_eq!(from.read_u8().await?, END, "not the end of a frame");
        Ok(Self { kind, channel, payload })
    }

    async fn write(&self, to: &mut OwnedWriteHalf) -> std::io::Result<()> {
        let mut bytes = vec![self.kind];
        bytes.extend(self.channel.to_be_bytes());
        bytes.extend((self.payload.len() as u32).to_be_bytes());
        bytes.extend(&self.payload);
        bytes.push(END);
        to.write_all(&bytes).await
    }
}

/// Passes what the program sends. A message is held until it is whole; its frames follow one another on their channel.
async fn publishes(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: Arc<Shared>,
) -> std::io::Result<()> {
    let mut greeting = [0; 8];
    from.read_exact(&mut greeting).await?;
    to.write_all(&greeting).await?;
    let mut begun: HashMap<u16, (Frame, Vec<u8>)> = HashMap::new();
    loop {
        let frame = Frame::read(&mut from).await?;
        let channel = frame.channel;
        match frame.kind {
            HEADER => drop(begun.insert(channel, (frame, Vec::new()))),
            BODY => begun.get_mut(&channel).expect("a header before a body").1.extend(&frame.payload),
            _ => frame.write(&mut to).await?,
        }
        if begun.get(&channel).is_some_and(|(header, body)| body.len() as u64 == body_size(header))
            && let Some((mut header, body)) = begun.remove(&channel)
        {
            let body = shared.dress(&mut header, body);
            header.payload[4..12].copy_from_slice(&(body.len() as u64).to_be_bytes());
            header.write(&mut to).await?;
            Frame { kind: BODY, channel, payload: body }.write(&mut to).await?;
        }
    }
}

/// Behind the class and the weight.
fn body_size(header: &Frame) -> u64 {
    u64::from_be_bytes(header.payload[4..12].try_into().expect("eight bytes"))
}

impl Shared {
    fn dress(&self, header: &mut Frame, body: Vec<u8>) -> Vec<u8> {
        let version = *self.version.lock().unwrap();
        let Ok(mut message) = serde_json::from_slice::<Value>(&body) else { return body };
        if let Some(run) = message["dispatch"].as_str().and(message["run"].as_str()) {
            let run = run.to_owned();
            if let Some(how) = self.to_spoil.lock().unwrap().pop_front() {
                let body = match how {
                    Spoil::Garbage => b"\xff none of ours".to_vec(),
                    Spoil::NextVersion => {
                        message["v"] = 2.into();
                        message.to_string().into_bytes()
                    }
                };
                self.spoiled.lock().unwrap().push(Spoiled { body: body.clone(), run });
                return body;
            }
            *self.passed.lock().unwrap().entry(version).or_default() += 1;
        }
        if version == Version::Older {
            without_headers(&mut header.payload);
        }
        version.dressed(&body).unwrap_or(body)
    }
}

/// As before messages carried a trace.
fn without_headers(payload: &mut Vec<u8>) {
    let flags = u16::from_be_bytes([payload[12], payload[13]]);
    if flags & HEADERS == 0 {
        return;
    }
    let mut at = 14;
    for short_text in [CONTENT_TYPE, CONTENT_ENCODING] {
        if flags & short_text != 0 {
            at += 1 + usize::from(payload[at]);
        }
    }
    let size = u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes")) as usize;
    payload.drain(at..at + 4 + size);
    payload[12..14].copy_from_slice(&(flags & !HEADERS).to_be_bytes());
}
