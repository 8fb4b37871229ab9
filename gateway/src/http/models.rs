//! The list of models: every provider's own list, merged, with names that work here, less what the caller may not use. And one
//! entry of it.

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
use crate::engine::grant::clipped;
use crate::engine::models::{Model, all};
use crate::engine::refusal::Refusal;
use crate::state::Engine;

pub async fn list(engine: Arc<Engine>, route: &Route, dialect: Dialect, request: Request<Incoming>) -> Response {
    let (head, _body) = request.into_parts();
    let arrival = Arrival::new("list_models", route.dialect, &head.headers);
    match listed(&engine, route, dialect, &head).await {
        Ok(response) => response,
        Err(refusal) => error::refused(&engine, &arrival, &refusal),
    }
}

async fn listed(engine: &Engine, route: &Route, dialect: Dialect, head: &Parts) -> Result<Response, Refusal> {
    let state = engine.state();
    let principal = identify(&credentials(&head.headers), state.enforce_auth, &state.keyring)?;
    let query = head.uri.query().unwrap_or_default();
    let only = query.split('&').find_map(|pair| pair.strip_prefix("provider=")).filter(|name| !name.is_empty());
    let models = all(&state, only).await;
    let mut visible = models.iter().filter(|model| may_use(principal.as_deref(), model));
    let body = match &route.named {
        None => {
            let entries: Vec<Value> = visible.map(|model| entry(dialect, model)).collect();
            page(dialect, &entries)
        }
        Some(named) => {
            let asked = visible.find(|model| is_called(model, named, route.default_provider));
            entry(dialect, asked.ok_or_else(|| no_such_model(named))?)
        }
    };
    Ok(super::json(StatusCode::OK, body.to_string()))
}

fn may_use(principal: Option<&Principal>, model: &Model) -> bool {
    principal.is_none_or(|principal| principal.grant(&model.provider, &model.id).is_ok())
}

/// Is this the model that a client asks for, by its name here or, at a mount that stands for a provider, by that provider's?
fn is_called(model: &Model, named: &str, provider: Option<&str>) -> bool {
    model.name() == named || (model.id == named && provider.is_none_or(|provider| provider == &*model.provider))
}

fn no_such_model(named: &str) -> Refusal {
    let message = format!("the model '{}' does not exist, or may not be used", clipped(named));
    Refusal::Http { status: StatusCode::NOT_FOUND, kind: "not_found_error", message }
}

/// One model in the words of a dialect: what its provider says of it, by a name that works here, and what clients look for.
fn entry(dialect: Dialect, model: &Model) -> Value {
    let (name, id) = (model.name(), model.id.as_str());
    match dialect {
        // <https://platform.openai.com/docs/api-reference/models/object>
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Predictions => {
            said(model, json!({ "id": name }), json!({ "object": "model", "created": 0, "owned_by": &*model.provider }))
        }
        // <https://docs.anthropic.com/en/api/models>
        Dialect::AnthropicMessages => said(
            model,
            json!({ "id": name, "type": "model" }),
            json!({ "display_name": id, "created_at": "1970-01-01T00:00:00Z" }),
        ),
        // <https://ai.google.dev/api/models>
        Dialect::Gemini => said(
            model,
            json!({ "name": format!("models/{name}") }),
            json!({ "displayName": id, "supportedGenerationMethods": ["generateContent", "streamGenerateContent"] }),
        ),
        // <https://docs.cohere.com/reference/get-model>
        Dialect::CohereChat => said(model, json!({ "name": name }), json!({ "endpoints": ["chat"] })),
        // <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListFoundationModels.html>
        Dialect::BedrockConverse => said(
            model,
            json!({ "modelId": name }),
            json!({ "modelName": id, "providerName": &*model.provider, "responseStreamingSupported": true }),
        ),
    }
}

/// What the provider says, with `ours` in its place, and `else_ours` where it says nothing.
fn said(model: &Model, ours: Value, else_ours: Value) -> Value {
    let fields = |value| if let Value::Object(fields) = value { fields } else { Map::new() };
    let mut entry = model.raw.clone();
    entry.extend(fields(ours));
    for (key, value) in fields(else_ours) {
        entry.entry(key).or_insert(value);
    }
    Value::Object(entry)
}

/// One page of all, as lists are said where [`entry`]'s words are.
fn page(dialect: Dialect, entries: &[Value]) -> Value {
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::Predictions => {
            json!({ "object": "list", "data": entries })
        }
        Dialect::AnthropicMessages => {
            let id = |model: Option<&Value>| model.and_then(|model| model.get("id")).cloned();
            json!({ "first_id": id(entries.first()), "last_id": id(entries.last()), "has_more": false, "data": entries })
        }
        Dialect::Gemini | Dialect::CohereChat => json!({ "models": entries }),
        Dialect::BedrockConverse => json!({ "modelSummaries": entries }),
    }
}
