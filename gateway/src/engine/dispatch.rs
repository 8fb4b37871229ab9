//! Attempts: target after target, key after key, until one begins to answer.
//!
//! Nothing has reached the client while this runs, so everything may still be tried. What to try after a failure is decided
//! by `policies::retry`; this file carries it out and keeps the account.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bifrost_policies::pick::RestReason;
use bifrost_policies::retry::{self, Facts, Step};
use bifrost_policies::{Denied, KeyIndex, KeySet, Permit, Target};
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::provider::returnable;
use bifrost_providers::{ChatReply, Dialect, Failure, Losses, tap};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::forward::forwarded;
use super::grant::{Grant, clipped};
use super::hold::Held;
use super::keys::{Keys, OwnKey};
use super::lane::Lane;
use super::owners::Owned;
use super::plan::{Plan, Prepared};
use super::refusal::Refusal;
use crate::record::Attempt;
use crate::state::{KeyState, ProviderState, Site};

/// What is asked of providers: how it is said at a place, and what an answer to it is.
pub trait Errand: Send {
    type Answer: Send;

    /// Who asks, and where it may go.
    fn plan(&self) -> &Plan;
    fn plan_mut(&mut self) -> &mut Plan;
    /// The operation that this is at a place; `None` where there is none like it.
    fn operation(&self, site: &Site<'_>) -> Option<Endpoint>;
    fn prepare(&mut self, site: &Site<'_>) -> Result<Prepared, Refusal>;
    /// Can what it sends not be sent again?
    fn is_spent(&self) -> bool {
        false
    }
    /// Asks once, under one key.
    fn attempt(&self, ready: &Ready<'_>) -> impl Future<Output = Result<Received<Self::Answer>, Box<Failure>>> + Send;
}

/// What came back of an attempt that worked.
#[derive(Debug)]
pub struct Received<A> {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub answer: A,
}

/// An answer that has begun.
#[derive(Debug)]
pub struct Started<A = Source> {
    pub served: Served,
    pub source: A,
}

/// Who answers, and how.
#[derive(Debug)]
pub struct Served {
    pub provider: Arc<str>,
    pub upstream: Dialect,
    /// The model that was asked, by the provider's name for it.
    pub model: String,
    pub lane: Lane,
    pub hide_usage: bool,
    /// What the request lost on its way there.
    pub losses: Losses,
    pub status: StatusCode,
    /// What the client gets to see of the provider's headers.
    pub headers: HeaderMap,
    /// The place in the provider's queue, held until the answer has ended.
    permit: Option<Permit>,
}

/// The answer's content.
#[derive(Debug)]
pub enum Source {
    /// `reply` is there wherever it is not passed on as it came.
    Whole {
        body: Bytes,
        tap: Box<tap::Whole>,
        reply: Option<Box<ChatReply>>,
    },
    Stream(Box<Held>),
}

impl Served {
    /// Of an answer that is passed on.
    pub fn new(
        (provider, upstream): (Arc<str>, Dialect),
        lane: Lane,
        losses: Losses,
        (status, headers): (StatusCode, HeaderMap),
        permit: Permit,
    ) -> Self {
        Self {
            provider,
            upstream,
            model: String::new(),
            lane,
            hide_usage: false,
            losses,
            status,
            headers,
            permit: Some(permit),
        }
    }

    /// Gives the place in the provider's queue back before the answer's account is closed: its content is here, and whoever
    /// runs tools now must not keep others (or the tools themselves) from asking the same provider.
    pub fn release(&mut self) {
        self.permit = None;
    }
}

impl Started {
    pub fn is_stream(&self) -> bool {
        matches!(self.source, Source::Stream(_))
    }

    /// The answer as a thing that its provider keeps, where it does. `grant` still says under which key it was asked.
    pub fn kept(&self, grant: &Grant) -> Option<Owned> {
        let id = match &self.source {
            Source::Whole { tap, .. } => tap.kept.as_ref(),
            Source::Stream(held) => held.tap().kept(),
        }?;
        Some(Owned {
            provider: self.served.provider.clone(),
            key: grant.facts().key_id.clone(),
            id: id.to_plain().into_owned(),
            since: Vec::new(),
        })
    }
}

/// Tries the targets in order. When all fail, the primary's error is the answer: the caller asked for the primary.
pub async fn dispatch<E: Errand>(errand: &mut E, grant: &mut Grant) -> Result<Started<E::Answer>, Refusal> {
    let mut first: Option<(Refusal, Target, String)> = None;
    while let Some(target) = errand.plan().targets.get(errand.plan().at).cloned() {
        match try_target(errand, &target, grant).await {
            Ok(started) => return Ok(started),
            Err(refusal) => {
                let move_on = refusal.may_fall_back() && !errand.is_spent();
                first.get_or_insert_with(|| (refusal, target, grant.facts().model.clone()));
                if !move_on {
                    break;
                }
                errand.plan_mut().at += 1;
            }
        }
    }
    let Some((refusal, target, model)) = first else { return Err(Denied::ModelMissing.into()) };
    grant.asked(&target);
    grant.record().model = model;
    Err(refusal)
}

async fn try_target<E: Errand>(
    errand: &mut E,
    target: &Target,
    grant: &mut Grant,
) -> Result<Started<E::Answer>, Refusal> {
    let state = errand.plan().state.clone();
    let Some(upstream) = state.providers.get(&target.provider) else {
        let known = state.providers.keys().map(ToString::to_string).collect();
        return Err(Denied::UnknownProvider { provider: target.provider.to_string(), known }.into());
    };
    grant.asked(target);
    let brought = OwnKey::at(errand.plan(), target, upstream)?;
    let permit = upstream.queue.enter().await?;
    let attempts = Attempts {
        errand,
        target,
        upstream,
        keys: Keys::new(upstream, brought.as_ref()),
        tried: KeySet::default(),
        retries_on_key: 0,
        last: None,
        permit: Some(permit),
    };
    attempts.run(grant).await
}

impl ProviderState {
    /// Refuses a request type that the operator has not opened (`custom_provider_config.allowed_requests`).
    pub fn demand(&self, site: &Site<'_>, operation: Option<Endpoint>, asked: (Endpoint, bool)) -> Result<(), Refusal> {
        if operation.is_some() && self.allowed_requests.is_none() {
            return Ok(());
        }
        let request_type = operation.unwrap_or(asked.0).request_type(asked.1);
        let open = self.allowed_requests.as_ref().is_none_or(|allowed| allowed.contains(request_type));
        if open && operation.is_some() {
            return Ok(());
        }
        let message = format!("{request_type} is not supported by {} provider", site.provider.name());
        let failure = Box::new(Failure::new(FailureKind::Rejected, message));
        Err(Refusal::Failed { provider: site.provider.name().into(), upstream: site.dialect, failure })
    }
}

/// The attempts at one target.
struct Attempts<'a, E> {
    errand: &'a mut E,
    target: &'a Target,
    upstream: &'a ProviderState,
    keys: Keys<'a>,
    tried: KeySet,
    retries_on_key: u32,
    last: Option<Refusal>,
    /// The place in the provider's queue.
    permit: Option<Permit>,
}

/// A key, and the request as it goes out under it.
#[derive(Debug)]
pub struct Ready<'a> {
    pub key: &'a KeyState,
    pub site: Site<'a>,
    pub operation: Endpoint,
    pub prepared: Prepared,
    pub forwarded: HeaderMap,
}

impl<'a, E: Errand> Attempts<'a, E> {
    async fn run(mut self, grant: &mut Grant) -> Result<Started<E::Answer>, Refusal> {
        let mut index = self.pick()?;
        let mut ready = self.ready(index, None)?;
        loop {
            grant.goes_to(ready.key, &ready.site, ready.prepared.lane);
            let began = Instant::now();
            let outcome = self.errand.attempt(&ready).await;
            grant.waited_upstream(began.elapsed());
            let failure = match outcome {
                Ok(received) => {
                    self.keys.healthy(index, Instant::now());
                    return Ok(self.started(ready, received, grant));
                }
                Err(failure) => failure,
            };
            let step = self.after(index, &failure);
            self.note(ready.key, &failure, step, grant);
            self.last = Some(self.refusal(&ready.site, failure));
            match step {
                Step::SameKey(wait) => {
                    self.retries_on_key += 1;
                    self.back_off(wait).await?;
                }
                Step::OtherKey => {
                    self.tried.insert(index);
                    self.retries_on_key = 0;
                    index = self.pick()?;
                    ready = self.ready(index, Some(ready))?;
                }
                Step::NextTarget | Step::GiveUp => return Err(self.no_key()),
            }
        }
    }

    /// The request as it goes out under this key. What was made for the key before serves again where both send the same.
    fn ready(&mut self, index: KeyIndex, before: Option<Ready<'a>>) -> Result<Ready<'a>, Refusal> {
        let upstream = self.upstream;
        let Some(key) = self.keys.key(index) else { return Err(self.no_key()) };
        let plan = self.errand.plan();
        let site = key.site(&self.target.model, plan.ask.dialect);
        if let Some(before) = before
            && before.site == site
        {
            return Ok(Ready { key, ..before });
        }
        let operation = self.errand.operation(&site);
        let asked = (plan.ask.endpoint, plan.stream());
        upstream.demand(&site, operation, asked)?;
        let forwarded = forwarded(&plan.ask.headers, &plan.state.header_filter, site.dialect);
        let operation = operation.unwrap_or(asked.0);
        let prepared = self.errand.prepare(&site)?;
        Ok(Ready { key, site, operation, prepared, forwarded })
    }

    fn started(self, ready: Ready<'_>, received: Received<E::Answer>, grant: &mut Grant) -> Started<E::Answer> {
        let Prepared { lane, hide_usage, losses, .. } = ready.prepared;
        grant.lost(&losses);
        let served = Served {
            provider: self.target.provider.clone(),
            upstream: ready.site.dialect,
            model: ready.site.model.to_owned(),
            lane,
            hide_usage,
            losses,
            status: received.status,
            headers: returnable(&received.headers),
            permit: self.permit,
        };
        Started { served, source: received.answer }
    }

    /// Waits with the place given back, so that others may use it, and then queues for one like everybody else. Who is not let
    /// in again has failed for the reason it waited for.
    async fn back_off(&mut self, wait: Duration) -> Result<(), Refusal> {
        self.permit = None;
        tokio::time::sleep(wait).await;
        match self.upstream.queue.enter().await {
            Ok(permit) => self.permit = Some(permit),
            Err(denied) => return Err(self.last.take().unwrap_or(Refusal::Denied(denied))),
        }
        Ok(())
    }

    /// Parks the key where the failure calls for it, and asks the policy what comes next.
    fn after(&mut self, index: KeyIndex, failure: &Failure) -> Step {
        let now = Instant::now();
        match failure.kind {
            FailureKind::RateLimited => {
                let reason = RestReason::RateLimited { retry_after: failure.retry_after };
                self.keys.rest(index, reason, now);
            }
            FailureKind::Credential => {
                self.keys.rest(index, RestReason::Refused, now);
            }
            _ => {}
        }
        let mut tried = self.tried.clone();
        tried.insert(index);
        let facts = Facts {
            kind: policy_kind(failure.kind),
            retry_after: failure.retry_after,
            other_key_free: self.keys.any_free(&self.keys.wanted(self.errand.plan(), self.target), &tried, now),
            committed: self.errand.is_spent(),
            retries_on_key: self.retries_on_key,
            remaining: None,
        };
        retry::next(&self.upstream.retry, &facts, &mut rand::rng())
    }

    fn note(&self, key: &KeyState, failure: &Failure, step: Step, grant: &mut Grant) {
        let rotated = step == Step::OtherKey;
        let record = grant.record();
        record.attempts.push(Attempt {
            provider: self.target.provider.to_string(),
            key_name: key.name.clone(),
            reason: clipped(&key.redacted(&failure.to_string())),
            status: failure.status.map(|status| status.as_u16()),
            rotated,
        });
        let metrics = &self.errand.plan().engine.metrics;
        if matches!(step, Step::SameKey(_) | Step::OtherKey) {
            record.retries += 1;
        }
        if rotated {
            let reason = reason(failure.kind);
            metrics.rotated(&self.target.provider, &self.target.model, (&key.id, &key.name), reason);
        }
    }

    fn pick(&mut self) -> Result<KeyIndex, Refusal> {
        let now = Instant::now();
        let wanted = self.keys.wanted(self.errand.plan(), self.target);
        let none = match self.keys.pick(&wanted, &self.tried, now) {
            Ok(index) => return Ok(index),
            Err(none) => none,
        };
        match none.denied(&self.target.provider, &wanted, now) {
            Some(denied) if self.last.is_none() => Err(Refusal::Denied(denied)),
            _ => Err(self.no_key()),
        }
    }

    /// The last failure is the answer where there was one.
    fn no_key(&mut self) -> Refusal {
        let provider = self.target.provider.to_string();
        self.last.take().unwrap_or(Refusal::Denied(Denied::NoKeys { provider, model: self.target.model.clone() }))
    }

    fn refusal(&self, site: &Site<'_>, failure: Box<Failure>) -> Refusal {
        if self.keys.are_brought() && failure.kind == FailureKind::Credential {
            return OwnKey::refused_by(&self.target.provider, failure.status);
        }
        let upstream = site.dialect;
        Refusal::Failed { provider: self.target.provider.clone(), upstream, failure }
    }
}

fn policy_kind(kind: FailureKind) -> retry::FailureKind {
    match kind {
        FailureKind::Connect => retry::FailureKind::Connect,
        FailureKind::FirstByteTimeout | FailureKind::IdleTimeout => retry::FailureKind::Timeout,
        FailureKind::TotalTimeout => retry::FailureKind::Expired,
        FailureKind::Broken => retry::FailureKind::Broken,
        FailureKind::RateLimited => retry::FailureKind::RateLimited,
        FailureKind::Unavailable => retry::FailureKind::Unavailable,
        FailureKind::Credential => retry::FailureKind::Credential,
        FailureKind::Rejected => retry::FailureKind::Rejected,
        FailureKind::Unreadable => retry::FailureKind::Unreadable,
    }
}

/// Few, stable values for a metric label.
fn reason(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::RateLimited => "rate_limited",
        FailureKind::Credential => "credential_refused",
        _ => "failure",
    }
}

/// How long a finished stream may keep its connection before it is given up, so that it can be used again.
pub const LINGER: Duration = Duration::from_millis(250);
