//! The algorithm, in microseconds. All that is known of a subject is when its whole burst will be there again.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::{Decision, Limit};

/// Decides about a request at `now`; with it comes what is to be remembered, if that is new.
pub(crate) fn decide(
    known: Option<u64>,
    now: u64,
    limit: Limit,
    cost: NonZeroU32,
) -> (Decision, Option<u64>) {
    let interval = limit.interval();
    let room = interval.saturating_mul(u64::from(limit.burst.get()));
    // Later than that it can only be after the clock was set back or the limit was changed.
    let full_at = known.unwrap_or(now).clamp(now, now.saturating_add(room));
    let next = full_at.saturating_add(interval.saturating_mul(u64::from(cost.get())));
    let wait = next.saturating_sub(now).saturating_sub(room);
    let allowed = wait == 0;
    let kept = if allowed { next } else { full_at };
    let decision = Decision {
        allowed,
        limit: limit.burst.get(),
        remaining: u32::try_from((room - (kept - now)) / interval).unwrap_or(u32::MAX),
        retry_after: Duration::from_micros(wait),
        reset: Duration::from_micros(kept - now),
    };
    // A debt that was cut is kept as it was cut: it is not owed again at the next request.
    let cut = known.is_some_and(|known| known > full_at);
    (decision, (allowed || cut).then_some(kept))
}
