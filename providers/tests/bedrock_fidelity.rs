//! What Bedrock Converse promises to keep, by name.
#![cfg(test)]

#[path = "support/fold.rs"]
mod fold;
#[path = "support/messages.rs"]
mod messages;
#[path = "support/replay.rs"]
mod replay;

use bifrost_providers::dialect::bedrock_converse::BedrockConverse;
use bifrost_providers::dialect::{Frame, Problem, WriterOptions};
use bifrost_providers::event::unfold;
use bifrost_providers::eventstream::{EXCEPTION, write_event, write_exception};
use bifrost_providers::failure::FailureKind;
use bifrost_providers::reply::FinishReason;
use bifrost_providers::tap::Tap;
use bifrost_providers::{ChatEvent, ChatReply, Codec, Dialect, Losses};
use fold::fold;
use http::StatusCode;
use proptest::prelude::*;
use replay::read;
use serde_json::{Value, json};

const BEDROCK: Dialect = Dialect::BedrockConverse;
const CLAUDE: &str = "anthropic.claude-opus-4-6-v1";
const MISTRAL: &str = "mistral.mistral-large-3-675b-instruct";
const LLAMA: &str = "meta.llama3-3-70b-instruct-v1:0";

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

/// A request of another dialect as Bedrock gets it, and what is reported lost.
fn crossed(from: Dialect, request: &Value, model: &str) -> (Value, Vec<String>) {
    let mut decoded = from.codec().decode_request(request.to_string().as_bytes()).unwrap();
    decoded.model = model.into();
    let mut losses = Losses::default();
    let crossed = value(&BedrockConverse.encode_request(&decoded, &mut losses));
    (crossed, losses.iter().map(|loss| loss.pointer.clone()).collect())
}

fn openai(fields: &Value, model: &str) -> (Value, Vec<String>) {
    let mut request = json!({"model":"m","messages":[{"role":"user","content":"hi"}]});
    for (key, field) in fields.as_object().unwrap() {
        request[key] = field.clone();
    }
    crossed(Dialect::OpenAiChat, &request, model)
}

fn encoded(reply: &ChatReply, to: Dialect) -> (Value, Losses) {
    let mut losses = Losses::default();
    let body = value(&to.codec().encode_reply(reply, None, &mut losses));
    (body, losses)
}

fn write(events: &[ChatEvent]) -> Vec<u8> {
    let mut writer = BedrockConverse.writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    out
}

fn frames(events: &[(&'static str, Value)]) -> Vec<Frame> {
    let frame =
        |(name, data): &(&'static str, Value)| Frame { event: Some((*name).into()), data: data.to_string().into() };
    events.iter().map(frame).collect()
}

fn text(at: u32, text: &str) -> (&'static str, Value) {
    ("contentBlockDelta", json!({"contentBlockIndex":at,"delta":{"text":text}}))
}

const START: fn() -> (&'static str, Value) = || ("messageStart", json!({"role":"assistant"}));
const END: fn(&str) -> [(&'static str, Value); 2] = |word| {
    let usage = json!({"inputTokens":1,"outputTokens":2,"totalTokens":3});
    [("messageStop", json!({"stopReason":word})), ("metadata", json!({"usage":usage}))]
};

// === Forms ===

#[test]
fn every_form_of_a_request_is_the_same_after_a_round_trip() {
    for line in include_str!("tables/bedrock_forms.jsonl").lines() {
        let source: Value = serde_json::from_str(line).unwrap();
        let decoded = BedrockConverse.decode_request(line.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {line}"));
        let mut losses = Losses::default();
        assert_eq!(value(&BedrockConverse.encode_request(&decoded, &mut losses)), source);
        assert!(losses.is_empty(), "{losses:?}");
        // Whatever it is, it can be told to anyone.
        for other in [Dialect::OpenAiChat, Dialect::AnthropicMessages, Dialect::OpenAiResponses, Dialect::Gemini] {
            value(&other.codec().encode_request(&decoded, &mut Losses::default()));
        }
    }
}

#[test]
fn every_form_of_a_reply_is_the_same_whole_and_streamed() {
    for line in include_str!("tables/bedrock_replies.jsonl").lines() {
        let source: Value = serde_json::from_str(line).unwrap();
        let reply = BedrockConverse.decode_reply(line.as_bytes()).unwrap();
        assert_eq!(encoded(&reply, Dialect::BedrockConverse), (source.clone(), Losses::default()));
        let stream = write(&unfold(&reply));
        let (events, end) = read(&BedrockConverse, messages::frames(&stream));
        end.unwrap();
        let again = encoded(&fold(&events), Dialect::BedrockConverse);
        assert_eq!(again, (source, Losses::default()));
        assert_eq!(messages::events(&write(&events)), messages::events(&stream), "{line}");
    }
}

/// Each row: a model, fields of an OpenAI request, where in the Bedrock one they arrive as what, and what is reported lost.
#[test]
fn x_lossy_translation_reported() {
    for row in include_str!("tables/openai_to_bedrock.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let (crossed, losses) = openai(&row["fields"], row["model"].as_str().unwrap_or(CLAUDE));
        let arrived = crossed.pointer(row["pointer"].as_str().unwrap()).cloned().unwrap_or_default();
        assert_eq!(arrived, row["expected"], "{row}");
        assert_eq!(json!(losses), row["lost"], "{row}");
    }
}

// === Requests, by name ===

/// A result that happens to be JSON stays text: the service refuses some JSON, and arrays altogether. A result that is JSON to a
/// caller of Bedrock's own stays JSON.
#[test]
fn bdk_tool_result_status_json_vs_text_empty_key() {
    for told in [r#"{"":1,"a":{"__type":"x"}}"#, "[1,2]", "7", "plain"] {
        let request = json!({"max_tokens":9,"model":"m","messages":[
            {"role":"user","content":"hi"},
            {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":told,"is_error":true}]}]});
        let (body, _) = crossed(Dialect::AnthropicMessages, &request, CLAUDE);
        let result = &body["messages"][2]["content"][0]["toolResult"];
        assert_eq!(*result, json!({"toolUseId":"t","content":[{"text":told}],"status":"error"}));
        let (body, losses) = crossed(Dialect::AnthropicMessages, &request, LLAMA);
        assert!(body["messages"][2]["content"][0]["toolResult"]["status"].is_null());
        assert!(losses.iter().any(|pointer| pointer.ends_with("/is_error")), "{losses:?}");
    }
    let own =
        json!({"messages":[{"role":"user","content":[{"toolResult":{"toolUseId":"t","content":[{"json":{"":1}}]}}]}]});
    let decoded = BedrockConverse.decode_request(own.to_string().as_bytes()).unwrap();
    let openai = value(&Dialect::OpenAiChat.codec().encode_request(&decoded, &mut Losses::default()));
    assert_eq!(openai["messages"][0]["content"], r#"{"":1}"#);
}

#[test]
fn bdk_tool_config_required_when_history_has_tools() {
    let history = json!([
        {"role":"user","content":"hi"},
        {"role":"assistant","content":null,"tool_calls":[
            {"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},
            {"id":"b","type":"function","function":{"name":"g","arguments":"{}"}},
            {"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"a","content":"1"},
        {"role":"tool","tool_call_id":"b","content":"2"},
        {"role":"tool","tool_call_id":"c","content":"3"}]);
    let (body, losses) = openai(&json!({"messages":history}), CLAUDE);
    let names: Vec<&Value> =
        body["toolConfig"]["tools"].as_array().unwrap().iter().map(|tool| &tool["toolSpec"]["name"]).collect();
    assert_eq!(names, ["f", "g"]);
    assert_eq!(losses, ["/messages/1"]);
    let results: Vec<&Value> = body["messages"][2]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| &block["toolResult"]["toolUseId"])
        .collect();
    assert_eq!(results, ["a", "b", "c"], "all results of a turn stand in one message");
    // Offered tools are enough.
    let tools = json!([{"type":"function","function":{"name":"h"}}]);
    let (body, losses) = openai(&json!({"messages":history,"tools":tools}), CLAUDE);
    assert_eq!(body["toolConfig"]["tools"].as_array().unwrap().len(), 1);
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn bdk_toolchoice_any_auto_tool_none_unsupported() {
    let tools = json!([{"type":"function","function":{"name":"f"}}]);
    let named = json!({"type":"function","function":{"name":"f"}});
    for (choice, model, expected, lost) in [
        (json!("auto"), CLAUDE, json!({"auto":{}}), &[][..]),
        (json!("required"), CLAUDE, json!({"any":{}}), &[]),
        (named.clone(), CLAUDE, json!({"tool":{"name":"f"}}), &[]),
        (named.clone(), MISTRAL, json!({"any":{}}), &["/tool_choice"]),
        (json!("required"), LLAMA, Value::Null, &["/tool_choice"]),
        (json!("none"), CLAUDE, Value::Null, &["/tools"]),
    ] {
        let (body, losses) = openai(&json!({"tools":tools,"tool_choice":choice}), model);
        assert_eq!(body["toolConfig"]["toolChoice"], expected, "{choice}");
        assert_eq!(losses, lost, "{choice}");
        assert_eq!(body["toolConfig"].is_null(), choice == "none", "without tools nothing can be called");
    }
    // In a conversation with calls there must be tools.
    let history = json!([
        {"role":"user","content":"hi"},
        {"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"a","content":"1"}]);
    let (body, losses) = openai(&json!({"messages":history,"tools":tools,"tool_choice":"none"}), CLAUDE);
    assert_eq!(
        (body["toolConfig"]["tools"].as_array().unwrap().len(), losses.as_slice()),
        (1, &["/tool_choice".to_owned()][..])
    );
}

/// A cache point is an element of the caller's list: what is lost behind one stands one further.
#[test]
fn a_loss_behind_cache_points_is_told_with_the_callers_own_place() {
    let point = json!({"cachePoint":{"type":"default"}});
    let guard = json!({"guardContent":{"text":{"text":"b"}}});
    let request = json!({
        "system": [{"text":"s"}, point, guard],
        "messages": [{"role":"user","content":[{"text":"a"}, point, {"text":"b"}, point, guard]}]});
    let chat = BedrockConverse.decode_request(request.to_string().as_bytes()).unwrap();
    for dialect in Dialect::ALL.into_iter().filter(|dialect| *dialect != Dialect::BedrockConverse) {
        let mut losses = Losses::default();
        dialect.codec().encode_request(&chat, &mut losses);
        let losses = losses.in_a_body_of(Dialect::BedrockConverse);
        let places: Vec<&str> = losses.iter().map(|loss| loss.pointer.as_str()).collect();
        for place in ["/system/2", "/messages/0/content/4"] {
            let is_there = places.iter().any(|told| told.starts_with(place));
            assert!(is_there, "{}: {place} is not among {places:?}", dialect.name());
        }
        let astray: Vec<_> = places.iter().filter(|place| request.pointer(place).is_none()).collect();
        assert!(astray.is_empty(), "{}: {astray:?}", dialect.name());
    }
}

/// A mark on a block, a system text or a tool is a point behind it, and back again; a model without a cache gets none.
#[test]
fn bdk_cachepoint_positions_from_cache_control() {
    let mark = json!({"type":"ephemeral"});
    let request = json!({"model":"m","max_tokens":9,
        "system":[{"type":"text","text":"s","cache_control":mark}],
        "tools":[{"name":"f","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral","ttl":"1h"}},{"name":"g","input_schema":{"type":"object"}}],
        "messages":[
            {"role":"user","content":[{"type":"text","text":"a","cache_control":mark},{"type":"text","text":"b"}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"t","name":"f","input":{},"cache_control":mark}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"r","cache_control":mark}]}]});
    let (body, losses) = crossed(Dialect::AnthropicMessages, &request, CLAUDE);
    assert!(losses.is_empty(), "{losses:?}");
    let point = json!({"cachePoint":{"type":"default"}});
    assert_eq!(body["system"], json!([{"text":"s"}, point]));
    assert_eq!(body["messages"][0]["content"], json!([{"text":"a"}, point, {"text":"b"}]));
    assert_eq!(body["messages"][1]["content"][1], point);
    assert_eq!(body["messages"][2]["content"][1], point);
    assert_eq!(body["toolConfig"]["tools"][1], json!({"cachePoint":{"type":"default","ttl":"1h"}}));
    let back = BedrockConverse.decode_request(body.to_string().as_bytes()).unwrap();
    let back = value(&Dialect::AnthropicMessages.codec().encode_request(&back, &mut Losses::default()));
    for pointer in ["/system/0", "/messages/0/content/0", "/messages/1/content/0", "/messages/2/content/0"] {
        assert_eq!(back.pointer(pointer).unwrap()["cache_control"], mark, "{pointer}");
    }
    assert_eq!(back["tools"][0]["cache_control"], json!({"type":"ephemeral","ttl":"1h"}));
    let (body, losses) = crossed(Dialect::AnthropicMessages, &request, LLAMA);
    assert!(!body.to_string().contains("cachePoint"));
    assert_eq!(losses.iter().filter(|pointer| pointer.ends_with("/cache_control")).count(), 5, "{losses:?}");
}

#[test]
fn bdk_reasoning_signature_required_or_absent_by_model() {
    let thought = |signature: Value| {
        json!({"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"},
            {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":signature},{"type":"text","text":"b"}]},
            {"role":"user","content":"c"}]})
    };
    let reasoning = |signature: Value, model: &str| {
        let (body, losses) = crossed(Dialect::AnthropicMessages, &thought(signature), model);
        (body["messages"][1]["content"][0]["reasoningContent"].clone(), losses)
    };
    let place = "/messages/1/content/0".to_owned();
    let signed = json!({"reasoningText":{"text":"hm","signature":"sig"}});
    assert_eq!(reasoning(json!("sig"), CLAUDE), (signed, vec![]));
    assert_eq!(reasoning(json!(""), CLAUDE), (Value::Null, vec![place.clone()]), "Claude takes none without");
    let unsigned = json!({"reasoningText":{"text":"hm"}});
    for model in ["amazon.nova-2-lite-v1:0", "minimax.minimax-m2"] {
        assert_eq!(reasoning(json!("sig"), model), (unsigned.clone(), vec![place.clone()]), "{model} takes none with");
    }
    let stranger = json!("openai-responses-v1:gAAA");
    assert_eq!(reasoning(stranger, CLAUDE), (Value::Null, vec![place]), "another provider's seal is not shown");
}

/// What is derived is laid under what the caller gave.
#[test]
fn bdk_additional_model_request_fields_merge() {
    let request = json!({"model":"m","max_tokens":9,"top_k":7,"thinking":{"type":"enabled","budget_tokens":2048},
        "additionalModelRequestFields":{"anthropic_beta":["x"],"top_k":8},
        "messages":[{"role":"user","content":"hi"}]});
    let (body, losses) = crossed(Dialect::AnthropicMessages, &request, CLAUDE);
    assert_eq!(
        body["additionalModelRequestFields"],
        json!({"thinking":{"type":"enabled","budget_tokens":2048},"anthropic_beta":["x"],"top_k":8})
    );
    assert!(losses.is_empty(), "{losses:?}");
    // What could be read of them is no loss anywhere else; the rest is.
    let decoded = BedrockConverse.decode_request(body.to_string().as_bytes()).unwrap();
    let mut losses = Losses::default();
    let back = value(&Dialect::AnthropicMessages.codec().encode_request(&decoded, &mut losses));
    assert_eq!((&back["top_k"], &back["thinking"]["budget_tokens"]), (&json!(8), &json!(2048)));
    let lost: Vec<_> = losses.iter().map(|loss| loss.pointer.as_str()).collect();
    assert_eq!(lost, ["/additionalModelRequestFields"]);
}

#[test]
fn bdk_output_config_json_schema_native_else_tool() {
    let schema = json!({"type":"object","properties":{"a":{"type":"integer"}}});
    let format =
        json!({"type":"json_schema","json_schema":{"name":"n","description":"d","strict":true,"schema":schema}});
    let (body, losses) = openai(&json!({"response_format":format}), CLAUDE);
    let native = &body["outputConfig"]["textFormat"];
    let inner = &native["structure"]["jsonSchema"];
    assert_eq!(
        (&native["type"], &inner["name"], &inner["description"]),
        (&json!("json_schema"), &json!("n"), &json!("d"))
    );
    assert_eq!(inner["schema"].as_str().unwrap().parse::<Value>().unwrap(), schema);
    assert!(losses.is_empty() && body["toolConfig"].is_null(), "{losses:?}");
    let decoded = BedrockConverse.decode_request(body.to_string().as_bytes()).unwrap();
    let back = value(&Dialect::OpenAiChat.codec().encode_request(&decoded, &mut Losses::default()));
    assert_eq!(back["response_format"]["json_schema"]["schema"], schema);

    let answer = "bifrost_structured_answer";
    for (fields, model, choice, lost) in [
        (json!({"response_format":format}), "amazon.nova-pro-v1:0", json!({"tool":{"name":answer}}), &[][..]),
        (json!({"response_format":{"type":"json_object"}}), CLAUDE, json!({"tool":{"name":answer}}), &[]),
        (json!({"response_format":format}), "mistral.mistral-large-2402-v1:0", json!({"any":{}}), &[]),
        (json!({"response_format":format}), LLAMA, Value::Null, &["/response_format"]),
        (
            json!({"response_format":format,"tools":[{"type":"function","function":{"name":"f"}}]}),
            "amazon.nova-pro-v1:0",
            json!({"any":{}}),
            &[],
        ),
        (
            json!({"response_format":{"type":"json_object"},"reasoning":{"max_tokens":2000}}),
            CLAUDE,
            Value::Null,
            &["/response_format"],
        ),
    ] {
        let (body, losses) = openai(&fields, model);
        let tools = body["toolConfig"]["tools"].as_array().unwrap();
        assert_eq!(tools.last().unwrap()["toolSpec"]["name"], answer, "{fields}");
        assert_eq!((&body["toolConfig"]["toolChoice"], json!(losses)), (&choice, json!(lost)), "{fields}");
    }
    // Its call is the text that was asked for, whole and streamed.
    let call = json!({"toolUse":{"toolUseId":"t","name":answer,"input":{"a":1}}});
    let whole = json!({"output":{"message":{"role":"assistant","content":[call]}},"stopReason":"tool_use"});
    let reply = BedrockConverse.decode_reply(whole.to_string().as_bytes()).unwrap();
    let start = json!({"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":answer}}});
    let delta = |input: &str| ("contentBlockDelta", json!({"contentBlockIndex":0,"delta":{"toolUse":{"input":input}}}));
    let stream =
        [&[START(), ("contentBlockStart", start), delta("{\"a\""), delta(":1}")][..], &END("tool_use")].concat();
    let (events, end) = read(&BedrockConverse, frames(&stream));
    end.unwrap();
    for reply in [reply, fold(&events)] {
        let (openai, _) = encoded(&reply, Dialect::OpenAiChat);
        let message = &openai["choices"][0]["message"];
        assert_eq!((&message["content"], &message["tool_calls"]), (&json!("{\"a\":1}"), &Value::Null));
        assert_eq!(openai["choices"][0]["finish_reason"], "stop");
    }
}

/// Bedrock refuses a message without content: from another dialect none arrives, and none is taken from its own callers.
#[test]
fn bdk_null_or_empty_content_rejected() {
    for content in [json!(null), json!("")] {
        let request = json!({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":content},{"role":"user","content":"b"}]});
        let (body, losses) = openai(&request, CLAUDE);
        assert_eq!(body["messages"], json!([{"role":"user","content":[{"text":"a"},{"text":"b"}]}]));
        assert_eq!(losses, ["/messages/1"]);
    }
    for message in [json!({"role":"user"}), json!({"role":"user","content":null}), json!({"role":"user","content":"a"})]
    {
        let body = json!({"messages":[message]}).to_string();
        let fault = BedrockConverse.decode_request(body.as_bytes()).unwrap_err();
        assert!(fault.pointer.starts_with("/messages/0"), "{fault}");
    }
}

#[test]
fn bdk_document_name_charset_and_uniqueness() {
    let file =
        |name: &str| json!({"type":"file","file":{"filename":name,"file_data":"data:application/pdf;base64,JVBERi0="}});
    let content = json!([file("a_b.pdf"), file("plain"), file("plain"), file("a-b.pdf"), {"type":"text","text":"hi"}]);
    let (body, losses) = openai(&json!({"messages":[{"role":"user","content":content}]}), CLAUDE);
    let blocks = body["messages"][0]["content"].as_array().unwrap();
    let names: Vec<&Value> = blocks.iter().take(4).map(|block| &block["document"]["name"]).collect();
    assert_eq!(names, ["a-b-pdf", "plain", "plain (2)", "a-b-pdf (2)"]);
    assert_eq!(losses.len(), 3, "{losses:?}");
    let (body, losses) = openai(&json!({"messages":[{"role":"user","content":[file("x")]}]}), CLAUDE);
    assert_eq!(body["messages"][0]["content"][1], json!({"text":"."}), "no document without a text");
    assert_eq!(losses, ["/messages/0"]);
}

#[test]
fn bdk_image_formats_and_s3_location() {
    for (url, expected) in [
        ("data:image/png;base64,iVBORw0KGgo=", json!({"format":"png","source":{"bytes":"iVBORw0KGgo="}})),
        ("data:image/jpg;base64,/9j/", json!({"format":"jpeg","source":{"bytes":"/9j/"}})),
        ("data:image/webp;base64,UklGR", json!({"format":"webp","source":{"bytes":"UklGR"}})),
        ("s3://b/x.gif", json!({"format":"gif","source":{"s3Location":{"uri":"s3://b/x.gif"}}})),
        ("data:image/tiff;base64,AAAA", Value::Null),
        ("https://x/y.png", Value::Null),
    ] {
        let content = json!([{"type":"text","text":"a"},{"type":"image_url","image_url":{"url":url}}]);
        let (body, losses) = openai(&json!({"messages":[{"role":"user","content":content}]}), CLAUDE);
        assert_eq!(body["messages"][0]["content"][1]["image"], expected, "{url}");
        assert_eq!(losses.is_empty(), !expected.is_null(), "{url}: {losses:?}");
    }
    let own = json!({"messages":[{"role":"user","content":[
        {"image":{"format":"jpeg","source":{"bytes":"/9j/"}}},
        {"image":{"format":"png","source":{"s3Location":{"uri":"s3://b/y"}}}}]}]});
    let decoded = BedrockConverse.decode_request(own.to_string().as_bytes()).unwrap();
    let mut losses = Losses::default();
    let anthropic = value(&Dialect::AnthropicMessages.codec().encode_request(&decoded, &mut losses));
    assert_eq!(anthropic["messages"][0]["content"][0]["source"]["media_type"], "image/jpeg");
    assert_eq!(losses.iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/messages/0/content/1"]);
}

#[test]
fn bdk_service_tier_and_latency_config() {
    let request = json!({"model":"m","max_tokens":9,"service_tier":"standard_only","performanceConfig":{"latency":"optimized"},
        "messages":[{"role":"user","content":"hi"}]});
    let (body, losses) = crossed(Dialect::AnthropicMessages, &request, CLAUDE);
    assert_eq!(body["serviceTier"], json!({"type":"default"}));
    assert_eq!(body["performanceConfig"], json!({"latency":"optimized"}));
    assert!(losses.is_empty(), "{losses:?}");
}

// === Replies and streams, by name ===

/// Some models use a block's index again for the call behind a text that nobody closed, and no text has a start.
#[test]
fn bdk_contentblock_index_reuse_text_then_tool() {
    let call = json!({"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":"f"}}});
    let delta = json!({"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"a\":1}"}}});
    let thought = json!({"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"hm"}}});
    let stream = [
        &[START(), ("contentBlockDelta", thought), text(0, "a"), text(0, "b")][..],
        &[
            ("contentBlockStart", call),
            ("contentBlockDelta", delta),
            ("contentBlockStop", json!({"contentBlockIndex":0})),
        ],
        &END("tool_use"),
    ]
    .concat();
    let (events, end) = read(&BedrockConverse, frames(&stream));
    end.unwrap();
    let (body, _) = encoded(&fold(&events), Dialect::BedrockConverse);
    assert_eq!(
        body["output"]["message"]["content"],
        json!([{"reasoningContent":{"reasoningText":{"text":"hm"}}},{"text":"ab"},{"toolUse":{"toolUseId":"t","name":"f","input":{"a":1}}}])
    );
}

#[test]
fn bdk_exception_frame_midstream() {
    let mut stream = frames(&[START(), text(0, "a")]);
    let exception = format!("{EXCEPTION}throttlingException");
    stream.push(Frame { event: Some(exception.into()), data: r#"{"message":"slower"}"#.into() });
    let (events, end) = read(&BedrockConverse, stream);
    let failure = end.unwrap_err();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::RateLimited, "slower"));
    assert!(matches!(events.last(), Some(ChatEvent::Delta { .. })), "what came before is kept");
    // What a client is told is an exception as well, and no end marker.
    let problem = Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        kind: "upstream_error".into(),
        code: None,
        param: None,
        message: "gone".into(),
        annex: None,
    };
    let mut out = Vec::new();
    BedrockConverse.writer(WriterOptions::default()).fail(&problem, &mut out);
    let told = messages::events(&out);
    assert_eq!(told, [("serviceUnavailableException".to_owned(), json!({"message":"upstream_error: gone"}))]);
    let mut splitter = Dialect::BedrockConverse.framing().splitter(1 << 20);
    splitter.push(out.into());
    let frame = splitter.next().unwrap().unwrap().frame;
    assert_eq!(read(&BedrockConverse, [frame]).1.unwrap_err().kind, FailureKind::Unavailable);
}

#[test]
fn bdk_stop_reasons_guardrail_intervened_content_filtered() {
    use FinishReason::{ContentFilter, Length, Other, Stop, ToolCalls};
    for (word, reason, openai) in [
        ("end_turn", Stop, "stop"),
        ("stop_sequence", Stop, "stop"),
        ("max_tokens", Length, "length"),
        ("model_context_window_exceeded", Length, "length"),
        ("guardrail_intervened", ContentFilter, "content_filter"),
        ("content_filtered", ContentFilter, "content_filter"),
        ("malformed_model_output", Other, "stop"),
        ("malformed_tool_use", Other, "stop"),
        ("tomorrow", Other, "stop"),
        ("tool_use", ToolCalls, "tool_calls"),
    ] {
        let content = match word {
            "tool_use" => json!([{"toolUse":{"toolUseId":"t","name":"f","input":{}}}]),
            _ => json!([{"text":"a"}]),
        };
        let body = json!({"output":{"message":{"role":"assistant","content":content}},"stopReason":word});
        let reply = BedrockConverse.decode_reply(body.to_string().as_bytes()).unwrap();
        assert_eq!(reply.choices[0].finish.reason, reason, "{word}");
        assert_eq!(encoded(&reply, Dialect::OpenAiChat).0["choices"][0]["finish_reason"], openai, "{word}");
        assert_eq!(encoded(&reply, Dialect::BedrockConverse).0["stopReason"], word);
        let (events, end) = read(&BedrockConverse, messages::frames(&write(&unfold(&reply))));
        end.unwrap();
        assert_eq!(fold(&events).choices[0].finish.reason, reason, "{word} streamed");
    }
}

/// What a guardrail found goes to callers of this dialect, whole and streamed; others are told that it stayed behind.
#[test]
fn bdk_guardrail_trace_passthrough() {
    let trace = json!({"guardrail":{"inputAssessment":{"g":{"topicPolicy":{"topics":[{"name":"n"}]}}}}});
    let [stop, (_, mut metadata)] = END("guardrail_intervened");
    metadata["trace"] = trace.clone();
    let stream = [START(), text(0, "Sorry"), stop, ("metadata", metadata)];
    let (events, end) = read(&BedrockConverse, frames(&stream));
    end.unwrap();
    let reply = fold(&events);
    assert_eq!(encoded(&reply, Dialect::BedrockConverse).0["trace"], trace);
    assert_eq!(messages::events(&write(&events)).last().unwrap().1["trace"], trace);
    let (_, losses) = encoded(&reply, Dialect::OpenAiChat);
    assert_eq!(losses.iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/trace"]);
}

#[test]
fn streams_that_are_none_are_refused_and_cut_ones_are_broken() {
    use FailureKind::{Broken, Unreadable};
    let [stop, metadata] = END("end_turn");
    for (stream, kind) in [
        (vec![], Broken),
        (vec![START()], Broken),
        (vec![START(), text(0, "a")], Broken),
        (vec![text(0, "a")], Unreadable),
        (vec![START(), START()], Unreadable),
        (vec![START(), stop.clone(), text(0, "a")], Unreadable),
        (
            vec![START(), ("contentBlockDelta", json!({"contentBlockIndex":0,"delta":{"toolUse":{"input":"{"}}}))],
            Unreadable,
        ),
        (vec![START(), ("contentBlockDelta", json!({"contentBlockIndex":0,"delta":{"text":7}}))], Unreadable),
        (vec![START(), ("contentBlockDelta", json!([]))], Unreadable),
    ] {
        let failure = read(&BedrockConverse, frames(&stream)).1.unwrap_err();
        assert_eq!(failure.kind, kind, "{stream:?}: {}", failure.message);
    }
    // Without what it cost a stream is whole, and in either order.
    for stream in [vec![START(), text(0, "a"), stop.clone()], vec![START(), text(0, "a"), metadata, stop]] {
        let (events, end) = read(&BedrockConverse, frames(&stream));
        end.unwrap();
        assert!(matches!(events.last(), Some(ChatEvent::Stop { .. })));
    }
}

// === Damage ===

/// Every event there is, and every kind of growth.
const EVENTS: &[(&str, &str)] = &[
    ("messageStart", r#"{"role":"assistant","p":"ab"}"#),
    ("contentBlockStart", r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"t","name":"f"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"a\":1}"}},"p":"a"}"#),
    ("contentBlockStart", r#"{"contentBlockIndex":1,"start":{"toolResult":{"toolUseId":"t","type":"x"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"toolResult":[{"text":"a"},{"json":{}}]}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"text":"a"}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":2,"delta":{"citation":{"title":"t"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":3,"delta":{"reasoningContent":{"text":"a","signature":"b"}}}"#),
    ("contentBlockDelta", r#"{"contentBlockIndex":4,"delta":{"reasoningContent":{"redactedContent":"AAEC"}}}"#),
    ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
    ("tomorrow", r#"{"a":[1]}"#),
    ("exception/throttlingException", r#"{"message":"m","originalStatusCode":429}"#),
    ("messageStop", r#"{"stopReason":"end_turn","additionalModelResponseFields":{"stop_sequence":"x"}}"#),
    (
        "metadata",
        r#"{"usage":{"inputTokens":1,"cacheDetails":[{"ttl":"1h","inputTokens":2}]},"metrics":{"latencyMs":1}}"#,
    ),
];

proptest! {
    /// Whatever comes in whatever order, damaged anywhere: the reader and the tap refuse it or read it, and what is read is lawful,
    /// or the reader of debug builds says so.
    #[test]
    fn damaged_streams_never_panic(
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..20),
        (which, at, byte) in (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()),
        damaged: bool,
    ) {
        let mut stream: Vec<(&str, Vec<u8>)> =
            order.iter().map(|pick| EVENTS[pick.index(EVENTS.len())]).map(|(name, data)| (name, data.into())).collect();
        if damaged {
            let event = which.index(stream.len());
            let place = at.index(stream[event].1.len());
            stream[event].1[place] = byte;
        }
        let mut bytes = Vec::new();
        for (name, data) in &stream {
            match name.strip_prefix(EXCEPTION) {
                Some(kind) => write_exception(&mut bytes, kind, data),
                None => write_event(&mut bytes, name, data),
            }
        }
        let mut splitter = BEDROCK.framing().splitter(1 << 20);
        splitter.push(bytes.into());
        let (mut reader, mut tap, mut events) = (BEDROCK.codec().reader(), Tap::new(BEDROCK), Vec::new());
        for event in splitter.by_ref().map(Result::unwrap) {
            tap.event(&event);
            if let Err(failure) = reader.read(&event.frame, &mut events) {
                prop_assert!(!failure.message.contains("out of order"), "{}: {:?}", failure, stream);
                return Ok(());
            }
        }
        let end = reader.finish(&mut events);
        prop_assert!(end.err().is_none_or(|failure| !failure.message.contains("out of order")));
        write(&events);
    }

    #[test]
    fn damaged_bodies_never_panic(line in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte: u8) {
        let bodies = [include_str!("tables/bedrock_forms.jsonl"), include_str!("tables/bedrock_replies.jsonl")].concat();
        let lines: Vec<&str> = bodies.lines().collect();
        let mut body = lines[line.index(lines.len())].as_bytes().to_vec();
        let place = at.index(body.len());
        body[place] = byte;
        if let Ok(request) = BedrockConverse.decode_request(&body) {
            for dialect in [BEDROCK, Dialect::OpenAiChat, Dialect::AnthropicMessages] {
                value(&dialect.codec().encode_request(&request, &mut Losses::default()));
            }
        }
        if let Ok(reply) = BedrockConverse.decode_reply(&body) {
            encoded(&reply, BEDROCK);
        }
        BedrockConverse.decode_error(StatusCode::OK, &body);
    }
}
