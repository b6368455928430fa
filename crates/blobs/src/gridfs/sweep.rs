//! Removes files that came to nothing: at once those of dropped writers, after a day those of processes that died.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, doc};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::calls::call;
use super::error::corrupt;
use super::layout::Layout;
use crate::BlobError;

/// No writer is at work that long.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const PERIOD: Duration = Duration::from_secs(60 * 60);
/// Leftovers in one round.
const AT_ONCE: i64 = 100;
/// Dropped writers whose files wait to be removed; beyond that they are left for the day after.
const WAITING: usize = 1024;

/// The task; it ends with this value.
pub(super) struct Sweep {
    door: Door,
    task: JoinHandle<()>,
}

/// A dropped writer's file.
pub(super) struct Left {
    pub(super) file: ObjectId,
    pub(super) key: String,
    /// Nothing more of it can arrive at the server.
    pub(super) for_sure: bool,
}

/// Where dropped writers leave their files.
#[derive(Clone)]
pub(super) struct Door(mpsc::Sender<Left>);

impl Door {
    pub(super) fn leave(&self, left: Left) {
        // It is written down: what finds no place here is found later.
        let _ = self.0.try_send(left);
    }
}

impl Sweep {
    pub(super) fn start(layout: Arc<Layout>) -> Self {
        let (door, mut left) = mpsc::channel(WAITING);
        let task = tokio::spawn(async move {
            let mut period = interval(PERIOD.mul_f64(rand::random_range(0.9..1.1)));
            period.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let outcome = tokio::select! {
                    _ = period.tick() => layout.sweep(LEFTOVER_AGE).await,
                    left = left.recv() => match left {
                        Some(left) => layout.clear(&left).await.map(|()| 1),
                        None => return,
                    },
                };
                if let Err(error) = outcome {
                    tracing::warn!(%error, "what writers of blobs left behind is removed later");
                }
            }
        });
        Self { door: Door(door), task }
    }

    pub(super) fn door(&self) -> Door {
        self.door.clone()
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Layout {
    /// Settles everything that was written down longer than `age` ago; answers how much that was.
    pub(super) async fn sweep(&self, age: Duration) -> Result<u64, BlobError> {
        let before = DateTime::from_millis(DateTime::now().timestamp_millis() - age.as_millis() as i64);
        let mut settled = 0;
        loop {
            let find = || async {
                let old = doc! { "at": { "$lt": before } };
                let found = self.garbage.find(old).sort(doc! { "at": 1 }).limit(AT_ONCE).await?;
                found.try_collect::<Vec<_>>().await
            };
            let found = call(find).await?;
            if found.is_empty() {
                return Ok(settled);
            }
            for note in &found {
                let file = note.get_object_id("_id").map_err(corrupt)?;
                self.settle(file, note.get_str("key").map_err(corrupt)?).await?;
                settled += 1;
            }
        }
    }

    /// Removes what is there of a file; what may still arrive is found by the sweep.
    async fn clear(&self, left: &Left) -> Result<(), BlobError> {
        if left.for_sure { self.settle(left.file, &left.key).await } else { self.empty(left.file).await }
    }

    /// A file that the index names stays, any other goes.
    async fn settle(&self, file: ObjectId, key: &str) -> Result<(), BlobError> {
        if self.version(key).await? == Some(file) {
            return self.strike_out(file).await;
        }
        self.discard(file).await
    }
}
