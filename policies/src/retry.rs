//! What to do after a failed attempt: the same key again, another key, the next target, or nothing.
//!
//! `max_retries` counts retries on one key. Moving to another healthy key of the provider does not consume it, because it
//! costs the provider nothing that the caller did not pay for; and once real content has reached the client nothing is
//! retried at all.

use std::time::Duration;

use rand::{Rng, RngExt};

/// A provider's retry settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Retries on one key, not counting its first attempt.
    pub max_retries: u32,
    /// The first back-off; it doubles with each retry.
    pub initial: Duration,
    /// No back-off is longer.
    pub max: Duration,
}

/// What kind of failure it was, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Could not connect.
    Connect,
    /// The provider stayed silent for longer than one attempt may.
    Timeout,
    /// The connection broke, or the reply ended before its end.
    Broken,
    /// 429, or an error that says so inside another status.
    RateLimited,
    /// 500, 502, 503, 504, 529: the provider is overloaded or down.
    Unavailable,
    /// 401, 402, 403: the key was refused.
    Credential,
    /// Other 4xx: this provider would refuse the request again.
    Rejected,
    /// The answer could not be understood.
    Unreadable,
    /// The whole request ran out of time.
    Expired,
    /// The client went away.
    Cancelled,
}

/// One failed attempt, and how the request stands after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What went wrong.
    pub kind: FailureKind,
    /// What the provider asked callers to wait.
    pub retry_after: Option<Duration>,
    /// Whether another key of the provider is fit, untried and not resting.
    pub other_key_free: bool,
    /// Whether real content of this reply has reached the client, or what was asked cannot be sent again.
    pub committed: bool,
    /// Retries made on this key so far: 0 after its first attempt.
    pub retries_on_key: u32,
    /// Time left until the request's deadline; `None` without one.
    pub remaining: Option<Duration>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait this long, then try the same key again.
    SameKey(Duration),
    /// Try another key of the provider at once.
    OtherKey,
    /// Go on to the next target at once; without one the request has failed.
    NextTarget,
    /// The request has failed; other targets are not tried.
    GiveUp,
}

/// A `Retry-After` up to this is waited out in place even where the configured back-off is shorter: failing a request to save
/// so little helps nobody. Longer ones are the caller's to wait, who is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// The next step after a failure. The caller parks the key itself, where the failure calls for it.
pub fn next(budget: &Budget, facts: &Facts, rng: &mut (impl Rng + ?Sized)) -> Step {
    if facts.committed || facts.remaining.is_some_and(|left| left.is_zero()) {
        return Step::GiveUp;
    }
    match facts.kind {
        FailureKind::Expired | FailureKind::Cancelled => Step::GiveUp,
        FailureKind::Credential | FailureKind::RateLimited if facts.other_key_free => Step::OtherKey,
        FailureKind::Credential | FailureKind::Rejected => Step::NextTarget,
        FailureKind::RateLimited
        | FailureKind::Connect
        | FailureKind::Timeout
        | FailureKind::Broken
        | FailureKind::Unavailable
        | FailureKind::Unreadable => same_key_or_next(budget, facts, rng),
    }
}

fn same_key_or_next(budget: &Budget, facts: &Facts, rng: &mut (impl Rng + ?Sized)) -> Step {
    if facts.retries_on_key >= budget.max_retries {
        return Step::NextTarget;
    }
    let back_off = budget.back_off(facts.retries_on_key, rng);
    let wait = facts.retry_after.map_or(back_off, |asked| asked.max(back_off));
    let bearable = wait <= budget.max.max(PATIENCE);
    let in_time = facts.remaining.is_none_or(|left| wait < left);
    if bearable && in_time { Step::SameKey(wait) } else { Step::NextTarget }
}

// === impl Budget ===

impl Budget {
    /// `min(initial * 2^retries, max)`, spread by 20 % either way so that callers who failed together do not return together,
    /// and again at most `max`.
    fn back_off(&self, retries: u32, rng: &mut (impl Rng + ?Sized)) -> Duration {
        let doubled = self.initial.saturating_mul(2_u32.saturating_pow(retries)).min(self.max);
        let spread = doubled.as_secs_f64() * rng.random_range(0.8..1.2);
        Duration::try_from_secs_f64(spread).unwrap_or(self.max).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const BUDGET: Budget = Budget { max_retries: 3, initial: Duration::from_millis(500), max: Duration::from_secs(5) };

    const ANSWERED: Facts = Facts {
        kind: FailureKind::Unavailable,
        retry_after: None,
        other_key_free: true,
        committed: false,
        retries_on_key: 0,
        remaining: None,
    };

    const ALL: [FailureKind; 10] = [
        FailureKind::Connect,
        FailureKind::Timeout,
        FailureKind::Broken,
        FailureKind::RateLimited,
        FailureKind::Unavailable,
        FailureKind::Credential,
        FailureKind::Rejected,
        FailureKind::Unreadable,
        FailureKind::Expired,
        FailureKind::Cancelled,
    ];

    /// A step without its duration.
    #[derive(Debug, PartialEq)]
    enum Move {
        Same,
        Other,
        Next,
        Stop,
    }

    fn decide(facts: Facts) -> Move {
        match next(&BUDGET, &facts, &mut StdRng::seed_from_u64(1)) {
            Step::SameKey(_) => Move::Same,
            Step::OtherKey => Move::Other,
            Step::NextTarget => Move::Next,
            Step::GiveUp => Move::Stop,
        }
    }

    #[test]
    fn each_failure_has_its_step() {
        // kind, with another key free, with none, with none and the retries on this key used up
        let table = [
            (FailureKind::Connect, Move::Same, Move::Same, Move::Next),
            (FailureKind::Timeout, Move::Same, Move::Same, Move::Next),
            (FailureKind::Broken, Move::Same, Move::Same, Move::Next),
            (FailureKind::Unavailable, Move::Same, Move::Same, Move::Next),
            (FailureKind::Unreadable, Move::Same, Move::Same, Move::Next),
            (FailureKind::RateLimited, Move::Other, Move::Same, Move::Next),
            (FailureKind::Credential, Move::Other, Move::Next, Move::Next),
            (FailureKind::Rejected, Move::Next, Move::Next, Move::Next),
            (FailureKind::Expired, Move::Stop, Move::Stop, Move::Stop),
            (FailureKind::Cancelled, Move::Stop, Move::Stop, Move::Stop),
        ];
        for (kind, other_free, alone, used_up) in table {
            let facts = Facts { kind, ..ANSWERED };
            assert_eq!(decide(facts), other_free, "{kind:?}, another key free");
            assert_eq!(decide(Facts { other_key_free: false, ..facts }), alone, "{kind:?}, no other key");
            let last = Facts { other_key_free: false, retries_on_key: BUDGET.max_retries, ..facts };
            assert_eq!(decide(last), used_up, "{kind:?}, retries used up");
        }
    }

    #[test]
    fn moving_to_another_key_costs_no_retry() {
        for kind in [FailureKind::RateLimited, FailureKind::Credential] {
            assert_eq!(decide(Facts { kind, retries_on_key: BUDGET.max_retries, ..ANSWERED }), Move::Other);
        }
    }

    #[test]
    fn nothing_follows_content_or_the_deadline() {
        for kind in ALL {
            assert_eq!(decide(Facts { kind, committed: true, ..ANSWERED }), Move::Stop, "{kind:?}");
            assert_eq!(decide(Facts { kind, remaining: Some(Duration::ZERO), ..ANSWERED }), Move::Stop, "{kind:?}");
        }
    }

    #[test]
    fn retry_after_is_waited_out_only_where_that_is_sane() {
        let limited = Facts { kind: FailureKind::RateLimited, other_key_free: false, ..ANSWERED };
        let step = |asked: u64, remaining: Option<u64>, budget: &Budget| {
            let facts = Facts {
                retry_after: Some(Duration::from_secs(asked)),
                remaining: remaining.map(Duration::from_secs),
                ..limited
            };
            next(budget, &facts, &mut StdRng::seed_from_u64(1))
        };
        let quick = Budget { max: Duration::from_millis(100), ..BUDGET };
        let slow = Budget { max: Duration::from_mins(1), ..BUDGET };
        assert_eq!(step(3, None, &BUDGET), Step::SameKey(Duration::from_secs(3)));
        assert_eq!(step(5, None, &quick), Step::SameKey(Duration::from_secs(5)), "short waits are always borne");
        assert_eq!(step(6, None, &BUDGET), Step::NextTarget);
        assert_eq!(step(30, None, &slow), Step::SameKey(Duration::from_secs(30)));
        assert_eq!(step(3, Some(3), &BUDGET), Step::NextTarget, "the deadline comes first");
        assert_eq!(step(3, Some(4), &BUDGET), Step::SameKey(Duration::from_secs(3)));
        assert_eq!(step(315_360_000, None, &BUDGET), Step::NextTarget, "ten years");
        assert!(matches!(step(0, None, &BUDGET), Step::SameKey(wait) if wait >= Duration::from_millis(400)));
    }

    proptest! {
        #[test]
        fn back_off_doubles_within_its_spread(retries in 0_u32..80, initial in 0_u64..10_000, max in 0_u64..60_000, seed: u64) {
            let budget = Budget { max_retries: 99, initial: Duration::from_millis(initial), max: Duration::from_millis(max) };
            let wait = budget.back_off(retries, &mut StdRng::seed_from_u64(seed));
            let doubled = u128::from(initial) << retries.min(40);
            let middle = doubled.min(u128::from(max));
            prop_assert!(wait <= budget.max);
            prop_assert!(wait.as_nanos() <= middle * 1_200_001);
            prop_assert!(wait.as_nanos() + 1000 >= middle * 799_999);
        }

        #[test]
        fn a_request_never_runs_past_its_deadline(
            kind in prop::sample::select(ALL.to_vec()),
            asked in prop::option::of(0_u64..100_000),
            left in 0_u64..20_000,
            retries in 0_u32..6,
            other_key_free: bool,
            seed: u64,
        ) {
            let left = Duration::from_millis(left);
            let facts = Facts {
                kind, other_key_free, retry_after: asked.map(Duration::from_millis),
                committed: false, retries_on_key: retries, remaining: Some(left),
            };
            if let Step::SameKey(wait) = next(&BUDGET, &facts, &mut StdRng::seed_from_u64(seed)) {
                prop_assert!(wait < left);
                prop_assert!(retries < BUDGET.max_retries);
            }
        }
    }
}
