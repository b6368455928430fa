//! The time of the store's server. Leases and schedules are written by one producer and judged by another, on machines
//! whose clocks may differ by minutes; all of them tell the time that this one server tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use gantry_domain::time::{Clock, SystemClock, Timestamp};
use mongodb::bson::{Document, doc};
use tokio::time::Instant;

use super::Core;
use super::errors::Fault;

const PERIOD: Duration = Duration::from_secs(5);
/// Differences that are not worth a jump: a slow answer looks like one.
const TOLERATED: Duration = Duration::from_millis(100);
const WORTH_A_WARNING: Duration = Duration::from_secs(2);

/// The machine's clock, put right by what the server says.
#[derive(Debug)]
pub(super) struct ServerClock {
    machine: Arc<dyn Clock>,
    /// Milliseconds that the server is ahead.
    ahead: AtomicI64,
}

impl Default for ServerClock {
    fn default() -> Self {
        Self::over(Arc::new(SystemClock))
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::Relaxed);
        Timestamp::from_millis(self.machine.now().as_millis().saturating_add(ahead))
    }
}

impl ServerClock {
    fn over(machine: Arc<dyn Clock>) -> Self {
        Self { machine, ahead: AtomicI64::new(0) }
    }

    /// Asks the server. One that does not tell its time leaves the clock as it is.
    pub(super) async fn ask(&self, core: &Core) -> Result<(), Fault> {
        let hello = core.call().run(|| async {
            let sent = Instant::now();
            let answer = core.database.run_command(doc! { "hello": 1 }).await?;
            Ok((answer, sent.elapsed()))
        });
        let (answer, took) = hello.await?;
        if let Some(server) = told(&answer) {
            self.learn(server, took);
        }
        Ok(())
    }

    /// `server` was the time somewhere during the `took` before now.
    fn learn(&self, server: Timestamp, took: Duration) {
        let ours = self.now() - took / 2;
        let off = server.as_millis() - ours.as_millis();
        let margin = took / 2 + TOLERATED;
        if u128::from(off.unsigned_abs()) <= margin.as_millis() {
            return;
        }
        let ahead = self.ahead.fetch_add(off, Ordering::Relaxed).saturating_add(off);
        if u128::from(ahead.unsigned_abs()) >= WORTH_A_WARNING.as_millis() {
            let seconds = ahead as f64 / 1000.0;
            tracing::warn!(
                "the store's server is {seconds:+.1} s ahead of this machine's clock; its time is used: set the clock (NTP)"
            );
        }
    }

    /// Asks for as long as the store is open.
    pub(super) async fn follow(self: Arc<Self>, core: Core) {
        loop {
            tokio::time::sleep(PERIOD).await;
            if let Err(fault) = self.ask(&core).await {
                tracing::debug!(?fault, "the server did not tell its time");
            }
        }
    }
}

fn told(hello: &Document) -> Option<Timestamp> {
    hello.get_datetime("localTime").ok().map(|time| Timestamp::from_millis(time.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use gantry_domain::time::ManualClock;

    use super::*;

    fn clock_at(millis: i64) -> (ManualClock, ServerClock) {
        let machine = ManualClock::at(Timestamp::from_millis(millis));
        (machine.clone(), ServerClock::over(Arc::new(machine)))
    }

    #[test]
    fn a_clock_that_is_wrong_is_put_right_and_goes_on_from_there() {
        for wrong in [-600_000, 600_000] {
            let (machine, clock) = clock_at(1_000_000 + wrong);
            clock.learn(Timestamp::from_millis(1_000_000 - 20), Duration::from_millis(40));
            assert_eq!(clock.now().as_millis(), 1_000_000);
            machine.advance(Duration::from_secs(5));
            assert_eq!(clock.now().as_millis(), 1_005_000);
        }
    }

    #[test]
    fn a_machine_whose_clock_is_corrected_tells_the_same_time() {
        let (machine, clock) = clock_at(1_600_000);
        clock.learn(Timestamp::from_millis(1_000_000), Duration::ZERO);
        machine.set_back(Duration::from_secs(600));
        clock.learn(Timestamp::from_millis(1_000_000), Duration::ZERO);
        assert_eq!(clock.now().as_millis(), 1_000_000);
    }

    #[test]
    fn a_slow_answer_moves_nothing() {
        let (_, clock) = clock_at(1_000_000);
        // Sent two seconds ago, answered at once, and on its way back ever since.
        clock.learn(Timestamp::from_millis(998_001), Duration::from_secs(2));
        assert_eq!(clock.now().as_millis(), 1_000_000);
    }
}
