//! Picking keys: weights, sessions, cool-downs, and never a key that must not be used.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bifrost_policies::{
    Denied, KeyIndex, KeyPool, KeyRule, KeySet, ModelRule, NoKey, Pinned, RestReason, Wanted, affinity,
};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

const LIMITED: RestReason = RestReason::RateLimited { retry_after: None };
const GPT: Wanted<'_> = Wanted { model: "gpt-4o", within: None, pinned: None, affinity: None };

fn key(id: &str, weight: f64) -> KeyRule {
    KeyRule {
        id: id.to_owned(),
        name: format!("{id}-name"),
        weight,
        models: ModelRule::All,
        enabled: true,
        ..KeyRule::default()
    }
}

fn pool(keys: Vec<KeyRule>) -> (KeyPool, Instant, StdRng) {
    let base = Instant::now();
    (KeyPool::new(keys, base), base, StdRng::seed_from_u64(7))
}

fn id(pool: &KeyPool, index: KeyIndex) -> String {
    pool.rule(index).unwrap().id.clone()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The share of `rounds` picks that each key got, when the picks differ as `wanted` says.
fn shares(pool: &KeyPool, now: Instant, rounds: u32, wanted: impl Fn(u32) -> Wanted<'static>) -> HashMap<String, f64> {
    let mut rng = StdRng::seed_from_u64(42);
    let mut shares = HashMap::new();
    for round in 0..rounds {
        let index = pool.pick(&wanted(round), &KeySet::default(), now, &mut rng).unwrap();
        *shares.entry(id(pool, index)).or_default() += 1.0 / f64::from(rounds);
    }
    shares
}

fn assert_shares(shares: &HashMap<String, f64>, expected: &[(&str, f64)]) {
    for (key, share) in expected {
        let got = shares.get(*key).copied().unwrap_or_default();
        assert!((got - share).abs() < 0.02, "{key}: {got} instead of {share}");
    }
}

fn session(number: u32) -> Wanted<'static> {
    Wanted { affinity: Some(affinity(format!("session-{number}").as_bytes())), ..GPT }
}

#[test]
fn shares_follow_the_weights_with_and_without_sessions() {
    let (pool, now, _) = pool(vec![key("a", 1.0), key("b", 2.0), key("c", 7.0), key("standby", 0.0)]);
    let expected = [("a", 0.1), ("b", 0.2), ("c", 0.7), ("standby", 0.0)];
    assert_shares(&shares(&pool, now, 20_000, |_| GPT), &expected);
    assert_shares(&shares(&pool, now, 20_000, session), &expected);
}

#[test]
fn keys_without_any_weight_share_evenly() {
    let (pool, now, _) = pool(vec![key("a", 0.0), key("b", 0.0), key("c", 0.0), key("d", 0.0)]);
    let expected = [("a", 0.25), ("b", 0.25), ("c", 0.25), ("d", 0.25)];
    assert_shares(&shares(&pool, now, 20_000, |_| GPT), &expected);
    assert_shares(&shares(&pool, now, 20_000, session), &expected);
}

#[test]
fn a_session_stays_on_its_key_and_moves_only_while_that_key_rests() {
    let (pool, start, mut rng) = pool(vec![key("a", 1.0), key("b", 1.0), key("c", 2.0), key("d", 4.0)]);
    let mut pick = |number: u32, now: Instant| pool.pick(&session(number), &KeySet::default(), now, &mut rng).unwrap();
    let homes: Vec<KeyIndex> = (0..200).map(|number| pick(number, start)).collect();
    for turn in 0..10 {
        for (number, home) in (0..).zip(&homes) {
            assert_eq!(pick(number, start + seconds(turn)), *home);
        }
    }
    let dead = homes[0];
    let until = pool.rest(dead, LIMITED, start);
    for (number, home) in (0..).zip(&homes) {
        let moved = pick(number, start);
        assert_ne!(moved, dead, "never a resting key");
        assert!(*home == dead || moved == *home, "a session whose key is well does not move");
    }
    assert!((0..).zip(&homes).all(|(number, home)| pick(number, until) == *home), "and back home afterwards");
}

#[test]
fn the_key_of_a_session_does_not_change_with_the_version_or_the_replica() {
    let (pool, now, mut rng) = pool(vec![key("a", 1.0), key("b", 1.0), key("c", 1.0)]);
    let picks: Vec<String> = (0..6)
        .map(|number| id(&pool, pool.pick(&session(number), &KeySet::default(), now, &mut rng).unwrap()))
        .collect();
    assert_eq!(affinity(b"session-0"), 0x32e9_8b96_f5ba_1c47);
    assert_eq!(picks.concat(), "cbccaa");
}

#[test]
fn one_of_four_dead_one_limited_one_fine_and_all_return_after_healing() {
    let (pool, start, mut rng) = pool(vec![key("dead", 1.0), key("limited", 1.0), key("slow", 1.0), key("fine", 1.0)]);
    let find = |name: &str, rng: &mut StdRng| {
        let wanted = Wanted { pinned: Some(Pinned::Id(name)), ..GPT };
        pool.pick(&wanted, &KeySet::default(), start, rng).unwrap()
    };
    let (dead, limited) = (find("dead", &mut rng), find("limited", &mut rng));
    pool.rest(dead, RestReason::Refused, start);
    pool.rest(limited, RestReason::RateLimited { retry_after: Some(seconds(20)) }, start);
    assert_eq!(pool.resting(start), (4, 2));
    assert_shares(
        &shares(&pool, start, 10_000, |_| GPT),
        &[("dead", 0.0), ("limited", 0.0), ("slow", 0.5), ("fine", 0.5)],
    );
    let later = start + seconds(20);
    assert_shares(&shares(&pool, later, 10_000, |_| GPT), &[("dead", 0.0), ("limited", 0.333), ("fine", 0.333)]);
    let healed = start + seconds(60);
    assert_shares(&shares(&pool, healed, 10_000, |_| GPT), &[("dead", 0.25), ("limited", 0.25), ("fine", 0.25)]);
    pool.healthy(dead, healed);
    assert_eq!(pool.rest(dead, RestReason::Refused, healed), healed + seconds(60), "a success forgets the past");
    assert_eq!(pool.rest(limited, LIMITED, healed), healed + seconds(2), "without one, pauses grow");
}

#[test]
fn why_there_is_no_key() {
    let (pool, start, mut rng) = pool(vec![key("a", 1.0), key("b", 1.0)]);
    let mut tried = KeySet::default();
    let mut next = |tried: &KeySet, now: Instant| pool.pick(&GPT, tried, now, &mut rng);
    let first = next(&tried, start).unwrap();
    tried.insert(first);
    let second = next(&tried, start).unwrap();
    assert_ne!(first, second);
    tried.insert(second);
    assert_eq!(next(&tried, start), Err(NoKey::AllTried));
    pool.rest(first, RestReason::Refused, start);
    assert_eq!(next(&tried, start), Err(NoKey::AllTried));
    assert_eq!(next(&KeySet::default(), start), Ok(second));
    pool.rest(second, RestReason::RateLimited { retry_after: Some(seconds(9)) }, start);
    let resting = NoKey::AllResting { until: start + seconds(9) };
    assert_eq!(next(&tried, start), Err(resting));
    assert_eq!(next(&KeySet::default(), start), Err(resting));
    assert!(!pool.any_free(&GPT, &KeySet::default(), start));
    pool.rest(second, RestReason::Refused, start);
    assert_eq!(next(&KeySet::default(), start), Err(NoKey::AllRefused));
    assert!(next(&KeySet::default(), start + seconds(60)).is_ok());
    assert!(pool.any_free(&GPT, &KeySet::default(), start + seconds(60)));
}

#[test]
fn no_key_becomes_the_right_refusal() {
    let (pool, now, mut rng) = pool(vec![KeyRule { models: ModelRule::Only(vec!["o3".into()]), ..key("a", 1.0) }]);
    let mut refusal = |wanted: Wanted<'_>| {
        pool.pick(&wanted, &KeySet::default(), now, &mut rng).unwrap_err().denied("openai", &wanted, now).unwrap()
    };
    assert_eq!(refusal(GPT).to_string(), "no keys found that support model: gpt-4o");
    let named = Wanted { pinned: Some(Pinned::Name("x")), ..GPT };
    assert_eq!(refusal(named).to_string(), "no key found with name \"x\" for provider: openai");
    let by_id = Wanted { pinned: Some(Pinned::Id("y")), ..GPT };
    assert_eq!(refusal(by_id).to_string(), "no key found with id \"y\" for provider: openai");
    let resting = NoKey::AllResting { until: now + seconds(3) };
    let limited = Denied::KeysResting { provider: "openai".into(), retry_after: seconds(3) };
    assert_eq!(resting.denied("openai", &GPT, now), Some(limited));
    assert_eq!(NoKey::AllRefused.denied("openai", &GPT, now).unwrap().status(), 502);
    assert_eq!(NoKey::AllTried.denied("openai", &GPT, now), None);
}

#[test]
fn an_alias_is_served_beside_the_models_unless_it_is_refused() {
    let aliased = |models, blacklisted: &[&str]| KeyRule {
        models,
        aliases: vec!["fast".into()],
        blacklisted: blacklisted.iter().map(|&model| model.to_owned()).collect(),
        ..key("a", 1.0)
    };
    for (rule, model, serves) in [
        (aliased(ModelRule::Only(vec!["gpt-4o".into()]), &[]), "Fast", true),
        (aliased(ModelRule::Only(vec!["gpt-4o".into()]), &[]), "gpt-4o", true),
        (aliased(ModelRule::Only(vec!["gpt-4o".into()]), &[]), "o3", false),
        (aliased(ModelRule::None, &[]), "fast", true),
        (aliased(ModelRule::None, &[]), "gpt-4o", false),
        (aliased(ModelRule::All, &["fast"]), "fast", false),
        (KeyRule { enabled: false, ..aliased(ModelRule::All, &[]) }, "fast", false),
    ] {
        assert_eq!(rule.serves(model), serves, "{model}: {rule:?}");
    }
}

#[test]
fn pins_and_grants_narrow_and_a_pin_ignores_weights() {
    let (pool, now, mut rng) = pool(vec![key("a", 1000.0), key("b", 0.0), key("c", 1.0)]);
    let mut pick =
        |wanted: Wanted<'_>| pool.pick(&wanted, &KeySet::default(), now, &mut rng).map(|index| id(&pool, index));
    assert_eq!(pick(Wanted { pinned: Some(Pinned::Name("b-name")), ..GPT }), Ok("b".to_owned()));
    assert_eq!(pick(Wanted { pinned: Some(Pinned::Id("c")), ..GPT }), Ok("c".to_owned()));
    let grant = ["b".to_owned()];
    assert_eq!(pick(Wanted { within: Some(&grant), ..GPT }), Ok("b".to_owned()));
    let outside = Wanted { within: Some(&grant), pinned: Some(Pinned::Id("c")), ..GPT };
    assert_eq!(pick(outside), Err(NoKey::NoneFits), "a pin does not leave the grant");
    assert_eq!(pick(Wanted { within: Some(&[]), ..GPT }), Err(NoKey::NoneFits));
}

/// A key and what has happened to it.
#[derive(Clone, Debug)]
struct Case {
    weight: u8,
    enabled: bool,
    allowed: bool,
    blacklisted: bool,
    tried: bool,
    rests: Option<u64>,
    granted: bool,
}

fn cases() -> impl Strategy<Value = Vec<Case>> {
    let often = || prop::bool::weighted(0.8);
    let rarely = || prop::bool::weighted(0.2);
    let case = (0_u8..4, often(), often(), rarely(), rarely(), prop::option::weighted(0.3, 1_u64..100), often())
        .prop_map(|(weight, enabled, allowed, blacklisted, tried, rests, granted)| Case {
            weight,
            enabled,
            allowed,
            blacklisted,
            tried,
            rests,
            granted,
        });
    prop::collection::vec(case, 0..150)
}

impl Case {
    fn rule(&self, index: usize) -> KeyRule {
        let model = if self.allowed { "GPT-4o" } else { "other" };
        KeyRule {
            models: ModelRule::Only(vec![model.to_owned()]),
            blacklisted: if self.blacklisted { vec!["gpt-4o".to_owned()] } else { Vec::new() },
            enabled: self.enabled,
            ..key(&index.to_string(), f64::from(self.weight))
        }
    }

    fn usable(&self, elapsed: u64) -> bool {
        let fits = self.enabled && self.allowed && !self.blacklisted && self.granted;
        fits && !self.tried && self.rests.is_none_or(|until| elapsed >= until)
    }
}

/// The index of a key by its place in the configuration, found as a caller would: by pinning it.
fn locate(probe: &KeyPool, at: usize, now: Instant) -> KeyIndex {
    let id = at.to_string();
    let wanted = Wanted { pinned: Some(Pinned::Id(&id)), ..GPT };
    probe.pick(&wanted, &KeySet::default(), now, &mut StdRng::seed_from_u64(0)).unwrap()
}

proptest! {
    #[test]
    fn never_a_key_that_must_not_be_used(
        cases in cases(), elapsed in 0_u64..100, seed: u64, affinity in prop::option::of(any::<u64>()),
    ) {
        let base = Instant::now();
        let pool = KeyPool::new(cases.iter().enumerate().map(|(at, case)| case.rule(at)).collect(), base);
        let probe = KeyPool::new((0..cases.len()).map(|at| key(&at.to_string(), 1.0)).collect(), base);
        let mut tried = KeySet::default();
        for (at, case) in cases.iter().enumerate() {
            let index = locate(&probe, at, base);
            if case.tried { tried.insert(index) }
            if let Some(until) = case.rests {
                pool.rest(index, RestReason::RateLimited { retry_after: Some(seconds(until)) }, base);
            }
            prop_assert_eq!(tried.contains(index), case.tried);
        }
        let grant: Vec<String> = (0..cases.len()).filter(|at| cases[*at].granted).map(|at| at.to_string()).collect();
        let wanted = Wanted { within: Some(&grant), affinity, ..GPT };
        let now = base + seconds(elapsed);
        let usable: Vec<&Case> = cases.iter().filter(|case| case.usable(elapsed)).collect();
        prop_assert_eq!(pool.any_free(&wanted, &tried, now), !usable.is_empty());
        match pool.pick(&wanted, &tried, now, &mut StdRng::seed_from_u64(seed)) {
            Ok(index) => {
                let case = &cases[id(&pool, index).parse::<usize>().unwrap()];
                prop_assert!(case.usable(elapsed), "{case:?}");
                prop_assert!(case.weight > 0 || usable.iter().all(|case| case.weight == 0), "a standby before its time");
            }
            Err(_) => prop_assert!(usable.is_empty()),
        }
    }
}
