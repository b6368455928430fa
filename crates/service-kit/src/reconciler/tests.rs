use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::time::Instant;

use super::*;

/// Follows a script, one closure call a pass, and notes when passes begin and whether two ever overlap.
struct Scripted<F> {
    period: Duration,
    script: F,
    passes: AtomicU64,
    begun: Mutex<Vec<Instant>>,
    inside: AtomicBool,
    overlapped: AtomicBool,
    takes: Duration,
}

impl<F: Fn(u64) -> Result<Outcome, ReconcileError> + Send + Sync + 'static> Scripted<F> {
    fn new(period: Duration, takes: Duration, script: F) -> Arc<Self> {
        Arc::new(Self {
            period,
            script,
            passes: AtomicU64::new(0),
            begun: Mutex::default(),
            inside: AtomicBool::new(false),
            overlapped: AtomicBool::new(false),
            takes,
        })
    }

    fn passes(&self) -> u64 {
        self.passes.load(Ordering::SeqCst)
    }

    fn gap(&self, pass: usize) -> Duration {
        let begun = self.begun.lock().unwrap();
        begun[pass] - begun[pass - 1]
    }
}

#[async_trait]
impl<F: Fn(u64) -> Result<Outcome, ReconcileError> + Send + Sync + 'static> Reconciler for Scripted<F> {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn period(&self) -> Duration {
        self.period
    }

    async fn reconcile(&self) -> Result<Outcome, ReconcileError> {
        if self.inside.swap(true, Ordering::SeqCst) {
            self.overlapped.store(true, Ordering::SeqCst);
        }
        self.begun.lock().unwrap().push(Instant::now());
        let pass = self.passes.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.inside.store(false, Ordering::SeqCst);
        (self.script)(pass)
    }
}

struct Running {
    wake: Wake,
    statuses: Statuses,
    shutdown: Shutdown,
    group: TaskGroup,
}

fn start(reconciler: Arc<dyn Reconciler>) -> Running {
    let (wake, shutdown, group) = (Wake::new(), Shutdown::new(), TaskGroup::new());
    let mut reconcilers = Reconcilers::new();
    reconcilers.add(reconciler, wake.clone());
    let statuses = reconcilers.statuses();
    reconcilers.spawn(&group, &shutdown);
    Running { wake, statuses, shutdown, group }
}

impl Running {
    async fn stop(self) -> Status {
        self.shutdown.trigger();
        assert!(self.group.drain(Duration::from_secs(60)).await.is_clean());
        self.statuses.snapshot().remove(0)
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn runs_at_once_and_then_every_period() {
    let reconciler = Scripted::new(10 * SECOND, Duration::ZERO, |_| Ok(Outcome::did(2)));
    let running = start(reconciler.clone());
    tokio::time::sleep(41 * SECOND).await;
    assert_eq!(reconciler.passes(), 5);
    for pass in 1..5 {
        let gap = reconciler.gap(pass);
        assert!(gap >= 9 * SECOND && gap <= Duration::from_millis(10_002), "{gap:?}");
    }
    let status = running.stop().await;
    assert_eq!((status.runs, status.last_outcome.as_deref()), (5, Some("did 2")));
    assert!(status.last_started.is_some() && !status.running && status.consecutive_failures == 0);
}

#[tokio::test(start_paused = true)]
async fn wakes_coalesce_and_passes_never_overlap() {
    let reconciler = Scripted::new(HOUR, SECOND, |_| Ok(Outcome::idle()));
    let running = start(reconciler.clone());
    tokio::time::sleep(SECOND / 2).await;
    assert!(running.statuses.snapshot()[0].running);
    for _ in 0..100 {
        running.wake.clone().wake();
    }
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(reconciler.passes(), 2, "a hundred wakes during a pass are one more pass");
    for _ in 0..100 {
        running.wake.wake();
    }
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(reconciler.passes(), 3, "a hundred wakes between passes are one pass");
    assert!(!reconciler.overlapped.load(Ordering::SeqCst));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn survives_panics_and_errors_backs_off_and_recovers() {
    let reconciler = Scripted::new(HOUR, Duration::ZERO, |pass| match pass {
        0 => panic!("as intended"),
        1..=9 => Err("the store is away".into()),
        _ => Ok(Outcome::idle()),
    });
    let running = start(reconciler.clone());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let status = running.statuses.snapshot().remove(0);
    assert_eq!(status.last_outcome.as_deref(), Some("failed: panicked: as intended"));
    assert_eq!(status.consecutive_failures, 1);
    for _ in 0..50 {
        running.wake.wake();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(reconciler.passes(), 1, "a wake does not shorten the back-off");
    tokio::time::sleep(200 * SECOND).await;
    assert!(reconciler.gap(2) > reconciler.gap(1) && reconciler.gap(10) <= 31 * SECOND);
    assert_eq!(reconciler.passes(), 11);
    let status = running.stop().await;
    assert_eq!((status.last_outcome.as_deref(), status.consecutive_failures), (Some("idle"), 0));
}

#[tokio::test(start_paused = true)]
async fn runs_again_while_there_is_more_to_do() {
    let reconciler = Scripted::new(HOUR, Duration::ZERO, |pass| Ok(Outcome::did(1).again_if(pass < 7)));
    let running = start(reconciler.clone());
    tokio::time::sleep(SECOND).await;
    assert_eq!(reconciler.passes(), 8);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn again_without_work_does_not_spin() {
    let reconciler = Scripted::new(HOUR, Duration::ZERO, |_| Ok(Outcome::idle().again_if(true)));
    let running = start(reconciler.clone());
    tokio::time::sleep(SECOND).await;
    assert!(reconciler.passes() <= 201, "{}", reconciler.passes());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_due_time_comes_before_the_period() {
    let reconciler = Scripted::new(HOUR, Duration::ZERO, |_| Ok(Outcome::idle().due_in(Some(3 * SECOND))));
    let running = start(reconciler.clone());
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(reconciler.passes(), 4);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_without_end_is_dropped_and_counts_as_failed() {
    let reconciler = Scripted::new(SECOND, HOUR, |_| Ok(Outcome::idle()));
    let running = start(reconciler.clone());
    tokio::time::sleep(reconciler.pass_timeout() + SECOND / 10).await;
    let status = running.statuses.snapshot().remove(0);
    assert_eq!(status.last_outcome.as_deref(), Some("failed: no end after 300s"));
    running.shutdown.trigger();
    assert_eq!(running.group.drain(10 * SECOND).await.unfinished.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_runs_at_shutdown_finishes_and_none_follows() {
    let reconciler = Scripted::new(SECOND, 5 * SECOND, |_| Ok(Outcome::did(1).again_if(true)));
    let running = start(reconciler.clone());
    tokio::time::sleep(SECOND).await;
    let status = running.stop().await;
    assert_eq!((status.runs, reconciler.passes()), (1, 1));
}
