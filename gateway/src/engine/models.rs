//! Which models the providers have, asked of all of them at once and remembered for a minute.

use std::sync::Arc;
use std::time::Duration;

use bifrost_policies::{KeyRule, KeySet, ModelRule, Wanted};
use bifrost_providers::endpoint::Endpoint;
use bifrost_providers::provider::Outgoing;
use bytes::Bytes;
use futures::future::join_all;
use http::HeaderMap;
use serde_json::{Map, Value};

use crate::state::{ProviderState, State};

/// How long one provider may take to list its models: a page must not wait for the slowest of many.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest list that is read; the longest real one (`OpenRouter`'s) has about a megabyte.
const MAX_LIST_BYTES: usize = 16 << 20;

/// One model of one provider.
#[derive(Clone, Debug)]
pub struct Model {
    pub provider: Arc<str>,
    /// The provider's own name for it.
    pub id: String,
    /// What else the provider says of it.
    pub raw: Map<String, Value>,
}

impl Model {
    /// The name that works at this gateway.
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider, self.id)
    }
}

/// Every model of every provider (or of `only` one), sorted. A provider that does not answer contributes the models its keys
/// name.
pub async fn all(state: &State, only: Option<&str>) -> Vec<Model> {
    let wanted = state.providers.iter().filter(|(name, _)| only.is_none_or(|only| only == &***name));
    let lists = wanted.map(|(name, provider)| of_provider(name, provider));
    let mut models: Vec<Model> = join_all(lists).await.into_iter().flat_map(|list| list.as_ref().clone()).collect();
    models.sort_by(|a, b| (&a.provider, &a.id).cmp(&(&b.provider, &b.id)));
    models
}

async fn of_provider(name: &Arc<str>, provider: &ProviderState) -> Arc<Vec<Model>> {
    if let Some(known) = provider.models.get(&()) {
        return known;
    }
    let listed = match tokio::time::timeout(PATIENCE, fetch(name, provider)).await {
        Ok(Ok(models)) => models,
        Ok(Err(reason)) => {
            tracing::warn!(provider.name = %name, reason, "a provider did not list its models");
            return Arc::new(named_by_keys(name, provider));
        }
        Err(_) => {
            tracing::warn!(provider.name = %name, patience_s = PATIENCE.as_secs(), "a provider took too long to list its models");
            return Arc::new(named_by_keys(name, provider));
        }
    };
    let mut served: Vec<Model> = listed.into_iter().filter(|model| provider.serves(&model.id)).collect();
    for alias in named(name, provider, |rule| &rule.aliases) {
        if served.iter().all(|model| !model.id.eq_ignore_ascii_case(&alias.id)) {
            served.push(alias);
        }
    }
    let served = Arc::new(served);
    provider.models.insert((), served.clone());
    served
}

async fn fetch(name: &Arc<str>, provider: &ProviderState) -> Result<Vec<Model>, String> {
    let any = Wanted { model: "", ..Wanted::default() };
    let picked = provider.keys.pick(&any, &KeySet::default(), std::time::Instant::now(), &mut rand::rng()).ok();
    // A key that is kept for certain models may list them all the same; a disabled one may do nothing.
    let enabled = || provider.rules().zip(provider.key_states()).find(|(rule, _)| rule.enabled).map(|(_, key)| key);
    let key = picked.and_then(|index| provider.key(index)).or_else(enabled);
    let key = key.ok_or("no key")?;
    let credential = key.credential().await.map_err(|failure| failure.to_string())?;
    let outgoing = Outgoing {
        endpoint: Endpoint::Models,
        model: "",
        stream: false,
        credential: credential.as_deref(),
        forwarded: &HeaderMap::new(),
        content_type: None,
        body: Bytes::new(),
        now: std::time::SystemTime::now(),
    };
    let provider = key.site("", provider.dialect).provider;
    let call = provider.call(outgoing).map_err(|failure| failure.to_string())?;
    let answer = provider.send(call).await.map_err(|failure| failure.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("status {}", answer.status));
    }
    let body = answer.body.collect(MAX_LIST_BYTES).await.map_err(|failure| failure.to_string())?;
    let list: Value = serde_json::from_slice(&body).map_err(|fault| fault.to_string())?;
    // Google's lists are called `models`, as Cohere's is, and, in its cloud, `publisherModels`; Amazon's `modelSummaries`; that of
    // Replicate's deployments `results`.
    let named =
        ["data", "models", "publisherModels", "modelSummaries", "results"].iter().find_map(|name| list.get(name));
    let entries = named.and_then(Value::as_array).or_else(|| list.as_array());
    let entries = entries.ok_or("the answer holds no list of models")?;
    Ok(entries.iter().filter_map(|entry| model(name, entry)).collect())
}

/// One entry; what has no id is not a model. Google's is a resource name, `models/<id>` or `publishers/google/models/<id>`,
/// Cohere's is the name itself, Amazon's is called `modelId`, that of `ElevenLabs` `model_id`; Replicate's stands behind its owner.
fn model(provider: &Arc<str>, entry: &Value) -> Option<Model> {
    let raw = entry.as_object()?.clone();
    let id = if let Some(id) = ["id", "modelId", "model_id"].iter().find_map(|name| raw.get(*name)) {
        id.as_str()?.to_owned()
    } else {
        let name = raw.get("name")?.as_str()?;
        let name = name.rsplit_once("models/").map_or(name, |(_, id)| id);
        raw.get("owner").and_then(Value::as_str).map_or(name.to_owned(), |owner| format!("{owner}/{name}"))
    };
    Some(Model { provider: provider.clone(), id, raw })
}

/// What the keys say of themselves, where the provider says nothing.
fn named_by_keys(name: &Arc<str>, provider: &ProviderState) -> Vec<Model> {
    let mut models = named(name, provider, |rule| match &rule.models {
        ModelRule::Only(models) => models,
        ModelRule::All | ModelRule::None => &[],
    });
    models.extend(named(name, provider, |rule| &rule.aliases));
    models.sort_by(|a, b| a.id.cmp(&b.id));
    models.dedup_by(|a, b| a.id == b.id);
    models
}

/// The models of these names that a key really serves, each once.
fn named(name: &Arc<str>, provider: &ProviderState, names: impl Fn(&KeyRule) -> &[String]) -> Vec<Model> {
    let served = |rule: &KeyRule| names(rule).iter().filter(|model| rule.serves(model)).cloned().collect::<Vec<_>>();
    let mut ids: Vec<String> = provider.rules().flat_map(served).collect();
    ids.sort();
    ids.dedup();
    ids.into_iter().map(|id| Model { provider: name.clone(), id, raw: Map::new() }).collect()
}
