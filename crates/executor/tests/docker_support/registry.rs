//! A registry on the loopback, small and ill-behaved: the repository's name says how it answers.
//!
//! `ok`, `missing`, `denied`, `unauthorized`, `silent` (accepts and says nothing), `stalls` (half a layer, then nothing),
//! `slow` (a layer in drips), `flaky` (fails twice first), `down` (always fails).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Registry {
    port: u16,
    state: Arc<State>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct State {
    layer: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    requests: Mutex<HashMap<String, u32>>,
    /// What every request must carry, as `Basic …`.
    login: Option<&'static str>,
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

impl State {
    /// One image with one layer of random bytes, so that the engine cannot have it already.
    fn new(login: Option<&'static str>) -> Self {
        let mut data = vec![0_u8; 2_000_000];
        rand::fill(data.as_mut_slice());
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, "random", data.as_slice()).unwrap();
        let layer = archive.into_inner().unwrap();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            digest(&layer)
        )
        .into_bytes();
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",
"config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{},"digest":"{}"}},
"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":{},"digest":"{}"}}]}}"#,
            config.len(),
            digest(&config),
            layer.len(),
            digest(&layer)
        )
        .into_bytes();
        Self { layer, config, manifest, requests: Mutex::default(), login }
    }

    fn count(&self, what: String) -> u32 {
        let mut requests = self.requests.lock().unwrap();
        let count = requests.entry(what).or_default();
        *count += 1;
        *count
    }
}

impl Registry {
    pub async fn start() -> Self {
        Self::asking_for(None).await
    }

    /// One that lets in only who sends this.
    pub async fn asking_for(login: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::new(login));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                connections.spawn(async move {
                    let _ = serve(connection, &state).await;
                });
            }
        });
        Self { port, state, server }
    }

    pub fn image(&self, repository: &str) -> String {
        format!("127.0.0.1:{}/{repository}:1", self.port)
    }

    pub fn by_digest(&self, repository: &str) -> String {
        format!("127.0.0.1:{}/{repository}@{}", self.port, digest(&self.state.manifest))
    }

    /// Requests for something of a repository: `manifests`, `tag` (those by tag; an engine may know a manifest by its digest),
    /// `blobs`, or `broken` for answers nobody waited for.
    pub fn requests(&self, repository: &str, what: &str) -> u32 {
        *self.state.requests.lock().unwrap().get(&format!("{repository}/{what}")).unwrap_or(&0)
    }
}

async fn serve(mut connection: TcpStream, state: &State) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let byte = connection.read_u8().await?;
        request.push(byte);
        // The engine tries TLS first.
        if request[0] == 0x16 {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let head = request.to_ascii_lowercase();
    let asked = state.login.map(|login| format!("\r\nauthorization: {}\r\n", login.to_ascii_lowercase()));
    if asked.is_some_and(|asked| !head.contains(&asked)) {
        let status = "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"";
        let body = br#"{"errors":[{"code":"UNAUTHORIZED","message":"sign in"}]}"#;
        state.count("refused".to_owned());
        return answer(&mut connection, "GET", status, "application/json", body).await;
    }
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let parts: Vec<&str> = path.trim_start_matches("/v2/").split('/').collect();
    let [repository, what, name] = parts[..] else {
        return answer(&mut connection, method, "200 OK", "application/json", b"{}").await;
    };
    let nth = state.count(format!("{repository}/{what}"));
    if name == "1" {
        state.count(format!("{repository}/tag"));
    }
    if what == "blobs" {
        if name == digest(&state.config) {
            return answer(&mut connection, method, "200 OK", "application/octet-stream", &state.config)
                .await;
        }
        let sent = layer(&mut connection, method, repository, &state.layer).await;
        if sent.is_err() {
            state.count(format!("{repository}/broken"));
        }
        return sent;
    }
    let error = |code: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"{code}"}}]}}"#).into_bytes();
    let (status, body) = match repository {
        "missing" => ("404 Not Found", error("MANIFEST_UNKNOWN")),
        "denied" => ("403 Forbidden", error("DENIED")),
        "unauthorized" => ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"", error("UNAUTHORIZED")),
        "silent" => {
            // Until the engine gives up.
            let gone = connection.read_u8().await;
            state.count(format!("{repository}/broken"));
            return gone.map(drop);
        }
        "flaky" if nth <= 2 => ("503 Service Unavailable", error("UNAVAILABLE")),
        "down" => ("503 Service Unavailable", error("UNAVAILABLE")),
        _ => ("200 OK", state.manifest.clone()),
    };
    let kind = match status {
        "200 OK" => "application/vnd.docker.distribution.manifest.v2+json",
        _ => "application/json",
    };
    answer(&mut connection, method, status, kind, &body).await
}

async fn layer(
    connection: &mut TcpStream,
    method: &str,
    repository: &str,
    layer: &[u8],
) -> std::io::Result<()> {
    if !matches!(repository, "slow" | "stalls") || method == "HEAD" {
        return answer(connection, method, "200 OK", "application/octet-stream", layer).await;
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", layer.len());
    connection.write_all(head.as_bytes()).await?;
    for (i, piece) in layer.chunks(100_000).enumerate() {
        if repository == "stalls" && i == 10 {
            return connection.read_u8().await.map(drop);
        }
        connection.write_all(piece).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    connection.shutdown().await
}

async fn answer(
    connection: &mut TcpStream,
    method: &str,
    status: &str,
    kind: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {}\r\n\
         Docker-Distribution-Api-Version: registry/2.0\r\nConnection: close\r\n\r\n",
        body.len(),
        digest(body)
    );
    connection.write_all(head.as_bytes()).await?;
    if method != "HEAD" {
        connection.write_all(body).await?;
    }
    connection.shutdown().await
}
