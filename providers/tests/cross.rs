//! Crosses recorded traffic between OpenAI chat and Anthropic Messages, both ways: what a person or a tool would notice must
//! come through, and what cannot is reported.
//!
//! The expectation is made from the recorded JSON alone, by readers of this file that share nothing with the codecs.
#![cfg(test)]

#[path = "support/crossing.rs"]
mod crossing;
#[path = "support/fold.rs"]
mod fold;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/understood.rs"]
mod understood;

use bifrost_providers::chat::Extras;
use bifrost_providers::dialect::WriterOptions;
use bifrost_providers::dialect::anthropic_messages::AnthropicMessages;
use bifrost_providers::dialect::openai_chat::OpenAiChat;
use bifrost_providers::event::{Block, Delta, Start};
use bifrost_providers::reply::Finish;
use bifrost_providers::{ChatEvent, Codec, Dialect, Losses};
use crossing::{read, write};
use fold::fold;
use recorded::Recording;
use serde_json::{Value, json};
use understood::{
    Answered, Spoken, anthropic_answered, anthropic_asked, anthropic_joined, list, openai_answered, openai_asked,
    openai_joined, text,
};

const OPENAI: &str = "chat/completions";
const ANTHROPIC: &str = "/messages";

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, count: usize) {
    eprintln!("crossed {count} {what}");
}

// === Requests ===

/// What an Anthropic request must look like, whoever asked.
fn check_anthropic_rules(body: &Value, name: &str) {
    assert!(body["max_tokens"].is_u64(), "{name}");
    let messages = list(&body["messages"]);
    assert_eq!(messages.first().map(|message| &message["role"]), Some(&json!("user")), "{name}");
    for pair in messages.windows(2) {
        assert_ne!(pair[0]["role"], pair[1]["role"], "{name}: roles alternate");
    }
    for message in messages {
        let blocks = list(&message["content"]);
        assert!(message["content"].is_string() || !blocks.is_empty(), "{name}: empty content");
        let kinds: Vec<bool> = blocks.iter().map(|block| block["type"] == "tool_result").collect();
        assert!(kinds.is_sorted_by(|a, b| a >= b), "{name}: results stand first");
        for block in blocks.iter().filter(|block| block["type"] == "text") {
            assert!(!text(&block["text"]).trim().is_empty(), "{name}: blank text");
        }
        for id in blocks.iter().flat_map(|block| [&block["id"], &block["tool_use_id"]]).filter_map(Value::as_str) {
            assert!((1..=64).contains(&id.len()), "{name}: {id}");
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{name}: {id}");
        }
    }
}

#[test]
fn every_openai_request_is_understood_by_an_anthropic_model() {
    let recordings = recorded::recordings(OPENAI);
    let mut lossless = 0;
    for Recording { name, request, .. } in &recordings {
        let source: Value = serde_json::from_str(request).unwrap();
        let mut losses = Losses::default();
        let encoded =
            AnthropicMessages.encode_request(&OpenAiChat.decode_request(request.as_bytes()).unwrap(), &mut losses);
        let crossed = value(&encoded);
        check_anthropic_rules(&crossed, name);
        lossless += usize::from(losses.is_empty());
        let mut expected = openai_asked(&source).settled();
        let lost = |pointer: &str| losses.iter().any(|loss| loss.pointer == pointer);
        if expected.limit.is_null() {
            expected.limit = json!(4096);
        }
        if expected.turns.first().is_none_or(|turn| turn.assistant) {
            assert!(losses.iter().any(|loss| loss.reason.contains("user turn")), "{name}: {losses:?}");
            let spoken = if expected.turns.is_empty() { std::mem::take(&mut expected.system) } else { ".".into() };
            expected.turns.insert(0, Spoken { text: spoken, ..Spoken::default() });
        }
        if expected.tools.is_empty() {
            (expected.choice, expected.serial) = (Value::Null, false);
        } else if (expected.serial && expected.choice.is_null()) || lost("/tool_choice") {
            expected.choice = if expected.serial { json!(":auto") } else { Value::Null };
        } else if expected.choice == ":none" {
            expected.serial = false;
        }
        assert_eq!(anthropic_asked(&crossed).settled(), expected, "{name}: {losses:?}");
        // What crossed is this dialect's own now, and stays as it is.
        let again = AnthropicMessages.decode_request(&encoded).unwrap();
        assert_eq!(value(&AnthropicMessages.encode_request(&again, &mut Losses::default())), crossed, "{name}");
        check_request_losses(&source, &losses, name);
    }
    report("OpenAI requests to Anthropic", recordings.len());
    report("of them without any loss", lossless);
}

/// Whatever stands at the top of the source and has no counterpart must be on the list.
fn check_request_losses(source: &Value, losses: &Losses, name: &str) {
    for key in ["n", "seed", "logprobs", "top_logprobs", "logit_bias", "frequency_penalty", "grammar", "provider"] {
        let given = source.get(key).is_some_and(|value| !value.is_null() && *value != false && *value != 1);
        let listed = losses.iter().any(|loss| loss.pointer == format!("/{key}"));
        assert_eq!(given, listed, "{name}: {key} {losses:?}");
    }
    for loss in losses.iter() {
        assert!(loss.pointer.is_empty() || loss.pointer.starts_with('/'), "{name}: {loss:?}");
    }
}

#[test]
fn every_anthropic_request_is_understood_by_an_openai_model() {
    let recordings = recorded::recordings(ANTHROPIC);
    for Recording { name, request, .. } in &recordings {
        let source: Value = serde_json::from_str(request).unwrap();
        let mut losses = Losses::default();
        let decoded = AnthropicMessages.decode_request(request.as_bytes()).unwrap();
        let crossed = value(&OpenAiChat.encode_request(&decoded, &mut losses));
        let expected = anthropic_asked(&source).settled();
        assert_eq!(openai_asked(&crossed).settled(), expected, "{name}: {losses:?}");
    }
    report("Anthropic requests to OpenAI", recordings.len());
}

// === Replies ===

/// Recordings whose stream ends as streams do: some were cut, or carry an error, on purpose.
fn is_whole_openai_stream(recording: &Recording) -> bool {
    recording.is_stream()
        && !openai_joined(&recording.response)["choices"][0]["finish_reason"].is_null()
        && !recording.response.contains("data: {\"error\"")
}

/// Blank text is left out on its way to Anthropic, which refuses to have it replayed.
fn shown(mut answered: Answered) -> Answered {
    if answered.text.trim().is_empty() {
        answered.text.clear();
    }
    answered
}

#[test]
fn every_openai_reply_reads_the_same_in_anthropic() {
    let mut count = 0;
    for Recording { name, response, .. } in
        recorded::recordings(OPENAI).iter().filter(|recording| recording.is_ok() && !recording.is_stream())
    {
        let source: Value = serde_json::from_str(response).unwrap();
        if source.get("choices").is_none() {
            continue;
        }
        let mut losses = Losses::default();
        let reply = OpenAiChat.decode_reply(response.as_bytes()).unwrap();
        let crossed = value(&AnthropicMessages.encode_reply(&reply, None, &mut losses));
        let expected = shown(openai_answered(&source));
        let usage = reply.usage.clone().unwrap_or_default();
        // Some servers count reasoning beside the output; the canonical count includes it.
        let expected = Answered { output: usage.output.max(expected.output), ..expected };
        assert_eq!(anthropic_answered(&crossed), expected, "{name}: {losses:?}");
        for block in list(&crossed["content"]).iter().filter(|block| block["type"] == "thinking") {
            assert!(block["signature"].is_string(), "{name}");
        }
        count += 1;
    }
    report("OpenAI replies to Anthropic", count);
}

#[test]
fn every_openai_stream_reads_the_same_in_anthropic_streamed_and_whole() {
    let mut count = 0;
    for Recording { name, response, .. } in
        recorded::recordings(OPENAI).iter().filter(|recording| is_whole_openai_stream(recording))
    {
        let events = read(&OpenAiChat, response, name);
        let streamed = shown(anthropic_answered(&anthropic_joined(&write(&AnthropicMessages, &events), name)));
        let whole = AnthropicMessages.encode_reply(&fold(&events), None, &mut Losses::default());
        assert_eq!(shown(anthropic_answered(&value(&whole))), streamed, "{name}");
        let expected = shown(openai_answered(&openai_joined(response)));
        // As above: never less than the server said.
        let expected = Answered { output: streamed.output.max(expected.output), ..expected };
        assert_eq!(streamed, expected, "{name}");
        count += 1;
    }
    report("OpenAI streams to Anthropic", count);
}

#[test]
fn every_anthropic_reply_reads_the_same_in_openai() {
    let mut count = 0;
    for Recording { name, response, .. } in
        recorded::recordings(ANTHROPIC).iter().filter(|recording| recording.is_ok() && !recording.is_stream())
    {
        let mut losses = Losses::default();
        let reply = AnthropicMessages.decode_reply(response.as_bytes()).unwrap();
        let crossed = value(&OpenAiChat.encode_reply(&reply, None, &mut losses));
        let expected = anthropic_answered(&serde_json::from_str(response).unwrap());
        assert_eq!(openai_answered(&crossed), expected, "{name}: {losses:?}");
        count += 1;
    }
    report("Anthropic replies to OpenAI", count);
}

#[test]
fn every_anthropic_stream_reads_the_same_in_openai_streamed_and_whole() {
    let mut count = 0;
    for Recording { name, response, .. } in
        recorded::recordings(ANTHROPIC).iter().filter(|recording| recording.is_stream())
    {
        let events = read(&AnthropicMessages, response, name);
        let streamed = openai_answered(&openai_joined(&write(&OpenAiChat, &events)));
        let whole = OpenAiChat.encode_reply(&fold(&events), None, &mut Losses::default());
        assert_eq!(openai_answered(&value(&whole)), streamed, "{name}");
        assert_eq!(streamed, anthropic_answered(&oracle_of_ours(response)), "{name}");
        count += 1;
    }
    report("Anthropic streams to OpenAI", count);
}

/// A recorded stream may go on after `message_stop` (a relay's `[DONE]`), and is joined up to there.
fn oracle_of_ours(response: &str) -> Value {
    anthropic_joined(response, "recorded")
}

// === Named promises ===

/// An OpenAI request with these fields, as Anthropic gets it, and the pointers of what was lost.
fn to_anthropic(fields: &Value) -> (Value, Vec<String>) {
    let mut request = json!({"model":"m","messages":[{"role":"user","content":"hi"}]});
    for (key, field) in fields.as_object().unwrap() {
        request[key] = field.clone();
    }
    let mut losses = Losses::default();
    let decoded = OpenAiChat.decode_request(request.to_string().as_bytes()).unwrap();
    let crossed = value(&AnthropicMessages.encode_request(&decoded, &mut losses));
    check_anthropic_rules(&crossed, &request.to_string());
    (crossed, losses.iter().map(|loss| loss.pointer.clone()).collect())
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"id":id,"type":"function","function":{"name":"f","arguments":arguments}})
}

#[test]
fn anth_tool_results_grouped_next_user_turn() {
    let (crossed, losses) = to_anthropic(&json!({"messages":[
        {"role":"user","content":"q"},
        {"role":"assistant","content":"","tool_calls":[call("a", "{}"), call("b", "{}")]},
        {"role":"tool","tool_call_id":"a","content":"1"},
        {"role":"tool","tool_call_id":"b","content":[{"type":"text","text":"2"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]},
        {"role":"user","content":"and now?"},
        {"role":"user","content":[{"type":"text","text":"well?"}]}]}));
    assert_eq!(losses, Vec::<String>::new());
    let image = json!({"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}});
    assert_eq!(
        crossed["messages"][2],
        json!({"role":"user","content":[
            {"type":"tool_result","tool_use_id":"a","content":"1"},
            {"type":"tool_result","tool_use_id":"b","content":[{"type":"text","text":"2"}, image]},
            {"type":"text","text":"and now?"},{"type":"text","text":"well?"}]})
    );
    let calls =
        json!([{"type":"tool_use","id":"a","name":"f","input":{}},{"type":"tool_use","id":"b","name":"f","input":{}}]);
    assert_eq!(crossed["messages"][1]["content"], calls);
}

#[test]
fn anth_tool_use_id_charset_and_length() {
    let long = "x".repeat(90);
    let ids = ["call_1", "functions.f:0", "functions.f:1", "functions/f:0", "id mit ü", "", &long, &format!("{long}y")];
    let mut seen = Vec::new();
    for id in ids {
        let (crossed, _) = to_anthropic(&json!({"messages":[{"role":"user","content":"q"},
            {"role":"assistant","tool_calls":[call(id, "{}")]},{"role":"tool","tool_call_id":id,"content":"1"}]}));
        let mapped = text(&crossed["messages"][1]["content"][0]["id"]);
        assert_eq!(crossed["messages"][2]["content"][0]["tool_use_id"], *mapped, "{id}");
        assert!(!seen.contains(&mapped), "{id} and another are both {mapped}");
        seen.push(mapped);
    }
    assert_eq!(seen[0], "call_1");
    assert_eq!(seen[1], "functions_f_0_4be0e962e9dcd7b8", "the mapping is stable over releases");
}

#[test]
fn oai_chat_tool_arguments_is_string_even_if_empty() {
    for (arguments, input, lossy) in [
        ("", json!({}), false),
        (" ", json!({}), false),
        ("{\"a\":1.50}", json!({"a":1.50}), false),
        ("{\"a\":", json!({"_raw_arguments":"{\"a\":"}), true),
        ("[1]", json!({"_raw_arguments":"[1]"}), true),
        ("\"x\"", json!({"_raw_arguments":"\"x\""}), true),
    ] {
        let (crossed, losses) = to_anthropic(&json!({"messages":[{"role":"user","content":"q"},
            {"role":"assistant","tool_calls":[call("a", arguments)]}]}));
        assert_eq!(crossed["messages"][1]["content"][0]["input"], input);
        assert_eq!(losses == ["/messages/1/tool_calls/0"], lossy, "{arguments} {losses:?}");
    }
}

/// Each row: fields of an OpenAI request, where in the Anthropic one they arrive as what, and what is reported lost.
#[test]
fn x_lossy_translation_reported() {
    for row in include_str!("tables/openai_to_anthropic.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let (crossed, losses) = to_anthropic(&row["fields"]);
        let arrived = crossed.pointer(row["pointer"].as_str().unwrap()).cloned().unwrap_or_default();
        assert_eq!(arrived, row["expected"], "{row}");
        assert_eq!(json!(losses), row["lost"], "{row}");
    }
}

#[test]
fn signed_thinking_is_replayed_to_its_own_origin_only() {
    for (format, replayed) in
        [(json!("anthropic-claude-v1"), true), (Value::Null, true), (json!("openai-responses-v1"), false)]
    {
        let mut detail = json!({"type":"reasoning.text","text":"hm","signature":"c2ln"});
        if !format.is_null() {
            detail["format"] = format.clone();
        }
        let (crossed, losses) = to_anthropic(&json!({"messages":[{"role":"user","content":"q"},
            {"role":"assistant","reasoning_details":[detail],"content":"a"},{"role":"user","content":"r"}]}));
        let thinking = json!({"type":"thinking","thinking":"hm","signature":"c2ln"});
        assert_eq!(crossed["messages"][1]["content"][0] == thinking, replayed, "{format}: {crossed}");
        assert_eq!(losses.is_empty(), replayed, "{format}: {losses:?}");
    }
}

#[test]
fn anth_billing_or_attribution_system_block_not_leaked_cross() {
    let request = json!({"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}],"system":[
        {"type":"text","text":"x-anthropic-billing-header: cc_version=2.1"},{"type":"text","text":"be brief"}]});
    let mut losses = Losses::default();
    let decoded = AnthropicMessages.decode_request(request.to_string().as_bytes()).unwrap();
    let crossed = String::from_utf8(OpenAiChat.encode_request(&decoded, &mut losses)).unwrap();
    assert!(!crossed.contains("billing") && crossed.contains("be brief"), "{crossed}");
    assert_eq!(losses.len(), 1, "{losses:?}");
}

fn started() -> ChatEvent {
    ChatEvent::Start(Start {
        source: Dialect::OpenAiChat,
        id: "chatcmpl-1".into(),
        model: "m".into(),
        created: None,
        usage: None,
        extras: Extras::default(),
    })
}

fn opens(index: u32, choice: u32, id: &str, custom: bool) -> ChatEvent {
    let block = Block::ToolCall { id: id.into(), name: "f".into(), custom, extras: Extras::default() };
    ChatEvent::Open { index, choice, block }
}

fn grows(index: u32, piece: &str) -> ChatEvent {
    ChatEvent::Delta { index, delta: Delta::Arguments(piece.into()) }
}

fn ends() -> [ChatEvent; 2] {
    let end = ChatEvent::End { choice: 0, finish: Finish::default(), extras: Extras::default() };
    [end, ChatEvent::Stop { usage: None, extras: Extras::default() }]
}

/// Blocks may interleave in the events and must not on Anthropic's wire; nothing is lost, and the order of opening stays.
#[test]
fn oai_chat_stream_tool_calls_by_index_interleaved() {
    let close = |index| ChatEvent::Close { index };
    let mut events =
        vec![started(), opens(0, 0, "a", false), opens(1, 0, "b", false), grows(1, "{\"x\":"), opens(2, 0, "c", true)];
    events.extend([
        grows(0, "{\"y\":"),
        grows(2, "free \"text\"\n"),
        grows(1, "1}"),
        close(1),
        grows(0, "2}"),
        close(0),
        close(2),
    ]);
    events.extend(ends());
    let body = write(&AnthropicMessages, &events);
    let joined = anthropic_joined(&body, "interleaved");
    assert_eq!(
        joined["content"],
        json!([
            {"type":"tool_use","id":"a","name":"f","input":{"y":2}},
            {"type":"tool_use","id":"b","name":"f","input":{"x":1}},
            {"type":"tool_use","id":"c","name":"f","input":{"_raw_arguments":"free \"text\"\n"}},
        ])
    );
    assert_eq!(joined["stop_reason"], "tool_use");
    let whole = AnthropicMessages.encode_reply(&fold(&events), None, &mut Losses::default());
    assert_eq!(value(&whole)["content"], joined["content"]);
}

#[test]
fn oai_chat_stream_n_choices_index() {
    let mut events = vec![started(), opens(0, 1, "a", false), grows(0, "{}"), ChatEvent::Close { index: 0 }];
    events.extend(ends());
    let mut writer = AnthropicMessages.writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in &events {
        writer.write(event, None, &mut out);
    }
    assert_eq!(anthropic_joined(&String::from_utf8(out).unwrap(), "choices")["content"], json!([]));
    assert_eq!(writer.losses().iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/choices/1"]);
}
