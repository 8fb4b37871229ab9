//! Health for a load balancer, metrics for a scraper.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use bifrost_mcp::State as ToolServer;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::state::Engine;

/// 200 while requests are taken, 503 once the gateway drains. A tool server that is down is told, and is no reason to be taken
/// out of service.
pub async fn health(State(engine): State<Arc<Engine>>) -> Response {
    let state = engine.state();
    let draining = engine.tasks.draining().is_cancelled();
    let servers: Map<String, Value> =
        state.hub.states().iter().map(|server| (server.name.to_string(), describe(&server.state))).collect();
    let body = json!({
        "status": if draining { "draining" } else { "ok" },
        "components": { "providers": state.providers.len(), "tool_servers": servers },
    });
    let status = if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    super::json(status, body.to_string())
}

fn describe(state: &ToolServer) -> Value {
    match state {
        ToolServer::Connecting => json!({ "state": "connecting" }),
        ToolServer::Ready { tools, list_error, .. } => {
            json!({ "state": "ready", "tools": tools, "list_error": list_error })
        }
        ToolServer::Failed { reason, stale_tools, .. } => {
            json!({ "state": "failed", "reason": reason, "stale_tools": stale_tools })
        }
        ToolServer::Disabled => json!({ "state": "disabled" }),
    }
}

pub async fn metrics(State(engine): State<Arc<Engine>>) -> Response {
    engine.metrics.log_dropped(engine.log.dropped());
    for (name, provider) in &engine.state().providers {
        engine.metrics.queue_waiting(name, provider.queue.waiting());
        for (key, usable) in provider.keys.standing(Instant::now()) {
            engine.metrics.key_up(name, (&key.id, &key.name), usable);
        }
    }
    let mut response = Response::new(engine.metrics.expose().into());
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}
