//! Crosses recorded traffic between Bedrock Converse and the other dialects, both ways: what a person or a tool would notice must come
//! through, and what cannot is reported.
//!
//! The expectation is made from the recorded JSON alone, by readers that share nothing with the codecs.
#![cfg(test)]

#[path = "support/crossing.rs"]
mod crossing;
#[path = "support/fold.rs"]
mod fold;
#[path = "support/joined_bedrock.rs"]
mod joined_bedrock;
#[path = "support/joined_cohere.rs"]
mod joined_cohere;
#[path = "support/messages.rs"]
mod messages;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/replay.rs"]
mod replay;
#[path = "support/understood.rs"]
mod understood;
#[path = "support/understood_bedrock.rs"]
mod understood_bedrock;
#[path = "support/understood_cohere.rs"]
mod understood_cohere;
#[path = "support/understood_gemini.rs"]
mod understood_gemini;
#[path = "support/understood_responses.rs"]
mod understood_responses;

use bifrost_providers::dialect::WriterOptions;
use bifrost_providers::event::unfold;
use bifrost_providers::{ChatEvent, ChatReply, Dialect, Losses};
use fold::fold;
use joined_cohere::cohere_joined;
use recorded::Recording;
use serde_json::{Value, json};
use understood::{
    Answered, Asked, Spoken, anthropic_answered, anthropic_asked, anthropic_joined, list, openai_answered,
    openai_asked, openai_joined,
};
use understood_bedrock::{bedrock_answered, bedrock_asked, bedrock_joined};
use understood_cohere::{cohere_answered, cohere_asked};
use understood_gemini::{gemini_answered, gemini_asked, gemini_joined};
use understood_responses::{responses_answered, responses_asked, responses_joined};

/// A dialect whose streams are text, and what an independent reader makes of it.
struct Side {
    dialect: Dialect,
    path: &'static str,
    asked: fn(&Value) -> Asked,
    answered: fn(&Value) -> Answered,
    joined: fn(&str) -> Value,
}

const SIDES: [Side; 5] = [
    Side {
        dialect: Dialect::OpenAiChat,
        path: "chat/completions",
        asked: openai_asked,
        answered: openai_answered,
        joined: openai_joined,
    },
    Side {
        dialect: Dialect::AnthropicMessages,
        path: "/messages",
        asked: anthropic_asked,
        answered: anthropic_answered,
        joined: |body| anthropic_joined(body, "crossed"),
    },
    Side {
        dialect: Dialect::OpenAiResponses,
        path: "/responses",
        asked: responses_asked,
        answered: responses_answered,
        joined: |body| responses_joined(body, "crossed"),
    },
    Side {
        dialect: Dialect::Gemini,
        path: "enerateContent",
        asked: gemini_asked,
        answered: gemini_answered,
        joined: gemini_joined,
    },
    Side {
        dialect: Dialect::CohereChat,
        path: "/v2/chat",
        asked: cohere_asked,
        answered: cohere_answered,
        joined: cohere_joined,
    },
];

const BEDROCK: Dialect = Dialect::BedrockConverse;

/// A model of which everything is known that can be.
const CLAUDE: &str = "anthropic.claude-opus-4-6-v1";

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, count: usize) {
    eprintln!("crossed {count} {what}");
}

// === Requests ===

fn cross(request: &str, from: Dialect, to: Dialect, model: &str) -> (Value, Losses) {
    let mut decoded = from.codec().decode_request(request.as_bytes()).unwrap();
    decoded.model = model.into();
    let mut losses = Losses::default();
    let crossed = value(&to.codec().encode_request(&decoded, &mut losses));
    (crossed, losses)
}

fn lost(losses: &Losses, pointer: &str) -> bool {
    losses.iter().any(|loss| loss.pointer == pointer)
}

/// What a Converse request must look like, whoever asked.
fn check_bedrock_rules(body: &Value, name: &str) {
    let turns = list(&body["messages"]);
    assert_eq!(turns.first().map(|turn| &turn["role"]), Some(&json!("user")), "{name}: the user begins");
    for pair in turns.windows(2) {
        assert_ne!(pair[0]["role"], pair[1]["role"], "{name}: roles alternate");
        // As many answers as calls, at once.
        let count =
            |turn: &Value, kind: &str| list(&turn["content"]).iter().filter(|block| block.get(kind).is_some()).count();
        let (asked, answered) = (count(&pair[0], "toolUse"), count(&pair[1], "toolResult"));
        assert!(answered == 0 || asked == answered, "{name}: {asked} calls, {answered} answers");
    }
    let mut calls = false;
    for block in turns.iter().flat_map(|turn| list(&turn["content"])) {
        assert_eq!(block.as_object().unwrap().len(), 1, "{name}: a union has one member");
        assert!(block["text"].as_str().is_none_or(|text| !text.trim().is_empty()), "{name}: blank text");
        assert!(block["toolUse"].is_null() || block["toolUse"]["input"].is_object(), "{name}: {block}");
        calls |= block["toolUse"].is_object() || block["toolResult"].is_object();
    }
    assert!(turns.iter().all(|turn| !list(&turn["content"]).is_empty()), "{name}: empty content");
    assert!(!calls || !list(&body["toolConfig"]["tools"]).is_empty(), "{name}: calls without tools");
    assert!(body["toolConfig"].is_null() || !list(&body["toolConfig"]["tools"]).is_empty(), "{name}: no tools");
}

fn check_request_to_bedrock(recording: &Recording, from: &Side) {
    let name = &recording.name;
    let source: Value = serde_json::from_str(&recording.request).unwrap();
    let (crossed, losses) = cross(&recording.request, from.dialect, BEDROCK, CLAUDE);
    let mut expected = (from.asked)(&source).settled();
    // The URL says whether it streams, and parallel calls cannot be forbidden.
    if expected.serial {
        assert!(lost(&losses, "/parallel_tool_calls"), "{name}: {losses:?}");
    }
    (expected.stream, expected.serial) = (false, false);
    if losses.iter().any(|loss| loss.reason.contains("user turn")) && expected.turns.is_empty() {
        expected.turns.push(Spoken { text: std::mem::take(&mut expected.system), ..Default::default() });
    }
    if expected.choice == ":none" {
        assert!(
            lost(&losses, "/tools") || lost(&losses, "/tool_choice") || expected.tools.is_empty(),
            "{name}: {losses:?}"
        );
        expected.choice = Value::Null;
        if losses.iter().any(|loss| loss.reason.contains("cannot forbid calls otherwise")) {
            expected.tools.clear();
        }
    }
    if lost(&losses, "/tool_choice") || expected.tools.is_empty() {
        expected.choice = Value::Null;
    }
    if lost(&losses, "/stop") {
        expected.stop.retain(|stop| !stop.as_str().unwrap_or_default().trim().is_empty());
    }
    check_bedrock_rules(&crossed, name);
    let mut arrived = bedrock_asked(&crossed).settled();
    if expected.turns.first().is_some_and(|turn| turn.assistant) && !arrived.turns[0].assistant {
        arrived.turns.remove(0);
    }
    // Of images and documents, only those whose bytes are there can cross.
    let images = |asked: &Asked| asked.turns.iter().map(|turn| turn.images).sum::<usize>();
    let remote = losses.iter().filter(|loss| loss.reason.contains("reads no addresses")).count();
    assert!(
        images(&arrived) <= images(&expected) && images(&expected) <= images(&arrived) + remote,
        "{name}: {losses:?}"
    );
    for asked in [&mut arrived, &mut expected] {
        asked.turns.iter_mut().for_each(|turn| turn.images = 0);
        // Whose empty description is left out, and the order of results beside other content.
        asked.tools.iter_mut().filter(|tool| tool.1 == "").for_each(|tool| tool.1 = Value::Null);
        asked.turns.iter_mut().for_each(|turn| turn.results.sort());
    }
    let added = losses.iter().any(|loss| loss.reason.contains("document without a text"));
    if added {
        for turn in arrived.turns.iter_mut().chain(&mut expected.turns).filter(|turn| !turn.assistant) {
            turn.text = turn.text.trim_end_matches('.').to_owned();
        }
    }
    if expected.tools.is_empty() || crossed.to_string().contains("bifrost_structured_answer") {
        // Some tool must be called, be it the one that stands for the form.
        let made = [":required", "bifrost_structured_answer"].iter().any(|choice| arrived.choice == **choice);
        assert!(arrived.choice.is_null() || made || arrived.choice == expected.choice, "{name}: {}", arrived.choice);
        arrived.choice = expected.choice.clone();
    }
    assert_eq!(arrived, expected, "{name}: {losses:?}");
    // What crossed is this dialect's own now, and stays as it is.
    let (again, _) = cross(&crossed.to_string(), BEDROCK, BEDROCK, CLAUDE);
    assert_eq!(again, crossed, "{name}");
    for loss in losses.iter() {
        assert!(loss.pointer.is_empty() || loss.pointer.starts_with('/'), "{name}: {loss:?}");
    }
}

#[test]
fn every_request_of_the_others_is_understood_by_a_bedrock_model() {
    for from in &SIDES {
        let mut recordings = recorded::recordings(from.path);
        // Handshakes of web sockets send no body.
        recordings.retain(|recording| !recording.request.is_empty());
        for recording in &recordings {
            check_request_to_bedrock(recording, from);
        }
        report(&format!("requests from {} to Bedrock", from.path), recordings.len());
    }
}

fn bedrock_requests() -> Vec<Recording> {
    let streamed = recorded::binary_recordings("/converse-stream").into_iter().map(|(recording, _)| recording);
    recorded::recordings("/converse").into_iter().chain(streamed).collect()
}

#[test]
fn every_bedrock_request_is_understood_by_the_others() {
    let recordings = bedrock_requests();
    for recording in &recordings {
        let name = &recording.name;
        let source: Value = serde_json::from_str(&recording.request).unwrap();
        for to in &SIDES {
            let (crossed, losses) = cross(&recording.request, BEDROCK, to.dialect, "m");
            let mut arrived = (to.asked)(&crossed).settled();
            let mut expected = bedrock_asked(&source).settled();
            if expected.limit.is_null() && to.dialect == Dialect::AnthropicMessages {
                arrived.limit = Value::Null;
            }
            if losses.iter().any(|loss| loss.reason.contains("cannot name a tool")) {
                // It is the only one there is, and some tool must be called.
                expected.tools.retain(|tool| tool.0 == expected.choice);
                expected.choice = json!(":required");
            }
            assert_eq!(arrived, expected, "{name} to {}: {losses:?}", to.dialect.name());
        }
    }
    report("Bedrock requests to each of the others", recordings.len());
}

// === Replies ===

/// Ids that a provider left out are made up on the way, one for each call.
fn numbered(mut answered: Answered) -> Answered {
    for call in &mut answered.calls {
        if call.0.starts_with("gemini_call_") {
            call.0.clear();
        }
    }
    if answered.text.trim().is_empty() {
        answered.text.clear();
    }
    answered
}

fn write_bedrock(events: &[ChatEvent]) -> Vec<u8> {
    let mut writer = BEDROCK.codec().writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    out
}

fn check_reply_of_bedrock(reply: &ChatReply, events: &[ChatEvent], expected: &Answered, name: &str) {
    for to in &SIDES {
        let codec = to.dialect.codec();
        let whole = value(&codec.encode_reply(reply, None, &mut Losses::default()));
        assert_eq!(&numbered((to.answered)(&whole)), expected, "{name} to {}", to.dialect.name());
        let streamed = (to.joined)(&crossing::write(codec, events));
        assert_eq!(&numbered((to.answered)(&streamed)), expected, "{name} to {}, streamed", to.dialect.name());
    }
}

#[test]
fn every_bedrock_reply_reads_the_same_in_the_others_whole_and_streamed() {
    let mut count = 0;
    for Recording { name, response, .. } in recorded::recordings("/converse").iter().filter(|it| it.is_ok()) {
        let expected = numbered(bedrock_answered(&serde_json::from_str(response).unwrap()));
        let reply = BEDROCK.codec().decode_reply(response.as_bytes()).unwrap();
        check_reply_of_bedrock(&reply, &unfold(&reply), &expected, name);
        count += 1;
    }
    for (recording, stream) in recorded::binary_recordings("/converse-stream") {
        let expected = numbered(bedrock_answered(&bedrock_joined(&stream)));
        let (events, end) = replay::read(BEDROCK.codec(), messages::frames(&stream));
        end.unwrap();
        check_reply_of_bedrock(&fold(&events), &events, &expected, &recording.name);
        count += 1;
    }
    report("Bedrock replies and streams to each of the others", count);
}

/// Recordings whose stream ends as streams do: some were cut, or carry an error, on purpose.
fn is_whole_stream(recording: &Recording, from: &Side) -> bool {
    let ends = ["message_stop", "response.completed", "response.incomplete", "finishReason", "message-end"];
    recording.is_stream()
        && !recording.response.contains("data: {\"error\"")
        && (ends.iter().any(|end| recording.response.contains(end))
            || !(from.joined)(&recording.response)["choices"][0]["finish_reason"].is_null())
}

fn check_reply_to_bedrock(recording: &Recording, from: &Side) {
    let name = &recording.name;
    let codec = from.dialect.codec();
    let (events, source) = if recording.is_stream() {
        (crossing::read(codec, &recording.response, name), (from.joined)(&recording.response))
    } else {
        let reply = codec.decode_reply(recording.response.as_bytes()).unwrap();
        (unfold(&reply), serde_json::from_str(&recording.response).unwrap())
    };
    let expected = numbered((from.answered)(&source));
    let arrived = numbered(bedrock_answered(&bedrock_joined(&write_bedrock(&events))));
    // Some servers count reasoning beside the output; the canonical count includes it.
    let expected = Answered { output: arrived.output.max(expected.output), ..expected };
    assert_eq!(arrived, expected, "{name}");
    let whole = value(&BEDROCK.codec().encode_reply(&fold(&events), None, &mut Losses::default()));
    assert_eq!(numbered(bedrock_answered(&whole)), expected, "{name} whole");
}

#[test]
fn every_reply_of_the_others_reads_the_same_in_bedrock_whole_and_streamed() {
    for from in &SIDES {
        let mut count = 0;
        for recording in recorded::recordings(from.path).iter().filter(|recording| recording.is_ok()) {
            let keys = ["\"choices\"", "\"content\"", "\"output\"", "\"candidates\""];
            let is_reply = !recording.is_stream() && keys.iter().any(|key| recording.response.contains(key));
            if is_reply || is_whole_stream(recording, from) {
                check_reply_to_bedrock(recording, from);
                count += 1;
            }
        }
        report(&format!("replies from {} to Bedrock", from.path), count);
    }
}
