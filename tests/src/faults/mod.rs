//! What fault tests share: a load that knows what it was promised, the invariants that hold after any fault, and the line
//! that each test contributes to the summary.

mod invariants;
mod load;
mod row;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;

pub use invariants::{Allowed, Checked, Checker};
pub use load::{Load, Promise, effects_file, fake_run};
pub use row::Row;

/// How often a fault is repeated: `GANTRY_FAULT_ROUNDS`, or the short form's number. With the long form (50), `share` says
/// how many of those an outage gets (10: every tenth).
pub fn rounds(short: u32, share: u32) -> u32 {
    match number("GANTRY_FAULT_ROUNDS") {
        Some(rounds) => (rounds as u32 / share.max(1)).max(short.min(1)),
        None => short,
    }
}

/// Whether this is the long form.
pub fn is_long() -> bool {
    number("GANTRY_FAULT_ROUNDS").is_some_and(|rounds| rounds >= 10)
}

/// The random numbers of a test; the seed is printed, and `GANTRY_FAULT_SEED` repeats them.
pub fn random(test: &str) -> (u64, SmallRng) {
    let seed = number("GANTRY_FAULT_SEED").unwrap_or_else(rand::random);
    say(&format!("{test}: seed {seed}"));
    (seed, SmallRng::seed_from_u64(seed))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[allow(clippy::print_stdout, reason = "whoever runs the tests reads it")]
fn say(text: &str) {
    println!("{text}");
}
