//! Uploads of dropped writers. Where parts lie at a server, somebody has to tell it that the rest will not come.

use std::time::Duration;

use ::object_store::MultipartUpload;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Uploads that wait to be aborted. Beyond that they are left to the bucket's lifecycle rule.
const WAITING: usize = 256;
const LIMIT: Duration = Duration::from_secs(30);

/// The task that aborts them; it ends with this value.
pub(super) struct Abandoned {
    door: Door,
    task: JoinHandle<()>,
}

/// Where dropped writers leave their uploads.
#[derive(Clone)]
pub(super) struct Door(mpsc::Sender<Box<dyn MultipartUpload>>);

impl Door {
    pub(super) fn leave(&self, upload: Box<dyn MultipartUpload>) {
        if self.0.try_send(upload).is_err() {
            tracing::warn!("an upload is left to the bucket's lifecycle rule");
        }
    }
}

impl Abandoned {
    pub(super) fn start() -> Self {
        let (door, mut uploads) = mpsc::channel::<Box<dyn MultipartUpload>>(WAITING);
        let task = tokio::spawn(async move {
            while let Some(mut upload) = uploads.recv().await {
                match timeout(LIMIT, upload.abort()).await {
                    // One that was completed after all is not there any more.
                    Ok(Ok(()) | Err(::object_store::Error::NotFound { .. })) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "an upload is left to the bucket's lifecycle rule");
                    }
                    Err(_) => tracing::warn!("an upload is left to the bucket's lifecycle rule"),
                }
            }
        });
        Self { door: Door(door), task }
    }

    pub(super) fn door(&self) -> Door {
        self.door.clone()
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.task.abort();
    }
}
