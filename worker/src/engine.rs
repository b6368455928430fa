//! Whether the engine answers, and is one that runs may be carried out on. A worker whose engine is gone would take run after run and fail each at once, faster than any
//! healthy worker finishes one; so it takes none until the engine answers again, and says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::shared::Shared;

/// Between two looks at an engine that answers, and at one that does not.
const PERIOD: Duration = Duration::from_secs(10);
const WHILE_DOWN: Duration = Duration::from_secs(1);
const ANSWER_BOUND: Duration = Duration::from_secs(15);

/// What is known of the engine.
#[derive(Debug)]
pub(crate) struct Engine {
    /// Why no runs are taken.
    trouble: watch::Sender<Option<String>>,
    suspicions: AtomicU64,
    suspected: Notify,
}

impl Engine {
    pub fn new() -> Self {
        Self { trouble: watch::channel(None).0, suspicions: AtomicU64::new(0), suspected: Notify::new() }
    }

    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    pub fn answers(&self) -> bool {
        self.trouble.borrow().is_none()
    }

    /// It failed an attempt: no runs are taken until it was looked at.
    pub fn suspect(&self) {
        self.suspicions.fetch_add(1, Ordering::SeqCst);
        self.trouble.send_if_modified(|trouble| {
            let news = trouble.is_none();
            if news {
                *trouble = Some("the engine failed a run: looking whether it answers".to_owned());
            }
            news
        });
        self.suspected.notify_one();
    }

    /// An answer that was asked for before the latest suspicion proves nothing.
    fn learned(&self, asked_at: u64, found: Option<String>) {
        if found.is_none() && self.suspicions.load(Ordering::SeqCst) != asked_at {
            return;
        }
        self.trouble.send_if_modified(|trouble| {
            let news = *trouble != found;
            *trouble = found;
            news
        });
    }
}

/// Looks every period and whenever it is suspected, until it is dropped. The first look is [`first_look`]'s.
pub(crate) async fn watch_engine(shared: Arc<Shared>) {
    let engine = &shared.engine;
    let mut down = !engine.answers();
    loop {
        tokio::select! {
            () = tokio::time::sleep(if down { WHILE_DOWN } else { PERIOD }) => {}
            () = engine.suspected.notified(), if !down => {}
        }
        down = look(&shared, down).await;
    }
}

/// What is there before the first run is taken.
pub(crate) async fn first_look(shared: &Shared) {
    look(shared, false).await;
}

/// Whether no runs can be taken now.
async fn look(shared: &Shared, was_down: bool) -> bool {
    let engine = &shared.engine;
    let asked_at = engine.suspicions.load(Ordering::SeqCst);
    let found = match tokio::time::timeout(ANSWER_BOUND, shared.executor.check()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("the engine did not answer within {} s", ANSWER_BOUND.as_secs())),
    };
    let down = found.is_some();
    if down != was_down {
        match &found {
            Some(trouble) => tracing::warn!(trouble, "taking no runs"),
            None => tracing::info!("the engine can be used again: taking runs"),
        }
    }
    engine.learned(asked_at, found);
    down
}
