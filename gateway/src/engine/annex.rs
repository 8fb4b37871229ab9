//! The gateway's own facts about one answer: `extra_fields` where the dialect has a place for it, headers everywhere.

use bifrost_providers::Dialect;
use bifrost_providers::Losses;
use bifrost_providers::json::{Array, Object, write_decimal};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::grant::{Grant, ms};
use super::names;

/// As many headers as [`headers`] ever adds, and `content-type`: room made once.
const HEADERS: usize = 10;

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

/// Room for [`extra_fields`] without losses and tools.
pub const USUAL: usize = 512;

/// The JSON object that ends a stream of this dialect, where it has a place for one.
pub fn of(dialect: Dialect, grant: &Grant, losses: &Losses, mcp: Option<&LoopFacts>) -> String {
    metrics(dialect, grant).unwrap_or_else(|| extra_fields(grant, losses, mcp))
}

/// How long the call took: Amazon's clients are promised that, and only those (API reference, `ConverseMetrics`).
pub fn metrics(dialect: Dialect, grant: &Grant) -> Option<String> {
    (dialect == Dialect::BedrockConverse).then(|| format!("{{\"latencyMs\":{}}}", grant.elapsed().as_millis()))
}

/// The JSON object that becomes `extra_fields`.
pub fn extra_fields(grant: &Grant, losses: &Losses, mcp: Option<&LoopFacts>) -> String {
    let mut out = Vec::with_capacity(USUAL);
    write(&mut out, grant, losses, mcp);
    // Written from texts alone.
    String::from_utf8(out).unwrap_or_default()
}

/// Writes [`extra_fields`] to where it belongs.
pub fn write(out: &mut Vec<u8>, grant: &Grant, losses: &Losses, mcp: Option<&LoopFacts>) {
    let record = grant.facts();
    let mut fields = Object::new(out);
    fields
        .str("request_type", record.request_type)
        .str("provider", &record.provider)
        .str("original_model_requested", &record.model_requested)
        .str("resolved_model_used", &record.model);
    let mut routing = Object::new(fields.key("routing_info"));
    routing
        .str("provider", &record.provider)
        .str("model", &record.model)
        .str("key", &record.key_name)
        .bool("is_fallback", record.fallback_index > 0)
        .number("fallback_index", record.fallback_index as u64);
    routing.end();
    fields.decimal("latency", ms(grant.elapsed())).decimal("upstream_latency", record.upstream_latency_ms);
    if !losses.is_empty() {
        write_losses(fields.key("losses"), losses);
    }
    if let Some(mcp) = mcp {
        fields.serialized("mcp", mcp);
    }
    fields.end();
}

fn write_losses(out: &mut Vec<u8>, losses: &Losses) {
    let mut list = Array::new(out);
    for loss in losses.iter() {
        let mut item = Object::new(list.item());
        item.str("pointer", &loss.pointer).str("reason", &loss.reason);
        item.end();
    }
    list.end();
}

/// Adds the `x-bifrost-*` headers and the request id.
pub fn headers(headers: &mut HeaderMap, grant: &Grant, losses: usize) {
    let record = grant.facts();
    headers.reserve(HEADERS);
    set(headers, &names::PROVIDER, &record.provider);
    set(headers, &names::ORIGINAL_MODEL, &record.model_requested);
    set(headers, &names::RESOLVED_MODEL, &record.model);
    headers.insert(&names::REQUEST_TYPE, HeaderValue::from_static(record.request_type));
    if record.fallback_index > 0 {
        headers.insert(&names::FALLBACK_INDEX, record.fallback_index.into());
    }
    if record.upstream_latency_ms > 0.0 {
        let mut written = Vec::with_capacity(24);
        write_decimal(&mut written, record.upstream_latency_ms);
        if let Ok(value) = HeaderValue::from_bytes(&written) {
            headers.insert(&names::UPSTREAM_LATENCY_MS, value);
        }
    }
    if losses > 0 {
        headers.insert(&names::LOSSES, losses.into());
    }
    request_id(headers, &record.request_id);
}

/// The gateway's request id; a provider's own moves to `x-bifrost-upstream-request-id`.
fn request_id(headers: &mut HeaderMap, id: &str) {
    if let Some(upstream) = headers.remove(&names::REQUEST_ID) {
        headers.insert(&names::UPSTREAM_REQUEST_ID, upstream);
    }
    set(headers, &names::REQUEST_ID, id);
}

fn set(headers: &mut HeaderMap, name: &'static HeaderName, value: &str) {
    if value.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
