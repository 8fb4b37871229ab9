//! Attempts: target after target, key after key, until one begins to answer.
//!
//! Nothing has reached the client while this runs, so everything may still be tried. What to try after a failure is decided
//! by `policies::retry`; this file carries it out and keeps the account.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bifrost_policies::pick::RestReason;
use bifrost_policies::retry::{self, Facts, Step};
use bifrost_policies::{Denied, KeyIndex, KeySet, Permit, Target};
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::provider::{Outgoing, failure_of, returnable};
use bifrost_providers::transport::Answer;
use bifrost_providers::{ChatReply, Dialect, Failure, Losses, Malformed, tap};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::forward::forwarded;
use super::grant::{Grant, clipped};
use super::hold::Held;
use super::lane::Lane;
use super::plan::{Plan, Prepared};
use super::refusal::Refusal;
use crate::record::Attempt;
use crate::state::{KeyState, ProviderState, Site};

/// The largest whole reply that is taken from a provider.
const MAX_REPLY_BYTES: usize = 256 << 20;
/// The largest error body: more than any provider says, and a bound.
const MAX_ERROR_BYTES: usize = 1 << 20;

/// An answer that has begun.
#[derive(Debug)]
pub struct Started {
    pub served: Served,
    pub source: Source,
}

/// Who answers, and how.
#[derive(Debug)]
pub struct Served {
    pub provider: Arc<str>,
    pub upstream: Dialect,
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
}

/// Tries the targets in order. When all fail, the primary's error is the answer: the caller asked for the primary.
pub async fn dispatch(plan: &mut Plan, grant: &mut Grant) -> Result<Started, Refusal> {
    let mut first: Option<(Refusal, Target, String)> = None;
    while let Some(target) = plan.targets.get(plan.at).cloned() {
        match try_target(plan, &target, grant).await {
            Ok(started) => return Ok(started),
            Err(refusal) => {
                let move_on = refusal.may_fall_back();
                first.get_or_insert_with(|| (refusal, target, grant.facts().model.clone()));
                if !move_on {
                    break;
                }
                plan.at += 1;
            }
        }
    }
    let Some((refusal, target, model)) = first else { return Err(Denied::ModelMissing.into()) };
    grant.asked(&target);
    grant.record().model = model;
    Err(refusal)
}

async fn try_target(plan: &mut Plan, target: &Target, grant: &mut Grant) -> Result<Started, Refusal> {
    let state = plan.state.clone();
    let Some(upstream) = state.providers.get(&target.provider) else {
        let known = state.providers.keys().map(ToString::to_string).collect();
        return Err(Denied::UnknownProvider { provider: target.provider.to_string(), known }.into());
    };
    grant.asked(target);
    let permit = upstream.queue.enter().await?;
    let attempts = Attempts {
        plan,
        target,
        upstream,
        tried: KeySet::default(),
        retries_on_key: 0,
        last: None,
        permit: Some(permit),
    };
    attempts.run(grant).await
}

impl ProviderState {
    /// Refuses a request type that the operator has not opened (`custom_provider_config.allowed_requests`).
    pub fn demand(&self, site: &Site<'_>, stream: bool) -> Result<(), Refusal> {
        let request_type = Endpoint::chat(site.dialect).request_type(stream);
        if self.allowed_requests.as_ref().is_none_or(|allowed| allowed.contains(request_type)) {
            return Ok(());
        }
        let message = format!("{request_type} is not supported by {} provider", site.provider.name());
        let failure = Box::new(Failure::new(FailureKind::Rejected, message));
        Err(Refusal::Failed { provider: site.provider.name().into(), upstream: site.dialect, failure })
    }
}

/// The attempts at one target.
struct Attempts<'a> {
    plan: &'a mut Plan,
    target: &'a Target,
    upstream: &'a ProviderState,
    tried: KeySet,
    retries_on_key: u32,
    last: Option<Refusal>,
    /// The place in the provider's queue.
    permit: Option<Permit>,
}

/// A key, and the request as it goes out under it.
struct Ready<'a> {
    key: &'a KeyState,
    site: Site<'a>,
    prepared: Prepared,
    forwarded: HeaderMap,
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
}

impl<'a> Attempts<'a> {
    async fn run(mut self, grant: &mut Grant) -> Result<Started, Refusal> {
        let mut index = self.pick()?;
        let mut ready = self.ready(index, None)?;
        loop {
            grant.goes_to(ready.key, &ready.site, ready.prepared.lane);
            let began = Instant::now();
            let outcome = self.attempt(&ready).await;
            grant.waited_upstream(began.elapsed());
            let failure = match outcome {
                Ok((answered, source)) => {
                    self.upstream.keys.healthy(index, Instant::now());
                    return Ok(self.started(ready, &answered, source, grant));
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
        let Some(key) = upstream.key(index) else { return Err(self.no_key()) };
        let site = key.site(&self.target.model, self.plan.ask.dialect);
        if let Some(before) = before
            && before.site == site
        {
            return Ok(Ready { key, ..before });
        }
        upstream.demand(&site, self.plan.stream())?;
        let prepared = self.plan.prepare(&site)?;
        let forwarded = forwarded(&self.plan.ask.headers, &self.plan.state.header_filter, site.dialect);
        Ok(Ready { key, site, prepared, forwarded })
    }

    fn started(self, ready: Ready<'_>, answered: &Answered, source: Source, grant: &mut Grant) -> Started {
        let Prepared { lane, hide_usage, losses, .. } = ready.prepared;
        grant.lost(&losses);
        let served = Served {
            provider: self.target.provider.clone(),
            upstream: ready.site.dialect,
            lane,
            hide_usage,
            losses,
            status: answered.status,
            headers: returnable(&answered.headers),
            permit: self.permit,
        };
        Started { served, source }
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

    async fn attempt(&self, ready: &Ready<'_>) -> Result<(Answered, Source), Box<Failure>> {
        let stream = self.plan.stream();
        let Ready { key, site, prepared, forwarded } = ready;
        let provider = site.provider;
        let credential = key.credential().await?;
        let call = provider.call(Outgoing {
            endpoint: Endpoint::chat(site.dialect),
            model: site.model,
            stream,
            credential: credential.as_deref(),
            forwarded,
            body: prepared.body.clone(),
            now: SystemTime::now(),
        })?;
        let Answer { status, headers, body } = provider.send(call).await?;
        let dialect = site.dialect;
        if stream && status.is_success() && dialect.framing().fits(&headers) {
            let held = Held::open(body, dialect, provider.stream_patience()).await?;
            return Ok((Answered { status, headers }, Source::Stream(Box::new(held))));
        }
        let cap = if status.is_success() { MAX_REPLY_BYTES } else { MAX_ERROR_BYTES };
        let body = body.collect(cap).await?;
        if !status.is_success() {
            return Err(failure_of(dialect.codec(), status, &headers, body, SystemTime::now()));
        }
        let mut tap = Box::new(tap::whole(dialect, &body));
        if let Some(failure) = tap.error.take() {
            return Err(with_headers(failure, &headers, &body));
        }
        let reply = self.read(prepared.lane, dialect, &body)?;
        Ok((Answered { status, headers }, Source::Whole { body, tap, reply }))
    }

    /// Reads a whole reply here, where one that makes no sense is a failed attempt like any other.
    fn read(&self, lane: Lane, dialect: Dialect, body: &[u8]) -> Result<Option<Box<ChatReply>>, Box<Failure>> {
        if lane == Lane::Relay && !self.plan.stream() {
            return Ok(None);
        }
        let unreadable = |malformed: Malformed| {
            let message = format!("the reply is not {}: {malformed}", dialect.name());
            Box::new(Failure::new(FailureKind::Unreadable, message))
        };
        dialect.codec().decode_reply(body).map(|reply| Some(Box::new(reply))).map_err(unreadable)
    }

    /// Parks the key where the failure calls for it, and asks the policy what comes next.
    fn after(&mut self, index: KeyIndex, failure: &Failure) -> Step {
        let now = Instant::now();
        match failure.kind {
            FailureKind::RateLimited => {
                let reason = RestReason::RateLimited { retry_after: failure.retry_after };
                self.upstream.keys.rest(index, reason, now);
            }
            FailureKind::Credential => {
                self.upstream.keys.rest(index, RestReason::Refused, now);
            }
            _ => {}
        }
        let mut tried = self.tried.clone();
        tried.insert(index);
        let facts = Facts {
            kind: policy_kind(failure.kind),
            retry_after: failure.retry_after,
            other_key_free: self.upstream.keys.any_free(&self.plan.wanted(self.target), &tried, now),
            committed: false,
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
        let metrics = &self.plan.engine.metrics;
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
        let wanted = self.plan.wanted(self.target);
        let none = match self.upstream.keys.pick(&wanted, &self.tried, now, &mut rand::rng()) {
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
        let upstream = site.dialect;
        Refusal::Failed { provider: self.target.provider.clone(), upstream, failure }
    }
}

/// An error found inside a 200 keeps what the provider's headers said about waiting.
fn with_headers(mut failure: Box<Failure>, headers: &HeaderMap, body: &Bytes) -> Box<Failure> {
    failure.headers = returnable(headers);
    failure.retry_after =
        failure.retry_after.or_else(|| bifrost_providers::provider::retry_after(headers, SystemTime::now()));
    if failure.body.is_empty() && body.len() <= MAX_ERROR_BYTES {
        failure.body = body.clone();
    }
    failure
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
