//! Crosses recorded traffic between Gemini and the other dialects, both ways: what a person or a tool would notice
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
#[path = "support/understood_gemini.rs"]
mod understood_gemini;
#[path = "support/understood_responses.rs"]
mod understood_responses;

use bifrost_providers::dialect::anthropic_messages::AnthropicMessages;
use bifrost_providers::dialect::gemini::Gemini;
use bifrost_providers::dialect::openai_chat::OpenAiChat;
use bifrost_providers::dialect::openai_responses::OpenAiResponses;
use bifrost_providers::event::unfold;
use bifrost_providers::{ChatEvent, ChatReply, Codec, Dialect, Losses};
use crossing::{read, write};
use fold::fold;
use recorded::Recording;
use serde_json::{Value, json};
use understood::{
    Answered, Asked, anthropic_answered, anthropic_asked, anthropic_joined, list, openai_answered, openai_asked,
    openai_joined, text,
};
use understood_gemini::{gemini_answered, gemini_asked, gemini_joined};
use understood_responses::{responses_answered, responses_asked, responses_joined};

const GEMINI: &str = "enerateContent";
const OPENAI: &str = "chat/completions";
const ANTHROPIC: &str = "/messages";
const RESPONSES: &str = "/responses";

/// A dialect, and what an independent reader makes of it.
struct Side {
    codec: &'static dyn Codec,
    asked: fn(&Value) -> Asked,
    answered: fn(&Value) -> Answered,
    joined: fn(&str) -> Value,
}

const OPENAI_SIDE: Side =
    Side { codec: &OpenAiChat, asked: openai_asked, answered: openai_answered, joined: openai_joined };
const ANTHROPIC_SIDE: Side =
    Side { codec: &AnthropicMessages, asked: anthropic_asked, answered: anthropic_answered, joined: anthropic_whole };
const GEMINI_SIDE: Side =
    Side { codec: &Gemini, asked: gemini_asked, answered: gemini_answered, joined: gemini_joined };

const RESPONSES_SIDE: Side =
    Side { codec: &OpenAiResponses, asked: responses_asked, answered: responses_answered, joined: responses_whole };

fn responses_whole(body: &str) -> Value {
    responses_joined(body, "crossed")
}

fn anthropic_whole(body: &str) -> Value {
    anthropic_joined(body, "crossed")
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, count: usize) {
    eprintln!("crossed {count} {what}");
}

// === Requests ===

fn cross(request: &str, from: &dyn Codec, to: &dyn Codec, model: &str) -> (Value, Losses) {
    let mut decoded = from.decode_request(request.as_bytes()).unwrap();
    decoded.model = model.into();
    let mut losses = Losses::default();
    let crossed = value(&to.encode_request(&decoded, &mut losses));
    (crossed, losses)
}

fn lost(losses: &Losses, pointer: &str) -> bool {
    losses.iter().any(|loss| loss.pointer == pointer)
}

/// What a Gemini request must look like, whoever asked.
fn check_gemini_rules(body: &Value, name: &str) {
    let contents = list(&body["contents"]);
    assert!(!contents.is_empty(), "{name}: nothing is said");
    for pair in contents.windows(2) {
        assert_ne!(pair[0]["role"], pair[1]["role"], "{name}: roles alternate");
        // As many answers as calls, at once.
        let calls =
            |content: &Value, key: &str| list(&content["parts"]).iter().filter(|part| part.get(key).is_some()).count();
        let (asked, answered) = (calls(&pair[0], "functionCall"), calls(&pair[1], "functionResponse"));
        assert!(answered == 0 || asked == answered, "{name}: {asked} calls, {answered} answers");
    }
    for content in contents {
        assert!(!list(&content["parts"]).is_empty(), "{name}: empty content");
        for part in list(&content["parts"]) {
            assert!(part["text"] != "", "{name}: empty text");
            assert!(part["functionCall"].is_null() || part["functionCall"]["args"].is_object(), "{name}: {part}");
            assert!(
                part["functionResponse"].is_null() || part["functionResponse"]["name"].is_string(),
                "{name}: {part}"
            );
        }
    }
}

fn check_request_to_gemini(recording: &Recording, from: &Side) {
    let name = &recording.name;
    let source: Value = serde_json::from_str(&recording.request).unwrap();
    let (crossed, losses) = cross(&recording.request, from.codec, &Gemini, "gemini-3-pro");
    let mut expected = (from.asked)(&source).settled();
    // The URL says whether it streams, parallel calls cannot be forbidden, and words have no place for a media type.
    if expected.serial {
        assert!(lost(&losses, "/parallel_tool_calls"), "{name}: {losses:?}");
    }
    (expected.stream, expected.serial) = (false, false);
    if expected.turns.is_empty() {
        assert!(losses.iter().any(|loss| loss.reason.contains("user turn")), "{name}: {losses:?}");
        expected.turns.push(understood::Spoken { text: std::mem::take(&mut expected.system), ..Default::default() });
    }
    if lost(&losses, "/tool_choice") || expected.tools.is_empty() {
        expected.choice = Value::Null;
    }
    check_gemini_rules(&crossed, name);
    let mut arrived = gemini_asked(&crossed).settled();
    for asked in [&mut arrived, &mut expected] {
        // A result of several texts is one here, on lines of their own; an order of results is one of calls.
        asked.turns.iter_mut().for_each(|turn| turn.results.sort());
        asked
            .turns
            .iter_mut()
            .flat_map(|turn| &mut turn.results)
            .for_each(|result| result.1 = result.1.replace('\n', ""));
    }
    assert_eq!(arrived, expected, "{name}: {losses:?}");
    // What crossed is this dialect's own now, and stays as it is.
    let (again, _) = cross(&crossed.to_string(), &Gemini, &Gemini, "gemini-3-pro");
    assert_eq!(again, crossed, "{name}");
    for loss in losses.iter() {
        assert!(loss.pointer.is_empty() || loss.pointer.starts_with('/'), "{name}: {loss:?}");
    }
}

#[test]
fn every_openai_request_is_understood_by_a_gemini_model() {
    let recordings = recorded::recordings(OPENAI);
    for recording in &recordings {
        check_request_to_gemini(recording, &OPENAI_SIDE);
    }
    report("OpenAI requests to Gemini", recordings.len());
}

#[test]
fn every_anthropic_request_is_understood_by_a_gemini_model() {
    let recordings = recorded::recordings(ANTHROPIC);
    for recording in &recordings {
        check_request_to_gemini(recording, &ANTHROPIC_SIDE);
    }
    report("Anthropic requests to Gemini", recordings.len());
}

#[test]
fn every_responses_request_is_understood_by_a_gemini_model() {
    let mut recordings = recorded::recordings(RESPONSES);
    // Handshakes of web sockets send no body.
    recordings.retain(|recording| !recording.request.is_empty());
    for recording in &recordings {
        check_request_to_gemini(recording, &RESPONSES_SIDE);
    }
    report("Responses requests to Gemini", recordings.len());
}

fn check_request_from_gemini(recording: &Recording, to: &Side) {
    let name = &recording.name;
    let source: Value = serde_json::from_str(&recording.request).unwrap();
    let (crossed, losses) = cross(&recording.request, &Gemini, to.codec, "m");
    let mut expected = gemini_asked(&source).settled();
    let mut arrived = (to.asked)(&crossed).settled();
    if expected.limit.is_null()
        && to.codec.decode_request(crossed.to_string().as_bytes()).unwrap().source == Dialect::AnthropicMessages
    {
        arrived.limit = Value::Null;
    }
    if losses.iter().any(|loss| loss.reason.contains("user turn")) {
        expected.turns.push(understood::Spoken { text: std::mem::take(&mut expected.system), ..Default::default() });
    }
    if lost(&losses, "/stop") {
        expected.stop.clear();
    }
    if expected.tools.is_empty() && lost(&losses, "/tool_choice") {
        expected.choice = Value::Null;
    }
    if expected.turns.first().is_some_and(|turn| turn.assistant)
        && arrived.turns.first().is_some_and(|turn| !turn.assistant)
    {
        arrived.turns.remove(0);
    }
    assert_eq!(arrived, expected, "{name}: {losses:?}");
}

#[test]
fn every_gemini_request_is_understood_by_the_others() {
    let recordings = recorded::recordings(GEMINI);
    for recording in &recordings {
        check_request_from_gemini(recording, &OPENAI_SIDE);
        check_request_from_gemini(recording, &ANTHROPIC_SIDE);
        check_request_from_gemini(recording, &RESPONSES_SIDE);
    }
    report("Gemini requests to the others", recordings.len());
}

// === Replies ===

/// Ids that a provider left out are made up on the way, one for each call.
fn numbered(mut answered: Answered) -> Answered {
    let mut seen = Vec::new();
    for call in &mut answered.calls {
        assert!(call.0.is_empty() || !seen.contains(&call.0), "{} twice", call.0);
        seen.push(call.0.clone());
        if call.0.starts_with("gemini_call_") {
            call.0.clear();
        }
    }
    if answered.text.trim().is_empty() {
        answered.text.clear();
    }
    answered
}

fn whole(reply: &ChatReply, to: &Side) -> Answered {
    numbered((to.answered)(&value(&to.codec.encode_reply(reply, None, &mut Losses::default()))))
}

fn streamed(events: &[ChatEvent], to: &Side) -> Answered {
    numbered((to.answered)(&(to.joined)(&write(to.codec, events))))
}

#[test]
fn every_gemini_reply_reads_the_same_in_the_others_whole_and_streamed() {
    let mut count = 0;
    for Recording { name, response, .. } in
        recorded::recordings(GEMINI).iter().filter(|recording| recording.is_ok() && !recording.is_stream())
    {
        let expected = numbered(gemini_answered(&serde_json::from_str(response).unwrap()));
        let reply = Gemini.decode_reply(response.as_bytes()).unwrap();
        for to in [&OPENAI_SIDE, &ANTHROPIC_SIDE, &RESPONSES_SIDE] {
            assert_eq!(whole(&reply, to), expected, "{name}");
            assert_eq!(streamed(&unfold(&reply), to), expected, "{name} as a stream");
        }
        count += 1;
    }
    report("Gemini replies to the others", count);
}

#[test]
fn every_gemini_stream_reads_the_same_in_the_others_streamed_and_whole() {
    let mut count = 0;
    for Recording { name, response, .. } in
        recorded::recordings(GEMINI).iter().filter(|recording| recording.is_stream())
    {
        let expected = numbered(gemini_answered(&gemini_joined(response)));
        let events = read(&Gemini, response, name);
        for to in [&OPENAI_SIDE, &ANTHROPIC_SIDE, &RESPONSES_SIDE] {
            assert_eq!(streamed(&events, to), expected, "{name}");
            assert_eq!(whole(&fold(&events), to), expected, "{name} whole");
        }
        count += 1;
    }
    report("Gemini streams to the others", count);
}

/// Recordings whose stream ends as streams do: some were cut, or carry an error, on purpose.
fn is_whole_stream(recording: &Recording, from: &Side) -> bool {
    recording.is_stream()
        && !recording.response.contains("data: {\"error\"")
        && (["message_stop", "response.completed", "response.incomplete"]
            .iter()
            .any(|end| recording.response.contains(end))
            || !(from.joined)(&recording.response)["choices"][0]["finish_reason"].is_null())
}

fn check_reply_to_gemini(recording: &Recording, from: &Side) {
    let name = &recording.name;
    let (events, source) = if recording.is_stream() {
        (read(from.codec, &recording.response, name), (from.joined)(&recording.response))
    } else {
        let reply = from.codec.decode_reply(recording.response.as_bytes()).unwrap();
        (unfold(&reply), serde_json::from_str(&recording.response).unwrap())
    };
    let expected = numbered((from.answered)(&source));
    let arrived = streamed(&events, &GEMINI_SIDE);
    // Some servers count reasoning beside the output; the canonical count includes it.
    let expected = Answered { output: arrived.output.max(expected.output), ..expected };
    assert_eq!(arrived, expected, "{name}");
    assert_eq!(whole(&fold(&events), &GEMINI_SIDE), expected, "{name} whole");
}

#[test]
fn every_reply_of_the_others_reads_the_same_in_gemini_whole_and_streamed() {
    for (path, from) in [(OPENAI, &OPENAI_SIDE), (ANTHROPIC, &ANTHROPIC_SIDE), (RESPONSES, &RESPONSES_SIDE)] {
        let mut count = 0;
        for recording in recorded::recordings(path).iter().filter(|recording| recording.is_ok()) {
            let is_reply = !recording.is_stream()
                && ["\"choices\"", "\"content\"", "\"output\""].iter().any(|key| recording.response.contains(key));
            if is_reply || is_whole_stream(recording, from) {
                check_reply_to_gemini(recording, from);
                count += 1;
            }
        }
        report(&format!("replies from {path} to Gemini"), count);
    }
}

// === Named promises ===

fn openai_request(fields: &Value, model: &str) -> (Value, Vec<String>) {
    let mut request = json!({"model":"m","messages":[{"role":"user","content":"hi"}]});
    for (key, field) in fields.as_object().unwrap() {
        request[key] = field.clone();
    }
    let (crossed, losses) = cross(&request.to_string(), &OpenAiChat, &Gemini, model);
    (crossed, losses.in_a_body_of(Dialect::OpenAiChat).iter().map(|loss| loss.pointer.clone()).collect())
}

/// Each row: a model, fields of an OpenAI request, where in the Gemini one they arrive as what, and what is reported lost.
#[test]
fn x_lossy_translation_reported() {
    for row in include_str!("tables/openai_to_gemini.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let (crossed, losses) = openai_request(&row["fields"], row["model"].as_str().unwrap_or("gemini-2.5-flash"));
        let arrived = crossed.pointer(row["pointer"].as_str().unwrap()).cloned().unwrap_or_default();
        assert_eq!(arrived, row["expected"], "{row}");
        assert_eq!(json!(losses), row["lost"], "{row}");
    }
}

/// Each row: fields of a Gemini request, where in the OpenAI one they arrive as what, and what is reported lost.
#[test]
fn what_gemini_callers_ask_arrives_or_is_reported() {
    for row in include_str!("tables/gemini_to_openai.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let mut request = json!({"contents":[{"role":"user","parts":[{"text":"hi"}]}]});
        for (key, field) in row["fields"].as_object().unwrap() {
            request[key] = field.clone();
        }
        let (crossed, losses) = cross(&request.to_string(), &Gemini, &OpenAiChat, "gpt-5");
        let arrived = crossed.pointer(row["pointer"].as_str().unwrap()).cloned().unwrap_or_default();
        assert_eq!(arrived, row["expected"], "{row}");
        let losses = losses.in_a_body_of(Dialect::Gemini);
        let lost: Vec<&str> = losses.iter().map(|loss| loss.pointer.as_str()).collect();
        assert_eq!(json!(lost), row["lost"], "{row}");
    }
}

fn call(id: &str) -> Value {
    json!({"id":id,"type":"function","function":{"name":"f","arguments":"{\"a\":1}"}})
}

/// Answers may come in any order; without ids Google matches them by the order of the calls.
#[test]
fn results_stand_together_in_the_order_of_their_calls() {
    let image = json!({"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}});
    let messages = json!([
        {"role":"user","content":"q"},
        {"role":"assistant","tool_calls":[call("gemini_call_x_0"), call("gemini_call_x_1")]},
        {"role":"tool","tool_call_id":"gemini_call_x_1","content":"second"},
        {"role":"tool","tool_call_id":"gemini_call_x_0","content":[{"type":"text","text":"first"}, image]},
        {"role":"user","content":"and?"}]);
    let response = |text: &str| json!({"functionResponse":{"name":"f","response":{"output":text}}});
    let inline = json!({"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}});
    let (crossed, losses) = openai_request(&json!({"messages": messages}), "gemini-2.5-flash");
    assert_eq!(losses, Vec::<String>::new());
    assert_eq!(
        crossed["contents"][2]["parts"],
        json!([response("first"), inline, response("second"), {"text":"and?"}]),
        "beside the result, where media cannot stand within"
    );
    let (crossed, _) = openai_request(&json!({"messages": messages}), "gemini-3-flash-preview");
    assert_eq!(crossed["contents"][2]["parts"][0]["functionResponse"]["parts"], json!([inline]));
}

#[test]
fn gem_thought_signature_via_openai_extra_content() {
    let reply = json!({"candidates":[{"content":{"role":"model","parts":[
        {"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"c2ln"},
        {"functionCall":{"name":"f","args":{"a":2}}}]},"finishReason":"STOP","index":0}],"responseId":"r1"});
    let decoded = Gemini.decode_reply(reply.to_string().as_bytes()).unwrap();
    let body = value(&OpenAiChat.encode_reply(&decoded, None, &mut Losses::default()));
    let message = &body["choices"][0]["message"];
    let signed = json!({"google":{"thought_signature":"c2ln"}});
    assert_eq!(message["tool_calls"][0]["extra_content"], signed);
    assert_eq!(message["tool_calls"][1].get("extra_content"), None);
    let chunks = write(&OpenAiChat, &unfold(&decoded));
    // langchain's readers fail where a piece of a call has no `function`.
    let piece = json!([{"index":0,"function":{"arguments":""},"extra_content":signed}]);
    assert!(chunks.contains(&format!("\"tool_calls\":{piece}")), "{chunks}");
    // The client sends it back as it came.
    let mut history = message.clone();
    history["role"] = json!("assistant");
    let results =
        list(&message["tool_calls"]).iter().map(|call| json!({"role":"tool","tool_call_id":call["id"],"content":"1"}));
    let messages: Vec<Value> = [json!({"role":"user","content":"q"}), history].into_iter().chain(results).collect();
    let (crossed, losses) = openai_request(&json!({"messages": messages}), "gemini-3-pro");
    assert_eq!(crossed["contents"][1]["parts"], reply["candidates"][0]["content"]["parts"]);
    assert_eq!(losses, Vec::<String>::new());
}

/// The gateway's older surface: encrypted reasoning that names the call.
#[test]
fn a_signature_in_reasoning_details_reaches_its_call() {
    let messages = json!([{"role":"user","content":"q"},
        {"role":"assistant","tool_calls":[call("a")],"reasoning_details":[
            {"type":"reasoning.encrypted","id":"tool_call_a","data":"c2ln","index":0}]},
        {"role":"tool","tool_call_id":"a","content":"1"}]);
    let (crossed, losses) = openai_request(&json!({"messages": messages}), "gemini-3-pro");
    assert_eq!(crossed["contents"][1]["parts"][0]["thoughtSignature"], "c2ln");
    assert_eq!(losses, Vec::<String>::new());
}

/// A conversation that moves to a model which demands signatures must still be answered.
#[test]
fn calls_of_another_model_are_excused_from_signing() {
    let messages = json!([{"role":"user","content":"q"},
        {"role":"assistant","tool_calls":[call("a"), call("b")]},
        {"role":"tool","tool_call_id":"a","content":"1"}, {"role":"tool","tool_call_id":"b","content":"2"}]);
    let (crossed, losses) = openai_request(&json!({"messages": messages}), "gemini-3-pro");
    let signatures: Vec<&Value> =
        list(&crossed["contents"][1]["parts"]).iter().map(|part| &part["thoughtSignature"]).collect();
    assert_eq!(signatures, [&json!("skip_thought_signature_validator"), &Value::Null]);
    assert_eq!(losses, ["/messages/1/tool_calls/0"]);
    assert_eq!(openai_request(&json!({"messages": messages}), "gemini-2.5-pro").1, Vec::<String>::new());
}

/// Anthropic's clients keep signed thinking and bring it back, through this dialect, too.
#[test]
fn signed_thinking_survives_a_gemini_client() {
    let reply = json!({"id":"msg_1","type":"message","role":"assistant","model":"m","stop_reason":"end_turn","stop_sequence":null,
        "content":[{"type":"thinking","thinking":"hm","signature":"c2ln"},{"type":"text","text":"so"}],
        "usage":{"input_tokens":1,"output_tokens":2}});
    let decoded = AnthropicMessages.decode_reply(reply.to_string().as_bytes()).unwrap();
    let shown = value(&Gemini.encode_reply(&decoded, None, &mut Losses::default()));
    let content = shown["candidates"][0]["content"].clone();
    // Whose it is, and the signature: `anthropic-claude-v1:c2ln`, as Google's SDKs can decode it.
    let signature = "YW50aHJvcGljLWNsYXVkZS12MTpjMmxu";
    assert_eq!(content["parts"][0], json!({"text":"hm","thought":true,"thoughtSignature":signature}));
    let request =
        json!({"contents":[{"role":"user","parts":[{"text":"q"}]}, content, {"role":"user","parts":[{"text":"r"}]}]});
    let (back, _) = cross(&request.to_string(), &Gemini, &AnthropicMessages, "claude");
    assert_eq!(back["messages"][1]["content"], reply["content"]);
}

/// Google counts bytes, OpenAI characters. What one request was grounded in says nothing of the next: a reader is for one.
#[test]
fn gem_grounding_metadata_to_citations() {
    let grounding = json!({"webSearchQueries":["q"],
        "groundingChunks":[{"web":{"uri":"https://a","title":"A","domain":"a"}},{"web":{"uri":"https://b"}},{"maps":{"uri":"https://c","title":"C"}}],
        "groundingSupports":[
            {"segment":{"endIndex":7,"text":"Größe"},"groundingChunkIndices":[0,1],"confidenceScores":[0.5]},
            {"segment":{"startIndex":0,"endIndex":1,"partIndex":1,"text":"x"},"groundingChunkIndices":[0,9]}]});
    let parts =
        [json!({"text":"hm","thought":true}), json!({"text":"Größe "}), json!({"text":"x.","thoughtSignature":"c"})];
    let event =
        |parts: &[Value]| json!({"candidates":[{"content":{"parts":parts,"role":"model"},"index":0}],"responseId":"r"});
    let mut last = event(&parts[1..]);
    last["candidates"][0]["groundingMetadata"] = grounding.clone();
    last["candidates"][0]["finishReason"] = json!("STOP");
    let mut whole = last.clone();
    whole["candidates"][0]["content"]["parts"] = json!(parts);
    let cited = |start: u64, end: u64, title: &str, url: &str| json!({"type":"url_citation","url_citation":{"start_index":start,"end_index":end,"title":title,"url":url}});
    let expected = json!([
        cited(0, 5, "A", "https://a"),
        cited(0, 5, "https://b", "https://b"),
        cited(6, 7, "A", "https://a"),
        cited(0, 0, "C", "https://c")
    ]);
    let reply = Gemini.decode_reply(whole.to_string().as_bytes()).unwrap();
    let events = read(&Gemini, &format!("data: {}\n\ndata: {last}\n\n", event(&parts[..1])), "grounded");
    assert_eq!(value(&Gemini.encode_reply(&reply, None, &mut Losses::default())), whole);
    for reply in [&reply, &fold(&events), &fold(&unfold(&reply))] {
        let mut losses = Losses::default();
        let openai = value(&OpenAiChat.encode_reply(reply, None, &mut losses));
        assert_eq!(openai["choices"][0]["message"]["annotations"], expected);
        assert!(lost(&losses, "/choices/0/groundingMetadata"), "the queries are: {losses:?}");
        let mut losses = Losses::default();
        AnthropicMessages.encode_reply(reply, None, &mut losses);
        assert!(lost(&losses, "/choices/0/citations"), "{losses:?}");
    }
    let chunks = write(&OpenAiChat, &events);
    assert!(chunks.contains(&format!("\"delta\":{{\"annotations\":{expected}}}")), "{chunks}");
}

#[test]
fn gem_logprobs_result() {
    let body = json!({"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"},"finishReason":"STOP","index":0,
        "avgLogprobs":-0.5,"logprobsResult":{"chosenCandidates":[{"token":"a","tokenId":3,"logProbability":-0.5}],
        "topCandidates":[{"candidates":[{"token":"a","tokenId":3,"logProbability":-0.5}]}],"logProbabilitySum":-0.5}}],
        "modelVersion":"g","responseId":"r"});
    let reply = Gemini.decode_reply(body.to_string().as_bytes()).unwrap();
    let events = read(&Gemini, &format!("data: {body}\n\n"), "measured");
    for reply in [&reply, &fold(&events), &fold(&unfold(&reply))] {
        assert_eq!(value(&Gemini.encode_reply(reply, None, &mut Losses::default())), body);
        let openai = value(&OpenAiChat.encode_reply(reply, None, &mut Losses::default()));
        let token = &openai["choices"][0]["logprobs"]["content"][0];
        assert_eq!(
            (&token["token"], &token["logprob"], &token["top_logprobs"][0]["token"]),
            (&json!("a"), &json!(-0.5), &json!("a"))
        );
        // And back again.
        let theirs = OpenAiChat.decode_reply(openai.to_string().as_bytes()).unwrap();
        let back = value(&Gemini.encode_reply(&theirs, None, &mut Losses::default()));
        let result = &back["candidates"][0]["logprobsResult"]["chosenCandidates"];
        assert_eq!(result, &body["candidates"][0]["logprobsResult"]["chosenCandidates"]);
    }
    assert!(write(&OpenAiChat, &events).contains("\"logprobs\":{\"content\":[{\"token\":\"a\""));
    let again = read(&Gemini, &write(&Gemini, &events), "measured again");
    let whole = value(&Gemini.encode_reply(&fold(&again), None, &mut Losses::default()));
    assert_eq!(whole["candidates"][0]["logprobsResult"], body["candidates"][0]["logprobsResult"]);
}

#[test]
fn gem_prompt_blocked_no_candidates() {
    let body = json!({"promptFeedback":{"blockReason":"PROHIBITED_CONTENT","safetyRatings":[]},
        "usageMetadata":{"promptTokenCount":7,"totalTokenCount":7},"modelVersion":"g","responseId":"r"});
    let reply = Gemini.decode_reply(body.to_string().as_bytes()).unwrap();
    assert_eq!(
        value(&Gemini.encode_reply(&reply, None, &mut Losses::default())),
        body,
        "as it came, to its own client"
    );
    let events = read(&Gemini, &format!("data: {body}\n\n"), "blocked");
    let openai = value(&OpenAiChat.encode_reply(&reply, None, &mut Losses::default()));
    assert_eq!(openai["choices"][0]["finish_reason"], "content_filter");
    assert_eq!(text(&openai["choices"][0]["message"]["refusal"]), "The prompt was blocked: PROHIBITED_CONTENT");
    for to in [&OPENAI_SIDE, &ANTHROPIC_SIDE, &RESPONSES_SIDE] {
        let expected = Answered {
            text: "The prompt was blocked: PROHIBITED_CONTENT".into(),
            finish: "refusal".into(),
            input: 7,
            ..Answered::default()
        };
        assert_eq!(whole(&reply, to), expected);
        assert_eq!(streamed(&events, to), expected);
    }
    let written = write(&Gemini, &events);
    let last: Value = serde_json::from_str(written.trim().rsplit("data: ").next().unwrap()).unwrap();
    assert_eq!((&last["promptFeedback"], last.get("candidates")), (&body["promptFeedback"], None), "{written}");
}
