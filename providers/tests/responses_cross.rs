//! Crosses recorded traffic between OpenAI Responses and the other dialects, both ways: what a person or a tool would notice
//! must come through, and what cannot is reported.
//!
//! The expectation is made from the recorded JSON alone, by readers that share nothing with the codecs.
#![cfg(test)]

#[path = "support/crossing.rs"]
mod crossing;
#[path = "support/fold.rs"]
mod fold;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/understood.rs"]
mod understood;
#[path = "support/understood_responses.rs"]
mod understood_responses;

use bifrost_providers::dialect::WriterOptions;
use bifrost_providers::{ChatEvent, Codec, Dialect, Losses};
use crossing::{read, write};
use fold::fold;
use recorded::Recording;
use serde_json::{Value, json};
use understood::{
    Answered, Asked, Spoken, anthropic_answered, anthropic_asked, anthropic_joined, list, openai_answered,
    openai_asked, openai_joined, text,
};
use understood_responses::{responses_answered, responses_asked, responses_joined};

/// A dialect: its codec, the path of its recordings, and how its bodies are read.
#[derive(Clone, Copy)]
struct Side {
    dialect: Dialect,
    path: &'static str,
    asked: fn(&Value) -> Asked,
    answered: fn(&Value) -> Answered,
    joined: fn(&str, &str) -> Value,
}

const CHAT: Side = Side {
    dialect: Dialect::OpenAiChat,
    path: "chat/completions",
    asked: openai_asked,
    answered: openai_answered,
    joined: |body, _| openai_joined(body),
};
const RESPONSES: Side = Side {
    dialect: Dialect::OpenAiResponses,
    path: "/responses",
    asked: responses_asked,
    answered: responses_answered,
    joined: responses_joined,
};
const ANTHROPIC: Side = Side {
    dialect: Dialect::AnthropicMessages,
    path: "/messages",
    asked: anthropic_asked,
    answered: anthropic_answered,
    joined: anthropic_joined,
};

const PAIRS: [(Side, Side); 4] = [(RESPONSES, CHAT), (RESPONSES, ANTHROPIC), (CHAT, RESPONSES), (ANTHROPIC, RESPONSES)];

impl Side {
    fn codec(self) -> &'static dyn Codec {
        self.dialect.codec()
    }
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, from: Side, to: Side, count: usize) {
    eprintln!("crossed {count} {what} from {} to {}", from.dialect.name(), to.dialect.name());
}

// === Requests ===

/// What the target cannot say, or says in its own way, as the losses must have reported.
fn expected(from: Side, to: Side, source: &Value, losses: &Losses, name: &str) -> Asked {
    let mut expected = (from.asked)(source).settled();
    let lost = |pointer: &str| losses.iter().any(|loss| loss.pointer == pointer);
    if !expected.stop.is_empty() && to.dialect == Dialect::OpenAiResponses {
        assert!(lost("/stop"), "{name}: {losses:?}");
        expected.stop.clear();
    }
    if lost("/tool_choice") || (expected.tools.is_empty() && to.dialect == Dialect::OpenAiResponses) {
        expected.choice = Value::Null;
    }
    if to.dialect == Dialect::AnthropicMessages {
        as_anthropic(&mut expected);
    }
    expected
}

fn as_anthropic(expected: &mut Asked) {
    if expected.limit.is_null() {
        expected.limit = json!(4096);
    }
    if expected.turns.first().is_none_or(|turn| turn.assistant) {
        let spoken = if expected.turns.is_empty() { std::mem::take(&mut expected.system) } else { ".".into() };
        expected.turns.insert(0, Spoken { text: spoken, ..Spoken::default() });
    }
    if expected.tools.is_empty() {
        (expected.choice, expected.serial) = (Value::Null, false);
    } else if expected.serial && expected.choice.is_null() {
        expected.choice = json!(":auto");
    }
}

#[test]
fn every_request_is_understood_on_the_other_side() {
    for (from, to) in PAIRS {
        let recordings = recorded::recordings(from.path);
        let bodies = recordings.iter().filter(|recording| !recording.request.is_empty());
        let mut count = 0;
        for Recording { name, request, .. } in bodies {
            let source: Value = serde_json::from_str(request).unwrap();
            let mut losses = Losses::default();
            let decoded = from.codec().decode_request(request.as_bytes()).unwrap();
            let encoded = to.codec().encode_request(&decoded, &mut losses);
            let crossed = value(&encoded);
            let expected = expected(from, to, &source, &losses, name);
            assert_eq!((to.asked)(&crossed).settled(), expected, "{name}: {losses:?}");
            // What crossed is this dialect's own now, and stays as it is.
            let again = to.codec().decode_request(&encoded).unwrap();
            assert_eq!(value(&to.codec().encode_request(&again, &mut Losses::default())), crossed, "{name}");
            check_responses_rules(to, &crossed, name);
            count += 1;
        }
        report("requests", from, to, count);
    }
}

/// What OpenAI refuses in a request: roles on items that are no messages, calls without their results' ids, unknown seals.
fn check_responses_rules(to: Side, body: &Value, name: &str) {
    if to.dialect == Dialect::OpenAiChat {
        return check_chat_rules(body, name);
    }
    if to.dialect != Dialect::OpenAiResponses {
        return;
    }
    assert!(body["store"].is_boolean(), "{name}: nobody asked to have this kept");
    for item in list(&body["input"]) {
        let kind = item["type"].as_str().unwrap();
        assert_eq!(item.get("role").is_some(), kind == "message", "{name}: {item}");
        assert!(item.get("id").is_none(), "{name}: an id that OpenAI has not given: {item}");
        if kind.ends_with("_output") {
            assert!(item["call_id"].is_string() && !item["output"].is_null(), "{name}: {item}");
        }
    }
    for tool in list(&body["tools"]).iter().filter(|tool| tool["type"] == "function") {
        assert!(tool["strict"].is_boolean(), "{name}: a function is strict unless it says otherwise");
    }
}

/// Every call is answered by the messages that follow it.
fn check_chat_rules(body: &Value, name: &str) {
    let messages = list(&body["messages"]);
    for (at, message) in messages.iter().enumerate() {
        let calls = list(&message["tool_calls"]);
        let answers = messages[at + 1..].iter().take_while(|message| message["role"] == "tool").count();
        let last = at + 1 == messages.len();
        assert!(calls.is_empty() || last || answers >= calls.len(), "{name}: {message}");
    }
}

// === Replies ===

/// Blank text is left out on its way to Anthropic, which refuses to have it replayed.
fn shown(mut answered: Answered) -> Answered {
    if answered.text.trim().is_empty() {
        answered.text.clear();
    }
    answered
}

/// Some servers count reasoning beside the output; the canonical count includes it.
fn counted(expected: Answered, got: &Answered) -> Answered {
    Answered { output: got.output.max(expected.output), ..expected }
}

#[test]
fn every_reply_reads_the_same_on_the_other_side() {
    for (from, to) in PAIRS {
        let mut count = 0;
        for Recording { name, response, .. } in
            recorded::recordings(from.path).iter().filter(|recording| recording.is_ok() && !recording.is_stream())
        {
            let source: Value = serde_json::from_str(response).unwrap();
            if ["choices", "output", "content"].iter().all(|key| source.get(key).is_none()) {
                continue;
            }
            let mut losses = Losses::default();
            let reply = from.codec().decode_reply(response.as_bytes()).unwrap();
            let crossed = value(&to.codec().encode_reply(&reply, None, &mut losses));
            let got = shown((to.answered)(&crossed));
            let expected = counted(shown((from.answered)(&source)), &got);
            assert_eq!(got, expected, "{name}: {losses:?}");
            check_reply(to, &crossed, name);
            count += 1;
        }
        report("replies", from, to, count);
    }
}

/// `oai_resp_required_nullable_fields_present`, and ids that can be told from OpenAI's.
fn check_reply(to: Side, body: &Value, name: &str) {
    if to.dialect != Dialect::OpenAiResponses {
        return;
    }
    for key in [
        "id",
        "object",
        "created_at",
        "status",
        "error",
        "incomplete_details",
        "instructions",
        "metadata",
        "model",
        "output",
        "parallel_tool_calls",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "usage",
    ] {
        assert!(body.get(key).is_some(), "{name}: {key}");
    }
    let mut ids: Vec<String> = list(&body["output"]).iter().map(|item| text(&item["id"])).collect();
    assert!(ids.iter().all(|id| id.contains("_bf") && id.len() <= 64), "{name}: {ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), list(&body["output"]).len(), "{name}");
}

/// Recordings whose stream ends as streams do: some were cut, or carry an error, on purpose.
fn is_whole(side: Side, recording: &Recording) -> bool {
    recording.is_stream()
        && (side.dialect != Dialect::OpenAiChat
            || (!openai_joined(&recording.response)["choices"][0]["finish_reason"].is_null()
                && !recording.response.contains("data: {\"error\"")))
}

#[test]
fn every_stream_reads_the_same_on_the_other_side_streamed_and_whole() {
    for (from, to) in PAIRS {
        let mut count = 0;
        for recording in recorded::recordings(from.path).iter().filter(|recording| is_whole(from, recording)) {
            let Recording { name, response, .. } = recording;
            let events = read(from.codec(), response, name);
            let written = write(to.codec(), &events);
            let streamed = shown((to.answered)(&(to.joined)(&written, name)));
            let whole = to.codec().encode_reply(&fold(&events), None, &mut Losses::default());
            assert_eq!(shown((to.answered)(&value(&whole))), streamed, "{name}");
            let expected = shown((from.answered)(&(from.joined)(response, name)));
            assert_eq!(streamed, counted(expected, &streamed), "{name}");
            count += 1;
        }
        report("streams", from, to, count);
    }
}

// === Named promises ===

fn side(word: &Value) -> Side {
    match word.as_str().unwrap() {
        "chat" => CHAT,
        "responses" => RESPONSES,
        _ => ANTHROPIC,
    }
}

/// Each row: fields of a request, where on the other side they arrive as what, and what is reported lost.
#[test]
fn x_lossy_translation_reported() {
    for row in include_str!("tables/responses_crossings.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let mut request = row["fields"].clone();
        request["model"] = "m".into();
        let mut losses = Losses::default();
        let decoded = side(&row["from"]).codec().decode_request(request.to_string().as_bytes()).unwrap();
        let crossed = value(&side(&row["to"]).codec().encode_request(&decoded, &mut losses));
        let arrived = crossed.pointer(row["pointer"].as_str().unwrap()).cloned().unwrap_or_default();
        assert_eq!(arrived, row["expected"], "{row}");
        let losses = losses.in_a_body_of(decoded.source);
        let lost: Vec<&str> = losses.iter().map(|loss| loss.pointer.as_str()).collect();
        assert_eq!(json!(lost), row["lost"], "{row}");
    }
}

/// Three turns, each answered by another provider, each history the caller's own: calls keep their results, and reasoning is
/// shown to nobody but who sealed it.
#[test]
fn x_fallback_between_dialects_midconversation() {
    let openai = json!({"id":"resp_1","model":"o","object":"response","created_at":1,"status":"completed","output":[
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"one"}],"encrypted_content":"gAAA"},
        {"type":"function_call","id":"fc_1","call_id":"call_1","name":"f","arguments":"{}","status":"completed"}],"usage":null});
    let claude = json!({"id":"msg_1","type":"message","role":"assistant","model":"c","stop_reason":"tool_use","content":[
        {"type":"thinking","thinking":"two","signature":"c2ln"},
        {"type":"tool_use","id":"toolu_2","name":"f","input":{}}],"usage":{"input_tokens":1,"output_tokens":1}});
    let answer = |id: &str| json!({"type":"function_call_output","call_id":id,"output":"ok"});
    let shown = |from: Side, reply: &Value| {
        let reply = from.codec().decode_reply(reply.to_string().as_bytes()).unwrap();
        value(&RESPONSES.codec().encode_reply(&reply, None, &mut Losses::default()))["output"].clone()
    };
    let mut input = vec![json!({"type":"message","role":"user","content":"q"})];
    input.extend(list(&shown(RESPONSES, &openai)).iter().cloned());
    input.push(answer("call_1"));
    input.extend(list(&shown(ANTHROPIC, &claude)).iter().cloned());
    input.push(answer("toolu_2"));
    let request = json!({"model":"m","input":input});
    let decoded = RESPONSES.codec().decode_request(request.to_string().as_bytes()).unwrap();
    let sent = |to: Side| {
        let mut losses = Losses::default();
        (value(&to.codec().encode_request(&decoded, &mut losses)), losses)
    };
    let (to_claude, losses) = sent(ANTHROPIC);
    assert_eq!(to_claude["messages"][1]["content"], json!([{"type":"tool_use","id":"call_1","name":"f","input":{}}]));
    assert_eq!(to_claude["messages"][3]["content"], claude["content"]);
    assert_eq!(losses.iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/input/1"], "{losses:?}");
    let (to_openai, losses) = sent(RESPONSES);
    assert_eq!(to_openai["input"][1], openai["output"][0], "sealed by OpenAI");
    assert_eq!(list(&to_openai["input"]).iter().filter(|item| item["type"] == "reasoning").count(), 1);
    assert_eq!(losses.iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/input/4"], "{losses:?}");
    let (to_chat, losses) = sent(CHAT);
    assert_eq!(to_chat["messages"][1]["tool_calls"][0]["id"], "call_1");
    assert_eq!(to_chat["messages"][3]["tool_calls"][0]["id"], "toolu_2");
    assert!(losses.is_empty(), "{losses:?}");
}

/// `oai_resp_event_order_created_inprogress_items_done_completed` and `oai_resp_event_sequence_numbers_monotonic`, of events
/// that another dialect's reader made: calls interleave, and every item still has its whole life.
#[test]
fn interleaved_calls_are_items_of_their_own() {
    let call = |index: u32, id: &str, arguments: &str| json!({"choices":[{"index":0,"delta":{"tool_calls":[{"index":index,"id":id,"type":"function","function":{"name":"f","arguments":arguments}}]}}]});
    let more = |index: u32, arguments: &str| json!({"choices":[{"index":0,"delta":{"tool_calls":[{"index":index,"function":{"arguments":arguments}}]}}]});
    let chunks = [
        json!({"id":"chatcmpl-1","model":"m","created":5,"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"hm"}}]}),
        json!({"choices":[{"index":0,"delta":{"content":"so"}}]}),
        call(0, "a", "{\"x\":"),
        call(1, "b", "{\"y\":"),
        more(0, "1}"),
        call(2, "c", ""),
        more(1, "2}"),
        json!({"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}),
        json!({"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}),
    ];
    let mut body = String::new();
    for chunk in chunks {
        body.extend(["data: ", &chunk.to_string(), "\n\n"]);
    }
    let events = read(CHAT.codec(), &(body + "data: [DONE]\n\n"), "interleaved");
    let written = write(RESPONSES.codec(), &events);
    let answered = responses_answered(&responses_joined(&written, "interleaved"));
    let calls = [("a", json!({"x":1})), ("b", json!({"y":2})), ("c", json!({}))];
    assert_eq!(answered.calls, calls.map(|(id, arguments)| (id.to_owned(), "f".to_owned(), arguments)));
    assert_eq!(
        (answered.thinking.as_str(), answered.text.as_str(), answered.finish.as_str()),
        ("hm", "so", "tool_use")
    );
    let data: Vec<Value> =
        written.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| value(data.as_bytes())).collect();
    for (number, event) in data.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let life: Vec<String> = data
        .iter()
        .filter(|event| event["output_index"].is_null() || event["output_index"] == 3)
        .map(|event| event["type"].as_str().unwrap().trim_start_matches("response.").to_owned())
        .collect();
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(life, expected);
    let last = &data[data.len() - 1]["response"];
    check_reply(RESPONSES, last, "interleaved");
    assert_eq!(last["usage"]["total_tokens"], 7);
    let whole = value(&RESPONSES.codec().encode_reply(&fold(&events), None, &mut Losses::default()));
    assert_eq!(whole["output"], last["output"], "streamed and whole are the same items");
}

/// bifrost#5093: a redacted thought is no less an item than a plain one.
#[test]
fn thoughts_of_every_kind_cross_streamed_and_whole() {
    let claude = json!({"id":"msg_1","type":"message","role":"assistant","model":"c","stop_reason":"end_turn","content":[
        {"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"redacted_thinking","data":"b3A="},
        {"type":"thinking","thinking":"","signature":"c2ln"},{"type":"text","text":"so"}],"usage":{"input_tokens":1,"output_tokens":1}});
    let reply = ANTHROPIC.codec().decode_reply(claude.to_string().as_bytes()).unwrap();
    let whole = value(&RESPONSES.codec().encode_reply(&reply, None, &mut Losses::default()))["output"].clone();
    let seals: Vec<&Value> = list(&whole).iter().map(|item| &item["encrypted_content"]).collect();
    let expected = ["anthropic-claude-v1:c2ln", "anthropic-claude-v1.redacted:b3A=", "anthropic-claude-v1:c2ln"];
    assert_eq!(json!(seals[..3]), json!(expected));
    let written = write(RESPONSES.codec(), &bifrost_providers::event::unfold(&reply));
    let joined = responses_joined(&written, "thoughts");
    assert_eq!(list(&joined["output"]).len(), 4);
    assert!(written.contains("response.reasoning_summary_text.delta"));
    let last: Value =
        written.lines().rev().find_map(|line| line.strip_prefix("data: ")).map(|data| value(data.as_bytes())).unwrap();
    assert_eq!(last["response"]["output"], whole);
}

#[test]
fn a_second_choice_is_told_to_be_lost() {
    let body = json!({"id":"c","model":"m","choices":[
        {"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"},
        {"index":1,"message":{"role":"assistant","content":"b"},"finish_reason":"stop"}]});
    let reply = CHAT.codec().decode_reply(body.to_string().as_bytes()).unwrap();
    let mut losses = Losses::default();
    let crossed = value(&RESPONSES.codec().encode_reply(&reply, None, &mut losses));
    assert_eq!(responses_answered(&crossed).text, "a");
    assert_eq!(losses.iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/choices/1"]);
    let events = bifrost_providers::event::unfold(&reply);
    let mut writer = RESPONSES.codec().writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in &events {
        writer.write(event, Some(r#"{"k":1}"#), &mut out);
    }
    assert_eq!(writer.losses().iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/choices/1"]);
    let written = String::from_utf8(out).unwrap();
    assert_eq!(responses_answered(&responses_joined(&written, "choices")).text, "a");
    assert!(written.contains(r#""extra_fields":{"k":1}"#));
}

/// The third generation of Gemini refuses a call that comes back without its signature.
#[test]
fn googles_signature_over_a_call_comes_back_to_it_and_to_nobody_else() {
    let gemini = Dialect::Gemini.codec();
    let reply = json!({"responseId":"r","modelVersion":"g","candidates":[{"index":0,"finishReason":"STOP","content":{"role":"model",
        "parts":[{"functionCall":{"id":"c1","name":"f","args":{"a":1}},"thoughtSignature":"c2ln"}]}}]});
    let reply = gemini.decode_reply(reply.to_string().as_bytes()).unwrap();
    let shown = value(&RESPONSES.codec().encode_reply(&reply, None, &mut Losses::default()));
    let written = write(RESPONSES.codec(), &bifrost_providers::event::unfold(&reply));
    let last = written.lines().rev().find_map(|line| line.strip_prefix("data: ")).map(|data| value(data.as_bytes()));
    assert_eq!(last.unwrap()["response"]["output"], shown["output"], "streamed and whole");
    let request = json!({"model":"m","input":[{"role":"user","content":"q"}, shown["output"][0],
        {"type":"function_call_output","call_id":"c1","output":"ok"}]});
    let decoded = RESPONSES.codec().decode_request(request.to_string().as_bytes()).unwrap();
    let mut losses = Losses::default();
    let back = value(&gemini.encode_request(&decoded, &mut losses));
    assert_eq!(back["contents"][1]["parts"][0]["thoughtSignature"], "c2ln", "{back}");
    assert!(losses.is_empty(), "{losses:?}");
    let to_openai = value(&RESPONSES.codec().encode_request(&decoded, &mut losses));
    let bare = json!({"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"});
    assert_eq!(to_openai["input"][1], bare);
    assert_eq!(losses.iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/input/1"]);
}

/// Sources that another dialect says beside its text are the text's own here, whenever they come.
#[test]
fn sources_said_beside_a_text_stand_on_it() {
    use bifrost_providers::reply::Citation;
    let said = json!({"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"so"},"finish_reason":"stop"}]});
    let mut reply = CHAT.codec().decode_reply(said.to_string().as_bytes()).unwrap();
    reply.choices[0].citations = vec![Citation { span: Some((0, 2)), url: "https://x".into(), title: None }];
    let cited = json!([{"type":"url_citation","start_index":0,"end_index":2,"title":"https://x","url":"https://x"}]);
    let whole = value(&RESPONSES.codec().encode_reply(&reply, None, &mut Losses::default()));
    assert_eq!(whole["output"][0]["content"][0]["annotations"], cited);
    let mut events = bifrost_providers::event::unfold(&reply);
    let at = |wanted: fn(&ChatEvent) -> bool, events: &[ChatEvent]| events.iter().position(wanted).unwrap();
    let late = write(RESPONSES.codec(), &events);
    let citation = at(|event| matches!(event, ChatEvent::Cited { .. }), &events);
    let citation = events.remove(citation);
    let close = at(|event| matches!(event, ChatEvent::Close { .. }), &events);
    events.insert(close, citation);
    for written in [late, write(RESPONSES.codec(), &events)] {
        let last =
            written.lines().rev().find_map(|line| line.strip_prefix("data: ")).map(|data| value(data.as_bytes()));
        assert_eq!(last.unwrap()["response"]["output"], whole["output"], "{written}");
        assert!(written.contains("response.output_text.annotation.added"));
    }
}
