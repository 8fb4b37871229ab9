//! What a provider of each dialect sends when it begins to answer, and when it fails: as its documentation has it.
//!
//! Written by hand, sharing nothing with the gateway's codecs.

use bifrost_fixtures::Style;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Value, json};

use super::Step;
use crate::OrFail as _;

/// How a provider fails in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It has too much to do.
    Overloaded,
    /// Its caller has asked for too much.
    Limited,
}

/// What it says of either.
pub const SAID: &str = "no luck today";

/// A whole HTTP answer with these further headers.
pub fn answer(status: u16, content_type: &str, headers: &[(&str, &str)], body: &[u8]) -> Step {
    let mut out = head(status, content_type, headers);
    out.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    Step::Send(out.into())
}

/// The head of an answer whose end is that of the connection.
pub fn open(status: u16, content_type: &str) -> Step {
    let mut out = head(status, content_type, &[]);
    out.extend_from_slice(b"\r\n");
    Step::Send(out.into())
}

fn head(status: u16, content_type: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let first = format!("HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\nconnection: close\r\n");
    let more = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    std::iter::once(first).chain(more).collect::<String>().into_bytes()
}

/// The content type of streams.
pub fn stream_type(style: Style) -> &'static str {
    if style == Style::Bedrock { "application/vnd.amazon.eventstream" } else { "text/event-stream" }
}

/// The name of the header in which a provider says which request this was.
pub fn request_id(style: Style) -> &'static str {
    match style {
        Style::Anthropic => "request-id",
        Style::Bedrock => "x-amzn-requestid",
        Style::Cohere => "x-debug-trace-id",
        _ => "x-request-id",
    }
}

/// The body of an error answer, and the headers that belong to it.
pub fn error(style: Style, status: u16) -> (Value, Vec<(&'static str, &'static str)>) {
    let word = word(style, status);
    let body = match style {
        Style::OpenAi | Style::Responses => {
            let code = if status == 429 { json!("rate_limit_exceeded") } else { Value::Null };
            json!({"error": {"message": SAID, "type": word, "param": null, "code": code}})
        }
        Style::Anthropic => json!({"type": "error", "error": {"type": word, "message": SAID}, "request_id": "req_1"}),
        Style::Gemini => json!({"error": {"code": status, "message": SAID, "status": word}}),
        Style::Bedrock | Style::Cohere => json!({"message": SAID}),
    };
    let headers = if style == Style::Bedrock { vec![("x-amzn-errortype", word)] } else { Vec::new() };
    (body, headers)
}

/// The dialect's word for a status.
fn word(style: Style, status: u16) -> &'static str {
    const WORDS: [(u16, [&str; 4]); 15] = [
        // OpenAI's, Anthropic's, Google's, Amazon's.
        (400, ["invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT", "ValidationException"]),
        (401, ["invalid_request_error", "authentication_error", "UNAUTHENTICATED", "UnrecognizedClientException"]),
        (402, ["insufficient_quota", "billing_error", "PERMISSION_DENIED", "AccessDeniedException"]),
        (403, ["permission_error", "permission_error", "PERMISSION_DENIED", "AccessDeniedException"]),
        (404, ["invalid_request_error", "not_found_error", "NOT_FOUND", "ResourceNotFoundException"]),
        (408, ["timeout", "timeout_error", "DEADLINE_EXCEEDED", "ModelTimeoutException"]),
        (409, ["conflict", "invalid_request_error", "ABORTED", "ConflictException"]),
        (413, ["request_too_large", "request_too_large", "INVALID_ARGUMENT", "ValidationException"]),
        (422, ["invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT", "ValidationException"]),
        (424, ["server_error", "api_error", "INTERNAL", "ModelErrorException"]),
        (429, ["tokens", "rate_limit_error", "RESOURCE_EXHAUSTED", "ThrottlingException"]),
        (500, ["server_error", "api_error", "INTERNAL", "InternalServerException"]),
        (503, ["service_unavailable_error", "overloaded_error", "UNAVAILABLE", "ServiceUnavailableException"]),
        (504, ["timeout", "timeout_error", "DEADLINE_EXCEEDED", "InternalServerException"]),
        (529, ["overloaded_error", "overloaded_error", "UNAVAILABLE", "ServiceUnavailableException"]),
    ];
    let (_, [openai, anthropic, google, amazon]) =
        WORDS.into_iter().find(|(known, _)| *known == status).or_fail(&format!("words for {status}"));
    match style {
        Style::OpenAi | Style::Responses => openai,
        Style::Anthropic => anthropic,
        Style::Gemini => google,
        Style::Bedrock => amazon,
        Style::Cohere => "",
    }
}

/// The events before the first content.
pub fn opening(style: Style) -> Bytes {
    let events: Vec<Bytes> = match style {
        Style::OpenAi => vec![openai(&json!({"role": "assistant", "content": ""}), &Value::Null)],
        Style::Responses => {
            let response = json!({"id": "resp_1", "object": "response", "created_at": 1, "model": "m",
                "status": "in_progress", "output": [], "error": null, "usage": null});
            let message =
                json!({"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []});
            let part = json!({"type": "output_text", "text": "", "annotations": []});
            vec![
                responses("response.created", 0, json!({"response": response})),
                responses("response.in_progress", 1, json!({"response": response})),
                responses("response.output_item.added", 2, json!({"output_index": 0, "item": message})),
                responses(
                    "response.content_part.added",
                    3,
                    json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": part}),
                ),
            ]
        }
        Style::Anthropic => {
            let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
                "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 1}});
            vec![
                named("message_start", json!({"message": message})),
                named("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}})),
            ]
        }
        Style::Gemini => Vec::new(),
        Style::Bedrock => vec![message("event", "messageStart", br#"{"role":"assistant"}"#)],
        Style::Cohere => {
            let message =
                json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
            let block = json!({"message": {"content": {"type": "text", "text": ""}}});
            vec![
                named("message-start", json!({"id": "1", "delta": {"message": message}})),
                named("content-start", json!({"index": 0, "delta": block})),
            ]
        }
    };
    events.concat().into()
}

/// A piece of text, as the first after [`opening`].
pub fn text(style: Style, text: &str) -> Bytes {
    match style {
        Style::OpenAi => openai(&json!({"content": text}), &Value::Null),
        Style::Responses => {
            let at = json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text, "logprobs": []});
            responses("response.output_text.delta", 4, at)
        }
        Style::Anthropic => {
            named("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": text}}))
        }
        Style::Gemini => {
            let content = json!({"parts": [{"text": text}], "role": "model"});
            data(&json!({"candidates": [{"content": content, "index": 0}], "modelVersion": "m", "responseId": "r"}))
        }
        Style::Bedrock => {
            let delta = json!({"delta": {"text": text}, "contentBlockIndex": 0}).to_string();
            message("event", "contentBlockDelta", delta.as_bytes())
        }
        Style::Cohere => named("content-delta", json!({"index": 0, "delta": {"message": {"content": {"text": text}}}})),
    }
}

/// [`text`], and beside it what was used so far, wherever the dialect has a place for that before its end: Bedrock
/// and Cohere have none.
pub fn counting(style: Style, text: &str, count: &Value) -> Bytes {
    let said = self::text(style, text);
    let used = usage(style, Some(count));
    let more = match style {
        Style::OpenAi => data(&with(
            json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": [{"index": 0, "delta": {}, "finish_reason": null}]}),
            used,
        )),
        Style::Anthropic => named("message_delta", with(json!({"delta": {}}), used)),
        Style::Gemini => data(&with(
            json!({"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, "index": 0}],
                "modelVersion": "m", "responseId": "r"}),
            used,
        )),
        Style::Responses => {
            let response = counted(style, "", Some(count));
            responses("response.in_progress", 5, json!({"response": response}))
        }
        Style::Bedrock | Style::Cohere => Bytes::new(),
    };
    [said, more].concat().into()
}

/// An error within a stream, `at` events after its beginning.
pub fn failing(style: Style, trouble: Trouble, at: u64) -> Bytes {
    let limited = trouble == Trouble::Limited;
    match style {
        Style::OpenAi => data(&error(style, if limited { 429 } else { 500 }).0),
        Style::Responses => {
            let code = if limited { "rate_limit_exceeded" } else { "server_error" };
            let error = json!({"type": code, "code": code, "message": SAID, "param": null});
            responses("error", at, json!({"error": error}))
        }
        Style::Anthropic => {
            let (error, _) = error(style, if limited { 429 } else { 529 });
            Bytes::from(format!("event: error\ndata: {error}\n\n"))
        }
        Style::Gemini => data(&error(style, if limited { 429 } else { 503 }).0),
        Style::Bedrock => {
            let name = if limited { "throttlingException" } else { "serviceUnavailableException" };
            message("exception", name, json!({"message": SAID}).to_string().as_bytes())
        }
        // Cohere's streams have no words for why.
        Style::Cohere => named("message-end", json!({"delta": {"finish_reason": "ERROR", "error": SAID}})),
    }
}

/// A comment, or what else a provider says to keep a connection.
pub fn ping(style: Style) -> Bytes {
    match style {
        Style::Anthropic => named("ping", json!({})),
        Style::Bedrock => Bytes::new(),
        _ => Bytes::from_static(b": ping\n\n"),
    }
}

/// A reply in one piece.
pub fn reply(style: Style, text: &str) -> Value {
    match style {
        Style::OpenAi => json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }),
        Style::Responses => json!({
            "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "error": null,
            "output": [{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": text, "annotations": []}]}],
            "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        }),
        Style::Anthropic => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
            "stop_sequence": null, "content": [{"type": "text", "text": text}],
            "usage": {"input_tokens": 3, "output_tokens": 2},
        }),
        Style::Gemini => json!({
            "candidates": [{"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
            "modelVersion": "m", "responseId": "r",
        }),
        Style::Bedrock => json!({
            "output": {"message": {"role": "assistant", "content": [{"text": text}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}, "metrics": {"latencyMs": 1},
        }),
        Style::Cohere => json!({
            "id": "1", "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"type": "text", "text": text}]},
            "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 2}, "tokens": {"input_tokens": 3, "output_tokens": 2}},
        }),
    }
}

/// One chunk of `OpenAI`'s.
fn openai(delta: &Value, finish: &Value) -> Bytes {
    data(&json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
}

fn responses(name: &str, sequence: u64, mut event: Value) -> Bytes {
    if let Some(event) = event.as_object_mut() {
        event.insert("sequence_number".to_owned(), sequence.into());
    }
    named(name, event)
}

/// A server-sent event that says its name twice.
pub fn named(name: &str, mut event: Value) -> Bytes {
    if let Some(event) = event.as_object_mut() {
        event.insert("type".to_owned(), name.into());
    }
    Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
}

fn data(event: &Value) -> Bytes {
    Bytes::from(format!("data: {event}\n\n"))
}

/// A message of Amazon's (<https://smithy.io/2.0/aws/amazon-eventstream.html>), of kind `event` or `exception`.
pub fn message(kind: &str, name: &str, payload: &[u8]) -> Bytes {
    let mut head = BytesMut::new();
    let headers = [
        (format!(":{kind}-type"), name),
        (":content-type".to_owned(), "application/json"),
        (":message-type".to_owned(), kind),
    ];
    for (name, value) in headers {
        head.put_u8(u8::try_from(name.len()).or_fail("a short name"));
        head.put_slice(name.as_bytes());
        // Seven stands for a string.
        head.put_u8(7);
        head.put_u16(u16::try_from(value.len()).or_fail("a short value"));
        head.put_slice(value.as_bytes());
    }
    let length = |bytes: usize| u32::try_from(bytes).or_fail("a short message");
    let mut out = BytesMut::new();
    out.put_u32(length(16 + head.len() + payload.len()));
    out.put_u32(length(head.len()));
    out.put_u32(crc32fast::hash(&out));
    out.put_slice(&head);
    out.put_slice(payload);
    out.put_u32(crc32fast::hash(&out));
    out.freeze()
}

// === Endings ===

/// A count of tokens as a provider writes it, for better or worse: input and output. Without one there is no usage.
pub type Counts<'a> = Option<&'a Value>;

/// The events behind the last content, which say that the reply is complete and what it used.
pub fn ending(style: Style, counts: Counts<'_>) -> Bytes {
    let used = usage(style, counts);
    let events: Vec<Bytes> = match style {
        Style::OpenAi => vec![
            openai(&json!({}), &json!("stop")),
            data(&with(
                json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                "choices": []}),
                used,
            )),
            Bytes::from_static(b"data: [DONE]\n\n"),
        ],
        Style::Responses => {
            let response = counted(style, "", counts);
            vec![responses("response.completed", 5, json!({"response": response}))]
        }
        Style::Anthropic => vec![
            named("content_block_stop", json!({"index": 0})),
            named("message_delta", with(json!({"delta": {"stop_reason": "end_turn", "stop_sequence": null}}), used)),
            named("message_stop", json!({})),
        ],
        Style::Gemini => {
            let content = json!({"parts": [{"text": ""}], "role": "model"});
            let candidates = json!([{"content": content, "finishReason": "STOP", "index": 0}]);
            vec![data(&with(json!({"candidates": candidates, "modelVersion": "m", "responseId": "r"}), used))]
        }
        Style::Bedrock => vec![
            message("event", "contentBlockStop", br#"{"contentBlockIndex":0}"#),
            message("event", "messageStop", br#"{"stopReason":"end_turn"}"#),
            message("event", "metadata", with(json!({"metrics": {"latencyMs": 1}}), used).to_string().as_bytes()),
        ],
        Style::Cohere => vec![
            named("content-end", json!({"index": 0})),
            named("message-end", json!({"delta": with(json!({"finish_reason": "COMPLETE"}), used)})),
            Bytes::from_static(b"data: [DONE]\n\n"),
        ],
    };
    events.concat().into()
}

/// [`reply`], with these counts.
pub fn counted(style: Style, text: &str, counts: Counts<'_>) -> Value {
    let (field, _) = usage(style, None);
    let mut body = reply(style, text);
    if let Some(body) = body.as_object_mut() {
        body.remove(field);
    }
    with(body, usage(style, counts))
}

/// The field that says what was used, and its value.
fn usage(style: Style, counts: Counts<'_>) -> (&'static str, Option<Value>) {
    let (field, [input, output]) = match style {
        Style::OpenAi => ("usage", ["prompt_tokens", "completion_tokens"]),
        Style::Responses | Style::Anthropic | Style::Cohere => ("usage", ["input_tokens", "output_tokens"]),
        Style::Gemini => ("usageMetadata", ["promptTokenCount", "candidatesTokenCount"]),
        Style::Bedrock => ("usage", ["inputTokens", "outputTokens"]),
    };
    let used = counts.map(|count| json!({input: count, output: count}));
    (field, if style == Style::Cohere { used.map(|used| json!({"billed_units": used, "tokens": used})) } else { used })
}

fn with(mut object: Value, (field, value): (&str, Option<Value>)) -> Value {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(field.to_owned(), value);
    }
    object
}

/// So many calls of a tool, all under one id, as the events behind [`opening`].
pub fn calls(style: Style, name: &str, count: usize) -> Bytes {
    let events: Vec<Bytes> = match style {
        Style::OpenAi => (0..count)
            .map(|at| {
                let call = json!({"index": at, "id": "call_1", "type": "function", "function": {"name": name, "arguments": "{}"}});
                openai(&json!({"tool_calls": [call]}), &Value::Null)
            })
            .collect(),
        Style::Anthropic => (1..=count)
            .flat_map(|at| {
                let block = json!({"type": "tool_use", "id": "toolu_1", "name": name, "input": {}});
                [
                    named("content_block_start", json!({"index": at, "content_block": block})),
                    named("content_block_stop", json!({"index": at})),
                ]
            })
            .collect(),
        Style::Gemini => {
            let part = json!({"functionCall": {"name": name, "args": {}}});
            let content = json!({"parts": vec![part; count], "role": "model"});
            vec![data(&json!({"candidates": [{"content": content, "index": 0}], "modelVersion": "m", "responseId": "r"}))]
        }
        _ => None.or_fail(&format!("a flood of calls of {style:?}")),
    };
    events.concat().into()
}
