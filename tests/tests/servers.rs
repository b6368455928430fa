//! The servers and the proxy that fault tests rely on do what they say: a kill is a kill, data stays, and nothing is left.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gantry_tests::PATIENCE;
use gantry_tests::proxy::{Proxy, Way};
use gantry_tests::servers::{Mongo, RabbitMq, Redis};

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn processes_naming(text: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(text) && entry.file_name().to_str() != Some(&own) {
            found.push(command);
        }
    }
    found
}

fn redis(address: SocketAddr, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    ask(&mut stream, command)
}

/// One command whose answer fits in one read.
fn ask(stream: &mut TcpStream, command: &str) -> std::io::Result<String> {
    stream.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = [0; 256];
    let read = stream.read(&mut answer)?;
    if read == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&answer[..read]).into_owned())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn a_killed_server_comes_back_with_its_data_on_its_port() {
    let mut server = Redis::start().unwrap();
    let at = local(server.port());
    assert_eq!(redis(at, "SET key kept").unwrap(), "+OK\r\n");

    server.kill().unwrap();
    assert!(!server.answers());
    assert_eq!(processes_naming(&format!(":{}", server.port())), Vec::<String>::new());
    server.restart().unwrap();
    assert_eq!(redis(at, "GET key").unwrap(), "$4\r\nkept\r\n");

    server.stop().unwrap();
    assert!(!server.answers());
    server.restart().unwrap();
    assert_eq!(redis(at, "GET key").unwrap(), "$4\r\nkept\r\n");
}

#[test]
fn a_frozen_server_keeps_its_connections_and_answers_when_thawed() {
    let server = Redis::start().unwrap();
    let mut stream = TcpStream::connect(local(server.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(ask(&mut stream, "PING").unwrap(), "+PONG\r\n");
    server.freeze().unwrap();
    assert_eq!(ask(&mut stream, "PING").unwrap_err().kind(), ErrorKind::WouldBlock);
    server.thaw().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 7]).unwrap(), 7);
}

#[test]
fn rabbitmq_is_killed_with_all_its_processes_and_comes_back() {
    let mut server = RabbitMq::start().unwrap();
    let node = format!("gantry-{}@localhost", server.port());
    assert!(server.ctl(&["status"]).unwrap().contains(&node));
    for _ in 0..gantry_tests::faults::rounds(2, 1) {
        server.kill().unwrap();
        assert!(!server.answers());
        assert_eq!(processes_naming(&node), Vec::<String>::new());
        server.restart().unwrap();
        assert!(server.answers());
    }
}

#[test]
fn mongo_is_killed_with_all_its_processes_and_comes_back() {
    let mut server = Mongo::start().unwrap();
    for _ in 0..3 {
        server.kill().unwrap();
        assert!(!server.answers());
        assert_eq!(processes_naming(&format!("127.0.0.1:{}", server.port())), Vec::<String>::new());
        server.restart().unwrap();
        assert!(server.answers());
    }
}

#[test]
fn a_dropped_server_leaves_no_process_and_no_directory() {
    let server = Mongo::start().unwrap();
    let state = processes_naming(&server.port().to_string())
        .iter()
        .find_map(|command| command.split(' ').find(|word| word.ends_with("/state")).map(str::to_owned))
        .unwrap();
    drop(server);
    assert_eq!(processes_naming(&state), Vec::<String>::new());
    assert!(!Path::new(&state).exists());
}

#[test]
fn a_server_ends_with_the_process_that_wanted_it() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("orphan");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let services = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services");
    let mut server = Command::new(services)
        .args(["run", "--tied", "redis"])
        .arg(&dir)
        .arg(free.port().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("redis answers", || redis(free, "PING").is_ok());
    drop(server.stdin.take());
    server.wait().unwrap();
    wait_until("nothing is left", || {
        !dir.exists()
            && processes_naming(&dir.display().to_string()).is_empty()
            && redis(free, "PING").is_err()
    });
}

#[test]
fn a_proxy_passes_stalls_delays_and_cuts() {
    let server = Redis::start().unwrap();
    let proxy = Proxy::start(("127.0.0.1", server.port())).unwrap();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(ask(&mut stream, "PING").unwrap(), "+PONG\r\n");
    assert_eq!(proxy.connections(), 1);

    // One-way: the command arrives, its answer waits.
    proxy.stall(Way::ToClient);
    assert_eq!(ask(&mut stream, "SET way one").unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(redis(local(server.port()), "GET way").unwrap(), "$3\r\none\r\n");
    proxy.pass();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 5]).unwrap(), 5);

    // Half-open: a new connection is taken, and nothing comes of it.
    proxy.stall(Way::Both);
    assert_eq!(redis(proxy.address(), "SET way both").unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(redis(local(server.port()), "GET way").unwrap(), "$3\r\none\r\n");
    proxy.pass();

    proxy.delay(Duration::from_millis(100));
    let asked = Instant::now();
    assert_eq!(ask(&mut stream, "PING").unwrap(), "+PONG\r\n");
    assert!(asked.elapsed() >= Duration::from_millis(200), "{:?}", asked.elapsed());
    proxy.pass();

    proxy.reset();
    assert_eq!(ask(&mut stream, "PING").unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(redis(proxy.address(), "PING").unwrap(), "+PONG\r\n");
    proxy.cut();
    assert!(redis(proxy.address(), "PING").is_err());
    wait_until("no connection is left", || proxy.connections() == 0);
    proxy.pass();
    assert_eq!(redis(proxy.address(), "PING").unwrap(), "+PONG\r\n");
}

#[test]
fn a_proxy_passes_large_bodies_whole_and_ends_when_both_sides_did() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
    let body: Vec<u8> = (0..8_000_000_u32).map(|i| (i * 7) as u8).collect();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        stream.write_all(&received).unwrap();
    });
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(&body).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    echo.join().unwrap();
    assert!(back == body, "{} of {} bytes came back", back.len(), body.len());
    wait_until("the connection is gone", || proxy.connections() == 0);
}
