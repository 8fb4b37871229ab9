//! A weighted draw in one pass: offer each item once, and each is the outcome with a chance of its weight over the sum.
//!
//! One pass, because the items change under the draw (a key is parked by another request): there is no sum to go stale.

use rand::{Rng, RngExt};

/// Larger weights than this are cut, so that no sum of weights overflows.
const MAX_WEIGHT: f64 = 1e12;

/// A draw under way. Items of weight 0 stand by: they are drawn, evenly, only if nothing with a weight was offered.
#[derive(Debug)]
pub(crate) struct Draw<T> {
    weighted: Option<T>,
    total: f64,
    standby: Option<T>,
    standbys: u32,
}

/// A usable weight: at least 0, not infinite, and a number.
pub(crate) fn sane(weight: f64) -> f64 {
    if weight.is_finite() { weight.clamp(0.0, MAX_WEIGHT) } else { 0.0 }
}

// === impl Draw ===

impl<T> Draw<T> {
    pub(crate) fn new() -> Self {
        Self { weighted: None, total: 0.0, standby: None, standbys: 0 }
    }

    /// Offers one item; `weight` must be [`sane`].
    pub(crate) fn offer(&mut self, item: T, weight: f64, rng: &mut (impl Rng + ?Sized)) {
        if weight > 0.0 {
            self.total += weight;
            if rng.random::<f64>() * self.total < weight {
                self.weighted = Some(item);
            }
        } else {
            self.standbys = self.standbys.saturating_add(1);
            if rng.random_range(0..self.standbys) == 0 {
                self.standby = Some(item);
            }
        }
    }

    /// The item drawn; `None` if none was offered.
    pub(crate) fn outcome(self) -> Option<T> {
        self.weighted.or(self.standby)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    const ROUNDS: u32 = 20_000;

    fn shares(weights: &[f64], seed: u64) -> Vec<f64> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut counts = vec![0_u32; weights.len()];
        for _ in 0..ROUNDS {
            let mut draw = Draw::new();
            for (index, weight) in weights.iter().enumerate() {
                draw.offer(index, *weight, &mut rng);
            }
            counts[draw.outcome().unwrap()] += 1;
        }
        counts.iter().map(|count| f64::from(*count) / f64::from(ROUNDS)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn shares_follow_the_weights(weights in prop::collection::vec(0_u8..=20, 1..6), seed: u64) {
            let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            let total: f64 = weights.iter().sum();
            let even = f64::from(u32::try_from(weights.len()).unwrap()).recip();
            for (share, weight) in shares(&weights, seed).iter().zip(&weights) {
                let expected = if total > 0.0 { weight / total } else { even };
                prop_assert!((share - expected).abs() < 0.02, "{share} of {expected} for {weights:?}");
                prop_assert!(*weight > 0.0 || total == 0.0 || *share == 0.0, "a standby was drawn: {weights:?}");
            }
        }
    }

    #[test]
    fn weights_are_made_usable() {
        let table =
            [(1.5, 1.5), (0.0, 0.0), (-3.0, 0.0), (f64::NAN, 0.0), (f64::INFINITY, 0.0), (f64::MAX, MAX_WEIGHT)];
        for (given, used) in table {
            assert!((sane(given) - used).abs() < f64::EPSILON, "{given}");
        }
    }

    #[test]
    fn nothing_offered_nothing_drawn() {
        assert!(Draw::<u8>::new().outcome().is_none());
    }
}
