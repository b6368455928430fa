//! Secrets that change while the process goes on: a mounted file is read again at SIGHUP, and when it is found changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry_service_kit::shutdown::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

/// How often a file is looked at. Mounted secrets change without any signal.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Follows a file until the shutdown. `take` takes its text into use and answers whether anything changed; a text that
/// cannot be read or understood changes nothing.
pub async fn follow(
    what: &'static str,
    file: PathBuf,
    shutdown: Shutdown,
    take: impl Fn(&str) -> Result<bool, String>,
) {
    let mut hangups = signal(SignalKind::hangup()).ok();
    loop {
        let hangup = async {
            match &mut hangups {
                Some(hangups) => hangups.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shutdown.triggered() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = hangup => tracing::info!(what, "SIGHUP: reading the file again"),
        }
        read(what, &file, &take).await;
    }
}

async fn read(what: &str, file: &Path, take: impl Fn(&str) -> Result<bool, String>) {
    let taken = match tokio::fs::read_to_string(file).await {
        Ok(text) => take(&text),
        Err(error) => Err(error.to_string()),
    };
    match taken {
        Ok(false) => {}
        Ok(true) => tracing::info!(what, "changed"),
        Err(error) => tracing::warn!(what, file = %file.display(), error, "stay as they were"),
    }
}

#[cfg(test)]
mod tests {
    use gantry_service_kit::config::Secret;

    use super::*;
    use crate::worker_tokens::WorkerTokens;

    const OLD: &str = "0123456789abcdef0123456789abcdef";
    const NEW: &str = "fedcba9876543210fedcba9876543210";

    #[tokio::test]
    async fn a_changed_file_counts_and_a_broken_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens");
        let tokens = WorkerTokens::parse(&Secret::new(OLD)).unwrap();
        let again = async |text: &str| {
            std::fs::write(&file, text).unwrap();
            read("tokens", &file, |text| tokens.reload(text)).await;
        };
        again(&format!("{NEW}\n{OLD}")).await;
        assert!(tokens.check(NEW).is_some() && tokens.check(OLD).is_some());
        again("oops").await;
        assert!(tokens.check(NEW).is_some());
        again(NEW).await;
        assert!(tokens.check(NEW).is_some() && tokens.check(OLD).is_none());
    }
}
