//! Crosses recorded traffic between Cohere's chat and the other dialects, both ways: what a person or a tool would notice
//! must come through, and what cannot is reported.
//!
//! The expectation is made from the recorded JSON alone, by readers that share nothing with the codecs.
#![cfg(test)]

#[path = "support/crossing.rs"]
mod crossing;
#[path = "support/fold.rs"]
mod fold;
#[path = "support/joined_cohere.rs"]
mod joined_cohere;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/understood.rs"]
mod understood;
#[path = "support/understood_cohere.rs"]
mod understood_cohere;
#[path = "support/understood_gemini.rs"]
mod understood_gemini;
#[path = "support/understood_responses.rs"]
mod understood_responses;

use bifrost_providers::event::unfold;
use bifrost_providers::{ChatEvent, ChatReply, Codec, Dialect, Losses};
use crossing::{read, write};
use fold::fold;
use joined_cohere::cohere_joined;
use recorded::Recording;
use serde_json::{Value, json};
use understood::{
    Answered, Asked, Spoken, anthropic_answered, anthropic_asked, anthropic_joined, list, openai_answered,
    openai_asked, openai_joined, text,
};
use understood_cohere::{cohere_answered, cohere_asked};
use understood_gemini::{gemini_answered, gemini_asked, gemini_joined};
use understood_responses::{responses_answered, responses_asked, responses_joined};

/// A dialect, where its recordings are, and what an independent reader makes of it.
struct Side {
    dialect: Dialect,
    path: &'static str,
    asked: fn(&Value) -> Asked,
    answered: fn(&Value) -> Answered,
    joined: fn(&str) -> Value,
}

const COHERE: Side = Side {
    dialect: Dialect::CohereChat,
    path: "/v2/chat",
    asked: cohere_asked,
    answered: cohere_answered,
    joined: cohere_joined,
};

const OTHERS: [Side; 4] = [
    Side {
        dialect: Dialect::OpenAiChat,
        path: "chat/completions",
        asked: openai_asked,
        answered: openai_answered,
        joined: openai_joined,
    },
    Side {
        dialect: Dialect::OpenAiResponses,
        path: "/responses",
        asked: responses_asked,
        answered: responses_answered,
        joined: |body| responses_joined(body, "crossed"),
    },
    Side {
        dialect: Dialect::AnthropicMessages,
        path: "/messages",
        asked: anthropic_asked,
        answered: anthropic_answered,
        joined: |body| anthropic_joined(body, "crossed"),
    },
    Side {
        dialect: Dialect::Gemini,
        path: "enerateContent",
        asked: gemini_asked,
        answered: gemini_answered,
        joined: gemini_joined,
    },
];

impl Side {
    fn codec(&self) -> &'static dyn Codec {
        self.dialect.codec()
    }

    fn recordings(&self) -> Vec<Recording> {
        let mut recordings = recorded::recordings(self.path);
        // Handshakes of web sockets send no body.
        recordings.retain(|recording| !recording.request.is_empty());
        recordings
    }
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, from: &Side, count: usize) {
    eprintln!("crossed {count} {what} of {}", from.dialect.name());
}

// === Requests ===

fn cross(request: &str, from: &Side, to: &Side) -> (Value, Losses) {
    let mut decoded = from.codec().decode_request(request.as_bytes()).unwrap();
    decoded.model = "m".into();
    let mut losses = Losses::default();
    let crossed = value(&to.codec().encode_request(&decoded, &mut losses));
    (crossed, losses)
}

fn lost(losses: &Losses, pointer: &str) -> bool {
    losses.iter().any(|loss| loss.pointer == pointer)
}

fn told(losses: &Losses, words: &str) -> bool {
    losses.iter().any(|loss| loss.reason.contains(words))
}

/// What the target says in its own way, as the losses must have reported.
fn expected_by_cohere(mut expected: Asked, losses: &Losses, name: &str) -> Asked {
    if std::mem::take(&mut expected.serial) {
        assert!(lost(losses, "/parallel_tool_calls"), "{name}: {losses:?}");
    }
    let named = expected.choice.as_str().filter(|choice| !choice.is_empty() && !choice.starts_with(':'));
    if let Some(named) = named.map(str::to_owned) {
        assert!(lost(losses, "/tool_choice"), "{name}: {losses:?}");
        expected.tools.retain(|tool| tool.0 == named);
        expected.choice = json!(":required");
    }
    // A model that may choose is told nothing, nor one without tools, and some words nobody knows.
    let is_told = expected.choice == ":required" || !lost(losses, "/tool_choice");
    if expected.choice == ":auto" || expected.tools.is_empty() || !is_told {
        expected.choice = Value::Null;
    }
    if expected.turns.is_empty() {
        assert!(told(losses, "user turn"), "{name}: {losses:?}");
        expected.turns.push(Spoken { text: std::mem::take(&mut expected.system), ..Spoken::default() });
    }
    expected
}

/// What a Cohere request must look like, whoever asked.
fn check_rules(body: &Value, name: &str) {
    let messages = list(&body["messages"]);
    assert!(messages.iter().any(|message| message["role"] != "system"), "{name}: nobody speaks");
    for pair in messages.windows(2) {
        let both = |role: &str| pair.iter().all(|message| message["role"] == role);
        assert!(!both("assistant"), "{name}: one turn is one message");
        let calls = !list(&pair[0]["tool_calls"]).is_empty();
        assert!(pair[1]["role"] != "tool" || calls || pair[0]["role"] == "tool", "{name}: {}", pair[1]);
    }
    for message in messages {
        let says = message.get("content").is_some_and(|content| *content != json!([]) && *content != json!(""));
        assert!(says || message["role"] == "tool" || message.get("tool_calls").is_some(), "{name}: {message}");
        for call in list(&message["tool_calls"]) {
            let arguments: Value = serde_json::from_str(&text(&call["function"]["arguments"])).unwrap();
            assert!(arguments.is_object(), "{name}: {call}");
        }
    }
}

#[test]
fn every_request_of_the_others_is_understood_by_a_cohere_model() {
    for from in &OTHERS {
        let recordings = from.recordings();
        for Recording { name, request, .. } in &recordings {
            let source: Value = serde_json::from_str(request).unwrap();
            let (crossed, losses) = cross(request, from, &COHERE);
            let mut expected = expected_by_cohere((from.asked)(&source).settled(), &losses, name);
            if from.dialect == Dialect::Gemini {
                expected.stream = false;
            }
            check_rules(&crossed, name);
            let mut arrived = cohere_asked(&crossed).settled();
            if told(&losses, "among the documents") {
                // The same words, in another place.
                [&mut arrived, &mut expected].into_iter().flat_map(|asked| &mut asked.turns).for_each(in_any_order);
            }
            assert_eq!(arrived, expected, "{name}: {losses:?}");
            // What crossed is this dialect's own now, and stays as it is.
            let (again, none) = cross(&crossed.to_string(), &COHERE, &COHERE);
            assert_eq!((again, none.len()), (crossed, 0), "{name}");
            assert!(losses.iter().all(|loss| loss.pointer.starts_with('/')), "{name}: {losses:?}");
        }
        report("requests", from, recordings.len());
    }
}

fn in_any_order(turn: &mut Spoken) {
    let mut letters: Vec<char> = turn.text.chars().collect();
    letters.sort_unstable();
    turn.text = letters.into_iter().collect();
}

#[test]
fn every_cohere_request_is_understood_by_the_others() {
    let recordings = COHERE.recordings();
    for Recording { name, request, .. } in &recordings {
        let source: Value = serde_json::from_str(request).unwrap();
        for to in &OTHERS {
            let (crossed, losses) = cross(request, &COHERE, to);
            let mut expected = cohere_asked(&source).settled();
            let mut arrived = (to.asked)(&crossed).settled();
            match to.dialect {
                Dialect::AnthropicMessages if expected.limit.is_null() => arrived.limit = Value::Null,
                Dialect::Gemini => expected.stream = false,
                Dialect::OpenAiResponses if lost(&losses, "/stop") => expected.stop.clear(),
                _ => {}
            }
            assert_eq!(arrived, expected, "{name} to {}: {losses:?}", to.dialect.name());
        }
    }
    report("requests", &COHERE, recordings.len());
}

// === Replies ===

/// Ids that a provider left out are made up on the way.
fn numbered(mut answered: Answered) -> Answered {
    answered.calls.iter_mut().filter(|call| call.0.starts_with("gemini_call_")).for_each(|call| call.0.clear());
    if answered.text.trim().is_empty() {
        answered.text.clear();
    }
    answered
}

fn whole(reply: &ChatReply, to: &Side) -> Answered {
    numbered((to.answered)(&value(&to.codec().encode_reply(reply, None, &mut Losses::default()))))
}

fn streamed(events: &[ChatEvent], to: &Side) -> Answered {
    numbered((to.answered)(&(to.joined)(&write(to.codec(), events))))
}

#[test]
fn every_cohere_reply_and_stream_reads_the_same_in_the_others_whole_and_streamed() {
    let recordings = COHERE.recordings();
    for recording in &recordings {
        let name = &recording.name;
        let (source, events) = told_by(&COHERE, recording);
        let expected = cohere_answered(&source);
        for to in &OTHERS {
            assert_eq!(streamed(&events, to), expected, "{name} to {}", to.dialect.name());
            assert_eq!(whole(&fold(&events), to), expected, "{name} to {} whole", to.dialect.name());
        }
    }
    report("replies", &COHERE, recordings.len());
}

/// A recorded answer as plain JSON, and as events.
fn told_by(from: &Side, recording: &Recording) -> (Value, Vec<ChatEvent>) {
    if recording.is_stream() {
        let events = read(from.codec(), &recording.response, &recording.name);
        return ((from.joined)(&recording.response), events);
    }
    let reply = from.codec().decode_reply(recording.response.as_bytes()).unwrap();
    (serde_json::from_str(&recording.response).unwrap(), unfold(&reply))
}

/// Recordings that are answers: some were cut, or carry an error, on purpose.
fn is_answer(recording: &Recording, from: &Side) -> bool {
    let holds = |words: &[&str]| words.iter().any(|word| recording.response.contains(word));
    if !recording.is_ok() {
        return false;
    }
    if !recording.is_stream() {
        return holds(&["\"choices\"", "\"content\"", "\"output\""]);
    }
    !holds(&["data: {\"error\""])
        && (from.dialect != Dialect::OpenAiChat
            || !openai_joined(&recording.response)["choices"][0]["finish_reason"].is_null())
}

#[test]
fn every_reply_of_the_others_reads_the_same_in_cohere_whole_and_streamed() {
    for from in &OTHERS {
        let recordings = from.recordings();
        let answers = recordings.iter().filter(|recording| is_answer(recording, from));
        let mut count = 0;
        for recording in answers {
            let name = &recording.name;
            let (source, events) = told_by(from, recording);
            let arrived = streamed(&events, &COHERE);
            let expected = numbered((from.answered)(&source));
            // Some servers count reasoning beside the output; the canonical count includes it.
            let expected = Answered { output: arrived.output.max(expected.output), ..expected };
            assert_eq!(arrived, expected, "{name}");
            assert_eq!(whole(&fold(&events), &COHERE), expected, "{name} whole");
            count += 1;
        }
        report("replies", from, count);
    }
}
