//! One thread that hashes, behind a short queue. Past the queue callers are told to come again instead of waiting for a turn
//! they would have given up on.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::argon::{self, Verdict};
use super::policy::{NewPassword, PresentedPassword};

/// Why there is no answer about a password. `Busy` becomes `503` with `Retry-After`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("too many passwords are being checked at the moment")]
    Busy,
    /// The owner is shutting down.
    #[error("passwords are no longer checked here")]
    Closed,
    /// The system gave no randomness or memory.
    #[error("the password could not be hashed")]
    Failed,
}

/// In the queue, or at work; free again when the job is done or dropped.
type Place = OwnedSemaphorePermit;

enum Job {
    Hash(NewPassword, oneshot::Sender<Result<String, PasswordError>>, Place),
    Verify(PresentedPassword, Option<String>, oneshot::Sender<Verdict>, Place),
    /// Says how urgent its thread is, and stays until the other side goes.
    #[cfg(test)]
    Hold(oneshot::Sender<i32>, Receiver<()>, Place),
}

impl Job {
    fn given_up(&self) -> bool {
        match self {
            Self::Hash(_, answer, _) => answer.is_closed(),
            Self::Verify(_, _, answer, _) => answer.is_closed(),
            #[cfg(test)]
            Self::Hold(..) => false,
        }
    }

    fn run(self) {
        match self {
            Self::Hash(password, answer, _place) => {
                let hash = argon::hash_password(password.expose()).map_err(|_| PasswordError::Failed);
                let _ = answer.send(hash);
            }
            Self::Verify(password, stored, answer, _place) => {
                let _ = answer.send(argon::verify(password.expose(), stored.as_deref()));
            }
            #[cfg(test)]
            Self::Hold(begun, until, _place) => {
                let this = Some(rustix::thread::gettid());
                let _ = begun.send(rustix::process::getpriority_process(this).unwrap_or(0));
                let _ = until.recv();
            }
        }
    }
}

/// Hashes and checks passwords, about 25 a second, one at a time. Owns its thread: dropping this drops what waits, and ends the
/// thread after the password at hand.
pub struct Passwords {
    /// `None` only while dropping.
    queue: Option<SyncSender<Job>>,
    /// As many as may wait, and one at work: with a place the queue has room.
    places: Arc<Semaphore>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Passwords {
    /// `queue`: how many may wait. 50 are two seconds.
    pub fn start(queue: NonZeroUsize) -> std::io::Result<Self> {
        let places = queue.get().saturating_add(1);
        let (sender, jobs) = sync_channel(places);
        let closing = Arc::new(AtomicBool::new(false));
        let close = closing.clone();
        let thread =
            std::thread::Builder::new().name("passwords".to_owned()).spawn(move || work(&jobs, &close))?;
        let places = Arc::new(Semaphore::new(places));
        Ok(Self { queue: Some(sender), places, closing, thread: Some(thread) })
    }

    /// A place in line. Taken first of all, so that whoever gets none costs nothing else either.
    pub fn turn(&self) -> Result<Turn<'_>, PasswordError> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        Ok(Turn { passwords: self, place })
    }

    /// A new password's hash, in PHC form, to be stored.
    pub async fn hash(&self, password: NewPassword) -> Result<String, PasswordError> {
        let (answer, hash) = oneshot::channel();
        self.submit(Job::Hash(password, answer, self.turn()?.place))?;
        hash.await.map_err(|_| PasswordError::Closed)?
    }

    fn submit(&self, job: Job) -> Result<(), PasswordError> {
        let queue = self.queue.as_ref().ok_or(PasswordError::Closed)?;
        queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => PasswordError::Busy,
            TrySendError::Disconnected(_) => PasswordError::Closed,
        })
    }
}

/// The right to have one password judged.
#[derive(Debug)]
pub struct Turn<'a> {
    passwords: &'a Passwords,
    place: Place,
}

impl Turn<'_> {
    /// Compares a password with the stored hash of the account; `None` when there is no such account, or none that may sign in:
    /// that is wrong after the same time.
    pub async fn verify(
        self,
        password: PresentedPassword,
        stored: Option<String>,
    ) -> Result<Verdict, PasswordError> {
        let (answer, verdict) = oneshot::channel();
        self.passwords.submit(Job::Verify(password, stored, answer, self.place))?;
        verdict.await.map_err(|_| PasswordError::Closed)
    }
}

/// Of what the processors can do, hashing takes what others leave: a storm of sign-ins holds up nobody's run.
const NICENESS: i32 = 10;

/// A thread has a niceness of its own.
fn step_back() {
    let this = Some(rustix::thread::gettid());
    let stepped = rustix::process::getpriority_process(this)
        .and_then(|now| rustix::process::setpriority_process(this, now.max(NICENESS)));
    if let Err(error) = stepped {
        tracing::debug!(%error, "passwords are hashed as urgently as everything else");
    }
}

fn work(jobs: &Receiver<Job>, closing: &AtomicBool) {
    step_back();
    while let Ok(job) = jobs.recv() {
        if !closing.load(Ordering::Relaxed) && !job.given_up() {
            job.run();
        }
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself; a panic was printed already.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc::Sender;

    use futures::poll;

    use super::*;

    fn passwords(queue: usize) -> Passwords {
        Passwords::start(NonZeroUsize::new(queue).unwrap()).unwrap()
    }

    /// Keeps the thread busy until the sender goes; the queue is empty then.
    async fn hold(passwords: &Passwords) -> Sender<()> {
        let (begun, begins) = oneshot::channel();
        let (until, held) = std::sync::mpsc::channel();
        passwords.submit(Job::Hold(begun, held, place(passwords))).unwrap();
        assert!(begins.await.unwrap() >= NICENESS, "whoever has a run to submit goes first");
        until
    }

    fn place(passwords: &Passwords) -> Place {
        passwords.turn().unwrap().place
    }

    async fn verify(
        passwords: &Passwords,
        password: PresentedPassword,
        stored: Option<String>,
    ) -> Result<Verdict, PasswordError> {
        passwords.turn()?.verify(password, stored).await
    }

    fn presented(text: &str) -> PresentedPassword {
        PresentedPassword::new(text)
    }

    #[tokio::test]
    async fn a_chosen_password_signs_in_and_no_other() {
        let passwords = passwords(4);
        let chosen = NewPassword::choose("correct horse battery", &[]).unwrap();
        let stored = passwords.hash(chosen).await.unwrap();
        let check = async |text: &str, stored: Option<&str>| {
            verify(&passwords, presented(text), stored.map(str::to_owned)).await.unwrap()
        };
        assert_eq!(check("correct horse battery", Some(&stored)).await, Verdict::Right { rehash: false });
        assert_eq!(check("correct horse", Some(&stored)).await, Verdict::Wrong);
        assert_eq!(check("correct horse battery", None).await, Verdict::Wrong);
        assert_eq!(check(&"x".repeat(10_000), Some(&stored)).await, Verdict::Wrong);
    }

    #[tokio::test]
    async fn past_the_queue_callers_are_told_to_come_again() {
        let passwords = passwords(1);
        let until = hold(&passwords).await;
        let mut waiting = pin!(verify(&passwords, presented("x"), None));
        assert!(poll!(waiting.as_mut()).is_pending());
        assert_eq!(verify(&passwords, presented("x"), None).await, Err(PasswordError::Busy));
        let chosen = NewPassword::choose("correct horse battery", &[]).unwrap();
        assert_eq!(passwords.hash(chosen).await, Err(PasswordError::Busy));
        drop(until);
        assert_eq!(waiting.await, Ok(Verdict::Wrong));
        assert_eq!(verify(&passwords, presented("x"), None).await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn nothing_is_hashed_for_a_caller_that_is_gone() {
        let passwords = passwords(8);
        let until = hold(&passwords).await;
        let (answer, verdict) = oneshot::channel();
        let job = Job::Verify(presented("x"), None, answer, place(&passwords));
        assert!(!job.given_up());
        drop(verdict);
        assert!(job.given_up());
        passwords.submit(job).unwrap();
        let mut here = pin!(verify(&passwords, presented("x"), None));
        assert!(poll!(here.as_mut()).is_pending());
        drop(until);
        assert_eq!(here.await, Ok(Verdict::Wrong));
    }

    #[tokio::test]
    async fn dropping_the_owner_ends_its_thread_and_what_waits() {
        let passwords = passwords(8);
        let closing = Arc::downgrade(&passwords.closing);
        let until = hold(&passwords).await;
        let (answer, verdict) = oneshot::channel();
        passwords.submit(Job::Verify(presented("x"), None, answer, place(&passwords))).unwrap();
        // The owner waits for the job at hand, which ends when `until` goes.
        let owner = std::thread::spawn(move || drop(passwords));
        while !closing.upgrade().is_some_and(|closing| closing.load(Ordering::Relaxed)) {
            std::thread::yield_now();
        }
        drop(until);
        owner.join().unwrap();
        assert!(verdict.await.is_err(), "it was dropped, not answered");
        assert!(closing.upgrade().is_none(), "the thread has gone");
    }

    #[tokio::test]
    async fn unknown_accounts_take_their_time_too() {
        let passwords = passwords(1);
        let stored = argon::hash_password("correct horse battery").unwrap();
        let mut shortest = [u128::MAX; 2];
        // The shortest of several, since anything else on the machine only makes them longer.
        for _ in 0..7 {
            for (i, stored) in [None, Some(stored.clone())].into_iter().enumerate() {
                let start = std::time::Instant::now();
                assert_eq!(verify(&passwords, presented("wrong"), stored).await, Ok(Verdict::Wrong));
                shortest[i] = shortest[i].min(start.elapsed().as_micros());
            }
        }
        let [unknown, known] = shortest;
        // An answer without the work takes a thousandth. That the work is the same is a matter of parameters: see `argon`.
        assert!(unknown * 10 > known && known * 10 > unknown, "{unknown} µs and {known} µs");
    }
}
