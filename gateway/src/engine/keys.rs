//! The keys that one request may use at one target: the configured ones, or the one that it brought.

use std::time::Instant;

use bifrost_policies::pick::RestReason;
use bifrost_policies::{KeyIndex, KeyPool, KeySet, NoKey, Target, Wanted};
use http::StatusCode;
use secrecy::SecretString;

use super::ask::{self, Ask};
use super::names;
use super::plan::Plan;
use super::refusal::Refusal;
use crate::state::{Brought, KeyState, NotBrought, ProviderState, Resource, State};

/// A provider's key that came with a request, and the resource at Azure that it opens.
#[derive(Debug)]
pub struct OwnKey {
    key: SecretString,
    resource: Option<Resource>,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Keys<'a> {
    upstream: &'a ProviderState,
    brought: Option<&'a Brought>,
}

// === impl OwnKey ===

impl OwnKey {
    /// What this request brought, where callers may and it does not say otherwise (`x-bf-direct-key: false`).
    pub fn of(ask: &Ask, state: &State) -> Option<Self> {
        if !state.direct_keys {
            return None;
        }
        let said = ask::text(&ask.headers, &names::DIRECT_KEY);
        if said.is_some_and(|said| said.eq_ignore_ascii_case("false")) {
            return None;
        }
        let key = ask::credentials(&ask.headers).brought(&state.keyring)?.into();
        let endpoint = ask::text(&ask.headers, &names::AZURE_ENDPOINT).filter(|url| !url.is_empty());
        let resource =
            |endpoint: &str| Resource { endpoint: endpoint.to_owned(), api_version: ask.api_version.clone() };
        Some(Self { key, resource: endpoint.map(resource) })
    }

    /// As a key of this target; `None` for fallbacks to other providers, whose key it is not.
    pub fn at(plan: &Plan, target: &Target, upstream: &ProviderState) -> Result<Option<Brought>, Refusal> {
        let Some(own) = &plan.own_key else { return Ok(None) };
        if plan.targets.first().is_none_or(|primary| primary.provider != target.provider) {
            return Ok(None);
        }
        upstream.brought(&own.key, own.resource.as_ref()).map(Some).map_err(|why| refused(&why))
    }

    /// It is the caller's own, so that the caller has to hear what is wrong with it; but not in words that may quote it.
    pub fn refused_by(provider: &str, status: Option<StatusCode>) -> Refusal {
        let message = format!("{provider} refused the key that the request brought");
        Refusal::Http { status: status.unwrap_or(StatusCode::UNAUTHORIZED), kind: "invalid_api_key", message }
    }
}

fn refused(why: &NotBrought) -> Refusal {
    let kind = match why {
        NotBrought::Key(_) => "invalid_api_key",
        NotBrought::Endpoint(_) | NotBrought::Nowhere => "invalid_request_error",
    };
    Refusal::Http { status: StatusCode::BAD_REQUEST, kind, message: why.to_string() }
}

// === impl Keys ===

impl<'a> Keys<'a> {
    pub fn new(upstream: &'a ProviderState, brought: Option<&'a Brought>) -> Self {
        Self { upstream, brought }
    }

    /// Did the request bring its own?
    pub fn are_brought(&self) -> bool {
        self.brought.is_some()
    }

    /// What a key must have. Grants and pins are about configured keys.
    pub fn wanted<'w>(&self, plan: &'w Plan, target: &'w Target) -> Wanted<'w> {
        let wanted = plan.wanted(target);
        if self.are_brought() { Wanted { within: None, pinned: None, ..wanted } } else { wanted }
    }

    pub fn pick(&self, wanted: &Wanted<'_>, tried: &KeySet, now: Instant) -> Result<KeyIndex, NoKey> {
        self.pool().pick(wanted, tried, now, &mut rand::rng())
    }

    pub fn any_free(&self, wanted: &Wanted<'_>, tried: &KeySet, now: Instant) -> bool {
        self.pool().any_free(wanted, tried, now)
    }

    pub fn rest(&self, index: KeyIndex, reason: RestReason, now: Instant) {
        self.pool().rest(index, reason, now);
    }

    pub fn healthy(&self, index: KeyIndex, now: Instant) {
        self.pool().healthy(index, now);
    }

    pub fn key(&self, index: KeyIndex) -> Option<&'a KeyState> {
        match self.brought {
            Some(brought) => Some(&brought.key),
            None => self.upstream.key(index),
        }
    }

    fn pool(&self) -> &'a KeyPool {
        self.brought.map_or(&self.upstream.keys, |brought| &brought.pool)
    }
}
