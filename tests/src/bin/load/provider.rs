//! A provider that is fast because its answers are fixed: OpenAI chat completions, whole, as a stream, or as a tool call.

use std::net::SocketAddr;

use bifrost_tests::canned::{Chunks, listen};
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt as _, Either, Full};
use serde_json::{Map, Value, json};
use tokio_util::task::TaskTracker;

use crate::answer::Right;

/// By this the callers know that they got all of a text.
pub(crate) const REPLY: Right = Right { words: "The quick brown fox jumps over the lazy dog", times: 7, end: "}" };
/// The same for a stream. So many chunks of text, each flushed by itself.
pub(crate) const STREAM: Right = Right { words: r#""content":" fox""#, times: 64, end: "data: [DONE]\n\n" };

type Body = Either<Full<Bytes>, Chunks>;

/// Serves on this port of 127.0.0.1 (0 takes a free one) until the runtime ends. Returns where.
pub(crate) async fn start(port: u16) -> anyhow::Result<SocketAddr> {
    let canned = Canned::new();
    listen(&TaskTracker::new(), port, move |request| {
        let canned = canned.clone();
        async move { Ok::<_, hyper::Error>(canned.answer(&request.into_body().collect().await?.to_bytes())) }
    })
    .await
}

/// The answers, made once.
#[derive(Clone, Debug)]
struct Canned {
    reply: Bytes,
    first: Bytes,
    chunk: Bytes,
    tail: Bytes,
}

impl Canned {
    fn new() -> Self {
        let text =
            [REPLY.words, " while the gateway passes each byte of this answer on from the model to its caller. "];
        let text = text.concat().repeat(REPLY.times);
        let reply = reply(&json!({"role": "assistant", "content": text, "refusal": null}), "stop");
        Self {
            reply: Bytes::from(reply.to_string()),
            first: chunk(&json!({"role": "assistant", "content": "", "refusal": null}), None),
            chunk: chunk(&json!({"content": " fox"}), None),
            tail: tail("stop"),
        }
    }

    /// A tool call if tools are offered and none has been called; else a text.
    fn answer(&self, request: &[u8]) -> Response<Body> {
        // A search is enough: quotation marks inside a text are escaped, and neither the callers nor the gateway write spaces.
        let text = std::str::from_utf8(request).unwrap_or_default();
        let has = |words: &str| text.contains(words);
        let stream = has(r#""stream":true"#);
        let call = (has(r#""tools":["#) && !has(r#""role":"tool""#)).then(|| first_call(request)).flatten();
        match (call, stream) {
            (None, false) => whole(self.reply.clone()),
            (None, true) => {
                streamed(Chunks::new(self.first.clone(), self.chunk.clone(), STREAM.times, self.tail.clone()))
            }
            (Some(call), false) => {
                let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
                whole(Bytes::from(reply(&message, "tool_calls").to_string()))
            }
            (Some(call), true) => {
                let first = chunk(&json!({"role": "assistant", "tool_calls": [call]}), None);
                streamed(Chunks::new(first, Bytes::new(), 0, tail("tool_calls")))
            }
        }
    }
}

fn whole(body: Bytes) -> Response<Body> {
    response("application/json", Either::Left(Full::new(body)))
}

fn streamed(chunks: Chunks) -> Response<Body> {
    response("text/event-stream", Either::Right(chunks))
}

fn response(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

// === Wire ===

fn reply(message: &Value, finish: &str) -> Value {
    json!({
        "id": "chatcmpl-9hqPd1CzRLh5Kp2sQvVt0YbXw7Ne",
        "object": "chat.completion",
        "created": 1_754_000_000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": usage(),
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    })
}

fn usage() -> Value {
    json!({
        "prompt_tokens": 42,
        "completion_tokens": 180,
        "total_tokens": 222,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    })
}

fn chunk(delta: &Value, finish: Option<&str>) -> Bytes {
    event(&json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]), &Value::Null)
}

fn tail(finish: &str) -> Bytes {
    let events = [chunk(&json!({}), Some(finish)), event(&json!([]), &usage()), Bytes::from("data: [DONE]\n\n")];
    Bytes::from(events.concat())
}

fn event(choices: &Value, usage: &Value) -> Bytes {
    let event = json!({
        "id": "chatcmpl-9hqPd1CzRLh5Kp2sQvVt0YbXw7Ne",
        "object": "chat.completion.chunk",
        "created": 1_754_000_000,
        "model": "gpt-4o-mini",
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
        "choices": choices,
        "usage": usage,
    });
    Bytes::from(format!("data: {event}\n\n"))
}

/// A call of the first tool, with arguments that its schema accepts.
fn first_call(request: &[u8]) -> Option<Value> {
    let request: Value = serde_json::from_slice(request).ok()?;
    let function = request.pointer("/tools/0/function")?;
    let properties = function.pointer("/parameters/properties").and_then(Value::as_object);
    let arguments = properties.into_iter().flatten().map(|(name, schema)| (name.clone(), example(schema)));
    let arguments = Value::Object(arguments.collect::<Map<_, _>>()).to_string();
    let function = json!({"name": function.get("name")?, "arguments": arguments});
    Some(json!({"index": 0, "id": "call_1", "type": "function", "function": function}))
}

fn example(schema: &Value) -> Value {
    match schema.get("type").and_then(Value::as_str) {
        Some("number" | "integer") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("x"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(request: &Value) -> String {
        let answer = Canned::new().answer(request.to_string().as_bytes());
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn it_answers_with_a_text_a_stream_or_a_call() {
        let text = body(&json!({"model": "m"})).await;
        assert!((1_200..1_800).contains(&text.len()), "{} bytes", text.len());
        assert_eq!(text.matches(REPLY.words).count(), REPLY.times);
        assert!(text.ends_with(REPLY.end));

        let stream = body(&json!({"model": "m", "stream": true})).await;
        assert_eq!(stream.matches(STREAM.words).count(), STREAM.times);
        assert!(stream.ends_with(STREAM.end));

        let parameters = json!({"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "string"}}});
        let tools = json!([{"type": "function", "function": {"name": "add", "parameters": parameters}}]);
        let call: Value = serde_json::from_str(&body(&json!({"tools": tools})).await).unwrap();
        let function = call.pointer("/choices/0/message/tool_calls/0/function").unwrap();
        assert_eq!(function, &json!({"name": "add", "arguments": r#"{"a":1,"b":"x"}"#}));

        let after = body(&json!({"tools": tools, "messages": [{"role": "tool", "content": "2"}]})).await;
        assert!(after.contains(REPLY.words));
    }
}
