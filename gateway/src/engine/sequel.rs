//! A request that continues a response which its provider keeps (`previous_response_id`), whose owner is on record: it goes to
//! that provider, under that key, or it is refused. Nobody else has the conversation.

use std::sync::Arc;

use bifrost_policies::Target;
use bifrost_providers::ChatRequest;
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::scan::{Field, Named, Splice};
use http::StatusCode;
use serde_json::value::to_raw_value;

use super::owners::Owned;
use super::plan::Plan;
use super::refusal::Refusal;
use crate::state::ProviderState;

/// The field that names the response: OpenAI's Responses, and what is asked about their requests.
const FIELD: &str = "previous_response_id";

/// See the module.
#[derive(Debug)]
pub struct Sequel {
    owned: Arc<Owned>,
    /// Where the body names the response.
    named: Field,
    /// Is that another name than its provider's?
    is_renamed: bool,
}

impl Sequel {
    /// What this request continues; `None` where it continues nothing, or nothing that is on record for its caller.
    pub fn of(plan: &Plan) -> Result<Option<Box<Self>>, Refusal> {
        if !matches!(plan.ask.endpoint, Endpoint::Responses | Endpoint::CountInput | Endpoint::Compact) {
            return Ok(None);
        }
        let Some(Named { field, name }) = Named::find(&plan.ask.body, FIELD)? else { return Ok(None) };
        let Some(owned) = plan.engine.owners.find(plan.owner(), &name) else { return Ok(None) };
        if plan.state.known.find(&owned.provider).is_none() {
            let why = ", which is no longer configured";
            return Err(refusal(&owned.provider, StatusCode::BAD_REQUEST, why));
        }
        Ok(Some(Box::new(Self { is_renamed: owned.id != name, owned, named: field })))
    }

    /// The provider of a model that names none.
    pub fn provider(&self) -> &str {
        &self.owned.provider
    }

    /// The key that has to be used.
    pub fn key(&self) -> &str {
        &self.owned.key
    }

    /// Does the conversation go on with what its provider has not been told?
    pub fn has_more(&self) -> bool {
        !self.owned.since.is_empty()
    }

    /// Names the response by its provider's name for it, in the caller's bytes.
    pub fn rename(&self, splice: &mut Splice) {
        if self.is_renamed {
            splice.replace_text(&self.named, &self.owned.id);
        }
    }

    /// The same in the canonical request, with all that the provider has not been told.
    pub fn retell(&self, chat: &mut ChatRequest) {
        if let Some(id) = to_raw_value(&self.owned.id).ok().filter(|_| self.is_renamed) {
            chat.extras.remove(FIELD);
            chat.extras.push(FIELD, id);
        }
        chat.messages.splice(0..0, self.owned.since.iter().cloned());
    }

    /// Leaves only targets that have the response.
    pub fn aim(&self, plan: &mut Plan) -> Result<(), Refusal> {
        let Some(primary) = plan.targets.first() else { return Ok(()) };
        self.demand(plan, primary)?;
        if self.has_more() && plan.ask.endpoint != Endpoint::Responses {
            plan.noted.push(format!("/{FIELD}"), "results of tools that came behind the response are not part of this");
        }
        let owner = &self.owned.provider;
        let (stay, leave): (Vec<_>, Vec<_>) = plan.targets.drain(..).partition(|target| target.provider == *owner);
        plan.targets = stay;
        for Target { provider, model, .. } in leave {
            let why = format!("{provider}/{model}: only {owner} keeps the response that is continued");
            plan.noted.push("/fallbacks", why);
        }
        Ok(())
    }

    /// Refuses a primary that does not have the response. Whoever chooses a key itself knows whose it is.
    fn demand(&self, plan: &Plan, primary: &Target) -> Result<(), Refusal> {
        let Owned { provider, key, .. } = &*self.owned;
        let refused = |status, why: &str| Err(refusal(provider, status, why));
        if primary.provider != *provider {
            let why = format!(", and the request asks {}", primary.provider);
            return refused(StatusCode::BAD_REQUEST, &why);
        }
        if plan.own_key.is_some() || plan.pinned().is_some() {
            return Ok(());
        }
        let mut rules = plan.state.providers.get(provider).into_iter().flat_map(ProviderState::rules);
        let Some(rule) = rules.find(|rule| rule.enabled && rule.id == *key) else {
            return refused(StatusCode::BAD_REQUEST, " under a key that is no longer configured");
        };
        if plan.wanted(primary).within.is_some_and(|ids| !ids.contains(key)) {
            return refused(StatusCode::FORBIDDEN, " under a key that this virtual key may not use");
        }
        if !rule.serves(&primary.model) {
            let why = format!(" under a key that does not serve {}", primary.model);
            return refused(StatusCode::BAD_REQUEST, &why);
        }
        Ok(())
    }
}

fn refusal(owner: &str, status: StatusCode, why: &str) -> Refusal {
    let message = format!("{FIELD}: the response is kept by {owner}{why}; send the whole conversation instead");
    Refusal::OutOfReach { status, field: Some(FIELD), message }
}
