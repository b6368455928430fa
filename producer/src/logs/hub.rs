//! One task per followed run, however many follow it: it listens to the bus, reads what is new once, encodes it once,
//! and lets the followers know. Followers pull: a slow one costs nobody anything, and who has fallen behind reads the
//! store at its own pace. The task ends with the last follower, with the run, or at shutdown.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::Either;
use futures::stream::{BoxStream, Fuse};
use futures::{FutureExt as _, StreamExt as _};
use gantry_bus::{Heard, Topic};
use gantry_domain::event::{Change, Event};
use gantry_domain::id::RunId;
use gantry_domain::run::Run;
use gantry_service_kit::shutdown::{Shutdown, TaskGroup};
use tokio::sync::watch;
use tokio::time::Instant;

use super::LogService;
use super::encode::encode;
use super::reader::LogReader;
use super::ring::{Found, Ring};
use crate::error::ApiResult;
use crate::pace::Pace;

/// How often the store is asked although nothing was heard: the bus may lose events.
const POLL: Duration = Duration::from_secs(2);
/// Log read in one look; while there is more than that, one look follows the other.
const LOOK_BYTES: usize = 1 << 20;
/// How much of what is there already is encoded for all when the first follower comes.
const SHARED_BYTES: u64 = 256 * 1024;

/// Runs that are being followed.
#[derive(Default)]
pub(super) struct Hub {
    followed: Mutex<HashMap<RunId, Followed>>,
    tasks: TaskGroup,
}

struct Followed {
    view: Arc<View>,
    followers: usize,
    stop: Shutdown,
}

/// What all followers of a run share.
pub(super) struct View {
    sight: Mutex<Sight>,
    /// Counts changes of `sight`.
    news: watch::Sender<u64>,
}

#[derive(Default)]
struct Sight {
    run: Option<Arc<Run>>,
    deleted: bool,
    ring: Ring,
}

/// What a follower does next.
pub(super) enum Step {
    Send(Vec<bytes::Bytes>, u64),
    /// Read the store up to this byte.
    CatchUp(u64),
    /// The run is tried again; go on with this attempt.
    Attempt(u32),
    End(Arc<Run>),
    Deleted,
    Wait,
}

/// One follower's place; the last one to leave ends the task.
pub(super) struct Seat {
    hub: Arc<Hub>,
    run: RunId,
    view: Arc<View>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogService {
    /// Takes a place among the run's followers.
    pub(super) fn sit(&self, run: &Run) -> Seat {
        let mut all = lock(&self.hub.followed);
        let followed = all.entry(run.id).or_insert_with(|| {
            let view = Arc::new(View { sight: Mutex::default(), news: watch::Sender::new(0) });
            let stop = self.shutdown.child();
            if run.is_final() {
                view.saw(Arc::new(run.clone()));
            } else {
                let watch = Watch { logs: self.clone(), view: view.clone(), reader: None };
                let (name, topic) =
                    (format!("followers of {}", run.id), Topic::Run(run.organization, run.id));
                let stopped = stop.clone();
                self.hub.tasks.spawn(name, async move {
                    stopped.interrupts(watch.go_on(topic)).await;
                });
            }
            Followed { view, followers: 0, stop }
        });
        followed.followers += 1;
        metrics::gauge!("gantry_log_followers").increment(1);
        Seat { hub: self.hub.clone(), run: run.id, view: followed.view.clone() }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!("gantry_log_followers").decrement(1);
        let mut all = lock(&self.hub.followed);
        if let Some(followed) = all.get_mut(&self.run) {
            followed.followers -= 1;
            if followed.followers == 0 {
                followed.stop.trigger();
                all.remove(&self.run);
            }
        }
    }
}

impl Seat {
    pub fn news(&self) -> watch::Receiver<u64> {
        self.view.news.subscribe()
    }

    /// The run as last seen.
    pub fn run(&self) -> Option<Arc<Run>> {
        lock(&self.view.sight).run.clone()
    }

    /// What to do for a follower who has the log of `attempt` up to byte `offset`.
    pub fn step(&self, attempt: u32, offset: u64) -> Step {
        let sight = lock(&self.view.sight);
        if sight.deleted {
            return Step::Deleted;
        }
        let Some(run) = &sight.run else { return Step::Wait };
        let next = || match run.attempts.iter().map(|other| other.number).find(|number| *number > attempt) {
            Some(number) => Step::Attempt(number),
            None if run.is_final() => Step::End(run.clone()),
            None => Step::Wait,
        };
        let Some(known) = run.attempts.iter().find(|other| other.number == attempt) else { return next() };
        if sight.ring.attempt == attempt {
            match sight.ring.from(offset) {
                Found::Frames(events, end) => return Step::Send(events, end),
                Found::Before(until) => return Step::CatchUp(until),
                Found::Nothing => {}
            }
        }
        match known.log.end {
            None => Step::Wait,
            Some(end) if offset >= end => next(),
            // Its end is still to be read by the task.
            Some(end) if sight.ring.attempt == attempt && sight.ring.end() < end => Step::Wait,
            Some(end) => Step::CatchUp(end),
        }
    }
}

impl View {
    fn saw(&self, run: Arc<Run>) {
        lock(&self.sight).run = Some(run);
        self.tell();
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// The task of one followed run.
struct Watch {
    logs: LogService,
    view: Arc<View>,
    /// Of the attempt in the ring.
    reader: Option<LogReader>,
}

/// What there is to look at.
#[derive(Default)]
struct Wanted {
    run: bool,
    log: bool,
}

impl Watch {
    async fn go_on(mut self, topic: Topic) {
        let Topic::Run(organization, id) = topic else { return };
        // Subscribed before the first look, so that nothing falls in between.
        let mut heard = self.logs.bus.subscribe(topic).await.fuse();
        let mut wanted = Wanted { run: true, log: true };
        let mut pace = Pace::new();
        loop {
            let looked = Instant::now();
            match self.look(&wanted, organization, id).await {
                Ok(Sighted::Over) => return,
                Ok(Sighted::More) => {
                    wanted = Wanted { run: false, log: true };
                    while let Some(Some(more)) = heard.next().now_or_never() {
                        wanted.note(&more);
                    }
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(Sighted::All) => wanted = hear(&mut heard, looked + POLL).await,
                Err(error) => {
                    tracing::warn!(run.id = %id, org.id = %organization, ?error, "followers wait for the store");
                    tokio::time::sleep(POLL / 2).await;
                    wanted = Wanted { run: true, log: true };
                }
            }
            tokio::time::sleep_until(pace.turn()).await;
            while let Some(Some(more)) = heard.next().now_or_never() {
                wanted.note(&more);
            }
        }
    }

    async fn look(
        &mut self,
        wanted: &Wanted,
        organization: gantry_domain::id::OrganizationId,
        id: RunId,
    ) -> ApiResult<Sighted> {
        let mut run = self.run();
        if wanted.run || run.is_none() {
            let found = self.logs.stores.runs.get(organization, id).await?.map(Arc::new);
            let Some(found) = found else {
                lock(&self.view.sight).deleted = true;
                self.view.tell();
                return Ok(Sighted::Over);
            };
            self.change_over(&found).await?;
            self.view.saw(found.clone());
            run = Some(found);
        }
        let more = wanted.log && self.read().await?;
        let all_read = self.reader.as_ref().is_none_or(|reader| {
            reader.known_end().is_some_and(|end| lock(&self.view.sight).ring.end() >= end)
        });
        Ok(match run {
            Some(run) if run.is_final() && all_read => Sighted::Over,
            _ if more => Sighted::More,
            _ => Sighted::All,
        })
    }

    fn run(&self) -> Option<Arc<Run>> {
        lock(&self.view.sight).run.clone()
    }

    /// Goes over to the run's last attempt, once everything of the one before was read.
    async fn change_over(&mut self, run: &Run) -> ApiResult<()> {
        let Some(last) = run.last_attempt() else { return Ok(()) };
        if let Some(reader) = &mut self.reader {
            reader.update(run);
            if reader.log().attempt == last.number {
                return Ok(());
            }
        }
        let mut reader = LogReader::new(&self.logs, run, last);
        // What most followers will want; whoever wants more reads it at its own pace. Characters stay whole.
        let end = reader.end().await?;
        let from = end.saturating_sub(SHARED_BYTES);
        let head = if from > 0 { reader.read(from, 4).await? } else { Vec::new() };
        let head = head.iter().flat_map(|chunk| chunk.bytes().iter());
        let continued = head.take(3).take_while(|byte| matches!(byte, 0x80..=0xbf)).count();
        lock(&self.view.sight).ring = Ring::new(last.number, from + continued as u64);
        self.reader = Some(reader);
        Ok(())
    }

    /// Encodes what is new; answers whether there may be more.
    async fn read(&mut self) -> ApiResult<bool> {
        let Some(reader) = &mut self.reader else { return Ok(false) };
        let from = lock(&self.view.sight).ring.end();
        let chunks = match reader.known_end() {
            Some(end) if from >= end => return Ok(false),
            Some(end) => reader.read_until(from, end, LOOK_BYTES).await?,
            None => reader.read(from, LOOK_BYTES).await?,
        };
        let Some(upto) = chunks.last().map(|chunk| chunk.end()) else { return Ok(false) };
        let complete = reader.known_end().is_some_and(|end| upto >= end);
        let attempt = reader.log().attempt;
        let frames = encode(attempt, &chunks, complete);
        if !frames.is_empty() {
            let mut sight = lock(&self.view.sight);
            frames.into_iter().for_each(|frame| sight.ring.push(frame));
            drop(sight);
            self.view.tell();
        }
        Ok(upto - from >= LOOK_BYTES as u64)
    }
}

/// What a look showed.
enum Sighted {
    /// Nothing more will come.
    Over,
    More,
    All,
}

impl Wanted {
    fn note(&mut self, heard: &Heard) {
        match heard {
            Heard::Event(Event { change: Change::Log { .. }, .. }) => self.log = true,
            Heard::Event(_) | Heard::Gap => *self = Self { run: true, log: true },
        }
    }
}

/// Waits for something to look at.
async fn hear(heard: &mut Fuse<BoxStream<'static, Heard>>, until: Instant) -> Wanted {
    let mut wanted = Wanted::default();
    let next = heard.next();
    match futures::future::select(next, Box::pin(tokio::time::sleep_until(until))).await {
        Either::Left((Some(more), _)) => wanted.note(&more),
        // The bus has ended: the store still knows.
        Either::Left((None, _)) => {
            tokio::time::sleep_until(until).await;
            wanted = Wanted { run: true, log: true };
        }
        Either::Right(_) => wanted = Wanted { run: true, log: true },
    }
    wanted
}
