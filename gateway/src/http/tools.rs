//! `POST /v1/mcp/tool/execute`: runs one tool call that the caller has seen and approved.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bifrost_mcp::Decision;
use bifrost_mcp::Tool;
use bifrost_mcp::{CallError, CallLimits, Outcome};
use bifrost_policies::{Denied, identify};
use bifrost_providers::{Dialect, Malformed};
use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use super::{body, error};
use crate::engine::ask::{Arrival, credentials};
use crate::engine::grant::{Grant, clipped, ms};
use crate::engine::refusal::Refusal;
use crate::engine::{annex, refuse, select};
use crate::record::Executed;
use crate::state::{Engine, State as Snapshot};

/// The wire form of a call and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Chat,
    Responses,
}

/// One call to run.
#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    /// JSON text; empty for none.
    arguments: String,
}

pub async fn execute(State(engine): State<Arc<Engine>>, request: Request) -> Response {
    let (head, mut body) = request.into_parts();
    let arrival = Arrival::new("mcp_tool_execution", Dialect::OpenAiChat, &head.headers);
    // The account of the call, settled as cancelled should its caller leave.
    let mut grant = Grant::open(&engine, &arrival);
    match run(&engine.state(), &head, &mut body, &mut grant).await {
        Ok(answer) => {
            let mut response = super::json(StatusCode::OK, answer.to_string());
            annex::headers(response.headers_mut(), &grant, 0);
            grant.succeed(None, None);
            response
        }
        Err(refusal) => {
            let reply = refuse(&refusal, arrival.dialect, grant);
            error::unread(reply, &head, body, engine.state().max_body_bytes).await
        }
    }
}

async fn run(state: &Snapshot, head: &Parts, body: &mut Body, grant: &mut Grant) -> Result<Value, Refusal> {
    grant.keep_headers(&head.headers, &state.logging_headers);
    let principal = identify(&credentials(&head.headers), state.enforce_auth, &state.keyring)?;
    grant.belongs_to(principal.as_deref());
    let format = format(head.uri.query().unwrap_or_default())?;
    let call = read(&body::collect(&head.headers, body, state.max_body_bytes).await?, format)?;
    let selection = select::allowed(state, &head.headers, principal.as_deref());
    let tool = permitted(selection.decide(&call.name), &call.name, principal.is_some())?;
    let limits = CallLimits { timeout: None, max_result_bytes: state.limits.max_result_bytes };
    let outcome = state.hub.call(&tool, &call.arguments, limits).await;
    grant.waited_tools(outcome.duration);
    grant.record().tools_executed.push(line(&call, &tool, &outcome));
    if outcome.error == Some(CallError::Arguments) {
        return Err(Refusal::Arguments { tool: tool.name.to_string(), complaint: outcome.text() });
    }
    Ok(answer(format, &call, &outcome))
}

/// A virtual key is not told whether a tool that it may not run exists; who comes without one may see them all.
fn permitted(decision: Decision, name: &str, has_key: bool) -> Result<Arc<Tool>, Refusal> {
    let unknown = || format!("tool '{name}' is not available or not permitted");
    match decision {
        Decision::Auto(tool) | Decision::Manual(tool) => Ok(tool),
        Decision::Refused { reason } => Err(Denied::ToolBlocked { reason }.into()),
        Decision::Unknown if has_key => Err(Denied::ToolBlocked { reason: unknown() }.into()),
        Decision::Unknown => Err(bad_request(unknown())),
    }
}

/// For the log record: no content.
fn line(call: &Call, tool: &Tool, outcome: &Outcome) -> Executed {
    Executed {
        id: clipped(&call.id),
        name: tool.name.to_string(),
        server: tool.server.to_string(),
        duration_ms: ms(outcome.duration),
        is_error: outcome.is_error,
        truncated_from_bytes: outcome.truncated,
    }
}

fn format(query: &str) -> Result<Format, Refusal> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("format="));
    match value {
        None | Some("" | "chat") => Ok(Format::Chat),
        Some("responses") => Ok(Format::Responses),
        Some(_) => Err(bad_request("Invalid format value, must be 'chat' or 'responses'".to_owned())),
    }
}

fn read(body: &[u8], format: Format) -> Result<Call, Refusal> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|fault| Malformed { pointer: String::new(), expected: fault.to_string() })?;
    if !value.is_object() {
        return Err(Malformed { pointer: String::new(), expected: "a JSON object: one tool call".into() }.into());
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let (function, id) = match format {
        Format::Chat => (value.get("function").unwrap_or(&value), text(value.get("id"))),
        Format::Responses => (&value, text(value.get("call_id"))),
    };
    let name = text(function.get("name"));
    if name.is_empty() {
        return Err(bad_request("Tool function name is required".to_owned()));
    }
    let arguments = match function.get("arguments") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    Ok(Call { id, name, arguments })
}

fn answer(format: Format, call: &Call, outcome: &Outcome) -> Value {
    match format {
        Format::Chat => json!({ "role": "tool", "content": outcome.text(), "tool_call_id": call.id }),
        Format::Responses => json!({ "type": "function_call_output", "call_id": call.id, "output": outcome.text() }),
    }
}

fn bad_request(message: String) -> Refusal {
    Refusal::Http { status: StatusCode::BAD_REQUEST, kind: "invalid_request_error", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_and_the_flat_one_are_read() {
        for (body, format, want) in [
            (
                r#"{"id":"c","type":"function","function":{"name":"t","arguments":"{}"}}"#,
                Format::Chat,
                ("c", "t", "{}"),
            ),
            (r#"{"name":"t","arguments":{"a":1}}"#, Format::Chat, ("", "t", r#"{"a":1}"#)),
            (r#"{"type":"function_call","call_id":"k","name":"t"}"#, Format::Responses, ("k", "t", "")),
        ] {
            let call = read(body.as_bytes(), format).unwrap();
            assert_eq!((call.id.as_str(), call.name.as_str(), call.arguments.as_str()), want);
        }
        assert!(read(b"[]", Format::Chat).is_err());
        assert!(read(b"{}", Format::Chat).is_err());
        assert!(super::format("format=xml").is_err());
    }
}
