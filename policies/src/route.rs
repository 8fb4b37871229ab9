//! From a model name to the ordered list of places that may answer: the primary first, then the fallbacks.
//!
//! A model string is `provider/model`, split at the first `/` where the prefix is the name of a configured provider. Anything
//! else is a bare model, slashes and all, and is resolved by the virtual key's weights, by the route that the request came
//! in on, or by the one provider that has a key for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;

use crate::denied::Denied;
use crate::draw::{Draw, sane};
use crate::pick::KeyRule;
use crate::principal::{Principal, ProviderGrant};

/// Further fallbacks are dropped: each costs a full round of attempts, and nobody waits for that many.
const MAX_FALLBACKS: usize = 16;

/// What a request says about where it wants to go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// The body's `model`.
    pub model: &'a str,
    /// The body's `provider`, from clients that send the two apart; `model` is then taken as it stands.
    pub provider: Option<&'a str>,
    /// The provider that a route prefix stands for: `openai` on `/openai`. `None` on native routes.
    pub default_provider: Option<&'a str>,
    /// The body's `fallbacks`, each `provider/model`.
    pub fallbacks: &'a [String],
}

/// The configured providers, and what their keys say about models.
#[derive(Clone, Debug, Default)]
pub struct Known {
    providers: BTreeMap<Arc<str>, Vec<KeyRule>>,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// At least one; the first is the primary.
    pub targets: Vec<Target>,
    /// The caller's fallbacks that are not among the targets.
    pub dropped: Vec<Dropped>,
}

/// One place that may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The provider's configured name.
    pub provider: Arc<str>,
    /// The model, without its provider.
    pub model: String,
    /// 0 for the primary, then counted up.
    pub fallback_index: usize,
    /// Why it is among them.
    pub why: Why,
}

/// Why a place is among the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The request names the provider.
    Named,
    /// The route's prefix stands for the provider.
    Prefix,
    /// No other provider is in question for this model.
    OnlyOne,
    /// Drawn by the virtual key's weights.
    Drawn,
    /// Not drawn, so next in order of weight.
    NextByWeight,
    /// A fallback of the request.
    Fallback,
}

impl Why {
    /// In words, for a reader.
    pub fn words(self) -> &'static str {
        match self {
            Self::Named => "the request names the provider",
            Self::Prefix => "the route stands for the provider",
            Self::OnlyOne => "no other provider is in question for this model",
            Self::Drawn => "drawn by the virtual key's weights",
            Self::NextByWeight => "the virtual key's next provider by weight",
            Self::Fallback => "a fallback of the request",
        }
    }
}

/// A fallback that will not be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// What the caller wrote.
    pub fallback: String,
    /// Why it is no use, for the log.
    pub reason: String,
}

/// The targets of a request, in the order in which to try them.
///
/// The caller's fallbacks are used if there are any; those that cannot be are dropped, and reported. Without any, a bare model
/// that was drawn by the virtual key's weights falls back to the other providers of that draw, heaviest first.
///
/// # Errors
/// A refusal of the primary: [`Denied::ModelMissing`], [`Denied::ModelFormat`], [`Denied::UnknownProvider`],
/// [`Denied::ProviderBlocked`] or [`Denied::ModelBlocked`]. It is final: fallbacks do not get round it.
pub fn targets(
    request: &Request<'_>,
    principal: Option<&Principal>,
    known: &Known,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Routed, Denied> {
    let rules = Rules { principal, known };
    let mut places = rules.places(request, rng)?;
    if !request.fallbacks.is_empty() {
        places.truncate(1);
    }
    let mut routed = Routed { targets: Vec::with_capacity(places.len()), dropped: Vec::new() };
    for place in places {
        routed.push(place);
    }
    for fallback in request.fallbacks {
        let named = rules.named(fallback.trim()).map(|place| Place { why: Why::Fallback, ..place });
        match named.map_err(|denied| denied.to_string()).and_then(|place| routed.admit(place)) {
            Ok(place) => routed.push(place),
            Err(reason) => routed.dropped.push(Dropped { fallback: fallback.clone(), reason }),
        }
    }
    Ok(routed)
}

/// A place that is to become a target.
struct Place {
    provider: Arc<str>,
    model: String,
    why: Why,
}

/// What is the same for every decision about one request.
struct Rules<'a> {
    principal: Option<&'a Principal>,
    known: &'a Known,
}

/// A provider that may answer for a bare model.
struct Candidate<'a> {
    provider: &'a Arc<str>,
    /// 0 without a weight.
    weight: f64,
    /// The virtual key mentions this very model for it.
    singled_out: bool,
    /// The virtual key or one of the provider's keys mentions this very model.
    named: bool,
}

// === impl Rules ===

impl Rules<'_> {
    /// The primary, and behind it the fallbacks that follow from how it was chosen.
    fn places(&self, request: &Request<'_>, rng: &mut (impl Rng + ?Sized)) -> Result<Vec<Place>, Denied> {
        let model = request.model.trim();
        if model.is_empty() {
            return Err(Denied::ModelMissing);
        }
        if let Some(provider) = request.provider.map(str::trim).filter(|provider| !provider.is_empty()) {
            return Ok(vec![self.permitted(provider, model)?]);
        }
        if self.known.split(model).is_some() {
            return Ok(vec![self.named(model)?]);
        }
        let providers = match self.principal.and_then(|principal| principal.provider_grants.as_deref()) {
            Some(grants) => self.granted(grants, model, request.default_provider, rng)?,
            None => vec![self.free(model, request.default_provider)?],
        };
        let place = |(provider, why)| Place { provider, model: model.to_owned(), why };
        Ok(providers.into_iter().map(place).collect())
    }

    /// A place given as `provider/model`.
    fn named(&self, text: &str) -> Result<Place, Denied> {
        match self.known.split(text) {
            Some((_, "")) => Err(Denied::ModelFormat),
            Some((provider, model)) => self.permitted(provider, model),
            None => Err(self.unplaceable(text)),
        }
    }

    /// A place given in two parts.
    fn permitted(&self, provider: &str, model: &str) -> Result<Place, Denied> {
        let provider = self.known.find(provider).ok_or_else(|| self.unknown(provider))?;
        if let Some(principal) = self.principal {
            principal.grant(provider, model)?;
        }
        Ok(Place { provider: Arc::clone(provider), model: model.to_owned(), why: Why::Named })
    }

    /// A bare model from a caller who may use every provider.
    fn free(&self, model: &str, default: Option<&str>) -> Result<(Arc<str>, Why), Denied> {
        if let Some(provider) = default {
            let provider = self.known.find(provider).cloned().ok_or_else(|| self.unknown(provider))?;
            return Ok((provider, Why::Prefix));
        }
        let candidates = self.known.providers.keys().map(|provider| {
            let named = self.known.names(provider, model);
            Candidate { provider, weight: 0.0, singled_out: false, named }
        });
        let candidates: Vec<Candidate<'_>> = candidates.filter(|it| it.named || !model.contains('/')).collect();
        the_one(&candidates).map(|provider| (provider, Why::OnlyOne)).ok_or_else(|| self.unplaceable(model))
    }

    /// A bare model from a caller with grants. The route's provider answers if the key grants it and singles out no other for
    /// this very model; otherwise the weights decide; and without weights, whichever is the only one in question.
    fn granted(
        &self,
        grants: &[ProviderGrant],
        model: &str,
        default: Option<&str>,
        rng: &mut (impl Rng + ?Sized),
    ) -> Result<Vec<(Arc<str>, Why)>, Denied> {
        let candidates = self.candidates(grants, model, default);
        if candidates.is_empty() {
            return Err(self.no_candidate(model, default));
        }
        let of_route = candidates.iter().find(|it| default == Some(&**it.provider));
        let weights_decide = candidates.iter().any(|it| it.singled_out && it.weight > 0.0);
        match of_route {
            Some(candidate) if !weights_decide => Ok(vec![(Arc::clone(candidate.provider), Why::Prefix)]),
            _ => by_weight(&candidates, rng)
                .or_else(|| the_one(&candidates).map(|provider| vec![(provider, Why::OnlyOne)]))
                .ok_or(Denied::ModelFormat),
        }
    }

    /// The granted providers that may answer for a bare model. Providers with a key for it are preferred to those without;
    /// and a name with a slash, which may as well be a mistyped provider, needs somebody who mentions it.
    fn candidates(&self, grants: &[ProviderGrant], model: &str, default: Option<&str>) -> Vec<Candidate<'_>> {
        let mut candidates: Vec<Candidate<'_>> = Vec::new();
        for grant in grants.iter().filter(|grant| grant.allows_model(model)) {
            let Some(provider) = self.known.find(&grant.provider) else { continue };
            if candidates.iter().all(|earlier| earlier.provider != provider) {
                let weight = sane(grant.weight.unwrap_or(0.0));
                let singled_out = grant.allowed_models.names(model);
                let named = singled_out || self.known.names(provider, model);
                candidates.push(Candidate { provider, weight, singled_out, named });
            }
        }
        if default.is_none() && model.contains('/') {
            candidates.retain(|it| it.named);
        }
        if candidates.iter().any(|it| self.known.serves(it.provider, model)) {
            candidates.retain(|it| self.known.serves(it.provider, model));
        }
        candidates
    }

    fn no_candidate(&self, model: &str, default: Option<&str>) -> Denied {
        match default {
            Some(provider) => match self.permitted(provider, model) {
                Err(denied) => denied,
                Ok(_) => Denied::ModelBlocked { model: model.to_owned(), provider: Some(provider.to_owned()) },
            },
            None if model.contains('/') => self.unplaceable(model),
            None => Denied::ModelBlocked { model: model.to_owned(), provider: None },
        }
    }

    /// Why a text without a known provider in front is no place.
    fn unplaceable(&self, text: &str) -> Denied {
        match text.split_once('/') {
            Some((prefix, _)) if !prefix.is_empty() => self.unknown(prefix),
            _ => Denied::ModelFormat,
        }
    }

    /// Names only the providers that this caller may use: the rest is none of its business.
    fn unknown(&self, provider: &str) -> Denied {
        let usable = |name: &&Arc<str>| self.principal.is_none_or(|principal| principal.may_use(name));
        let known = self.known.providers.keys().filter(usable).map(ToString::to_string).collect();
        Denied::UnknownProvider { provider: provider.to_owned(), known }
    }
}

/// One candidate drawn by weight, and behind it the others that have a weight, heaviest first; `None` if none has.
fn by_weight(candidates: &[Candidate<'_>], rng: &mut (impl Rng + ?Sized)) -> Option<Vec<(Arc<str>, Why)>> {
    let mut weighted: Vec<&Candidate<'_>> = candidates.iter().filter(|it| it.weight > 0.0).collect();
    weighted.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    let mut draw = Draw::new();
    for (place, candidate) in weighted.iter().enumerate() {
        draw.offer(place, candidate.weight, rng);
    }
    weighted.get_mut(..=draw.outcome()?)?.rotate_right(1);
    let why = [Why::Drawn].into_iter().chain(std::iter::repeat(Why::NextByWeight));
    Some(weighted.iter().map(|it| Arc::clone(it.provider)).zip(why).collect())
}

/// The only candidate that is named; failing that, the only candidate.
fn the_one(candidates: &[Candidate<'_>]) -> Option<Arc<str>> {
    let named: Vec<&Candidate<'_>> = candidates.iter().filter(|it| it.named).collect();
    match (named.as_slice(), candidates) {
        ([one], _) => Some(Arc::clone(one.provider)),
        (_, [one]) => Some(Arc::clone(one.provider)),
        _ => None,
    }
}

// === impl Routed ===

impl Routed {
    fn push(&mut self, Place { provider, model, why }: Place) {
        self.targets.push(Target { provider, model, fallback_index: self.targets.len(), why });
    }

    /// Lets a fallback in unless it would be tried for the second time, or there are too many.
    fn admit(&self, place: Place) -> Result<Place, String> {
        if self.targets.iter().any(|target| target.provider == place.provider && target.model == place.model) {
            return Err("it is already among the targets".to_owned());
        }
        if self.targets.len() > MAX_FALLBACKS {
            return Err(format!("more than {MAX_FALLBACKS} fallbacks"));
        }
        Ok(place)
    }
}

// === impl Known ===

impl Known {
    /// Adds a provider with its keys; one that needs no key has none, and serves every model.
    pub fn insert(&mut self, provider: impl Into<Arc<str>>, keys: &[KeyRule]) {
        self.providers.insert(provider.into(), keys.to_vec());
    }

    /// The provider's name as it is shared, if it is configured.
    pub fn find(&self, provider: &str) -> Option<&Arc<str>> {
        self.providers.get_key_value(provider).map(|(name, _)| name)
    }

    /// The names of all providers, sorted.
    pub fn names_of_all(&self) -> impl Iterator<Item = &Arc<str>> {
        self.providers.keys()
    }

    /// `provider/model` in its parts, if the prefix is a provider.
    pub fn split<'m>(&self, text: &'m str) -> Option<(&'m str, &'m str)> {
        text.split_once('/').filter(|(prefix, _)| self.providers.contains_key(*prefix))
    }

    fn serves(&self, provider: &str, model: &str) -> bool {
        self.providers.get(provider).is_some_and(|keys| keys.is_empty() || keys.iter().any(|key| key.serves(model)))
    }

    fn names(&self, provider: &str, model: &str) -> bool {
        self.providers.get(provider).is_some_and(|keys| keys.iter().any(|key| key.names(model)))
    }
}
