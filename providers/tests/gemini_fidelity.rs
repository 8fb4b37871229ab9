//! What must survive in Gemini, case by case: each test, and each row of its tables, is one promise.
#![cfg(test)]

#[path = "support/frames.rs"]
mod frames;

use bifrost_providers::chat::{ContentForm, Extras, Message, Part, PartKind, Role, ToolResult};
use bifrost_providers::dialect::gemini::Gemini;
use bifrost_providers::dialect::openai_chat::OpenAiChat;
use bifrost_providers::dialect::{Frame, Problem, WriterOptions};
use bifrost_providers::event::{Fold, unfold};
use bifrost_providers::failure::FailureKind;
use bifrost_providers::framing::Framing;
use bifrost_providers::reply::FinishReason;
use bifrost_providers::{ChatEvent, ChatReply, Codec, Dialect, Failure, Losses};
use http::StatusCode;
use serde_json::{Value, json};

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

fn again(request: &str) -> Value {
    let mut losses = Losses::default();
    let decoded = Gemini.decode_request(request.as_bytes()).unwrap();
    let encoded = Gemini.encode_request(&decoded, &mut losses);
    assert!(losses.is_empty(), "{losses:?}");
    value(&encoded)
}

fn reply_again(reply: &ChatReply) -> Value {
    let mut losses = Losses::default();
    let encoded = Gemini.encode_reply(reply, None, &mut losses);
    assert!(losses.is_empty(), "{losses:?}");
    value(&encoded)
}

fn read(events: &[Value]) -> (Vec<ChatEvent>, Result<(), Box<Failure>>) {
    let mut reader = Gemini.reader();
    let mut out = Vec::new();
    for event in events {
        let frame = Frame { event: None, data: event.to_string().into() };
        if let Err(failure) = reader.read(&frame, &mut out) {
            return (out, Err(failure));
        }
    }
    let end = reader.finish(&mut out);
    (out, end)
}

fn fold(events: &[ChatEvent]) -> ChatReply {
    let mut fold = Fold::new();
    for event in events {
        fold.push(event);
    }
    fold.finish()
}

fn write(events: &[ChatEvent]) -> Vec<Value> {
    let mut writer = Gemini.writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    assert!(writer.losses().is_empty(), "{:?}", writer.losses());
    frames::frames(&out).iter().map(|frame| value(&frame.data)).collect()
}

fn chunk(parts: &Value, finish: Option<&str>) -> Value {
    let mut chunk = json!({"candidates":[{"content":{"parts":parts,"role":"model"},"index":0}],"modelVersion":"g","responseId":"r"});
    if let Some(finish) = finish {
        chunk["candidates"][0]["finishReason"] = json!(finish);
    }
    chunk
}

/// Everything this dialect can say comes back as it was said. Each row: a name, and fields of a request.
#[test]
fn requests_of_every_form_are_the_same_after_a_round_trip() {
    for row in include_str!("tables/gemini_forms.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let mut source = json!({"contents":[{"role":"user","parts":[{"text":"hi"}]}]});
        for (key, field) in row["fields"].as_object().unwrap() {
            source[key] = field.clone();
        }
        assert_eq!(again(&source.to_string()), source, "{row}");
    }
}

#[test]
fn x_key_order_and_unicode_escape_stable() {
    let parts = r#"[{"text":"caf\u00e9 \ud83d \/ é"},{"functionCall":{"name":"f","args":{"b":"\u00e9","a":1.0}}}]"#;
    let body = format!(r#"{{"contents":[{{"role":"model","parts":{parts}}}]}}"#);
    let decoded = Gemini.decode_request(body.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(Gemini.encode_request(&decoded, &mut Losses::default())).unwrap(), body);
}

#[test]
fn malformed_requests_name_the_place() {
    for (body, pointer) in [
        ("{}", "/contents"),
        (r#"{"contents":[{"parts":[{"text":1}]}]}"#, "/contents/0/parts/0/text"),
        (r#"{"contents":[{"parts":[{"functionCall":{"args":{}}}]}]}"#, "/contents/0/parts/0/functionCall/name"),
        (r#"{"contents":[],"contents":[]}"#, ""),
        (r#"{"contents":[],"generationConfig":{"max_output_tokens":1,"maxOutputTokens":1}}"#, "/generationConfig"),
        (r#"{"contents":[],"tools":[{"functionDeclarations":[{}]}]}"#, "/tools/0/functionDeclarations/0/name"),
        (r#"{"contents":[],"toolConfig":[]}"#, "/toolConfig"),
        (r#"{"contents":[],"systemInstruction":"be brief"}"#, "/systemInstruction"),
    ] {
        let fault = Gemini.decode_request(body.as_bytes()).unwrap_err();
        assert_eq!(fault.pointer, pointer, "{body}: {fault}");
    }
    // The URL says the model; a body may, too.
    assert_eq!(Gemini.decode_request(br#"{"contents":[],"model":"models/g"}"#).unwrap().model.to_plain(), "g");
}

// === The loop ===

/// The gateway runs a call of a Gemini model for an OpenAI client: what the model signed goes back to it, in one turn, and
/// ids that only this crate knows do not.
#[test]
fn gem_thought_signatures_survive_the_loop_of_any_client() {
    let turn = json!([{"text":"hm","thought":true},
        {"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"c1"},
        {"functionCall":{"name":"f","args":{"a":2}}},
        {"text":"","thoughtSignature":"c2"}]);
    let (events, end) = read(&[chunk(&turn, Some("STOP"))]);
    end.unwrap();
    let parts = fold(&events).choices.remove(0).parts;
    let asked = br#"{"model":"m","messages":[{"role":"user","content":"q"}]}"#;
    let mut chat = OpenAiChat.decode_request(asked).unwrap();
    chat.model = "gemini-3-pro".into();
    let message = |role, parts| Message {
        role,
        parts,
        content: ContentForm::Parts,
        name: None,
        extras: Extras::default(),
        pointer: "/messages/-".into(),
    };
    // As the loop does it: what only Google's dialect says of a part is left out.
    let parts: Vec<Part> = parts.into_iter().map(|part| Part { extras: Extras::default(), ..part }).collect();
    let ids: Vec<_> = parts
        .iter()
        .filter_map(|part| match &part.kind {
            PartKind::ToolCall(call) => Some(call.id.clone()),
            _ => None,
        })
        .collect();
    chat.messages.push(message(Role::Assistant, parts));
    for (at, call_id) in ids.into_iter().enumerate() {
        let parts = vec![PartKind::Text(at.to_string().as_str().into()).into()];
        let result = ToolResult { call_id, parts, content: ContentForm::Plain, is_error: (at == 1).then_some(true) };
        chat.messages.push(message(Role::Tool, vec![PartKind::ToolResult(result).into()]));
    }
    let mut losses = Losses::default();
    let sent = value(&Gemini.encode_request(&chat, &mut losses));
    assert_eq!(sent["contents"][1], json!({"role":"model","parts":turn}));
    let result = |key: &str, text: &str| json!({"functionResponse":{"name":"f","response":{key:text}}});
    assert_eq!(sent["contents"][2], json!({"role":"user","parts":[result("output", "0"), result("error", "1")]}));
    assert_eq!(sent["contents"].as_array().unwrap().len(), 3);
    assert!(losses.is_empty(), "{losses:?}");
    // And the same for a client of this dialect.
    chat.source = Dialect::Gemini;
    assert_eq!(value(&Gemini.encode_request(&chat, &mut losses))["contents"], sent["contents"]);
}

// === Replies ===

#[test]
fn gem_finish_reasons() {
    use FinishReason::{ContentFilter, Length, Other, Stop};
    for (word, reason, openai) in [
        ("STOP", Stop, "stop"),
        ("MAX_TOKENS", Length, "length"),
        ("SAFETY", ContentFilter, "content_filter"),
        ("RECITATION", ContentFilter, "content_filter"),
        ("PROHIBITED_CONTENT", ContentFilter, "content_filter"),
        ("BLOCKLIST", ContentFilter, "content_filter"),
        ("SPII", ContentFilter, "content_filter"),
        ("IMAGE_SAFETY", ContentFilter, "content_filter"),
        ("MALFORMED_FUNCTION_CALL", Other, "stop"),
        ("OTHER", Other, "stop"),
        ("SOMETHING_NEW", Other, "stop"),
    ] {
        let source = json!({"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"finishReason":word,"index":0,
            "finishMessage":"why","safetyRatings":[{"category":"c","blocked":true}]}],"usageMetadata":{"promptTokenCount":1},
            "modelVersion":"g","responseId":"r","createTime":"2026-01-01T00:00:00Z"});
        let reply = Gemini.decode_reply(source.to_string().as_bytes()).unwrap();
        let finish = &reply.choices[0].finish;
        assert_eq!((finish.reason, finish.raw.as_ref().unwrap().to_plain().as_ref()), (reason, word));
        assert_eq!(reply_again(&reply), source, "{word}");
        assert_eq!(reply_again(&fold(&read(&write(&unfold(&reply))).0)), source, "{word} as a stream");
        let mut losses = Losses::default();
        let crossed = value(&OpenAiChat.encode_reply(&reply, None, &mut losses));
        assert_eq!(crossed["choices"][0]["finish_reason"], openai, "{word}");
        assert_eq!(losses.iter().any(|loss| loss.reason.contains(word)), reason == Other, "{word}: {losses:?}");
    }
}

#[test]
fn gem_finish_stop_with_function_call_becomes_tool_calls() {
    let call = json!([{"functionCall":{"name":"f","args":{}}}]);
    let (events, end) = read(&[chunk(&call, None), chunk(&json!([]), Some("STOP"))]);
    end.unwrap();
    let whole = Gemini.decode_reply(chunk(&call, Some("STOP")).to_string().as_bytes()).unwrap();
    for reply in [fold(&events), whole] {
        assert_eq!(reply.choices[0].finish.reason, FinishReason::ToolCalls);
        let openai = value(&OpenAiChat.encode_reply(&reply, None, &mut Losses::default()));
        assert_eq!(openai["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(openai["choices"][0]["message"]["tool_calls"][0]["id"], "gemini_call_r_0");
        assert_eq!(reply_again(&reply)["candidates"][0]["finishReason"], "STOP");
    }
}

#[test]
fn gem_empty_candidate_content_and_zero_parts() {
    for candidate in [
        json!({"finishReason":"MAX_TOKENS","index":0}),
        json!({"content":{},"finishReason":"MAX_TOKENS","index":0}),
        json!({"content":{"role":"model"},"finishReason":"MAX_TOKENS","index":0}),
        json!({"content":{"parts":[]},"finishReason":"STOP"}),
        json!({"content":{"parts":[{"text":"a"}]}}),
        json!({"content":null,"finishReason":null,"index":1}),
    ] {
        let source = json!({"candidates":[candidate]});
        let reply = Gemini.decode_reply(source.to_string().as_bytes()).unwrap();
        assert_eq!(reply_again(&reply), source);
        let openai = value(&OpenAiChat.encode_reply(&reply, None, &mut Losses::default()));
        assert!(openai["choices"][0]["message"].is_object(), "{openai}");
    }
    let none = Gemini.decode_reply(br#"{"usageMetadata":{"promptTokenCount":1}}"#).unwrap_err();
    assert_eq!(none.pointer, "/candidates");
    assert_eq!(Gemini.decode_reply(br#"{"error":{"code":500}}"#).unwrap_err().pointer, "/error");
}

/// Images, sounds, code and its results come back to their own client; others are told that they are missing.
#[test]
fn gem_image_audio_output_parts() {
    let parts = json!([{"text":"here:"},{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="},"thoughtSignature":"c"},
        {"inlineData":{"mimeType":"audio/L16;rate=24000","data":"QQ=="}},{"executableCode":{"language":"PYTHON","code":"1"}},
        {"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"1"}},{"text":"done"}]);
    let whole = chunk(&parts, Some("STOP"));
    let reply = Gemini.decode_reply(whole.to_string().as_bytes()).unwrap();
    let (events, _) = read(std::slice::from_ref(&whole));
    for reply in [&reply, &fold(&events), &fold(&unfold(&reply))] {
        assert_eq!(reply_again(reply), whole);
        let mut losses = Losses::default();
        let openai = value(&OpenAiChat.encode_reply(reply, None, &mut losses));
        assert_eq!(openai["choices"][0]["message"]["content"], "here:done");
        assert!(!losses.is_empty());
    }
    let written: Vec<Value> = write(&events)
        .iter()
        .flat_map(|event| event["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default())
        .collect();
    assert_eq!(Value::Array(written), parts);
}

// === Streams ===

#[test]
fn gem_thought_parts_not_mixed_into_content() {
    let (events, end) = read(&[
        chunk(&json!([{"text":"h","thought":true}]), None),
        chunk(&json!([{"text":"m","thought":true},{"text":"so"}]), None),
        chunk(&json!([{"text":" it"},{"text":" is","thoughtSignature":"c1"}]), None),
        chunk(&json!([{"text":"","thoughtSignature":"c2"}]), Some("STOP")),
    ]);
    end.unwrap();
    let reply = fold(&events);
    let expected = json!([{"text":"hm","thought":true},{"text":"so it"},{"text":" is","thoughtSignature":"c1"},
        {"text":"","thoughtSignature":"c2"}]);
    assert_eq!(reply_again(&reply)["candidates"][0]["content"]["parts"], expected);
    let openai = value(&OpenAiChat.encode_reply(&reply, None, &mut Losses::default()));
    let message = &openai["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("so it is"), &json!("hm")));
}

#[test]
fn gem_usage_cumulative_per_chunk_latest_wins() {
    let with = |mut chunk: Value, output: u64| {
        chunk["usageMetadata"] =
            json!({"promptTokenCount":5,"candidatesTokenCount":output,"totalTokenCount":5 + output});
        chunk
    };
    let (events, end) = read(&[
        with(chunk(&json!([{"text":"a"}]), None), 1),
        with(chunk(&json!([{"text":"b"}]), None), 4),
        with(chunk(&json!([]), Some("STOP")), 9),
    ]);
    end.unwrap();
    let usage = fold(&events).usage.unwrap();
    assert_eq!((usage.input, usage.output), (5, 9));
    let written = write(&events);
    assert_eq!(written.last().unwrap()["usageMetadata"]["candidatesTokenCount"], 9);
    assert_eq!(written.last().unwrap()["candidates"][0]["finishReason"], "STOP");
    assert!(written.iter().all(|event| event["responseId"] == "r" && event["modelVersion"] == "g"), "{written:?}");
}

/// First-generation models name a finish in every event; only the end of the body is the end.
#[test]
fn a_finish_in_every_event_ends_nothing() {
    let (events, end) =
        read(&[chunk(&json!([{"text":"a"}]), Some("STOP")), chunk(&json!([{"text":"b"}]), Some("MAX_TOKENS"))]);
    end.unwrap();
    let reply = fold(&events);
    assert_eq!(reply_again(&reply)["candidates"][0]["content"]["parts"], json!([{"text":"ab"}]));
    assert_eq!(reply.choices[0].finish.reason, FinishReason::Length);
}

#[test]
fn candidates_grow_side_by_side() {
    let part = |index: u32, text: &str, finish: Option<&str>| {
        let mut chunk = chunk(&json!([{"text":text}]), finish);
        chunk["candidates"][0]["index"] = json!(index);
        chunk
    };
    let (events, end) = read(&[part(0, "a", None), part(1, "x", Some("STOP")), part(0, "b", Some("MAX_TOKENS"))]);
    end.unwrap();
    let reply = reply_again(&fold(&events));
    assert_eq!(reply["candidates"][0]["content"]["parts"], json!([{"text":"ab"}]));
    assert_eq!(reply["candidates"][1]["content"]["parts"], json!([{"text":"x"}]));
    let written = write(&events);
    assert_eq!(reply_again(&fold(&read(&written).0)), reply);
}

#[test]
fn streams_that_fail_or_end_early_say_so() {
    let text = chunk(&json!([{"text":"a"}]), None);
    assert_eq!(read(std::slice::from_ref(&text)).1.unwrap_err().kind, FailureKind::Broken);
    assert_eq!(read(&[]).1.unwrap_err().kind, FailureKind::Broken);
    let error = json!({"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}});
    for events in [vec![error.clone()], vec![text.clone(), error.clone()], vec![text.clone(), json!([error])]] {
        let failure = read(&events).1.unwrap_err();
        assert_eq!((failure.kind, failure.status.unwrap().as_u16()), (FailureKind::Unavailable, 503));
        assert_eq!(failure.message, "overloaded");
    }
    for hostile in [json!(null), json!("x"), json!([7]), json!({"candidates":7}), json!({"candidates":[{"index":-1}]})]
    {
        assert_eq!(read(&[text.clone(), hostile.clone()]).1.unwrap_err().kind, FailureKind::Unreadable, "{hostile}");
    }
}

/// An error in the middle is one event of the framing, which is still closed.
#[test]
fn an_error_of_ours_ends_the_stream_in_either_framing() {
    let problem = Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "overloaded".into(),
        code: None,
        param: None,
        message: "no".into(),
        annex: None,
    };
    let (events, _) = read(&[chunk(&json!([{"text":"a"}]), Some("STOP"))]);
    for framing in [Framing::Sse, Framing::JsonArray] {
        let mut writer = Gemini.writer(WriterOptions { framing, ..WriterOptions::default() });
        let mut out = Vec::new();
        events
            .iter()
            .filter(|event| !matches!(event, ChatEvent::Stop { .. }))
            .for_each(|event| writer.write(event, None, &mut out));
        writer.fail(&problem, &mut out);
        let all: Vec<Value> = if framing == Framing::JsonArray {
            value(&out).as_array().unwrap().clone()
        } else {
            frames::frames(&out).iter().map(|frame| value(&frame.data)).collect()
        };
        let last = &all.last().unwrap()["error"];
        assert_eq!((all.len(), &last["status"], &last["code"]), (2, &json!("UNAVAILABLE"), &json!(503)));
    }
}

proptest::proptest! {
    /// Events are lawful, and nothing panics, whatever a server sends: `lawful` checks every event in debug builds.
    #[test]
    fn damaged_streams_never_panic(at in proptest::prelude::any::<proptest::sample::Index>(), byte: u8, which in 0..4_usize) {
        let events = [
            chunk(&json!([{"text":"a","thought":true},{"text":"b","thoughtSignature":"c"}]), Some("STOP")),
            chunk(&json!([{"functionCall":{"name":"f","args":{"a":1}}},{"inlineData":{"mimeType":"image/png","data":"QQ=="}}]), None),
            json!({"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":1}}),
            json!({"candidates":[{"index":1,"logprobsResult":{"chosenCandidates":[{"token":"a","logProbability":-1}]},"finishReason":"STOP"}]}),
        ];
        let mut damaged = events[which].to_string().into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let mut reader = Gemini.reader();
        let mut out = Vec::new();
        let mut frames = events.iter().map(|event| Frame { event: None, data: event.to_string().into() }).collect::<Vec<_>>();
        frames.insert(which, Frame { event: None, data: damaged.clone().into() });
        let broken = frames.iter().any(|frame| reader.read(frame, &mut out).is_err());
        if !broken {
            let ended = reader.finish(&mut out);
            proptest::prop_assert!(ended.is_ok() || !reader.is_done());
        }
        drop(Gemini.decode_request(&damaged));
        drop(Gemini.decode_reply(&damaged));
        Gemini.decode_error(StatusCode::OK, &damaged);
    }
}
