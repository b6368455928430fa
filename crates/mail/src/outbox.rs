//! Sends mail later than it is asked for, and again when the server was not in order: a request does not wait for a mail server,
//! and a server that asks for patience (greylisting) gets it.
//!
//! What waits is in memory. Mail that is lost with the process is mail that somebody asks for again (an invitation, a reset).
//! What must not be lost keeps its own list in the store and calls the [`Mailer`] itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::future::Future;
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use crate::mailer::{Mailer, SendError};
use crate::message::Mail;

/// How patient an outbox is.
#[derive(Debug, Clone)]
pub struct OutboxOptions {
    /// How many messages it holds, those that wait for another try included.
    pub capacity: NonZeroUsize,
    /// How many are under way at once, so that one slow recipient does not hold up the others.
    pub at_once: NonZeroUsize,
    pub tries: NonZeroU32,
    /// Before the second try; four times as long before each further one.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// After it was asked to stop: for one last try of everything.
    pub grace: Duration,
}

impl Default for OutboxOptions {
    /// 1,000 messages, four at once, six tries within about 20 minutes.
    fn default() -> Self {
        Self {
            capacity: NonZeroUsize::MIN.saturating_add(999),
            at_once: NonZeroUsize::MIN.saturating_add(3),
            tries: NonZeroU32::MIN.saturating_add(5),
            first_wait: Duration::from_secs(5),
            longest_wait: Duration::from_secs(10 * 60),
            grace: Duration::from_secs(5),
        }
    }
}

/// It holds as many messages as it may, or is stopping. Becomes `503`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much mail is waiting to be sent")]
pub struct OutboxFull;

/// Where mail is put. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    letters: mpsc::Sender<Letter>,
    places: Arc<Semaphore>,
}

struct Letter {
    mail: Mail,
    tried: u32,
    /// Kept until it is sent or given up.
    _place: OwnedSemaphorePermit,
}

impl Outbox {
    /// Puts a message into the box; returns at once.
    pub fn post(&self, mail: Mail) -> Result<(), OutboxFull> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| OutboxFull)?;
        self.letters.try_send(Letter { mail, tried: 0, _place: place }).map_err(|_| OutboxFull)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({} free)", self.places.available_permits())
    }
}

/// How many messages were still in the box when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undelivered(pub usize);

/// An outbox and the task that empties it, which its owner runs and awaits.
pub fn outbox(mailer: Arc<dyn Mailer>, options: OutboxOptions) -> (Outbox, OutboxTask) {
    let (letters, posted) = mpsc::channel(options.capacity.get());
    let places = Arc::new(Semaphore::new(options.capacity.get()));
    (Outbox { letters, places }, OutboxTask { mailer, options, posted, waiting: BinaryHeap::new(), turn: 0 })
}

/// Sends what is in the box.
pub struct OutboxTask {
    mailer: Arc<dyn Mailer>,
    options: OutboxOptions,
    posted: mpsc::Receiver<Letter>,
    /// Soonest first.
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Tells letters apart that are due at the same time.
    turn: u64,
}

struct Waiting {
    due: Instant,
    turn: u64,
    letter: Letter,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.turn).cmp(&(other.due, other.turn))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl OutboxTask {
    /// Until `stop`, or until every [`Outbox`] is gone and nothing waits; then one last try of what is left, within the grace
    /// period.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Undelivered {
        let mut stop = pin!(stop);
        let mut under_way = FuturesUnordered::new();
        let mailer = self.mailer.clone();
        let mut open = true;
        while open || !self.waiting.is_empty() || !under_way.is_empty() {
            let free = under_way.len() < self.options.at_once.get();
            let due = self.waiting.peek().map(|Reverse(next)| next.due);
            tokio::select! {
                () = &mut stop => break,
                Some((letter, result)) = under_way.next(), if !under_way.is_empty() => self.settle(letter, result),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if free && due.is_some() => {
                    if let Some(Reverse(next)) = self.waiting.pop() {
                        under_way.push(send(mailer.clone(), next.letter));
                    }
                }
                posted = self.posted.recv(), if free && open => match posted {
                    Some(letter) => under_way.push(send(mailer.clone(), letter)),
                    None => open = false,
                },
            }
        }
        self.finish(under_way).await
    }

    /// Notes what became of a try.
    fn settle(&mut self, mut letter: Letter, result: Result<(), SendError>) {
        letter.tried += 1;
        let (mail, tries) = (letter.mail.id(), letter.tried);
        match result {
            Ok(()) => tracing::info!(mail, tries, "mail sent"),
            Err(error) if error.may_pass() && tries < self.options.tries.get() => {
                tracing::info!(mail, tries, %error, "mail not sent yet");
                self.turn += 1;
                let due = Instant::now() + self.pause(tries);
                self.waiting.push(Reverse(Waiting { due, turn: self.turn, letter }));
            }
            Err(error) => tracing::warn!(mail, tries, %error, "mail given up"),
        }
    }

    /// Within a fifth around the plan, so that what failed together does not come back together.
    fn pause(&self, tries: u32) -> Duration {
        let factor = 4_u32.saturating_pow(tries.saturating_sub(1));
        let plan = self.options.first_wait.saturating_mul(factor).min(self.options.longest_wait);
        plan.mul_f64(rand::random_range(0.8..1.2))
    }

    async fn finish<F>(mut self, mut under_way: FuturesUnordered<F>) -> Undelivered
    where
        F: Future<Output = (Letter, Result<(), SendError>)>,
    {
        self.posted.close();
        let mut left = self.waiting.drain().map(|Reverse(waiting)| waiting.letter).collect::<Vec<_>>();
        while let Ok(letter) = self.posted.try_recv() {
            left.push(letter);
        }
        let (mailer, at_once, all) =
            (self.mailer.clone(), self.options.at_once.get(), left.len() + under_way.len());
        let mut sent = 0;
        let last_tries = async {
            while let Some((letter, result)) = under_way.next().await {
                sent += settle_last(&letter, &result);
            }
            let mut tries = futures::stream::iter(left)
                .map(|letter| send(mailer.clone(), letter))
                .buffer_unordered(at_once);
            while let Some((letter, result)) = tries.next().await {
                sent += settle_last(&letter, &result);
            }
        };
        if timeout(self.options.grace, last_tries).await.is_err() {
            tracing::warn!("mail was still under way when time was up");
        }
        match all - sent {
            0 => {}
            lost => tracing::warn!(lost, "mail was not sent before the end"),
        }
        Undelivered(all - sent)
    }
}

fn settle_last(letter: &Letter, result: &Result<(), SendError>) -> usize {
    let mail = letter.mail.id();
    match result {
        Ok(()) => {
            tracing::info!(mail, "mail sent");
            1
        }
        Err(error) => {
            tracing::warn!(mail, %error, "mail given up at the end");
            0
        }
    }
}

async fn send(mailer: Arc<dyn Mailer>, letter: Letter) -> (Letter, Result<(), SendError>) {
    let result = mailer.send(&letter.mail).await;
    (letter, result)
}

#[cfg(test)]
mod tests;
