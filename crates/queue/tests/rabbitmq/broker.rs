//! A broker of a test's own, to be stopped, killed, frozen and squeezed. It ends with the test, however that ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A node that starts on a busy machine takes its time.
const STARTS_WITHIN: Duration = Duration::from_secs(120);

pub struct Broker {
    directory: TempDir,
    ports: [u16; 3],
    /// Set for TLS: the file with its further settings.
    advanced: Option<PathBuf>,
    running: Option<Child>,
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Ports that stay ours while a broker is down: below those that outgoing connections get. A client that tries again and
/// again to connect to one of the others would meet itself one day, and keep it.
pub fn free_ports<const N: usize>() -> [u16; N] {
    const FIRST: u32 = 10_000;
    const NUMBER: u32 = 5_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id().wrapping_mul(97);
    std::array::from_fn(|_| {
        let free = (0..NUMBER).find_map(|_| {
            let next = own.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let port = (FIRST + next % NUMBER) as u16;
            std::net::TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
        });
        free.expect("a free port")
    })
}

impl Broker {
    /// One that is not running yet.
    pub fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), ports: free_ports(), advanced: None, running: None }
    }

    pub async fn started() -> Self {
        let mut broker = Self::new();
        broker.start().await;
        broker
    }

    /// With these settings in Erlang's own syntax.
    pub fn with_advanced(mut self, settings: &str) -> Self {
        let path = self.directory.path().join("advanced.config");
        std::fs::write(&path, settings).unwrap();
        self.advanced = Some(path);
        self
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn uri(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.ports[0])
    }

    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.ports[0]).into()
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("node")
    }

    pub async fn start(&mut self) {
        assert!(self.running.is_none());
        let mut log = std::fs::OpenOptions::new();
        let log = log.create(true).append(true).open(self.directory.path().join("log")).unwrap();
        let mut command = Command::new(repository().join("scripts/services"));
        command
            .args(["run", "--tied", "rabbitmq"])
            .arg(self.home())
            .args(self.ports.map(|port| port.to_string()))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if let Some(path) = &self.advanced {
            command.env("RABBITMQ_ADVANCED_CONFIG_FILE", path);
        }
        self.running = Some(command.spawn().unwrap());
        let begun = Instant::now();
        // It listens when it can serve.
        while tokio::net::TcpStream::connect(("127.0.0.1", self.ports[0])).await.is_err() {
            let ended = self.running.as_mut().unwrap().try_wait().unwrap();
            let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(
                ended.is_none() && begun.elapsed() < STARTS_WITHIN,
                "no private RabbitMQ ({ended:?}); `scripts/services install rabbitmq` puts the program here:\n{}",
                log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it in order.
    pub async fn stop(&mut self) {
        let script = self.running.as_ref().unwrap().id();
        signal("TERM", script);
        self.ended().await;
    }

    /// Ends it as a power cut would, as far as the node can tell.
    pub async fn kill(&mut self) {
        signal("KILL", self.node());
        self.ended().await;
    }

    async fn ended(&mut self) {
        let mut script = self.running.take().unwrap();
        // Waiting closes standard input, upon which the node's data goes, too: that is only for the end of a test.
        let input = script.stdin.take();
        let ended = tokio::task::spawn_blocking(move || {
            let ended = script.wait();
            drop(input);
            ended
        });
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it ends").unwrap().unwrap();
    }

    pub fn freeze(&self) {
        signal("STOP", self.node());
    }

    pub fn thaw(&self) {
        signal("CONT", self.node());
    }

    /// The process of the node itself, a child of the script.
    fn node(&self) -> u32 {
        let script = self.running.as_ref().unwrap().id();
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).unwrap();
        let is_node = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("beam"))
        };
        children.split_whitespace().map(|pid| pid.parse().unwrap()).find(is_node).expect("the node runs")
    }

    /// What an operator does with the broker's own tool.
    pub async fn ctl(&self, arguments: &[&str]) {
        let mut command = tokio::process::Command::new(self.home().join("rabbitmqctl"));
        let output = command.args(arguments).output().await.unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn signal(name: &str, process: u32) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).status().unwrap();
    assert!(status.success(), "kill -s {name} {process}");
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut script) = self.running.take() {
            // Its end of standard input closes, upon which it kills everything it started.
            drop(script.stdin.take());
            let _ = script.wait();
        }
    }
}
