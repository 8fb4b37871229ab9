//! The list of models: every provider's own list, merged, with names that work here, less what the caller may not use.

use std::sync::Arc;

use axum::response::Response;
use bifrost_policies::{Principal, identify};
use bifrost_providers::Dialect;
use http::request::Parts;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::error;
use super::routes::Route;
use crate::engine::ask::{Arrival, credentials};
use crate::engine::models::{Model, all};
use crate::engine::refusal::Refusal;
use crate::state::Engine;

pub async fn list(engine: Arc<Engine>, route: &Route, dialect: Dialect, request: Request<Incoming>) -> Response {
    let (head, _body) = request.into_parts();
    let arrival = Arrival::new("list_models", route.dialect, &head.headers);
    match merged(&engine, dialect, &head).await {
        Ok(response) => response,
        Err(refusal) => error::refused(&engine, &arrival, &refusal),
    }
}

async fn merged(engine: &Engine, dialect: Dialect, head: &Parts) -> Result<Response, Refusal> {
    let state = engine.state();
    let principal = identify(&credentials(&head.headers), state.enforce_auth, &state.keyring)?;
    let query = head.uri.query().unwrap_or_default();
    let only = query.split('&').find_map(|pair| pair.strip_prefix("provider=")).filter(|name| !name.is_empty());
    let models = all(&state, only).await;
    let visible = models.iter().filter(|model| may_use(principal.as_deref(), model));
    let body = match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Predictions => openai(visible),
        Dialect::AnthropicMessages => anthropic(visible),
        Dialect::Gemini => gemini(visible),
        Dialect::CohereChat => cohere(visible),
        Dialect::BedrockConverse => bedrock(visible),
    };
    Ok(super::json(StatusCode::OK, body.to_string()))
}

fn may_use(principal: Option<&Principal>, model: &Model) -> bool {
    principal.is_none_or(|principal| principal.grant(&model.provider, &model.id).is_ok())
}

/// <https://platform.openai.com/docs/api-reference/models/list>
fn openai<'a>(models: impl Iterator<Item = &'a Model>) -> Value {
    let data: Vec<Value> = models
        .map(|model| {
            let mut entry = model.raw.clone();
            entry.insert("id".into(), Value::String(model.name()));
            entry.entry("object").or_insert_with(|| "model".into());
            entry.entry("created").or_insert_with(|| 0.into());
            entry.entry("owned_by").or_insert_with(|| Value::String(model.provider.to_string()));
            Value::Object(entry)
        })
        .collect();
    json!({ "object": "list", "data": data })
}

/// <https://ai.google.dev/api/models>, one page of all.
fn gemini<'a>(models: impl Iterator<Item = &'a Model>) -> Value {
    let models: Vec<Value> = models
        .map(|model| {
            let mut entry = model.raw.clone();
            entry.insert("name".into(), Value::String(format!("models/{}", model.name())));
            entry.entry("displayName").or_insert_with(|| Value::String(model.id.clone()));
            entry
                .entry("supportedGenerationMethods")
                .or_insert_with(|| json!(["generateContent", "streamGenerateContent"]));
            Value::Object(entry)
        })
        .collect();
    json!({ "models": models })
}

/// <https://docs.cohere.com/reference/list-models>, one page of all.
fn cohere<'a>(models: impl Iterator<Item = &'a Model>) -> Value {
    let models: Vec<Value> = models
        .map(|model| {
            let mut entry = model.raw.clone();
            entry.insert("name".into(), Value::String(model.name()));
            entry.entry("endpoints").or_insert_with(|| json!(["chat"]));
            Value::Object(entry)
        })
        .collect();
    json!({ "models": models })
}

/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListFoundationModels.html>
fn bedrock<'a>(models: impl Iterator<Item = &'a Model>) -> Value {
    let summaries: Vec<Value> = models
        .map(|model| {
            let mut entry = model.raw.clone();
            entry.insert("modelId".into(), Value::String(model.name()));
            entry.entry("modelName").or_insert_with(|| Value::String(model.id.clone()));
            entry.entry("providerName").or_insert_with(|| Value::String(model.provider.to_string()));
            entry.entry("responseStreamingSupported").or_insert_with(|| true.into());
            Value::Object(entry)
        })
        .collect();
    json!({ "modelSummaries": summaries })
}

/// <https://docs.anthropic.com/en/api/models-list>
fn anthropic<'a>(models: impl Iterator<Item = &'a Model>) -> Value {
    let data: Vec<Value> = models
        .map(|model| {
            let mut entry: Map<String, Value> = model.raw.clone();
            entry.insert("id".into(), Value::String(model.name()));
            entry.insert("type".into(), "model".into());
            entry.entry("display_name").or_insert_with(|| Value::String(model.id.clone()));
            entry.entry("created_at").or_insert_with(|| "1970-01-01T00:00:00Z".into());
            Value::Object(entry)
        })
        .collect();
    let id = |model: Option<&Value>| model.and_then(|model| model.get("id")).cloned().unwrap_or(Value::Null);
    json!({ "first_id": id(data.first()), "last_id": id(data.last()), "has_more": false, "data": data })
}
