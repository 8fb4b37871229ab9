//! What must survive in OpenAI chat, case by case: each test is one promise.
#![cfg(test)]

#[path = "support/frames.rs"]
mod frames;

use bifrost_providers::chat::PartKind;
use bifrost_providers::dialect::openai_chat::OpenAiChat;
use bifrost_providers::dialect::{Problem, WriterOptions};
use bifrost_providers::event::{Fold, MESSAGE_FIELDS};
use bifrost_providers::failure::FailureKind;
use bifrost_providers::reply::FinishReason;
use bifrost_providers::{ChatEvent, ChatReply, Codec, Dialect, Failure, Losses};
use http::StatusCode;
use serde_json::{Value, json};

// === tools ===

/// A request with these fields comes back as it was.
fn request_survives(fields: &Value) {
    let mut body = json!({"model": "m", "messages": []});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let request = OpenAiChat.decode_request(body.to_string().as_bytes()).unwrap();
    let mut losses = Losses::default();
    let again: Value = serde_json::from_slice(&OpenAiChat.encode_request(&request, &mut losses)).unwrap();
    assert_eq!((again, losses.len()), (body, 0));
}

fn message_survives(message: &Value) {
    request_survives(&json!({"messages": [message]}));
}

/// The request as it is written after it came from another dialect, and the places of the losses.
fn crossed(fields: &Value) -> (Value, Vec<String>) {
    let mut body = json!({"model": "m", "messages": []});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let mut request = OpenAiChat.decode_request(body.to_string().as_bytes()).unwrap();
    request.source = Dialect::AnthropicMessages;
    let mut losses = Losses::default();
    let again = serde_json::from_slice(&OpenAiChat.encode_request(&request, &mut losses)).unwrap();
    (again, losses.iter().map(|loss| loss.pointer.clone()).collect())
}

fn read(chunks: &[Value], done: bool) -> Result<Vec<ChatEvent>, Box<Failure>> {
    let mut body: String =
        chunks.iter().flat_map(|chunk| ["data: ".into(), chunk.to_string(), "\n\n".into()]).collect();
    if done {
        body += "data: [DONE]\n\ndata: [DONE]\n\n";
    }
    let (mut reader, mut events) = (OpenAiChat.reader(), Vec::new());
    for frame in frames::frames(body.as_bytes()) {
        reader.read(&frame, &mut events)?;
    }
    reader.finish(&mut events)?;
    Ok(events)
}

fn folded(events: &[ChatEvent]) -> ChatReply {
    let mut fold = Fold::new();
    for event in events {
        fold.push(event);
    }
    fold.finish()
}

fn reply(chunks: &[Value]) -> Value {
    let reply = folded(&read(chunks, true).unwrap());
    serde_json::from_slice(&OpenAiChat.encode_reply(&reply, None, &mut Losses::default())).unwrap()
}

/// A chunk with one choice: its delta, and its finish reason.
fn chunk(delta: &Value, finish: Option<&str>) -> Value {
    json!({"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

fn write(events: &[ChatEvent], include_usage: bool, annex: Option<&str>) -> String {
    let mut writer = OpenAiChat.writer(WriterOptions { include_usage, ..WriterOptions::default() });
    let mut out = Vec::new();
    for event in events {
        writer.write(event, annex.filter(|_| matches!(event, ChatEvent::Stop { .. })), &mut out);
    }
    String::from_utf8(out).unwrap()
}

fn written_chunks(text: &str) -> Vec<Value> {
    let frames = frames::frames(text.as_bytes());
    frames
        .iter()
        .filter(|frame| frame.data != "[DONE]")
        .map(|frame| serde_json::from_slice(&frame.data).unwrap())
        .collect()
}

// === requests ===

#[test]
fn oai_chat_request_fields_survive() {
    let function = json!({"type": "function", "function": {"name": "f", "description": "d", "strict": true,
        "parameters": {"type": "object", "properties": {"b": {}, "a": {}}}}});
    for fields in [
        json!({"tools": [function], "parallel_tool_calls": false}),
        json!({"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "grammar"}}}]}),
        json!({"tools": [], "stop": [], "stream": false, "user": null}),
        json!({"functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}}),
        json!({"max_tokens": 5}),
        json!({"max_completion_tokens": 5, "max_tokens": 6}),
        json!({"temperature": 0.1, "top_p": 1e-3, "seed": 9_007_199_254_740_993_u64, "n": 2, "top_k": 3}),
        json!({"stop": "x"}),
        json!({"stop": ["x", "y"]}),
        json!({"prediction": {"type": "content", "content": "x"}, "metadata": {"a": "b"}, "store": true,
            "safety_identifier": "s", "service_tier": "flex", "logprobs": true, "top_logprobs": 2}),
        json!({"stream": true, "stream_options": {"include_usage": true, "include_obfuscation": false}}),
        json!({"stream": true, "stream_options": {"include_usage": false}}),
        json!({"response_format": {"type": "text"}}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d",
            "strict": true, "schema": {"type": "object"}}}}),
        json!({"reasoning": {"effort": "xhigh", "max_tokens": 9, "exclude": true}}),
        json!({"reasoning_max_tokens": 9}),
    ] {
        request_survives(&fields);
    }
}

#[test]
fn oai_chat_tool_choice_all_forms() {
    for choice in [
        json!("none"),
        json!("auto"),
        json!("required"),
        json!("any"),
        json!({"type": "function", "function": {"name": "f"}}),
        json!({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
        json!({"type": "custom", "custom": {"name": "c"}}),
    ] {
        request_survives(&json!({"tool_choice": choice}));
    }
}

#[test]
fn oai_chat_reasoning_effort_all_values() {
    for effort in ["none", "minimal", "low", "medium", "high", "xhigh", "max"] {
        request_survives(&json!({"reasoning_effort": effort}));
        assert_eq!(crossed(&json!({"reasoning_effort": effort})).0["reasoning_effort"], effort);
    }
    let both = br#"{"model":"m","messages":[],"reasoning_effort":"low","reasoning":{"effort":"low"}}"#;
    assert_eq!(OpenAiChat.decode_request(both).unwrap_err().pointer, "/reasoning");
}

#[test]
fn oai_chat_messages_survive() {
    let call = json!({"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}});
    for message in [
        json!({"role": "developer", "content": "x", "name": "n"}),
        json!({"role": "assistant", "content": null, "tool_calls": [call]}),
        json!({"role": "assistant", "content": "", "tool_calls": [call]}),
        json!({"role": "assistant", "tool_calls": [call]}),
        json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "c", "input": "free"}}]}),
        json!({"role": "assistant", "content": null, "function_call": {"name": "f", "arguments": "{}"}}),
        json!({"role": "function", "name": "f", "content": "x"}),
        json!({"role": "assistant", "content": null, "refusal": "no", "audio": {"id": "a"}}),
        json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}),
        json!({"role": "assistant", "content": "x", "prefix": true}),
        json!({"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}}]}),
        json!({"role": "user", "content": [{"type": "image_url", "image_url": "https://x/y.png"}]}),
        json!({"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}),
        json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}}]}),
        json!({"role": "user", "content": [{"type": "input_audio", "input_audio": "QQ=="}]}),
        json!({"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}),
        json!({"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf",
            "file_data": "data:application/pdf;base64,QQ=="}}]}),
        json!({"role": "user", "content": [{"type": "video_url", "video_url": {"url": "u"}}]}),
        json!({"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]},
            {"type": "text", "text": "x"}, {"type": "reference", "reference_ids": [1]}]}),
        json!({"role": "assistant", "content": "x", "reasoning": "t", "reasoning_details": [
            {"type": "reasoning.text", "text": "t", "signature": "s", "format": null, "index": 0},
            {"type": "reasoning.encrypted", "data": "d", "id": "i"}, {"type": "reasoning.new", "x": 1}]}),
        json!({"role": "assistant", "content": "x", "reasoning": "other", "reasoning_content": "t"}),
    ] {
        message_survives(&message);
    }
}

#[test]
fn oai_chat_reasoning_said_twice_is_one_thought() {
    let body = json!({"model": "m", "messages": [{"role": "assistant", "content": "x", "reasoning": "t",
        "reasoning_content": "t", "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s"}]}]});
    let request = OpenAiChat.decode_request(body.to_string().as_bytes()).unwrap();
    let [thinking, text] = request.messages[0].parts.as_slice() else { panic!("{:?}", request.messages) };
    assert!(matches!(&thinking.kind, PartKind::Thinking { text, signature: Some(_) } if text.as_escaped() == "t"));
    assert!(matches!(text.kind, PartKind::Text(_)));
}

#[test]
fn x_malformed_requests_name_the_place() {
    for (body, pointer) in [
        (r#"{"messages":[]}"#, "/model"),
        (r#"{"model":"m"}"#, "/messages"),
        (r#"{"model":"m","messages":[{"content":"x"}]}"#, "/messages/0/role"),
        (r#"{"model":"m","messages":[{"role":"user","content":7}]}"#, "/messages/0/content"),
        (
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":7}]}]}"#,
            "/messages/0/content/0/text",
        ),
        (r#"{"model":"m","messages":[],"n":"two"}"#, "/n"),
    ] {
        assert_eq!(OpenAiChat.decode_request(body.as_bytes()).unwrap_err().pointer, pointer, "{body}");
    }
    let twice = br#"{"model":"m","model":"n","messages":[]}"#;
    assert!(OpenAiChat.decode_request(twice).unwrap_err().expected.contains("duplicate"));
}

#[test]
fn x_lossy_translation_reported() {
    let (body, losses) = crossed(&json!({
        "store": true, "metadata": null, "top_k": 4,
        "tools": [{"type": "web_search"}, {"type": "function", "function": {"name": "f"}, "cache_control": {}}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}},
            {"type": "file", "file": {"file_id": "f"}}, {"type": "video_url", "video_url": {}}]}]}));
    let expected = [
        "/store",
        "/messages/0/content/0/cache_control",
        "/messages/0/content/1",
        "/messages/0/content/2",
        "/tools/0",
        "/tools/1/cache_control",
        "/top_k",
    ];
    assert_eq!(losses, expected);
    assert_eq!(
        body,
        json!({"model": "m", "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": {"name": "f"}}]})
    );
}

// === streams ===

#[test]
fn oai_chat_stream_tool_calls_by_index_interleaved() {
    let call = |index: u32, id: Value, name: Value, arguments: &str| {
        chunk(
            &json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]}),
            None,
        )
    };
    let null = || Value::Null;
    let body = reply(&[
        call(0, json!("a"), json!("f"), ""),
        call(1, json!("b"), json!("g"), "{\"x\""),
        call(0, null(), null(), "{}"),
        call(1, null(), null(), ":1}"),
        chunk(&json!({}), Some("tool_calls")),
    ]);
    let calls = &body["choices"][0]["message"]["tool_calls"];
    assert_eq!(calls[0]["function"], json!({"name": "f", "arguments": "{}"}));
    assert_eq!(calls[1]["function"], json!({"name": "g", "arguments": "{\"x\":1}"}));
    assert_eq!(body["choices"][0]["message"]["content"], Value::Null);
}

#[test]
fn mis_whole_tool_call_in_one_chunk() {
    for index in [json!(0), Value::Null] {
        let call = |id: &str| json!({"index": index, "id": id, "function": {"name": "f", "arguments": id}});
        let body = reply(&[chunk(&json!({"tool_calls": [call("a"), call("b")]}), Some("tool_calls"))]);
        let calls = body["choices"][0]["message"]["tool_calls"].as_array().unwrap().clone();
        let arguments: Vec<_> = calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
        assert_eq!(arguments, ["a", "b"]);
    }
}

#[test]
fn oai_chat_stream_first_delta_has_role_assistant_and_one_done() {
    let events = read(&[chunk(&json!({"content": "x"}), None), chunk(&json!({}), Some("stop"))], true).unwrap();
    let text = write(&events, false, Some(r#"{"k":1}"#));
    let chunks = written_chunks(&text);
    assert_eq!(chunks[0]["choices"][0]["delta"], json!({"role": "assistant", "content": "x"}));
    assert_eq!(chunks.last().unwrap()["extra_fields"], json!({"k": 1}));
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert_eq!(text.matches("[DONE]").count(), 1);
}

#[test]
fn oai_chat_stream_usage_chunk_choices_empty_and_nonempty() {
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7});
    let mut beside = chunk(&json!({}), Some("stop"));
    beside["usage"] = usage.clone();
    let mut interim = chunk(&json!({"content": "x"}), None);
    interim["usage"] = Value::Null;
    let alone = json!({"id": "c1", "choices": [], "usage": usage});
    for chunks in [vec![interim.clone(), beside], vec![interim, chunk(&json!({}), Some("stop")), alone]] {
        for done in [true, false] {
            let events = read(&chunks, done).unwrap();
            assert_eq!(folded(&events).usage.unwrap().output, 4);
            let shown = written_chunks(&write(&events, true, Some("{}")));
            assert_eq!(shown.iter().filter(|chunk| chunk["usage"].is_object()).count(), 1);
            assert_eq!((&shown.last().unwrap()["usage"], &shown.last().unwrap()["choices"]), (&usage, &json!([])));
            assert!(!write(&events, false, None).contains("usage"));
        }
    }
}

#[test]
fn oai_chat_stream_n_choices_index() {
    let other = |delta: Value, finish: Option<&str>| {
        let mut chunk = chunk(&delta, finish);
        chunk["choices"][0]["index"] = json!(1);
        chunk
    };
    let chunks = [
        chunk(&json!({"content": "a"}), None),
        other(json!({"content": "b"}), None),
        chunk(&json!({}), Some("length")),
        other(json!({}), Some("content_filter")),
    ];
    let reply = folded(&read(&chunks, true).unwrap());
    let finishes: Vec<_> = reply.choices.iter().map(|choice| (choice.index, choice.finish.reason)).collect();
    assert_eq!(finishes, [(0, FinishReason::Length), (1, FinishReason::ContentFilter)]);
}

#[test]
fn oai_chat_stream_late_content_is_not_lost() {
    let chunks = [
        chunk(&json!({"content": "a"}), None),
        chunk(&json!({}), Some("stop")),
        chunk(&json!({"content": "b"}), Some("stop")),
    ];
    assert_eq!(reply(&chunks)["choices"][0]["message"]["content"], "ab");
}

#[test]
fn oai_chat_stream_cut_or_failed_is_a_failure() {
    let begun = chunk(&json!({"content": "x"}), None);
    for (last, kind, status) in [
        (json!({"error": {"message": "m", "type": "server_error"}}), FailureKind::Unavailable, Some(500)),
        (json!({"error": {"message": "m", "code": 429}}), FailureKind::RateLimited, Some(429)),
        (json!({"object": "error", "message": "m", "code": "x"}), FailureKind::Unavailable, Some(502)),
        (json!({"error": "rejected"}), FailureKind::Unavailable, Some(502)),
        (json!({"choices": []}), FailureKind::Broken, None),
    ] {
        let failure = read(&[begun.clone(), last], false).unwrap_err();
        assert_eq!((failure.kind, failure.status.map(|status| status.as_u16())), (kind, status));
    }
}

#[test]
fn azr_first_chunk_empty_choices_prompt_filter() {
    let first = json!({"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]});
    let events = read(&[first, chunk(&json!({"content": "x"}), Some("stop"))], true).unwrap();
    assert!(matches!(&events[0], ChatEvent::Start(start) if start.id.as_escaped() == "c1"));
    assert!(written_chunks(&write(&events, false, None))[0]["prompt_filter_results"].is_array());
}

#[test]
fn oai_chat_stream_obfuscation_and_unknown_fields_preserved() {
    let mut first = chunk(&json!({"content": "x"}), None);
    first["system_fingerprint"] = json!("fp");
    let mut second = chunk(&json!({"content": "y"}), None);
    second["obfuscation"] = json!("zz");
    second["system_fingerprint"] = json!("fp");
    let cited = chunk(&json!({"annotations": [{"type": "url_citation"}]}), None);
    let mut last = chunk(&json!({}), Some("stop"));
    last["choices"][0]["content_filter_results"] = json!({"hate": {}});
    let events = read(&[first, second, cited, last], true).unwrap();
    assert!(events.iter().any(
        |event| matches!(event, ChatEvent::Foreign { event: Some(name), .. } if name.as_escaped() == MESSAGE_FIELDS)
    ));
    let shown = written_chunks(&write(&events, false, None));
    assert!(shown.iter().all(|chunk| chunk["system_fingerprint"] == "fp"));
    assert_eq!(shown[1]["obfuscation"], "zz");
    assert_eq!(shown[2]["choices"][0]["delta"]["annotations"][0]["type"], "url_citation");
    assert_eq!(shown[3]["choices"][0]["content_filter_results"], json!({"hate": {}}));
    let reply = folded(&events);
    assert!(reply.extras.find("obfuscation").is_none());
    assert!(reply.choices[0].message_extras.find("annotations").is_some());
}

#[test]
fn oai_chat_audio_output_stream() {
    let audio = |audio: Value| chunk(&json!({"audio": audio}), None);
    let body = reply(&[
        audio(json!({"id": "a", "transcript": "Hel"})),
        audio(json!({"transcript": "lo", "data": "QU"})),
        audio(json!({"data": "JD", "expires_at": 9})),
        chunk(&json!({}), Some("stop")),
    ]);
    let expected = json!({"id": "a", "transcript": "Hello", "data": "QUJD", "expires_at": 9});
    assert_eq!(body["choices"][0]["message"]["audio"], expected);
}

#[test]
fn oai_chat_logprobs_and_top_logprobs_roundtrip() {
    let measured = |token: &str, list: &str| {
        let mut chunk = chunk(&json!({"content": token}), None);
        chunk["choices"][0]["logprobs"] =
            json!({list: [{"token": token, "bytes": [1], "top_logprobs": []}], "refusal": null});
        chunk
    };
    let body = reply(&[measured("a", "content"), measured("b", "content"), chunk(&json!({}), Some("stop"))]);
    let tokens = body["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.iter().map(|token| token["token"].as_str().unwrap()).collect::<String>(), "ab");
}

#[test]
fn a_whole_reply_in_one_frame_is_a_stream() {
    let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]});
    assert_eq!(reply(&[whole])["choices"][0]["message"]["content"], "x");
}

// === replies and errors of other dialects ===

#[test]
fn a_crossed_reply_is_a_proper_completion() {
    let body = json!({"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s"}],
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 1}}});
    let mut reply = OpenAiChat.decode_reply(body.to_string().as_bytes()).unwrap();
    reply.source = Dialect::AnthropicMessages;
    reply.choices[0].parts.iter_mut().for_each(|part| part.extras = bifrost_providers::chat::Extras::default());
    reply.choices[0].message_extras = bifrost_providers::chat::Extras::default();
    let bytes = OpenAiChat.encode_reply(&reply, Some(r#"{"k":1}"#), &mut Losses::default());
    assert!(bytes.ends_with(br#""extra_fields":{"k":1}}"#));
    let again: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(again["object"], "chat.completion");
    assert_eq!(
        again["choices"][0]["message"],
        json!({"role": "assistant", "content": null, "reasoning_content": "t",
        "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s", "index": 0}],
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]})
    );
    assert_eq!(
        again["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 1}})
    );
}

#[test]
fn oai_chat_error_body_shape_and_param_code() {
    let problem = Problem {
        status: StatusCode::PAYMENT_REQUIRED,
        kind: "budget_exceeded".into(),
        code: None,
        param: None,
        message: "no \"money\"".into(),
        annex: Some("{}".into()),
    };
    let body: Value = serde_json::from_slice(&OpenAiChat.encode_error(&problem)).unwrap();
    assert_eq!(
        body,
        json!({"is_bifrost_error": false, "status_code": 402, "extra_fields": {},
        "error": {"type": "budget_exceeded", "code": null, "param": null, "message": "no \"money\""}})
    );
}

#[test]
fn errors_of_every_shape_are_read() {
    for (status, body, kind, message) in [
        (
            429,
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            FailureKind::RateLimited,
            "m",
        ),
        (200, r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#, FailureKind::RateLimited, "m"),
        (529, r#"{"message":"busy"}"#, FailureKind::Unavailable, "busy"),
        (422, r#"{"detail":[{"loc":["body"],"msg":"x"}]}"#, FailureKind::Rejected, r#"[{"loc":["body"],"msg":"x"}]"#),
        (400, r#"{"object":"error","message":"m","type":"t"}"#, FailureKind::Rejected, "m"),
        (403, r#"{"error":"no"}"#, FailureKind::Credential, "no"),
        (502, "<html>x</html>", FailureKind::Unavailable, "the provider answered 502 Bad Gateway with an HTML page"),
        (200, "<!DOCTYPE html>", FailureKind::Unreadable, "the provider answered 200 OK with an HTML page"),
        (302, "", FailureKind::Unreadable, "the provider redirects (302 Found), which is not followed"),
        (500, "", FailureKind::Unavailable, "the provider answered 500 Internal Server Error without a body"),
    ] {
        let failure = OpenAiChat.decode_error(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!((failure.kind, failure.message.as_str()), (kind, message), "{body}");
    }
}
