//! Promises of fidelity that fit nowhere else: each test is named for the line it keeps.
#![cfg(test)]

#[path = "support/crossing.rs"]
mod crossing;
#[path = "support/fold.rs"]
mod fold;

use std::fmt::Write as _;

use bifrost_providers::chat::{PartKind, ToolCall};
use bifrost_providers::event::unfold;
use bifrost_providers::{ChatReply, Dialect, Losses};
use crossing::{read, write};
use fold::fold;
use serde_json::{Value, json};

/// A reply in the words of a client's dialect.
fn told(reply: &ChatReply, to: Dialect) -> Value {
    serde_json::from_slice(&to.codec().encode_reply(reply, None, &mut Losses::default())).unwrap()
}

/// A completion with this message and finish, read.
fn completion(message: &Value, finish: &str) -> ChatReply {
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}});
    Dialect::OpenAiChat.codec().decode_reply(body.to_string().as_bytes()).unwrap()
}

/// A stream of OpenAI chat with these deltas, which ends with this finish, read and folded.
fn streamed(deltas: &[Value], finish: &str) -> ChatReply {
    let chunk = |delta: &Value, finish: Option<&str>| {
        let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
        format!("data: {}\n\n", json!({"id": "c", "created": 1, "model": "m", "choices": choices, "usage": null}))
    };
    let mut body: String = deltas.iter().map(|delta| chunk(delta, None)).collect();
    body += &chunk(&json!({}), Some(finish));
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2});
    write!(body, "data: {}\n\ndata: [DONE]\n\n", json!({"id": "c", "choices": [], "usage": usage})).unwrap();
    fold(&read(Dialect::OpenAiChat.codec(), &body, "streamed"))
}

#[test]
fn oai_chat_stream_usage_null_until_last() {
    let reply = streamed(&[json!({"role": "assistant", "content": "a"}), json!({"content": "b"})], "stop");
    assert_eq!(reply.usage.map(|usage| (usage.input, usage.output)), Some((1, 1)));
}

#[test]
fn oai_chat_refusal_field_stream_and_full() {
    let whole = completion(&json!({"role": "assistant", "content": null, "refusal": "I will not"}), "stop");
    let grown = streamed(&[json!({"role": "assistant", "refusal": "I will"}), json!({"refusal": " not"})], "stop");
    // Deltas do not say how content is spelt where there is none.
    for (reply, content) in [(whole, Value::Null), (grown, json!(""))] {
        let native = told(&reply, Dialect::OpenAiChat);
        assert_eq!(native["choices"][0]["message"]["refusal"], "I will not");
        assert_eq!(native["choices"][0]["message"]["content"], content);
        let crossed = told(&reply, Dialect::AnthropicMessages);
        assert_eq!(crossed["stop_reason"], "refusal");
        assert_eq!(crossed["content"], json!([{"type": "text", "text": "I will not"}]));
    }
}

/// Clients put together what has one index: two seals under one would be none.
#[test]
fn reasoning_details_of_a_stream_have_the_indexes_of_the_whole_reply() {
    let reply = Dialect::AnthropicMessages.codec().decode_reply(
        br#"{"id":"m","type":"message","role":"assistant","model":"m","stop_reason":"end_turn","content":[
            {"type":"thinking","thinking":"one","signature":"QQ=="},{"type":"redacted_thinking","data":"Qg=="},
            {"type":"thinking","thinking":"two","signature":"Qw=="},{"type":"text","text":"so"}]}"#,
    );
    let reply = reply.unwrap();
    let indexes = |list: &Value| -> Vec<Value> {
        list.as_array().into_iter().flatten().map(|detail| detail["index"].clone()).collect()
    };
    let whole = told(&reply, Dialect::OpenAiChat);
    assert_eq!(indexes(&whole["choices"][0]["message"]["reasoning_details"]), [0, 1, 2], "{whole}");
    let stream = write(Dialect::OpenAiChat.codec(), &unfold(&reply));
    let chunks = stream.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let grown: Vec<Value> =
        chunks.flat_map(|chunk| indexes(&chunk["choices"][0]["delta"]["reasoning_details"])).collect();
    assert_eq!(grown, [0, 1, 2], "{stream}");
}

#[test]
fn oai_chat_annotations_url_citation() {
    let cited = json!({"start_index": 0, "end_index": 1, "url": "https://a.example", "title": "A"});
    let annotations = json!([{"type": "url_citation", "url_citation": cited}]);
    let whole = completion(&json!({"role": "assistant", "content": "a", "annotations": annotations}), "stop");
    let grown =
        streamed(&[json!({"role": "assistant", "content": "a"}), json!({"annotations": annotations.clone()})], "stop");
    for reply in [whole, grown] {
        assert_eq!(told(&reply, Dialect::OpenAiChat)["choices"][0]["message"]["annotations"], annotations);
        let crossed = told(&reply, Dialect::OpenAiResponses);
        assert_eq!(crossed["output"][0]["content"][0]["annotations"][0]["url"], "https://a.example", "{crossed}");
    }
}

#[test]
fn oai_chat_finish_reason_content_filter_and_length() {
    for (finish, anthropic, gemini) in
        [("length", "max_tokens", "MAX_TOKENS"), ("content_filter", "refusal", "SAFETY"), ("stop", "end_turn", "STOP")]
    {
        let message = json!({"role": "assistant", "content": "a"});
        for reply in [completion(&message, finish), streamed(std::slice::from_ref(&message), finish)] {
            assert_eq!(told(&reply, Dialect::OpenAiChat)["choices"][0]["finish_reason"], finish);
            assert_eq!(told(&reply, Dialect::AnthropicMessages)["stop_reason"], anthropic);
            assert_eq!(told(&reply, Dialect::Gemini)["candidates"][0]["finishReason"], gemini);
        }
    }
}

#[test]
fn oai_resp_required_nullable_fields_present() {
    let crossed = told(&completion(&json!({"role": "assistant", "content": "a"}), "stop"), Dialect::OpenAiResponses);
    // Required by the SDK's own type although they may be null.
    for key in ["error", "incomplete_details", "instructions", "metadata", "temperature", "top_p"] {
        assert!(crossed.get(key).is_some(), "{key}: {crossed}");
    }
}

#[test]
fn anth_redacted_thinking_verbatim() {
    let block = json!({"type": "redacted_thinking", "data": "EmwKAhgB+/=="});
    let request = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "q"},
        {"role": "assistant", "content": [block, {"type": "text", "text": "a"}]}]});
    let codec = Dialect::AnthropicMessages.codec();
    let decoded = codec.decode_request(request.to_string().as_bytes()).unwrap();
    let again: Value = serde_json::from_slice(&codec.encode_request(&decoded, &mut Losses::default())).unwrap();
    assert_eq!(again["messages"][1]["content"][0], block);
    let reply = json!({"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [block],
        "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 1, "output_tokens": 1}});
    let decoded = codec.decode_reply(reply.to_string().as_bytes()).unwrap();
    assert_eq!(told(&decoded, Dialect::AnthropicMessages)["content"][0], block);
    let events = bifrost_providers::event::unfold(&decoded);
    assert!(write(codec, &events).contains(r#""data":"EmwKAhgB+/==""#));
}

/// Found by fuzzing: the arguments that Bedrock streamed stood in its own whole reply as they were.
#[test]
fn arguments_that_are_no_json_leave_every_reply_readable() {
    let call = |arguments: &str| {
        PartKind::ToolCall(ToolCall { id: "c".into(), name: "f".into(), arguments: arguments.into(), custom: false })
    };
    let mut reply = completion(&json!({"role": "assistant", "content": "a"}), "tool_calls");
    for dialect in [Dialect::BedrockConverse, Dialect::AnthropicMessages, Dialect::Gemini, Dialect::CohereChat] {
        reply.source = dialect;
        for arguments in ["}", "{", "{} {}", "[1]", "1", "nul", ""] {
            reply.choices[0].parts = vec![call(arguments).into()];
            let written = dialect.codec().encode_reply(&reply, None, &mut Losses::default());
            let text = String::from_utf8_lossy(&written);
            assert!(serde_json::from_slice::<Value>(&written).is_ok(), "{arguments}: {text}");
        }
    }
}
