//! What `gantry login` keeps: a key, or a session whose tokens change with every use. Commands that run at the same time share
//! it, so tokens are exchanged by one of them at a time.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use gantry_api_types::identity::{Hidden, Refresh, SignedIn};
use gantry_client::ApiClient;
use gantry_domain::time::{Clock as _, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::task::AbortOnDropHandle;

use crate::connection::same_server;
use crate::data_dir::write_private;
use crate::failure::Failure;

const FILE: &str = "login.json";
/// Before it ends an access token is exchanged for another.
const AHEAD: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(5);

/// A server and what opens it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    pub url: String,
    #[serde(flatten)]
    pub credential: Kept,
}

/// One of the two is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kept {
    Key { key: String },
    Session { access_token: String, expires_at: Timestamp, refresh_token: String },
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key { .. } => "Key(…)",
            Self::Session { .. } => "Session(…)",
        })
    }
}

impl Login {
    /// A session that just began or went on; `before` is the refresh token that stays when no other came.
    pub fn session(url: &str, signed: &SignedIn, before: &str) -> Self {
        let refresh_token = signed.refresh_token.as_ref().map_or(before, |token| &token.0).to_owned();
        let credential = Kept::Session {
            access_token: signed.access_token.0.clone(),
            expires_at: signed.expires_at,
            refresh_token,
        };
        Self { url: url.to_owned(), credential }
    }

    /// What `dir` holds; `None` when there is nothing.
    pub fn load(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is damaged: sign in again with `gantry login`", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }

    pub fn store(&self, dir: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("can't create {}", dir.display()))?;
        write_private(&dir.join(FILE), &serde_json::to_vec_pretty(self)?)
    }

    /// Forgets it; true when there was something.
    pub fn forget(dir: &Path) -> io::Result<bool> {
        match fs::remove_file(dir.join(FILE)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Goes on with the session that is kept, for as long as the handle is held.
pub async fn resume(dir: &Path, client: ApiClient) -> Result<(ApiClient, AbortOnDropHandle<()>), Failure> {
    let mut expires_at = renew(dir, &client).await?;
    let (renewed, dir): (ApiClient, PathBuf) = (client.clone(), dir.to_owned());
    let renewal = tokio::spawn(async move {
        loop {
            let left = expires_at.since(SystemClock.now()).saturating_sub(AHEAD);
            tokio::time::sleep(left.max(AGAIN)).await;
            // A server that is away is asked again: what is shown goes on where it was.
            if let Ok(later) = renew(&dir, &renewed).await {
                expires_at = later;
            }
        }
    });
    Ok((client, AbortOnDropHandle::new(renewal)))
}

/// Presents the access token, another one if it is about to end; answers until when it is good.
async fn renew(dir: &Path, client: &ApiClient) -> Result<Timestamp, Failure> {
    let path = dir.join("login.lock");
    let told = |error: anyhow::Error| Failure::unavailable(format!("{error:#}"));
    let lock = tokio::task::spawn_blocking(move || locked(&path)).await.map_err(anyhow::Error::from);
    let _lock = lock.and_then(|lock| lock).map_err(told)?;
    let over = || Failure::refused("You are not signed in.").hint("Sign in with `gantry login`.");
    // As the last command left it.
    let Some(Login { url, credential }) = Login::load(dir).map_err(told)? else { return Err(over()) };
    if !same_server(&url, &client.address()) {
        return Err(Failure::refused(format!("You signed in to {url} meanwhile.")));
    }
    let Kept::Session { access_token, expires_at, refresh_token } = credential else { return Err(over()) };
    if expires_at.since(SystemClock.now()) > AHEAD {
        client.present(&access_token);
        return Ok(expires_at);
    }
    let signed = client.refresh(&Refresh { refresh_token: Some(Hidden(refresh_token.clone())) }).await?;
    Login::session(&url, &signed, &refresh_token).store(dir).map_err(told)?;
    client.present(&signed.access_token.0);
    Ok(signed.expires_at)
}

/// Held until it is dropped.
fn locked(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}
