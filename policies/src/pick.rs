//! Which of a provider's keys carries the next attempt.
//!
//! A key must be enabled, allow the model, lie within the virtual key's grant, not have been tried for this request, and not
//! be resting. Among those that are left the draw is by weight; or, for a caller with a session, a fixed choice by weight,
//! so that a conversation stays on the key whose prompt cache it has warmed up.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use rand::Rng;

use crate::access::{ModelRule, blacklists};
pub use crate::cooldown::RestReason;
use crate::cooldown::{Cooldown, millis};
use crate::denied::Denied;
use crate::draw::{Draw, sane};

/// One key of a provider, without its secret.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyRule {
    /// Unique within the provider. Session stickiness hangs on it, so it should outlive restarts.
    pub id: String,
    /// The configured name, which callers may pin.
    pub name: String,
    /// The share of requests; only the ratio to the other keys matters. 0 is drawn only when no key with a weight is free.
    pub weight: f64,
    /// The models that this key serves, by the names that callers use.
    pub models: ModelRule,
    /// Names of the key's own for models of its provider. It serves them whatever `models` says.
    pub aliases: Vec<String>,
    /// Models that the key does not serve, even where `models` or `aliases` have them.
    pub blacklisted: Vec<String>,
    /// A disabled key is never picked.
    pub enabled: bool,
}

/// The keys of one provider and which of them rest. Shared by all requests; takes no lock.
#[derive(Debug)]
pub struct KeyPool {
    keys: Vec<Key>,
    base: Instant,
}

/// A key of the pool that handed it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyIndex(usize);

/// The keys that one request has moved on from. Allocates nothing until the first goes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    words: Vec<u64>,
}

/// What one attempt needs of a key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The model, as the caller names it, without its provider.
    pub model: &'a str,
    /// Only keys with these ids: the virtual key's grant. `None` for any.
    pub within: Option<&'a [String]>,
    /// The one key that the caller insists on.
    pub pinned: Option<Pinned<'a>>,
    /// The caller's session, hashed by [`affinity`]: the same session gets the same key for as long as that key is free.
    pub affinity: Option<u64>,
}

/// A key that the caller chose itself, which ignores weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned<'a> {
    /// `x-bf-api-key-id`
    Id(&'a str),
    /// `x-bf-api-key`
    Name(&'a str),
}

/// Why no key can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// No enabled key allows the model, within what was asked for.
    NoneFits,
    /// Every key that fits was tried for this request, and not all of them rest.
    AllTried,
    /// Every key that fits rests, at least one of them for a rate limit.
    AllResting {
        /// When the first rate-limited key is back.
        until: Instant,
    },
    /// Every key that fits was refused by the provider, now or lately.
    AllRefused,
}

#[derive(Debug)]
struct Key {
    rule: KeyRule,
    /// The id, hashed once for the fixed choices.
    seed: u64,
    cooldown: Cooldown,
}

/// A session, or whatever else marks requests that share a prompt cache, as a number that is the same on every replica.
pub fn affinity(session: &[u8]) -> u64 {
    scramble(fnv1a(session))
}

// === impl KeyPool ===

impl KeyPool {
    /// A pool in which no key rests. `base` is any moment before the pool's first use.
    pub fn new(rules: Vec<KeyRule>, base: Instant) -> Self {
        let keys = rules.into_iter().map(|mut rule| {
            rule.weight = sane(rule.weight);
            Key { seed: fnv1a(rule.id.as_bytes()), rule, cooldown: Cooldown::default() }
        });
        Self { keys: keys.collect(), base }
    }

    /// The key for the next attempt.
    ///
    /// # Errors
    /// [`NoKey`] says why there is none.
    pub fn pick(
        &self,
        wanted: &Wanted<'_>,
        tried: &KeySet,
        now: Instant,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<KeyIndex, NoKey> {
        let at = self.offset(now);
        let free = self.free(wanted, tried, at);
        let choice = match wanted.affinity {
            Some(session) => by_session(session, free),
            None => by_chance(free, rng),
        };
        choice.ok_or_else(|| self.why_none(wanted, at))
    }

    /// Whether [`Self::pick`] would find a key now.
    pub fn any_free(&self, wanted: &Wanted<'_>, tried: &KeySet, now: Instant) -> bool {
        self.free(wanted, tried, self.offset(now)).next().is_some()
    }

    /// Parks a key that the provider turned away, and says until when. A refusal parks for a minute and longer each time; a
    /// limit for what the provider asked, at most an hour, or for a second and longer each time.
    pub fn rest(&self, index: KeyIndex, reason: RestReason, now: Instant) -> Instant {
        let Some(key) = self.keys.get(index.0) else { return now };
        self.instant(key.cooldown.rest(reason, self.offset(now)), now)
    }

    /// Records that the provider took the key: its pauses start small again. Does not end a rest under way.
    pub fn healthy(&self, index: KeyIndex, now: Instant) {
        if let Some(key) = self.keys.get(index.0) {
            key.cooldown.healthy(self.offset(now));
        }
    }

    /// The rule behind an index of this pool.
    pub fn rule(&self, index: KeyIndex) -> Option<&KeyRule> {
        self.keys.get(index.0).map(|key| &key.rule)
    }

    /// How many keys there are, and how many of them rest now: a gauge.
    pub fn resting(&self, now: Instant) -> (usize, usize) {
        let at = self.offset(now);
        (self.keys.len(), self.keys.iter().filter(|key| key.cooldown.resting(at).is_some()).count())
    }

    /// Every key, and whether the provider takes it as far as we know: a gauge. A rate limit is no refusal.
    pub fn standing(&self, now: Instant) -> impl Iterator<Item = (&KeyRule, bool)> {
        let at = self.offset(now);
        self.keys.iter().map(move |key| (&key.rule, !key.cooldown.resting(at).is_some_and(|rest| rest.refused)))
    }

    fn fitting<'a>(&'a self, wanted: &'a Wanted<'_>) -> impl Iterator<Item = (KeyIndex, &'a Key)> {
        self.keys.iter().enumerate().filter(|(_, key)| wanted.fits(&key.rule)).map(|(at, key)| (KeyIndex(at), key))
    }

    fn free<'a>(
        &'a self,
        wanted: &'a Wanted<'_>,
        tried: &'a KeySet,
        at: u64,
    ) -> impl Iterator<Item = (KeyIndex, &'a Key)> {
        self.fitting(wanted).filter(move |(index, key)| !tried.contains(*index) && key.cooldown.resting(at).is_none())
    }

    /// Looks at tried keys too: a key that was tried and then parked is part of the reason.
    fn why_none(&self, wanted: &Wanted<'_>, at: u64) -> NoKey {
        let mut none = NoKey::NoneFits;
        let mut first_back: Option<u64> = None;
        for (_, key) in self.fitting(wanted) {
            match key.cooldown.resting(at) {
                None => return NoKey::AllTried,
                Some(rest) if rest.refused => none = NoKey::AllRefused,
                Some(rest) => first_back = Some(first_back.map_or(rest.until, |until| until.min(rest.until))),
            }
        }
        first_back.map_or(none, |until| NoKey::AllResting { until: self.instant(until, self.base) })
    }

    fn offset(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.base))
    }

    fn instant(&self, offset: u64, otherwise: Instant) -> Instant {
        self.base.checked_add(Duration::from_millis(offset)).unwrap_or(otherwise)
    }
}

fn by_chance<'a>(free: impl Iterator<Item = (KeyIndex, &'a Key)>, rng: &mut (impl Rng + ?Sized)) -> Option<KeyIndex> {
    let mut draw = Draw::new();
    for (index, key) in free {
        draw.offer(index, key.rule.weight, rng);
    }
    draw.outcome()
}

/// Weighted rendezvous hashing: each session ranks the keys in its own fixed order, in which a key comes first with a chance
/// of its weight over the sum. When the first is parked only its own sessions move, to their second, and they come back.
/// (D. Thaler and C. Ravishankar, 1998; weights as in the IETF draft on weighted highest random weight.)
fn by_session<'a>(session: u64, free: impl Iterator<Item = (KeyIndex, &'a Key)>) -> Option<KeyIndex> {
    let rank = |key: &Key| {
        let weighted = key.rule.weight > 0.0;
        let weight = if weighted { key.rule.weight } else { 1.0 };
        (weighted, weight / unit(scramble(session ^ key.seed)).ln().abs())
    };
    free.map(|(index, key)| (rank(key), index)).max_by(|(a, _), (b, _)| by_rank(*a, *b)).map(|(_, index)| index)
}

fn by_rank(a: (bool, f64), b: (bool, f64)) -> Ordering {
    a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
}

// === impl Wanted ===

impl Wanted<'_> {
    fn fits(&self, rule: &KeyRule) -> bool {
        rule.serves(self.model)
            && self.within.is_none_or(|ids| ids.contains(&rule.id))
            && self.pinned.is_none_or(|pinned| pinned.means(rule))
    }
}

// === impl Pinned ===

impl Pinned<'_> {
    fn means(self, rule: &KeyRule) -> bool {
        match self {
            Pinned::Id(id) => rule.id == id,
            Pinned::Name(name) => rule.name == name,
        }
    }
}

// === impl KeyRule ===

impl KeyRule {
    /// Whether an attempt for this model may use the key.
    pub fn serves(&self, model: &str) -> bool {
        let allowed = self.models.allows(model) || self.is_alias(model);
        self.enabled && allowed && !blacklists(&self.blacklisted, model)
    }

    /// Whether the key serves this model and says so by name.
    pub(crate) fn names(&self, model: &str) -> bool {
        self.serves(model) && (self.models.names(model) || self.is_alias(model))
    }

    fn is_alias(&self, model: &str) -> bool {
        self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(model))
    }
}

// === impl NoKey ===

impl NoKey {
    /// The refusal to answer with when no attempt was made at all. `None` for [`NoKey::AllTried`]: then there are failures to
    /// report instead.
    pub fn denied(self, provider: &str, wanted: &Wanted<'_>, now: Instant) -> Option<Denied> {
        let provider = provider.to_owned();
        Some(match (self, wanted.pinned) {
            (Self::AllTried, _) => return None,
            (Self::AllResting { until }, _) => {
                Denied::KeysResting { provider, retry_after: until.saturating_duration_since(now) }
            }
            (Self::AllRefused, _) => Denied::CredentialsExhausted { provider },
            (Self::NoneFits, None) => Denied::NoKeys { provider, model: wanted.model.to_owned() },
            (Self::NoneFits, Some(Pinned::Id(id))) => Denied::NoSuchKey { provider, by: "id", value: id.to_owned() },
            (Self::NoneFits, Some(Pinned::Name(name))) => {
                Denied::NoSuchKey { provider, by: "name", value: name.to_owned() }
            }
        })
    }
}

// === impl KeyIndex ===

impl KeyIndex {
    /// Where the key stands among the rules that the pool was made from.
    pub fn position(self) -> usize {
        self.0
    }
}

// === impl KeySet ===

impl KeySet {
    /// Adds a key.
    pub fn insert(&mut self, index: KeyIndex) {
        let word = index.0 / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(bits) = self.words.get_mut(word) {
            *bits |= 1 << (index.0 % 64);
        }
    }

    /// Whether the key is in the set.
    pub fn contains(&self, index: KeyIndex) -> bool {
        self.words.get(index.0 / 64).is_some_and(|bits| bits >> (index.0 % 64) & 1 == 1)
    }
}

// === hashing: stable across replicas and versions, which the standard hasher does not promise ===

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finalizer of `SplitMix64`: every input bit sways every output bit.
fn scramble(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A number between 0 and 1, neither of them included but for rounding.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
fn unit(word: u64) -> f64 {
    ((word >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}
