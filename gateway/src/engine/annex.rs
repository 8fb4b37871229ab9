//! The gateway's own facts about one answer: `extra_fields` where the dialect has a place for it, headers everywhere.

use bifrost_providers::Losses;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::ask::Ask;
use super::grant::{Grant, ms};

// Made at compile time: a name made per request is checked per request.
const PROVIDER: HeaderName = HeaderName::from_static("x-bifrost-provider");
const ORIGINAL_MODEL: HeaderName = HeaderName::from_static("x-bifrost-original-model");
const RESOLVED_MODEL: HeaderName = HeaderName::from_static("x-bifrost-resolved-model");
const REQUEST_TYPE: HeaderName = HeaderName::from_static("x-bifrost-request-type");
const FALLBACK_INDEX: HeaderName = HeaderName::from_static("x-bifrost-fallback-index");
const UPSTREAM_LATENCY_MS: HeaderName = HeaderName::from_static("x-bifrost-upstream-latency-ms");
const LOSSES: HeaderName = HeaderName::from_static("x-bifrost-losses");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The tool loop's part.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoopFacts {
    /// Calls to the model.
    pub turns: usize,
    /// Every tool call that the gateway ran, in order.
    pub executed: Vec<ExecutedCall>,
    /// The limit that ended the loop, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<&'static str>,
}

/// One tool call that the gateway ran, as the caller is told of it.
#[derive(Clone, Debug, Serialize)]
pub struct ExecutedCall {
    pub id: String,
    pub name: String,
    pub server: String,
    pub arguments: String,
    pub result: String,
    pub is_error: bool,
    pub duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated_from_bytes: Option<usize>,
}

#[derive(Serialize)]
struct ExtraFields<'a> {
    request_type: &'a str,
    provider: &'a str,
    original_model_requested: &'a str,
    resolved_model_used: &'a str,
    routing_info: RoutingInfo<'a>,
    latency: f64,
    upstream_latency: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    losses: Vec<LossFact<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<&'a LoopFacts>,
}

#[derive(Serialize)]
struct RoutingInfo<'a> {
    provider: &'a str,
    model: &'a str,
    key: &'a str,
    is_fallback: bool,
    fallback_index: usize,
}

#[derive(Serialize)]
struct LossFact<'a> {
    pointer: &'a str,
    reason: &'a str,
}

/// The JSON object that becomes `extra_fields`.
pub fn extra_fields(grant: &Grant, losses: &Losses, mcp: Option<&LoopFacts>) -> String {
    let record = grant.facts();
    let fields = ExtraFields {
        request_type: record.request_type,
        provider: &record.provider,
        original_model_requested: &record.model_requested,
        resolved_model_used: &record.model,
        routing_info: RoutingInfo {
            provider: &record.provider,
            model: &record.model,
            key: &record.key_name,
            is_fallback: record.fallback_index > 0,
            fallback_index: record.fallback_index,
        },
        latency: ms(grant.elapsed()),
        upstream_latency: record.upstream_latency_ms,
        losses: losses.iter().map(|loss| LossFact { pointer: &loss.pointer, reason: &loss.reason }).collect(),
        mcp,
    };
    serde_json::to_string(&fields).unwrap_or_else(|_| "{}".to_owned())
}

/// Adds the `x-bifrost-*` headers and the request id.
pub fn headers(headers: &mut HeaderMap, ask: &Ask, grant: &Grant, losses: usize) {
    let record = grant.facts();
    set(headers, PROVIDER, &record.provider);
    set(headers, ORIGINAL_MODEL, &record.model_requested);
    set(headers, RESOLVED_MODEL, &record.model);
    set(headers, REQUEST_TYPE, record.request_type);
    if record.fallback_index > 0 {
        set(headers, FALLBACK_INDEX, &record.fallback_index.to_string());
    }
    if record.upstream_latency_ms > 0.0 {
        set(headers, UPSTREAM_LATENCY_MS, &format!("{:.3}", record.upstream_latency_ms));
    }
    if losses > 0 {
        set(headers, LOSSES, &losses.to_string());
    }
    request_id(headers, ask);
}

/// The gateway's request id; a provider's own moves to `x-bifrost-upstream-request-id`.
fn request_id(headers: &mut HeaderMap, ask: &Ask) {
    if let Some(upstream) = headers.remove("x-request-id") {
        headers.insert("x-bifrost-upstream-request-id", upstream);
    }
    set(headers, X_REQUEST_ID, &ask.request_id);
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if value.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
