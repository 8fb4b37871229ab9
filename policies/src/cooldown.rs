//! How long a key rests after a provider turned it away, and when it is fresh again.
//!
//! The whole state is one atomic word, because every request on every core reads it on its way to a key, and a lock there
//! would be the one lock on the request path. Times are milliseconds since an `Instant` that the owner keeps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Why a key rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestReason {
    /// 429, or an error that says so inside another status.
    RateLimited {
        /// What the provider asked for; without it the pause starts at a second and doubles with each further limit.
        retry_after: Option<Duration>,
    },
    /// 401, 402 or 403: the provider does not take this key. Somebody may mend it, so it is tried again, ever less often.
    Refused,
}

/// The first pause after a rate limit that came without `Retry-After`.
const LIMITED_FIRST: Duration = Duration::from_secs(1);
/// Without `Retry-After`, no pause grows beyond this: rate limits are counted in minutes.
const LIMITED_LONGEST: Duration = Duration::from_mins(1);
/// No `Retry-After` is believed beyond this: a provider that says ten years is broken, and an hour costs one probe.
const ASKED_LONGEST: Duration = Duration::from_hours(1);
/// The first pause of a refused key: a request a minute does not upset anybody.
const REFUSED_FIRST: Duration = Duration::from_mins(1);
/// A mended key is back within this time.
const REFUSED_LONGEST: Duration = Duration::from_hours(1);

/// The resting state of one key.
#[derive(Debug, Default)]
pub(crate) struct Cooldown(AtomicU64);

/// A key at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resting {
    /// Milliseconds since the owner's base.
    pub(crate) until: u64,
    pub(crate) refused: bool,
}

/// The atomic word, unpacked: 55 bits of time (a million years), one for the reason, 8 for the count.
#[derive(Clone, Copy, Default)]
struct State {
    until: u64,
    refused: bool,
    /// Rests in a row, for the same reason and without a success in between.
    strikes: u8,
}

// === impl Cooldown ===

impl Cooldown {
    /// The rest that is going on at `at`, if any.
    pub(crate) fn resting(&self, at: u64) -> Option<Resting> {
        let state = State::unpack(self.0.load(Ordering::Relaxed));
        (at < state.until).then_some(Resting { until: state.until, refused: state.refused })
    }

    /// Starts a rest, or prolongs the one that is going on, and says when it ends.
    pub(crate) fn rest(&self, reason: RestReason, at: u64) -> u64 {
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            let next = State::unpack(word).after(reason, at);
            match self.0.compare_exchange_weak(word, next.pack(), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next.until,
                Err(changed) => word = changed,
            }
        }
    }

    /// Records a success. A key that rests keeps resting: nobody picks it, so the success is of a request that was under way
    /// before, and proves nothing about now.
    pub(crate) fn healthy(&self, at: u64) {
        let word = self.0.load(Ordering::Relaxed);
        if word != 0 && State::unpack(word).until <= at {
            // Losing the race means that somebody else knows better.
            let _ = self.0.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

// === impl State ===

impl State {
    /// The state after the provider turned the key away at `at`. Answers that arrive while the key rests belong to the same
    /// incident: they may prolong the rest and do not count again. A refusal outranks a limit.
    fn after(self, reason: RestReason, at: u64) -> Self {
        let refused = reason == RestReason::Refused;
        let same = self.refused == refused;
        let under_way = at < self.until;
        if under_way && self.refused && !refused {
            return self;
        }
        let strikes = match (same, under_way) {
            (false, _) => 1,
            (true, true) => self.strikes,
            (true, false) => self.strikes.saturating_add(1),
        };
        let until = at.saturating_add(millis(pause(reason, strikes)));
        Self { until: if under_way { until.max(self.until) } else { until }, refused, strikes }
    }

    fn pack(self) -> u64 {
        (self.until.min(u64::MAX >> 9) << 9) | (u64::from(self.refused) << 8) | u64::from(self.strikes)
    }

    fn unpack(word: u64) -> Self {
        let [strikes, ..] = word.to_le_bytes();
        Self { until: word >> 9, refused: (word >> 8) & 1 == 1, strikes }
    }
}

/// How long the rest number `strikes` in a row lasts.
fn pause(reason: RestReason, strikes: u8) -> Duration {
    let (first, longest) = match reason {
        RestReason::RateLimited { retry_after: Some(asked) } => return asked.min(ASKED_LONGEST),
        RestReason::RateLimited { retry_after: None } => (LIMITED_FIRST, LIMITED_LONGEST),
        RestReason::Refused => (REFUSED_FIRST, REFUSED_LONGEST),
    };
    let doublings = u32::from(strikes.saturating_sub(1));
    first.saturating_mul(2_u32.saturating_pow(doublings)).min(longest)
}

/// Whole milliseconds, saturating.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITED: RestReason = RestReason::RateLimited { retry_after: None };

    fn asked(seconds: u64) -> RestReason {
        RestReason::RateLimited { retry_after: Some(Duration::from_secs(seconds)) }
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        for (reason, seconds) in [
            (LIMITED, [1, 2, 4, 8, 16, 32, 60, 60]),
            (RestReason::Refused, [60, 120, 240, 480, 960, 1920, 3600, 3600]),
            (asked(7), [7; 8]),
        ] {
            let key = Cooldown::default();
            let mut at = 5;
            for expected in seconds {
                let until = key.rest(reason, at);
                assert_eq!(until - at, expected * 1000, "{reason:?}");
                assert!(key.resting(until - 1).is_some());
                assert!(key.resting(until).is_none());
                at = until;
            }
        }
    }

    #[test]
    fn absurd_retry_after_is_cut_to_an_hour() {
        for seconds in [3601, 315_360_000, u64::MAX] {
            assert_eq!(Cooldown::default().rest(asked(seconds), 0), 3_600_000);
        }
        assert_eq!(Cooldown::default().rest(asked(0), 9), 9, "nothing asked, nothing waited");
    }

    #[test]
    fn a_burst_of_limits_is_one_incident() {
        let key = Cooldown::default();
        assert_eq!(key.rest(LIMITED, 0), 1000);
        assert_eq!(key.rest(LIMITED, 10), 1010, "prolonged, not doubled");
        assert_eq!(key.rest(asked(30), 20), 30_020);
        assert_eq!(key.rest(asked(1), 30), 30_020, "never shortened");
    }

    #[test]
    fn a_refusal_outranks_a_limit() {
        let key = Cooldown::default();
        key.rest(LIMITED, 0);
        assert_eq!(key.rest(RestReason::Refused, 10), 60_010);
        assert_eq!(key.rest(asked(3600), 20), 60_010);
        assert_eq!(key.resting(30), Some(Resting { until: 60_010, refused: true }));
    }

    #[test]
    fn success_clears_the_count_and_not_a_rest_under_way() {
        let key = Cooldown::default();
        key.rest(LIMITED, 0);
        key.healthy(500);
        assert!(key.resting(500).is_some(), "an old request's success proves nothing about now");
        key.healthy(1000);
        assert_eq!(key.rest(LIMITED, 2000), 3000, "the count starts over");
    }

    proptest! {
        #[test]
        fn the_word_holds_the_state(until in 0_u64..(1 << 55), refused: bool, strikes: u8) {
            let state = State::unpack(State { until, refused, strikes }.pack());
            prop_assert_eq!((state.until, state.refused, state.strikes), (until, refused, strikes));
        }
    }
}
