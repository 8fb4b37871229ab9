//! What belongs to one provider's account and names no model: files, batches, stored responses. Method, path, query and body
//! go as they came, to the owner on record ([`super::owners`]): the provider, and the key, that made the thing.
//!
//! Where nobody is on record, or the caller names another provider, that provider's keys are asked one after the other until
//! one knows the thing: nothing in a request says which that is.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bifrost_policies::{Denied, Pinned, Principal};
use bifrost_providers::failure::FailureKind;
use bifrost_providers::provider::{Passage, failure_of, returnable};
use bifrost_providers::scan::Named;
use bifrost_providers::transport::Answer;
use bifrost_providers::{Dialect, Failure, Losses, tap};
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
use super::owners::{self, Owned, Owners};
use super::passing::{self, Passed};
use super::refusal::Refusal;
use super::refuse;
use super::upload::Upload;
use crate::state::{Engine, KeyState, ProviderState, State};

/// A request that is passed on.
#[derive(Debug)]
pub struct Verbatim {
    pub method: Method,
    /// Below the provider's base URL.
    pub path: String,
    /// Without its question mark; empty where there is none.
    pub query: String,
    /// What its callers and its providers speak.
    pub dialect: Dialect,
    /// The provider that the request names.
    pub provider: Option<String>,
    /// The provider that the route stands for.
    pub default_provider: Option<&'static str>,
    pub headers: HeaderMap,
    pub content_type: Option<HeaderValue>,
    pub body: Upload,
}

/// Who asks, and what is on record of its things.
struct Caller<'a> {
    owners: &'a dyn Owners,
    principal: Option<&'a Principal>,
}

/// Where a request goes.
struct Place<'s> {
    name: &'s Arc<str>,
    provider: &'s ProviderState,
    /// In the order in which they are asked.
    keys: Vec<&'s KeyState>,
}

/// Answers one request. Never fails: a refusal is an answer too.
pub async fn serve(engine: Arc<Engine>, admitted: Admitted, mut asked: Verbatim) -> Reply {
    let Admitted { state, principal, mut grant } = admitted;
    let caller = Caller { owners: &*engine.owners, principal: principal.as_deref() };
    let answered = match asked.placed(&state, &caller).await {
        Ok(place) => asked.pass(&state, place, &mut grant).await,
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok((served, passed)) => {
            if asked.method != Method::DELETE {
                caller.sees(&served, &passed, &grant);
            }
            passing::reply(served, passed, grant, 0)
        }
        Err(refusal) => refuse(&refusal, asked.dialect, grant),
    }
}

// === impl Caller ===

impl Caller<'_> {
    fn owner_of(&self, id: &str) -> Option<Arc<Owned>> {
        self.owners.find(self.id(), id)
    }

    /// Puts on record whose the thing is that an answer describes.
    fn sees(&self, served: &Served, passed: &Passed, grant: &Grant) {
        let Passed::Whole { body, .. } = passed else { return };
        for id in tap::kept(body) {
            let (provider, key) = (served.provider.clone(), grant.facts().key_id.clone());
            owners::seen(self.owners, self.id(), Owned { provider, key, id, since: Vec::new() });
        }
    }

    fn may_use(&self, provider: &str) -> bool {
        self.principal.is_none_or(|principal| principal.may_use(provider))
    }

    fn may_use_key(&self, provider: &str, key: &KeyState) -> bool {
        self.principal.is_none_or(|principal| principal.may_use_key(provider, &key.id))
    }

    fn id(&self) -> &str {
        self.principal.map_or("", |principal| &principal.id)
    }
}

// === impl Verbatim ===

impl Verbatim {
    /// What the caller says of the provider wins, then what is on record, then what the route stands for.
    async fn placed<'s>(&mut self, state: &'s State, caller: &Caller<'_>) -> Result<Place<'s>, Refusal> {
        let said = self.provider.take();
        let owned = self.owner(caller).await?;
        let owned = owned.filter(|(_, owned)| said.as_deref().is_none_or(|said| said == &*owned.provider));
        let on_record = owned.as_ref().map(|(_, owned)| &*owned.provider);
        let wanted = said.as_deref().or(on_record).or(self.default_provider).ok_or_else(nameless)?;
        let Some((name, provider)) = state.providers.get_key_value(wanted) else {
            let known = state.providers.keys().filter(|name| caller.may_use(name)).map(ToString::to_string).collect();
            return Err(Denied::UnknownProvider { provider: wanted.to_owned(), known }.into());
        };
        if !caller.may_use(name) {
            return Err(Denied::ProviderBlocked { provider: name.to_string() }.into());
        }
        let keys = provider.usable_keys().filter(|key| caller.may_use_key(name, key)).collect();
        let mut keys = self.chosen(name, keys)?;
        if let Some((id, owned)) = owned {
            if said.is_none() && ask::pinned(&self.headers).is_none() {
                keys.retain(|key| key.id == owned.key);
                if keys.is_empty() {
                    return Err(out_of_reach(&id, name));
                }
            }
            keys.sort_by_key(|key| key.id != owned.key);
            self.rename(&id, &owned.id);
        }
        Ok(Place { name, provider, keys })
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

    /// What is on record of the thing that is asked for, and the caller's name for it: one in the path, or the file that a new
    /// batch of OpenAI's is to work through.
    async fn owner(&self, caller: &Caller<'_>) -> Result<Option<(String, Arc<Owned>)>, Refusal> {
        let known = |id: &str| Some((id.to_owned(), caller.owner_of(id)?));
        let named = self.path.split('/').find_map(known);
        let makes_batch =
            self.dialect == Dialect::OpenAiChat && self.method == Method::POST && self.path.ends_with("/batches");
        if named.is_some() || !makes_batch {
            return Ok(named);
        }
        self.body.whole().await?;
        let file = Named::find(&self.body.kept().concat().into(), "input_file_id")?;
        Ok(file.and_then(|file| known(&file.name)))
    }

    /// Says the provider's own name for the thing.
    fn rename(&mut self, id: &str, own: &str) {
        if id != own {
            let parts: Vec<&str> = self.path.split('/').map(|part| if part == id { own } else { part }).collect();
            self.path = parts.join("/");
        }
    }

    async fn pass(
        &self,
        state: &State,
        Place { name, provider, keys }: Place<'_>,
        grant: &mut Grant,
    ) -> Result<(Served, Passed), Refusal> {
        grant.record().provider = name.to_string();
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
        let path = if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) };
        let call = provider.pass(Passage {
            method: self.method.clone(),
            path: &path,
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

fn nameless() -> Refusal {
    Refusal::Http {
        status: StatusCode::BAD_REQUEST,
        kind: "invalid_request_error",
        message: "name the provider that this belongs to: ?provider=openai".to_owned(),
    }
}

/// The way out is the caller's word: another key may well be one of the same account.
fn out_of_reach(id: &str, provider: &str) -> Refusal {
    let message = format!(
        "{id} is kept under a key of {provider} that is not to be had for this request: it is no longer configured, or the \
         virtual key may not use it; ?provider={provider} asks the other keys"
    );
    Refusal::OutOfReach { status: StatusCode::NOT_FOUND, field: None, message }
}

/// The key knows nothing of it, or is not let in itself.
fn another_key_may_know(failure: &Failure) -> bool {
    failure.status == Some(StatusCode::NOT_FOUND) || failure.kind == FailureKind::Credential
}
