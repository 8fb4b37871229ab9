//! Replays recorded OpenAI-chat traffic through the codec, against a fold over plain JSON values that shares nothing with it.
#![cfg(test)]

#[path = "support/frames.rs"]
mod frames;
#[path = "support/recorded.rs"]
mod recorded;

use bifrost_providers::chat::PartKind;
use bifrost_providers::dialect::openai_chat::OpenAiChat;
use bifrost_providers::dialect::{Frame, WriterOptions};
use bifrost_providers::event::{Fold, unfold};
use bifrost_providers::failure::FailureKind;
use bifrost_providers::{ChatEvent, ChatReply, Codec, Failure, Losses};
use frames::{Splitter, frames};
use http::StatusCode;
use recorded::{Recording, recordings};
use serde_json::Value;

const PATH: &str = "chat/completions";

fn value(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(json)))
}

fn replies() -> impl Iterator<Item = Recording> {
    recordings(PATH).into_iter().filter(|recording| recording.is_ok() && !recording.is_stream())
}

fn streams() -> impl Iterator<Item = Recording> {
    recordings(PATH).into_iter().filter(Recording::is_stream)
}

/// Reads frames to the end and folds them.
fn fold(frames: impl IntoIterator<Item = Frame>) -> Result<ChatReply, Box<Failure>> {
    let mut fold = Fold::new();
    for event in &events(frames)? {
        fold.push(event);
    }
    Ok(fold.finish())
}

fn events(frames: impl IntoIterator<Item = Frame>) -> Result<Vec<ChatEvent>, Box<Failure>> {
    let mut reader = OpenAiChat.reader();
    let mut events = Vec::new();
    for frame in frames {
        reader.read(&frame, &mut events)?;
    }
    reader.finish(&mut events)?;
    assert!(reader.is_done());
    Ok(events)
}

fn written(events: &[ChatEvent]) -> Vec<u8> {
    let mut writer = OpenAiChat.writer(WriterOptions { include_usage: true, ..WriterOptions::default() });
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    assert!(writer.losses().is_empty(), "{:?}", writer.losses());
    out
}

/// What a reply says, in plain strings.
#[derive(Debug, Default, PartialEq)]
struct Essence {
    id: String,
    model: String,
    choices: Vec<Said>,
    usage: Option<[u64; 4]>,
}

#[derive(Debug, Default, PartialEq)]
struct Said {
    index: u64,
    text: String,
    reasoning: String,
    refusal: String,
    calls: Vec<(String, String, String)>,
    finish: String,
    signatures: Vec<String>,
    /// How many tokens have log-probabilities.
    measured: usize,
}

fn essence(reply: &ChatReply) -> Essence {
    Essence {
        id: reply.id.to_plain().into(),
        model: reply.model.to_plain().into(),
        choices: reply.choices.iter().map(said).collect(),
        usage: reply
            .usage
            .as_ref()
            .map(|usage| [usage.input, usage.output, usage.cache_read.unwrap_or(0), usage.reasoning.unwrap_or(0)]),
    }
}

fn said(choice: &bifrost_providers::reply::Choice) -> Said {
    let mut said = Said { index: choice.index.into(), ..Said::default() };
    for part in &choice.parts {
        match &part.kind {
            PartKind::Text(text) => said.text += &text.to_plain(),
            PartKind::Thinking { text, signature } => {
                said.reasoning += &text.to_plain();
                said.signatures.extend(signature.iter().map(|text| text.to_plain().into_owned()));
            }
            PartKind::Redacted { data } => said.signatures.push(data.to_plain().into()),
            PartKind::Refusal(text) => said.refusal += &text.to_plain(),
            PartKind::ToolCall(call) => {
                said.calls.push((
                    call.id.to_plain().into(),
                    call.name.to_plain().into(),
                    call.arguments.to_plain().into(),
                ));
            }
            other => panic!("{other:?}"),
        }
    }
    said.measured = choice.logprobs.as_ref().map_or(0, |raw| measured(&value(raw.get().as_bytes())));
    said.finish = match &choice.finish.raw {
        Some(raw) => raw.to_plain().into(),
        None => format!("{:?}", choice.finish.reason).to_lowercase(),
    };
    said
}

fn measured(logprobs: &Value) -> usize {
    logprobs.as_object().map_or(0, |lists| lists.values().filter_map(Value::as_array).map(Vec::len).sum())
}

// === the oracle ===

fn oracle(chunks: &[Value]) -> Essence {
    let mut whole = Essence::default();
    for chunk in chunks {
        let string = |key: &str| chunk[key].as_str().unwrap_or_default().to_owned();
        if whole.id.is_empty() {
            whole.id = string("id");
        }
        if whole.model.is_empty() {
            whole.model = string("model");
        }
        if chunk["usage"].is_object() {
            whole.usage = Some(oracle_usage(&chunk["usage"]));
        }
        for choice in chunk["choices"].as_array().into_iter().flatten() {
            let index = choice["index"].as_u64().unwrap_or(0);
            if !whole.choices.iter().any(|said| said.index == index) {
                whole.choices.push(Said { index, ..Said::default() });
            }
            let said = whole.choices.iter_mut().find(|said| said.index == index).unwrap();
            let streamed = choice["delta"].is_object() && chunk["object"] != "chat.completion";
            let delta = if streamed { &choice["delta"] } else { &choice["message"] };
            oracle_delta(said, delta);
            said.measured += measured(&choice["logprobs"]);
            if let Some(finish) = choice["finish_reason"].as_str().filter(|finish| !finish.is_empty()) {
                said.finish = finish.replace("tool_calls", "toolcalls").replace("content_filter", "contentfilter");
            }
        }
    }
    whole.choices.sort_by_key(|said| said.index);
    whole
}

fn oracle_delta(said: &mut Said, delta: &Value) {
    said.text += delta["content"].as_str().unwrap_or_default();
    for chunk in delta["content"].as_array().into_iter().flatten() {
        said.text += chunk["text"].as_str().unwrap_or_default();
        for thought in chunk["thinking"].as_array().into_iter().flatten() {
            said.reasoning += thought["text"].as_str().unwrap_or_default();
        }
    }
    said.refusal += delta["refusal"].as_str().unwrap_or_default();
    let mut details = String::new();
    for detail in delta["reasoning_details"].as_array().into_iter().flatten() {
        details += detail["text"].as_str().or(detail["summary"].as_str()).unwrap_or_default();
        said.signatures.extend(detail["data"].as_str().or(detail["signature"].as_str()).map(str::to_owned));
    }
    said.reasoning += if details.is_empty() {
        delta["reasoning_content"].as_str().or(delta["reasoning"].as_str()).unwrap_or_default()
    } else {
        &details
    };
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        let id = call["id"].as_str().unwrap_or_default();
        if !id.is_empty() && !said.calls.iter().any(|(known, ..)| known == id) {
            said.calls.push((id.to_owned(), call["function"]["name"].as_str().unwrap().to_owned(), String::new()));
        }
        // The recorded servers number calls from 0 without gaps, or name the id again.
        let at = if id.is_empty() { call["index"].as_u64().and_then(|at| usize::try_from(at).ok()) } else { None };
        let at = at.or_else(|| said.calls.iter().position(|(known, ..)| known == id)).unwrap();
        said.calls[at].2 += call["function"]["arguments"].as_str().unwrap_or_default();
    }
}

fn oracle_usage(usage: &Value) -> [u64; 4] {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let (input, output) = (count(&usage["prompt_tokens"]), count(&usage["completion_tokens"]));
    let reasoning = usage["completion_tokens_details"]["reasoning_tokens"].as_u64();
    let read = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
    let read = read.or(usage["prompt_cache_hit_tokens"].as_u64()).or(usage["num_cached_tokens"].as_u64());
    let read = read.or(usage["cache_read_input_tokens"].as_u64()).unwrap_or(0);
    let reasoning = reasoning.or(usage["reasoning_tokens"].as_u64()).unwrap_or(0);
    let beside = reasoning > 0 && usage["total_tokens"].as_u64() == Some(input + output + reasoning);
    [input, if beside { output + reasoning } else { output }, read, reasoning]
}

fn chunks(recording: &Recording) -> Vec<Value> {
    let frames = frames(recording.response.as_bytes());
    frames.iter().filter(|frame| frame.data != "[DONE]").map(|frame| value(&frame.data)).collect()
}

// === replays ===

#[test]
fn recorded_requests_come_back_as_they_were() {
    for recording in recordings(PATH) {
        let request = OpenAiChat.decode_request(recording.request.as_bytes());
        let request = request.unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
        let mut losses = Losses::default();
        let again = OpenAiChat.encode_request(&request, &mut losses);
        assert_eq!(value(&again), value(recording.request.as_bytes()), "{}", recording.name);
        assert!(losses.is_empty(), "{}: {losses:?}", recording.name);
    }
}

#[test]
fn recorded_replies_come_back_as_they_were() {
    for recording in replies() {
        let reply = OpenAiChat.decode_reply(recording.response.as_bytes());
        let reply = reply.unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
        let mut losses = Losses::default();
        let again = OpenAiChat.encode_reply(&reply, None, &mut losses);
        assert_eq!(value(&again), value(recording.response.as_bytes()), "{}", recording.name);
        assert!(losses.is_empty(), "{}: {losses:?}", recording.name);
    }
}

#[test]
fn recorded_replies_mean_what_a_plain_reading_says() {
    for recording in replies() {
        let reply = OpenAiChat.decode_reply(recording.response.as_bytes()).unwrap();
        let expected = oracle(&[value(recording.response.as_bytes())]);
        assert_eq!(essence(&reply), expected, "{}", recording.name);
    }
}

#[test]
fn recorded_replies_survive_unfolding_and_the_writer() {
    for recording in replies() {
        let reply = OpenAiChat.decode_reply(recording.response.as_bytes()).unwrap();
        let again =
            fold(frames(&written(&unfold(&reply)))).unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
        assert_eq!(essence(&again), essence(&reply), "{}", recording.name);
    }
}

#[test]
fn recorded_streams_mean_what_a_plain_reading_says() {
    for recording in streams() {
        let reply =
            fold(frames(recording.response.as_bytes())).unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
        assert_eq!(essence(&reply), oracle(&chunks(&recording)), "{}", recording.name);
    }
}

#[test]
fn recorded_streams_are_whole_wherever_they_are_cut() {
    for recording in streams() {
        let body = recording.response.as_bytes();
        let whole = frames(body);
        let mut drip = Splitter::default();
        let mut dripped: Vec<Frame> = body.iter().flat_map(|byte| drip.push(&[*byte])).collect();
        dripped.extend(drip.finish());
        assert_eq!(dripped, whole, "{}", recording.name);
    }
}

#[test]
fn recorded_streams_survive_the_writer() {
    for recording in streams() {
        let first = events(frames(recording.response.as_bytes())).unwrap();
        let second = events(frames(&written(&first))).unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
        let [first, second] = [first, second].map(|events| {
            let mut fold = Fold::new();
            for event in &events {
                fold.push(event);
            }
            fold.finish()
        });
        assert_eq!(essence(&first), essence(&second), "{}", recording.name);
        let body = |reply: &ChatReply| {
            let mut body = value(&OpenAiChat.encode_reply(reply, None, &mut Losses::default()));
            // Copilot's chunks do not say what they are; ours do.
            body.as_object_mut().unwrap().remove("object");
            body
        };
        assert_eq!(body(&first), body(&second), "{}", recording.name);
    }
}

#[test]
fn recorded_errors_are_of_the_right_kind() {
    for recording in recordings(PATH).into_iter().filter(|recording| !recording.is_ok()) {
        let status = StatusCode::from_u16(recording.status).unwrap();
        let failure = OpenAiChat.decode_error(status, recording.response.as_bytes());
        let expected = match recording.status {
            401..=403 => FailureKind::Credential,
            429 => FailureKind::RateLimited,
            500.. => FailureKind::Unavailable,
            _ => FailureKind::Rejected,
        };
        assert_eq!((failure.kind, failure.status), (expected, Some(status)), "{}", recording.name);
        let body = value(recording.response.as_bytes());
        let places = [&body["error"]["message"], &body["error"], &body["message"], &body["detail"]];
        let message = places.into_iter().find_map(Value::as_str).unwrap();
        assert_eq!(failure.message, message, "{}", recording.name);
    }
}
