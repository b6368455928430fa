//! Registries of a test's own, on the loopback, where engines need no TLS: one with an image that nobody has, and one that
//! takes every request and never answers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

const IMAGE: &str = "busybox:1.36";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Serves busybox under a name of its own, which goes from the engine when this is dropped.
pub struct Registry {
    image: String,
    _serving: AbortOnDropHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "--no-prune", &self.image]).output();
    }
}

impl Registry {
    pub async fn start() -> anyhow::Result<Self> {
        let content = Arc::new(tokio::task::spawn_blocking(Content::of_engine).await??);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let image = format!("{}/busybox:1", listener.local_addr()?);
        Ok(Self { image, _serving: AbortOnDropHandle::new(tokio::spawn(serve(listener, content))) })
    }

    /// What to run.
    pub fn image(&self) -> String {
        self.image.clone()
    }
}

/// Takes connections and says nothing.
pub struct SilentRegistry {
    image: String,
    _listening: AbortOnDropHandle<()>,
}

impl SilentRegistry {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let image = format!("{}/silent:1", listener.local_addr()?);
        let listening = tokio::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.push(connection);
            }
        });
        Ok(Self { image, _listening: AbortOnDropHandle::new(listening) })
    }

    /// What never comes.
    pub fn image(&self) -> String {
        self.image.clone()
    }
}

/// A manifest, and what it names, by digest.
struct Content {
    manifest: Bytes,
    blobs: HashMap<String, Bytes>,
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Content {
    /// The image as the shared engine has it.
    fn of_engine() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut save = Command::new("docker").args(["save", IMAGE]).stdout(Stdio::piped()).spawn()?;
        let saved = save.stdout.take().context("no stdout")?;
        let unpacked = Command::new("tar").arg("-xC").arg(dir.path()).stdin(saved).status()?;
        ensure!(
            save.wait()?.success() && unpacked.success(),
            "no {IMAGE} to serve: `scripts/services start docker && scripts/test-images` makes it"
        );
        let read = |name: &Value| -> anyhow::Result<Bytes> {
            Ok(std::fs::read(dir.path().join(name.as_str().context("a name")?))?.into())
        };
        let index: Value = serde_json::from_slice(&read(&"manifest.json".into())?)?;
        let mut blobs = HashMap::new();
        let mut describe = |kind: &str, bytes: Bytes| {
            let (digest, size) = (digest(&bytes), bytes.len());
            blobs.insert(digest.clone(), bytes);
            json!({ "mediaType": kind, "size": size, "digest": digest })
        };
        let config = describe("application/vnd.docker.container.image.v1+json", read(&index[0]["Config"])?);
        let mut layers = Vec::new();
        for layer in index[0]["Layers"].as_array().context("layers")? {
            // The engine takes one that is not compressed for what it is.
            layers.push(describe("application/vnd.docker.image.rootfs.diff.tar.gzip", read(layer)?));
        }
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        Ok(Self { manifest: manifest.to_string().into(), blobs })
    }

    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let (kind, body) = match path.rsplit_once('/') {
            Some((before, _)) if before.ends_with("/manifests") => (MANIFEST, self.manifest.clone()),
            Some((before, name)) if before.ends_with("/blobs") => match self.blobs.get(name) {
                Some(blob) => ("application/octet-stream", blob.clone()),
                None => return status(StatusCode::NOT_FOUND),
            },
            _ => ("application/json", Bytes::from_static(b"{}")),
        };
        Response::builder()
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONTENT_LENGTH, body.len())
            .header("Docker-Distribution-Api-Version", "registry/2.0")
            .header("Docker-Content-Digest", digest(&body))
            .body(Full::new(body))
            .unwrap_or_default()
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

async fn serve(listener: TcpListener, content: Arc<Content>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let content = Arc::clone(&content);
        let service = service_fn(move |request: Request<Incoming>| {
            let content = Arc::clone(&content);
            async move { Ok::<_, std::convert::Infallible>(content.answer(request.uri().path())) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { drop(connection.await) });
    }
}
