//! Promises about Cohere's chat, each by its name: what comes through, what cannot, and that the latter is reported.
#![cfg(test)]

#[path = "support/crossing.rs"]
mod crossing;
#[path = "support/fold.rs"]
mod fold;

use bifrost_providers::dialect::anthropic_messages::AnthropicMessages;
use bifrost_providers::dialect::cohere_chat::CohereChat;
use bifrost_providers::dialect::gemini::Gemini;
use bifrost_providers::dialect::openai_chat::OpenAiChat;
use bifrost_providers::dialect::{Frame, Problem, WriterOptions};
use bifrost_providers::event::unfold;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::reply::FinishReason;
use bifrost_providers::{ChatEvent, ChatReply, Codec, Dialect, Losses};
use crossing::{read, write};
use fold::fold;
use http::StatusCode;
use serde_json::{Value, json};

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

fn cross(request: &Value, from: &dyn Codec, to: &dyn Codec) -> (Value, Vec<String>) {
    let decoded = from.decode_request(request.to_string().as_bytes()).unwrap();
    let mut losses = Losses::default();
    let crossed = value(&to.encode_request(&decoded, &mut losses));
    (crossed, losses.iter().map(|loss| loss.pointer.clone()).collect())
}

fn reply_to(reply: &ChatReply, to: &dyn Codec) -> (Value, Vec<String>) {
    let mut losses = Losses::default();
    let crossed = value(&to.encode_reply(reply, None, &mut losses));
    (crossed, losses.iter().map(|loss| loss.pointer.clone()).collect())
}

fn decode(reply: &Value) -> ChatReply {
    CohereChat.decode_reply(reply.to_string().as_bytes()).unwrap()
}

/// A stream of these events, each with its name.
fn stream(events: &[Value]) -> String {
    let frame = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(frame).collect::<String>() + "data: [DONE]\n\n"
}

/// The events of a stream as JSON.
fn told(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn start() -> Value {
    let message = json!({"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]});
    json!({"type":"message-start","id":"r","delta":{"message":message}})
}

fn content(kind: &str, index: u32, content: &Value) -> Value {
    json!({"type":kind,"index":index,"delta":{"message":{"content":content}}})
}

fn call(kind: &str, index: u32, call: &Value) -> Value {
    json!({"type":kind,"index":index,"delta":{"message":{"tool_calls":call}}})
}

fn end(finish: &str) -> Value {
    let usage = json!({"billed_units":{"input_tokens":1,"output_tokens":2}});
    json!({"type":"message-end","delta":{"finish_reason":finish,"usage":usage}})
}

/// The same stream after a round trip, and the reply that it folds to.
fn again(events: &[Value]) -> (Vec<ChatEvent>, ChatReply) {
    let read_once = read(&CohereChat, &stream(events), "made up");
    assert_eq!(told(&write(&CohereChat, &read_once)), events, "written as it came");
    let folded = fold(&read_once);
    (read_once, folded)
}

/// Each row: fields of a request, where on the other side they arrive as what, and what is reported lost.
#[test]
fn x_lossy_translation_reported() {
    let tables: [(&str, &dyn Codec, &dyn Codec); 2] = [
        (include_str!("tables/openai_to_cohere.jsonl"), &OpenAiChat, &CohereChat),
        (include_str!("tables/cohere_to_openai.jsonl"), &CohereChat, &OpenAiChat),
    ];
    for (table, from, to) in tables {
        for row in table.lines() {
            let row: Value = serde_json::from_str(row).unwrap();
            let mut request = json!({"model":"m","messages":[{"role":"user","content":"hi"}]});
            row["fields"].as_object().unwrap().iter().for_each(|(key, field)| request[key] = field.clone());
            let (crossed, lost) = cross(&request, from, to);
            let arrived = crossed.pointer(row["pointer"].as_str().unwrap()).cloned().unwrap_or_default();
            assert_eq!(arrived, row["expected"], "{row}");
            assert_eq!(json!(lost), row["lost"], "{row}");
        }
    }
}

#[test]
fn coh_stream_events_message_start_content_delta_tool_plan() {
    let function = json!({"id":"c","type":"function","function":{"name":"f","arguments":""}});
    let plan = |more: &str| json!({"type":"tool-plan-delta","delta":{"message":{"tool_plan":more}}});
    let (events, reply) = again(&[
        start(),
        plan("I will "),
        plan("look."),
        call("tool-call-start", 0, &function),
        json!({"type":"tool-call-end","index":0}),
        end("TOOL_CALL"),
    ]);
    let (openai, lost) = reply_to(&reply, &OpenAiChat);
    let message = &openai["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&Value::Null, &json!("I will look.")));
    assert_eq!((&openai["choices"][0]["finish_reason"], lost.len()), (&json!("tool_calls"), 0));
    let chunks = write(&OpenAiChat, &events);
    assert!(chunks.contains(r#""reasoning_content":"I will ""#) && !chunks.contains(r#""content":"I"#), "{chunks}");
    let (anthropic, _) = reply_to(&reply, &AnthropicMessages);
    let kinds: Vec<&Value> = anthropic["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["thinking", "tool_use"]);
    // Whole, streamed or not, it is the plan again.
    let (native, _) = reply_to(&reply, &CohereChat);
    assert_eq!(native["message"]["tool_plan"], "I will look.");
}

#[test]
fn coh_tool_call_delta_index_and_id() {
    let function = |id: &str, name: &str| json!({"id":id,"type":"function","function":{"name":name,"arguments":""}});
    let more = |arguments: &str| json!({"function":{"arguments":arguments}});
    let stop = |index: u32| json!({"type":"tool-call-end","index":index});
    // Interleaved: only the first event of a call says its id and name, later ones its index.
    let (events, reply) = again(&[
        start(),
        call("tool-call-start", 0, &function("a", "f")),
        call("tool-call-start", 1, &function("b", "g")),
        call("tool-call-delta", 1, &more("{\"y\":")),
        call("tool-call-delta", 0, &more("{\"x\":1}")),
        stop(0),
        call("tool-call-delta", 1, &more("2}")),
        stop(1),
        end("TOOL_CALL"),
    ]);
    let openai = |body: &Value| body["choices"][0]["message"]["tool_calls"].clone();
    let (whole, _) = reply_to(&reply, &OpenAiChat);
    let expected = json!([
        {"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},
        {"id":"b","type":"function","function":{"name":"g","arguments":"{\"y\":2}"}}]);
    assert_eq!(openai(&whole), expected);
    let streamed = read(&OpenAiChat, &write(&OpenAiChat, &events), "crossed");
    assert_eq!(openai(&reply_to(&fold(&streamed), &OpenAiChat).0), expected);
    // Growth of a call that never began is no answer.
    let mut reader = CohereChat.reader();
    let mut out = Vec::new();
    for (event, is_sound) in [(start(), true), (call("tool-call-delta", 3, &more("x")), false)] {
        let frame = Frame { event: None, data: event.to_string().into() };
        assert_eq!(reader.read(&frame, &mut out).is_ok(), is_sound);
    }
}

#[test]
fn coh_citations_start_end_sources() {
    let source = json!({"type":"document","id":"d","document":{"url":"https://a.example","title":"A","text":"Grün"}});
    let tool = json!({"type":"tool","id":"t:0","tool_output":{"content":"-3"}});
    let citation = json!({"start":3,"end":7,"text":"grün","sources":[source, tool],"type":"TEXT_CONTENT"});
    let cited = json!({"type":"citation-start","index":0,"delta":{"message":{"citations":citation}}});
    let (events, reply) = again(&[
        start(),
        content("content-start", 0, &json!({"type":"text","text":""})),
        content("content-delta", 0, &json!({"text":"so grün"})),
        cited,
        json!({"type":"citation-end","index":0}),
        json!({"type":"content-end","index":0}),
        end("COMPLETE"),
    ]);
    let expected = json!([{"type":"url_citation","url_citation":{"start_index":3,"end_index":7,"title":"A","url":"https://a.example"}}]);
    for reply in [&reply, &fold(&unfold(&reply)), &decode(&reply_to(&reply, &CohereChat).0)] {
        assert_eq!(reply_to(reply, &CohereChat).0["message"]["citations"], json!([citation]));
        let (openai, lost) = reply_to(reply, &OpenAiChat);
        assert_eq!(openai["choices"][0]["message"]["annotations"], expected);
        assert_eq!(lost, ["/choices/0/message/citations"], "what the document says is not carried");
    }
    assert!(write(&OpenAiChat, &events).contains(&format!("\"annotations\":{expected}")));
    // And the other way: Google's sources, one citation for each passage.
    let grounded = json!({"candidates":[{"content":{"role":"model","parts":[{"text":"Größe x"}]},"finishReason":"STOP","index":0,
        "groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://a","title":"A"}},{"web":{"uri":"https://b"}}],
        "groundingSupports":[{"segment":{"endIndex":7,"text":"Größe"},"groundingChunkIndices":[0,1]}]}}],"responseId":"r"});
    let google = Gemini.decode_reply(grounded.to_string().as_bytes()).unwrap();
    let expected = json!({"start":0,"end":5,"text":"Größe","type":"TEXT_CONTENT","sources":[
        {"type":"document","id":"source_0","document":{"url":"https://a","title":"A"}},
        {"type":"document","id":"source_1","document":{"url":"https://b"}}]});
    assert_eq!(reply_to(&google, &CohereChat).0["message"]["citations"], json!([expected]));
    let events = told(&write(&CohereChat, &unfold(&google)));
    let cited = events.iter().find(|event| event["type"] == "citation-start").unwrap();
    assert_eq!(cited["delta"]["message"]["citations"], expected);
}

#[test]
fn coh_documents_and_tool_result_documents() {
    let documents = json!(["plain", {"data":{"text":"t","title":"T"},"id":"d1"}, {"data":{"snippet":"s"},"id":"d2"}]);
    let request = json!({"model":"m","documents":documents,"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"}]});
    let (anthropic, lost) = cross(&request, &CohereChat, &AnthropicMessages);
    let document = |text: &str, title: Option<&str>| {
        let mut block = json!({"type":"document","source":{"type":"text","media_type":"text/plain","data":text}});
        if let Some(title) = title {
            block["title"] = json!(title);
        }
        block
    };
    assert_eq!(
        anthropic["messages"][0]["content"],
        json!([document("plain", None), document("t", Some("T")), document("{\"snippet\":\"s\"}", Some("d2")), {"type":"text","text":"q"}])
    );
    assert_eq!(lost, Vec::<String>::new());
    // A plain text document of another dialect is one of ours.
    let (back, lost) = cross(&anthropic, &AnthropicMessages, &CohereChat);
    assert_eq!(back["documents"][1], json!({"data":{"title":"T","text":"t"}}));
    assert_eq!(back["messages"][1], json!({"role":"user","content":"q"}));
    assert_eq!(lost, ["/messages/0/content/0", "/messages/0/content/1", "/messages/0/content/2"]);
    // Results are made of text and documents.
    let result =
        json!([{"type":"document","document":{"data":{"text":"t","title":"T"},"id":"d"}},{"type":"text","text":"u"}]);
    let turns = json!([{"role":"user","content":"q"},
        {"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"c","content":result}]);
    let request = json!({"model":"m","messages":turns});
    let (anthropic, _) = cross(&request, &CohereChat, &AnthropicMessages);
    let blocks = &anthropic["messages"][2]["content"][0]["content"];
    assert_eq!(*blocks, json!([document("t", Some("T")), {"type":"text","text":"u"}]));
    let (back, lost) = cross(&anthropic, &AnthropicMessages, &CohereChat);
    let expected = json!([{"type":"document","document":{"data":{"title":"T","text":"t"}}},{"type":"text","text":"u"}]);
    assert_eq!((&back["messages"][2]["content"], lost), (&expected, vec![]));
}

#[test]
fn coh_finish_reasons_complete_tool_call_max_tokens_error_timeout() {
    let answer = |finish: &str, content: &Value| json!({"id":"r","finish_reason":finish,"message":{"role":"assistant","content":content}});
    let said = json!([{"type":"text","text":"a"}]);
    for (word, reason, openai, anthropic) in [
        ("COMPLETE", FinishReason::Stop, "stop", "end_turn"),
        ("STOP_SEQUENCE", FinishReason::Stop, "stop", "end_turn"),
        ("MAX_TOKENS", FinishReason::Length, "length", "max_tokens"),
        ("TOOL_CALL", FinishReason::ToolCalls, "tool_calls", "tool_use"),
        ("ERROR_TOXIC", FinishReason::ContentFilter, "content_filter", "refusal"),
        ("ERROR", FinishReason::Other, "stop", "end_turn"),
        ("TIMEOUT", FinishReason::Other, "stop", "end_turn"),
    ] {
        let reply = decode(&answer(word, &said));
        assert_eq!(reply.choices[0].finish.reason, reason, "{word}");
        assert_eq!(reply_to(&reply, &CohereChat).0["finish_reason"], word);
        let (crossed, lost) = reply_to(&reply, &OpenAiChat);
        assert_eq!(crossed["choices"][0]["finish_reason"], openai, "{word}");
        assert_eq!(
            lost.len(),
            usize::from(reason == FinishReason::Other),
            "{word}: an error is not told as a stop in silence"
        );
        assert_eq!(reply_to(&reply, &AnthropicMessages).0["stop_reason"], anthropic, "{word}");
    }
    // An answer that failed is a failure: whole where it says nothing, streamed always.
    for word in ["ERROR", "TIMEOUT"] {
        assert!(CohereChat.decode_reply(answer(word, &json!([])).to_string().as_bytes()).is_err());
        let mut last = end(word);
        last["delta"]["error"] = json!("the model broke");
        let mut reader = CohereChat.reader();
        let frame = |event: &Value| Frame { event: None, data: event.to_string().into() };
        reader.read(&frame(&start()), &mut Vec::new()).unwrap();
        let failure = reader.read(&frame(&last), &mut Vec::new()).unwrap_err();
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Unavailable, "the model broke"));
        assert_eq!(failure.provider_type.as_deref(), Some(word));
    }
}

/// Reasons of others that this API has no word for.
#[test]
fn x_stop_reason_raw_kept_in_extension() {
    for (openai, cohere, losses) in [
        ("stop", "COMPLETE", 0),
        ("length", "MAX_TOKENS", 0),
        ("content_filter", "ERROR_TOXIC", 0),
        ("odd", "COMPLETE", 1),
    ] {
        let body = json!({"id":"r","created":1,"model":"m","choices":[
            {"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":openai}]});
        let reply = OpenAiChat.decode_reply(body.to_string().as_bytes()).unwrap();
        let (crossed, lost) = reply_to(&reply, &CohereChat);
        assert_eq!((&crossed["finish_reason"], lost.len()), (&json!(cohere), losses), "{openai}: {lost:?}");
    }
}

#[test]
fn coh_usage_billed_vs_tokens() {
    let usage = json!({"billed_units":{"input_tokens":27,"output_tokens":68},"cached_tokens":480,
        "tokens":{"input_tokens":556,"output_tokens":71,"reasoning_tokens":9}});
    let body = json!({"id":"r","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"a"}]},"usage":usage});
    let reply = decode(&body);
    assert_eq!(reply_to(&reply, &CohereChat).0["usage"], usage);
    let billed = json!({"prompt_tokens":27,"completion_tokens":68,"total_tokens":95,"completion_tokens_details":{"reasoning_tokens":9}});
    assert_eq!(reply_to(&reply, &OpenAiChat).0["usage"], billed);
    assert_eq!(reply_to(&reply, &AnthropicMessages).0["usage"]["input_tokens"], 27);
    // And another provider's counts as Cohere's clients read them.
    let body = json!({"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn",
        "usage":{"input_tokens":5,"cache_read_input_tokens":10,"output_tokens":7}});
    let reply = AnthropicMessages.decode_reply(body.to_string().as_bytes()).unwrap();
    let counts = json!({"input_tokens":15,"output_tokens":7});
    let expected = json!({"billed_units":counts,"tokens":counts,"cached_tokens":10});
    assert_eq!(reply_to(&reply, &CohereChat).0["usage"], expected);
}

#[test]
fn coh_safety_mode_and_strict_tools() {
    let tool = |name: &str| json!({"type":"function","function":{"name":name,"description":"d","parameters":{"type":"object"}}});
    let request = json!({"model":"m","messages":[{"role":"user","content":"q"}],"tools":[tool("f"), tool("g")],
        "strict_tools":true,"safety_mode":"CONTEXTUAL","tool_choice":"REQUIRED"});
    assert_eq!(cross(&request, &CohereChat, &CohereChat), (request.clone(), vec![]));
    let (openai, lost) = cross(&request, &CohereChat, &OpenAiChat);
    assert_eq!(lost, ["/safety_mode"]);
    assert_eq!([&openai["tools"][0]["function"]["strict"], &openai["tools"][1]["function"]["strict"]], [true, true]);
    let (back, lost) = cross(&openai, &OpenAiChat, &CohereChat);
    assert_eq!((&back["strict_tools"], &back["tools"], lost), (&json!(true), &request["tools"], vec![]));
}

#[test]
fn coh_thinking_blocks() {
    let (events, reply) = again(&[
        start(),
        content("content-start", 0, &json!({"type":"thinking","thinking":""})),
        content("content-delta", 0, &json!({"thinking":"h"})),
        content("content-delta", 0, &json!({"thinking":"m"})),
        json!({"type":"content-end","index":0}),
        content("content-start", 1, &json!({"type":"text","text":""})),
        content("content-delta", 1, &json!({"text":"so"})),
        json!({"type":"content-end","index":1}),
        end("COMPLETE"),
    ]);
    let expected = json!([{"type":"thinking","thinking":"hm"},{"type":"text","text":"so"}]);
    assert_eq!(reply_to(&reply, &CohereChat).0["message"]["content"], expected);
    let (openai, _) = reply_to(&reply, &OpenAiChat);
    assert_eq!(openai["choices"][0]["message"]["reasoning_content"], "hm");
    assert_eq!(openai["choices"][0]["message"]["content"], "so");
    assert!(write(&OpenAiChat, &events).contains(r#""reasoning_content":"h""#));
    // Anthropic's seal has no place; the thinking itself has.
    let body = json!({"id":"m","type":"message","role":"assistant","model":"m","stop_reason":"end_turn","usage":{},"content":[
        {"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking","data":"x"},{"type":"text","text":"so"}]});
    let claude = AnthropicMessages.decode_reply(body.to_string().as_bytes()).unwrap();
    let (crossed, lost) = reply_to(&claude, &CohereChat);
    assert_eq!(crossed["message"]["content"], expected);
    assert_eq!(lost, ["/choices/0/message/content/1", "/choices/0/message/content/0"]);
}

#[test]
fn log_probabilities_cross_with_their_text() {
    let item = json!({"text":"so","token_ids":[1,2],"logprobs":[-0.5,-0.25]});
    let mut measured = content("content-delta", 0, &json!({"text":"so"}));
    measured["logprobs"] = item.clone();
    let (events, reply) = again(&[
        start(),
        content("content-start", 0, &json!({"type":"text","text":""})),
        measured,
        json!({"type":"content-end","index":0}),
        end("COMPLETE"),
    ]);
    assert_eq!(reply_to(&reply, &CohereChat).0["logprobs"], json!([item]));
    let (openai, _) = reply_to(&reply, &OpenAiChat);
    assert_eq!(openai["choices"][0]["logprobs"]["content"][0]["logprob"], -0.75);
    let streamed = read(&OpenAiChat, &write(&OpenAiChat, &events), "crossed");
    let (back, _) = reply_to(&fold(&streamed), &CohereChat);
    assert_eq!(back["logprobs"], json!([item]));
    let last = told(&write(&CohereChat, &streamed));
    let last = last.iter().rfind(|event| event["type"] == "content-delta").unwrap();
    assert_eq!(last["logprobs"], item);
}

#[test]
fn events_of_the_future_are_passed_on_and_content_of_the_future_stays_whole() {
    let (events, reply) = again(&[
        start(),
        json!({"type":"debug","prompt":"p"}),
        content("content-start", 0, &json!({"type":"later","later":""})),
        content("content-delta", 0, &json!({"later":"x"})),
        json!({"type":"content-end","index":0}),
        end("COMPLETE"),
    ]);
    assert_eq!(reply_to(&reply, &CohereChat).0["message"]["content"], json!([{"type":"later","later":"x"}]));
    let mut writer = OpenAiChat.writer(WriterOptions::default());
    for event in &events {
        writer.write(event, None, &mut Vec::new());
    }
    assert!(writer.losses().len() >= 2, "{:?}", writer.losses());
}

#[test]
fn errors_are_told_by_their_status_and_written_as_cohere_writes_them() {
    let decode =
        |status: u16, body: &str| CohereChat.decode_error(StatusCode::from_u16(status).unwrap(), body.as_bytes());
    for (status, body, kind, message) in [
        (400, r#"{"message":"m","id":"x"}"#, FailureKind::Rejected, "m"),
        (401, r#"{"message":"invalid api token"}"#, FailureKind::Credential, "invalid api token"),
        (404, r#"{"id":"x","message":"model 'm' not found"}"#, FailureKind::Rejected, "model 'm' not found"),
        (422, r#"{"message":"m"}"#, FailureKind::Rejected, "m"),
        (429, r#"{"message":"You are using a Trial key"}"#, FailureKind::RateLimited, "You are using a Trial key"),
        (498, r#"{"message":"m"}"#, FailureKind::Credential, "m"),
        (499, r#"{"message":"m"}"#, FailureKind::Unavailable, "m"),
        (501, r#"{"message":"m"}"#, FailureKind::Rejected, "m"),
        (503, "<html>", FailureKind::Unavailable, "503 Service Unavailable: not an error of cohere_chat: \"<html>\""),
        (200, r#"{"message":"m"}"#, FailureKind::Unavailable, "m"),
        (200, "<html>", FailureKind::Unreadable, "200 OK: not an error of cohere_chat: \"<html>\""),
    ] {
        let failure = decode(status, body);
        assert_eq!((failure.kind, failure.message.as_str()), (kind, message), "{status} {body}");
    }
    let problem = Problem {
        status: StatusCode::PAYMENT_REQUIRED,
        kind: "budget_exceeded".into(),
        code: None,
        param: None,
        message: "no \"money\"".into(),
        annex: Some("{}".into()),
    };
    assert_eq!(value(&CohereChat.encode_error(&problem)), json!({"message":"budget_exceeded: no \"money\""}));
    let mut out = Vec::new();
    CohereChat.writer(WriterOptions::default()).fail(&problem, &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(told(&text)[0]["delta"], json!({"finish_reason":"ERROR","error":"budget_exceeded: no \"money\""}));
    assert!(!text.contains("[DONE]"));
}

/// A call whose input is free text is a call with one string in an object, streamed as it grows.
#[test]
fn free_text_calls_become_an_object_as_they_grow() {
    let chunk = |call: &Value| json!({"id":"r","created":1,"model":"m","choices":[{"index":0,"delta":{"tool_calls":[call]},"finish_reason":null}]});
    let chunks = [
        chunk(&json!({"index":0,"id":"c","type":"custom","custom":{"name":"f","input":"a \"b\""}})),
        chunk(&json!({"index":0,"custom":{"input":"\n"}})),
        json!({"id":"r","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}),
    ];
    let body = chunks.map(|chunk| format!("data: {chunk}\n\n")).concat() + "data: [DONE]\n\n";
    let events = read(&OpenAiChat, &body, "custom");
    let cohere = fold(&read(&CohereChat, &write(&CohereChat, &events), "crossed"));
    let (whole, lost) = reply_to(&fold(&events), &CohereChat);
    for reply in [whole, reply_to(&cohere, &CohereChat).0] {
        let arguments = reply["message"]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(arguments).unwrap(), json!({"_raw_arguments":"a \"b\"\n"}));
    }
    assert_eq!(lost, ["/choices/0/message/content/0"]);
    assert_eq!(cohere.source, Dialect::CohereChat);
}
