//! What belongs to one provider's account and names no model: files, batches, stored responses. It goes to the provider that
//! the caller names, method, path, query and body as they came.
//!
//! A thing belongs to the key that made it, and nothing in a request says which that was. So the keys are asked one after the
//! other until one knows it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bifrost_policies::{Denied, Pinned};
use bifrost_providers::failure::FailureKind;
use bifrost_providers::provider::{Passage, failure_of, returnable};
use bifrost_providers::transport::Answer;
use bifrost_providers::{Dialect, Failure, Losses};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::Admitted;
use super::answer::Reply;
use super::ask;
use super::attempt::{MAX_ERROR_BYTES, MAX_REPLY_BYTES};
use super::dispatch::Served;
use super::forward::forwarded;
use super::grant::Grant;
use super::lane::Lane;
use super::passing::{self, Passed};
use super::refusal::Refusal;
use super::refuse;
use super::upload::Upload;
use crate::state::{KeyState, ProviderState, State};

/// A request that is passed on.
#[derive(Debug)]
pub struct Verbatim {
    pub method: Method,
    /// Below the provider's base URL, query included.
    pub path: String,
    /// What its callers and its providers speak.
    pub dialect: Dialect,
    /// The provider that is to have it, if anybody said so.
    pub provider: Option<String>,
    pub headers: HeaderMap,
    pub content_type: Option<HeaderValue>,
    pub body: Upload,
}

/// Answers one request. Never fails: a refusal is an answer too.
pub async fn serve(admitted: Admitted, asked: Verbatim) -> Reply {
    let Admitted { state, principal, mut grant } = admitted;
    let allowed = |name: &str| principal.as_ref().is_none_or(|principal| principal.may_use(name));
    let found = asked.provider(&state, allowed).and_then(|(name, provider)| {
        let mine = |key: &&KeyState| principal.as_ref().is_none_or(|principal| principal.may_use_key(name, &key.id));
        let keys = asked.chosen(name, provider.usable_keys().filter(mine).collect())?;
        Ok((name, provider, keys))
    });
    match found {
        Ok((name, provider, keys)) => {
            grant.record().provider = name.to_string();
            match asked.pass(&state, (name, provider), keys, &mut grant).await {
                Ok((served, passed)) => passing::reply(served, passed, grant, 0),
                Err(refusal) => refuse(&refusal, asked.dialect, grant),
            }
        }
        Err(refusal) => refuse(&refusal, asked.dialect, grant),
    }
}

impl Verbatim {
    fn provider<'s>(
        &self,
        state: &'s State,
        allowed: impl Fn(&str) -> bool,
    ) -> Result<(&'s Arc<str>, &'s ProviderState), Refusal> {
        let Some(wanted) = self.provider.as_deref() else {
            return Err(Refusal::Http {
                status: StatusCode::BAD_REQUEST,
                kind: "invalid_request_error",
                message: "name the provider that this belongs to: ?provider=openai".to_owned(),
            });
        };
        let Some((name, provider)) = state.providers.get_key_value(wanted) else {
            let known = state.providers.keys().filter(|name| allowed(name)).map(ToString::to_string).collect();
            return Err(Denied::UnknownProvider { provider: wanted.to_owned(), known }.into());
        };
        if !allowed(name) {
            return Err(Denied::ProviderBlocked { provider: name.to_string() }.into());
        }
        Ok((name, provider))
    }

    /// The one key that the caller insists on, if it does.
    fn chosen<'s>(&self, provider: &str, mut keys: Vec<&'s KeyState>) -> Result<Vec<&'s KeyState>, Refusal> {
        let Some(pinned) = ask::pinned(&self.headers) else { return Ok(keys) };
        let (by, value) = match pinned {
            Pinned::Id(id) => ("id", id),
            Pinned::Name(name) => ("name", name),
        };
        keys.retain(|key| if by == "id" { key.id == value } else { key.name == value });
        if keys.is_empty() {
            let (provider, value) = (provider.to_owned(), value.to_owned());
            return Err(Denied::NoSuchKey { provider, by, value }.into());
        }
        Ok(keys)
    }

    async fn pass(
        &self,
        state: &State,
        (name, provider): (&Arc<str>, &ProviderState),
        keys: Vec<&KeyState>,
        grant: &mut Grant,
    ) -> Result<(Served, Passed), Refusal> {
        let permit = provider.queue.enter().await?;
        let mut last = None;
        for key in keys {
            grant.record().key_id.clone_from(&key.id);
            grant.record().key_name.clone_from(&key.name);
            let began = Instant::now();
            let asked = self.ask(state, key).await;
            grant.waited_upstream(began.elapsed());
            match asked {
                Ok((status, headers, passed)) => {
                    let (provider, upstream) = (name.clone(), self.dialect);
                    let losses = Losses::default();
                    let headers = returnable(&headers);
                    let served = Served::new((provider, upstream), Lane::Relay, losses, (status, headers), permit);
                    return Ok((served, passed));
                }
                Err(failure) => {
                    let elsewhere = another_key_may_know(&failure) && !self.body.is_spent();
                    last = Some(failure);
                    if !elsewhere {
                        break;
                    }
                }
            }
        }
        let no_key = || Denied::NoKeys { provider: name.to_string(), model: String::new() };
        if let Some(fault) = self.body.fault() {
            return Err(fault);
        }
        let failure = last.ok_or_else(no_key)?;
        Err(Refusal::Failed { provider: name.clone(), upstream: self.dialect, failure })
    }

    async fn ask(&self, state: &State, key: &KeyState) -> Result<(StatusCode, HeaderMap, Passed), Box<Failure>> {
        let provider = key.site("", self.dialect).provider;
        if !provider.row().speaks(self.dialect) {
            let message = format!("{} {} is not supported by {} provider", self.method, self.path, provider.name());
            return Err(Box::new(Failure::new(FailureKind::Rejected, message)));
        }
        let credential = key.credential().await?;
        let call = provider.pass(Passage {
            method: self.method.clone(),
            path: &self.path,
            credential: credential.as_deref(),
            forwarded: &forwarded(&self.headers, &state.header_filter, self.dialect),
            content_type: self.content_type.as_ref(),
            body: Bytes::new(),
            now: SystemTime::now(),
        })?;
        let answer = if self.body.is_empty() {
            provider.send(call).await
        } else {
            provider.pour(call, self.body.pour("")).await.map_err(|failure| self.body.explained(failure))
        };
        let Answer { status, headers, body } = answer?;
        if !status.is_success() {
            let body = body.collect(MAX_ERROR_BYTES).await?;
            return Err(failure_of(self.dialect.codec(), status, &headers, body, SystemTime::now()));
        }
        let passed = Passed::read(&headers, body, MAX_REPLY_BYTES).await?;
        Ok((status, headers, passed))
    }
}

/// The key knows nothing of it, or is not let in itself.
fn another_key_may_know(failure: &Failure) -> bool {
    failure.status == Some(StatusCode::NOT_FOUND) || failure.kind == FailureKind::Credential
}
