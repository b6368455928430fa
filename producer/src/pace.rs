//! How often watchers are told: at once after a quiet moment, and twenty times a second while much is going on.

use std::time::Duration;

use tokio::time::Instant;

/// Between two turns in the long run.
const BREATH: Duration = Duration::from_millis(50);
/// Turns that a quiet second earns: taken without waiting.
const BURST: u32 = 20;

/// Hands out turns.
pub struct Pace {
    /// When all turns handed out would be over if they came a breath apart.
    spent_until: Instant,
}

impl Pace {
    pub fn new() -> Self {
        Self { spent_until: Instant::now() }
    }

    /// Takes the next turn; answers when it may begin, which may be now.
    pub fn turn(&mut self) -> Instant {
        let now = Instant::now();
        self.spent_until = self.spent_until.max(now) + BREATH;
        (self.spent_until - BREATH * BURST).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_quiet_watcher_is_told_at_once_and_a_busy_one_twenty_times_a_second() {
        let mut pace = Pace::new();
        let begun = Instant::now();
        let mut turns = 0;
        while begun.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep_until(pace.turn()).await;
            turns += 1;
        }
        assert!((200..=221).contains(&turns), "{turns}");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(pace.turn(), Instant::now());
    }
}
