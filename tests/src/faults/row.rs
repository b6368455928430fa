//! A fault's line in the summary that `scripts/faults` prints.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::{Checked, say};

/// What came of one fault.
pub struct Row {
    fault: String,
    rounds: u32,
    seed: u64,
    note: Option<String>,
    ended_lost: usize,
}

impl Row {
    pub fn new(fault: &str, rounds: u32, seed: u64) -> Self {
        Self { fault: fault.to_owned(), rounds, seed, note: None, ended_lost: 0 }
    }

    /// Something measured that the table should say too.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    /// So many of those that [`Self::all_ended`] counts ended `error/lost`, as they had to.
    #[must_use]
    pub fn ended_lost(self, ended_lost: usize) -> Self {
        Self { ended_lost, ..self }
    }

    /// Prints it, and appends it to the file that `GANTRY_FAULT_RESULTS` names.
    pub fn report(self, checked: &Checked) {
        self.write(
            checked.accepted,
            checked.finished,
            checked.duplicates,
            checked.accepted - checked.finished,
            checked.recovery,
            checked.ended_lost,
        );
    }

    /// For faults that are judged otherwise: so many runs were accepted, and all ended once.
    pub fn all_ended(self, accepted: usize, recovery: Option<Duration>) {
        let ended_lost = self.ended_lost;
        self.write(accepted, accepted, 0, 0, recovery, ended_lost);
    }

    fn write(
        self,
        accepted: usize,
        finished: usize,
        duplicates: usize,
        lost: usize,
        recovery: Option<Duration>,
        ended_lost: usize,
    ) {
        let line = json!({
            "fault": self.fault,
            "rounds": self.rounds,
            // As text: it has more digits than tools that read JSON keep.
            "seed": self.seed.to_string(),
            "accepted": accepted,
            "final": finished,
            "duplicates": duplicates,
            "lost": lost,
            "recovery_ms": recovery.map(|took| took.as_millis() as u64),
            "ended_lost": ended_lost,
            "note": self.note,
        });
        say(&format!("fault {line}"));
        if let Some(path) = std::env::var_os("GANTRY_FAULT_RESULTS") {
            let file = std::fs::File::options().create(true).append(true).open(path);
            let mut file = file.expect("the file of results");
            // One write: tests run side by side.
            file.write_all(format!("{line}\n").as_bytes()).expect("the file of results");
        }
    }
}
