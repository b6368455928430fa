//! A Docker engine and what is near it: a store, a broker, a metadata service, a host. They are there, they listen, and the engine
//! can reach them; whether its runs can is what tests find out.
//!
//! Two network namespaces, joined by one link: `around` has the addresses of everything near, and one of the outside; `machine` has
//! the engine alone, with process ids and mounts of its own, as in a container. Nothing of it is seen by the machine that runs
//! the test, and nothing is left when the test's process is gone.

mod names;
mod namespace;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use self::namespace::Namespace;
use crate::PATIENCE;
use crate::installation::show_log;

/// Its end of the link.
pub const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// The other end: the host.
const HOST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 53);
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// What the engine is told, as an operator would.
const SETTINGS: [(&str, &str); 2] =
    [("GANTRY_DIND_DENY", "198.51.100.0/24"), ("GANTRY_DIND_ALLOW", "10.99.2.0/24:8443")];

/// Who listens around the machine.
const AROUND: [(&str, [u8; 4], u16); 14] = [
    ("store", [10, 99, 1, 1], 27017),
    ("redis", [10, 99, 1, 2], 6379),
    ("broker", [172, 20, 1, 3], 5672),
    ("worker-api", [192, 168, 99, 4], 3001),
    ("cluster-api", [10, 96, 0, 1], 443),
    ("metadata", [169, 254, 169, 254], 80),
    ("link-local", [169, 254, 20, 10], 80),
    ("carrier", [100, 100, 100, 200], 80),
    ("host", [10, 99, 0, 1], 22),
    ("name-server-web", [10, 99, 0, 53], 80),
    ("denied-public", [198, 51, 100, 7], 443),
    ("staging-ssh", [10, 99, 2, 5], 22),
    // What runs may have.
    ("staging", [10, 99, 2, 5], 8443),
    ("outside", [203, 0, 113, 10], 443),
];
/// Of those, what a filtered run reaches.
pub const REACHABLE: [&str; 2] = ["staging", "outside"];
/// Of those, what not even an engine that filters reaches itself, whatever image a run names.
pub const NEVER: [&str; 2] = ["metadata", "link-local"];
/// On the engine's own machine, at each of its addresses.
const INSIDE: [(&str, u16); 2] = [("engine-api", 2375), ("worker", 3002)];

/// Somebody who listens, by name and address.
#[derive(Debug, Clone)]
pub struct Place {
    pub name: &'static str,
    pub address: SocketAddrV4,
    visits: Arc<AtomicUsize>,
}

impl Place {
    /// Connections so far.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}

/// Which engine is in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `docker/dind`: what the image of that name runs.
    GantryDind,
    /// As Docker ships it.
    Plain,
}

pub struct Neighbourhood {
    // Dropped first: the engine ends before the place where it is.
    machine: Namespace,
    around: Namespace,
    /// Around the machine; each has the same name at the name server, under `.near`.
    pub around_it: Vec<Place>,
    /// On the machine itself.
    pub inside: Vec<Place>,
    _serving: JoinSet<()>,
    dir: TempDir,
}

impl Neighbourhood {
    /// Starts all of it and gives the engine `busybox:1.36`, from the engine that tests share. Needs root.
    pub fn start(kind: Kind) -> anyhow::Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "this test makes network namespaces and an engine of its own: run it as root"
        );
        // A socket's path has some hundred characters at most.
        let dir = tempfile::Builder::new().prefix("gantry-near-").tempdir_in("/tmp")?;
        std::fs::write(dir.path().join("resolv.conf"), format!("nameserver {NAME_SERVER}\n"))?;
        let log = File::create(dir.path().join("log"))?;
        let around = Namespace::start(Command::new("unshare").args(["--net", "sh", "-c", AROUND_SCRIPT]))?;
        let machine = Namespace::start(&mut machine_command(dir.path(), kind, &log)?)?;
        let mut serving = JoinSet::new();
        link(&around, &machine)?;
        let around_it = AROUND
            .iter()
            .map(|&(name, address, port)| {
                serve(&around, name, SocketAddrV4::new(address.into(), port), &mut serving)
            })
            .collect::<anyhow::Result<_>>()?;
        let inside = INSIDE
            .iter()
            .map(|&(name, port)| {
                serve(&machine, name, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port), &mut serving)
            })
            .collect::<anyhow::Result<_>>()?;
        let known = AROUND.map(|(name, address, _)| (format!("{name}.near"), Ipv4Addr::from(address)));
        let socket = around.within(|| std::net::UdpSocket::bind((NAME_SERVER, 53)))??;
        serving.spawn(names::serve(socket, known.to_vec()));
        let mut all = Self { machine, around, around_it, inside, _serving: serving, dir };
        all.machine.tell("begin")?;
        all.wait_for_engine()?;
        all.take_over_image()?;
        Ok(all)
    }

    /// For `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("engine.sock").display())
    }

    /// Connects to each place from the engine's machine, and to what is [`NEVER`] reached from there from beside it: what a run
    /// does not reach, somebody else does.
    pub fn prove_that_all_listen(&self) -> anyhow::Result<()> {
        let own = |place: &Place| SocketAddrV4::new(MACHINE, place.address.port());
        let places = self.around_it.iter().map(|place| (place, place.address));
        for (place, address) in places.chain(self.inside.iter().map(|place| (place, own(place)))) {
            let before = place.visits();
            let from = if NEVER.contains(&place.name) { &self.around } else { &self.machine };
            ensure!(reaches(from, address, Duration::from_secs(5))?, "nobody reaches {}", place.name);
            let deadline = Instant::now() + PATIENCE;
            while place.visits() == before {
                ensure!(Instant::now() < deadline, "{} did not see its visitor", place.name);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// Whether the engine itself gets there.
    pub fn engine_reaches(&self, place: &Place) -> anyhow::Result<bool> {
        reaches(&self.machine, place.address, Duration::from_secs(1))
    }

    /// Runs a command on the engine's machine: its network, its mounts. Whether it succeeded, and what it said.
    pub fn on_the_machine(&self, command: &[&str]) -> anyhow::Result<(bool, String)> {
        let output = Command::new("nsenter")
            .args(["--net", "--mount", "--target", &self.machine.pid().to_string()])
            .args(command)
            .envs(SETTINGS)
            .stdin(Stdio::null())
            .output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Whether the filter of `docker/dind` is in force there.
    pub fn is_filtered(&self) -> anyhow::Result<bool> {
        Ok(self.on_the_machine(&[&dind("egress").to_string_lossy(), "verify"])?.0)
    }

    /// Whether the engine answers.
    pub fn engine_answers(&self) -> bool {
        self.docker().arg("version").output().is_ok_and(|output| output.status.success())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host()).stdin(Stdio::null());
        command
    }

    fn wait_for_engine(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.engine_answers() {
            if self.machine.has_ended() || Instant::now() > deadline {
                bail!(
                    "no engine of its own (dockerd, iptables and iproute2 are needed: `scripts/services install docker`):\n{}",
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn take_over_image(&self) -> anyhow::Result<()> {
        let mut save =
            Command::new("docker").args(["save", "busybox:1.36"]).stdout(Stdio::piped()).spawn()?;
        let image = save.stdout.take().context("no stdout")?;
        let loaded = self.docker().arg("load").stdin(image).output()?;
        ensure!(
            save.wait()?.success() && loaded.status.success(),
            "no busybox:1.36 from the shared engine (`scripts/services start docker && scripts/test-images`): {}",
            String::from_utf8_lossy(&loaded.stderr)
        );
        Ok(())
    }
}

impl Drop for Neighbourhood {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_log("engine", &self.log());
        }
        self.machine.end(ENDS_WITHIN);
        self.around.end(ENDS_WITHIN);
    }
}

/// Everything lies on its loopback; it ends with its standard input.
const AROUND_SCRIPT: &str = "ip link set lo up && echo ready && exec cat >/dev/null";

/// Begins when it is told, and ends when it is told or nobody is left to tell it. A containerd of this host's is not for it.
const MACHINE_SCRIPT: &str = r#"
    mount --bind "$1/resolv.conf" /etc/resolv.conf || exit 1
    if [ -d /run/containerd ]; then mount -t tmpfs tmpfs /run/containerd || exit 1; fi
    log=$1/log; shift
    echo ready
    read -r _ || exit 1
    "$@" >>"$log" 2>&1 </dev/null &
    engine=$!
    read -r _
    kill -TERM "$engine" 2>/dev/null
    wait "$engine"
"#;

fn machine_command(dir: &Path, kind: Kind, log: &File) -> anyhow::Result<Command> {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", MACHINE_SCRIPT, "machine"])
        .arg(dir);
    let path = |name: &str| dir.join(name).display().to_string();
    match kind {
        Kind::GantryDind => {
            command.arg(dind("engine")).envs(SETTINGS);
            command.env("GANTRY_DIND_SOCKET", path("engine.sock")).env("GANTRY_DIND_GROUP", "0");
        }
        Kind::Plain => {
            command.arg("dockerd").arg(format!("--host=unix://{}", path("engine.sock")));
        }
    }
    std::fs::write(dir.join("daemon.json"), "{}")?;
    for (option, name) in
        [("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid"), ("config-file", "daemon.json")]
    {
        command.arg(format!("--{option}={}", path(name)));
    }
    command.arg("--log-level=warn").stderr(log.try_clone()?);
    Ok(command)
}

/// A file of the image's sources.
fn dind(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/dind").join(name)
}

fn link(around: &Namespace, machine: &Namespace) -> anyhow::Result<()> {
    let machine_pid = machine.pid().to_string();
    around.ip(&["link", "add", "near0", "type", "veth", "peer", "name", "eth0", "netns", &machine_pid])?;
    around.ip(&["address", "add", &format!("{HOST}/24"), "dev", "near0"])?;
    around.ip(&["link", "set", "near0", "up"])?;
    let mut addresses: Vec<Ipv4Addr> = AROUND.iter().map(|&(_, address, _)| address.into()).collect();
    addresses.sort();
    addresses.dedup();
    for address in addresses.into_iter().filter(|&address| address != HOST) {
        around.ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])?;
    }
    machine.ip(&["link", "set", "lo", "up"])?;
    machine.ip(&["address", "add", &format!("{MACHINE}/24"), "dev", "eth0"])?;
    machine.ip(&["link", "set", "eth0", "up"])?;
    machine.ip(&["route", "add", "default", "via", &HOST.to_string()])
}

fn reaches(from: &Namespace, address: SocketAddrV4, patience: Duration) -> anyhow::Result<bool> {
    from.within(move || TcpStream::connect_timeout(&SocketAddr::V4(address), patience).is_ok())
}

/// Tells every visitor its name.
fn serve(
    namespace: &Namespace,
    name: &'static str,
    address: SocketAddrV4,
    serving: &mut JoinSet<()>,
) -> anyhow::Result<Place> {
    let listener = namespace.within(move || std::net::TcpListener::bind(address))??;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let place = Place { name, address, visits: Arc::default() };
    let visits = Arc::clone(&place.visits);
    serving.spawn(async move {
        while let Ok((mut visitor, _)) = listener.accept().await {
            visits.fetch_add(1, Ordering::SeqCst);
            let _ = visitor.write_all(format!("{name}\n").as_bytes()).await;
        }
    });
    Ok(place)
}
