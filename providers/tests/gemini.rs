//! Replays recorded Gemini traffic through the codec, against a fold over plain JSON values that shares nothing with it.
#![cfg(test)]

#[path = "support/fold.rs"]
mod fold;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/replay.rs"]
mod replay;

use bifrost_providers::dialect::gemini::Gemini;
use bifrost_providers::dialect::{Frame, WriterOptions};
use bifrost_providers::event::unfold;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::framing::Framing;
use bifrost_providers::sse::Splitter;
use bifrost_providers::{ChatEvent, ChatReply, Codec, Losses};
use fold::fold;
use http::StatusCode;
use recorded::Recording;
use replay::read;
use serde_json::{Value, json};

const PATH: &str = "enerateContent";

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

fn recordings() -> Vec<Recording> {
    recorded::recordings(PATH)
}

/// All events of a stream, up to the failure that ended it.
fn write(events: &[ChatEvent], framing: Framing) -> Vec<u8> {
    let mut writer = Gemini.writer(WriterOptions { framing, ..WriterOptions::default() });
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    assert!(writer.losses().is_empty(), "{:?}", writer.losses());
    out
}

/// A reply, encoded again for its own dialect. Calls without ids are given one, which the caller may bring back.
fn reply_again(reply: &ChatReply) -> Value {
    let mut losses = Losses::default();
    let encoded = Gemini.encode_reply(reply, None, &mut losses);
    assert!(losses.is_empty(), "{losses:?}");
    without_made_ids(value(&encoded))
}

fn without_made_ids(mut reply: Value) -> Value {
    for part in parts(&mut reply) {
        if let Some(call) = part.get_mut("functionCall").and_then(Value::as_object_mut)
            && call.get("id").and_then(Value::as_str).is_some_and(|id| id.starts_with("gemini_call_"))
        {
            call.remove("id");
        }
    }
    reply
}

fn parts(reply: &mut Value) -> impl Iterator<Item = &mut Value> {
    let candidates = reply.get_mut("candidates").and_then(Value::as_array_mut).into_iter().flatten();
    candidates.filter_map(|candidate| candidate.pointer_mut("/content/parts")?.as_array_mut()).flatten()
}

/// protobuf's own spelling of a field is read, and the one of its JSON mapping written.
fn in_camel_case(mut request: Value) -> Value {
    if let Some(calling) = request.pointer_mut("/toolConfig/functionCallingConfig").and_then(Value::as_object_mut)
        && let Some(names) = calling.remove("allowed_function_names")
    {
        calling.insert("allowedFunctionNames".into(), names);
    }
    request
}

/// An independent reading of a stream: text of one kind grows, whatever is signed or no text stands alone, and of every other
/// field the latest counts.
fn oracle(events: &[Value]) -> Value {
    let mut reply = json!({"candidates": []});
    for event in events {
        for (key, field) in event.as_object().unwrap() {
            if key != "candidates" {
                reply[key] = field.clone();
            }
        }
        for candidate in event["candidates"].as_array().into_iter().flatten() {
            let at = usize::try_from(candidate["index"].as_u64().unwrap_or(0)).unwrap();
            let known = reply["candidates"].as_array_mut().unwrap();
            while known.len() <= at {
                let index = known.len();
                known.push(json!({"index": index, "content": {"parts": [], "role": "model"}}));
            }
            for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
                grow(known[at]["content"]["parts"].as_array_mut().unwrap(), part);
            }
            for (key, field) in candidate.as_object().unwrap() {
                if key != "content" {
                    known[at][key] = field.clone();
                }
            }
        }
    }
    reply
}

fn grow(parts: &mut Vec<Value>, part: &Value) {
    let is_plain = |part: &Value| part["text"].is_string() && part.get("thoughtSignature").is_none();
    match parts.last_mut() {
        _ if is_plain(part) && part["text"] == "" => {}
        Some(last) if is_plain(last) && is_plain(part) && last["thought"] == part["thought"] => {
            last["text"] = format!("{}{}", last["text"].as_str().unwrap(), part["text"].as_str().unwrap()).into();
        }
        _ => parts.push(part.clone()),
    }
}

fn data_of(body: &[u8]) -> Vec<Value> {
    frames::frames(body).iter().map(|frame| value(&frame.data)).collect()
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, count: usize) {
    eprintln!("replayed {count} {what}");
}

#[test]
fn every_recorded_request_is_the_same_after_a_round_trip() {
    let recordings = recordings();
    for recording in &recordings {
        let source = in_camel_case(serde_json::from_str(&recording.request).unwrap());
        let decoded = Gemini.decode_request(recording.request.as_bytes());
        let decoded = decoded.unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
        let mut losses = Losses::default();
        assert_eq!(value(&Gemini.encode_request(&decoded, &mut losses)), source, "{}", recording.name);
        assert!(losses.is_empty(), "{}: {losses:?}", recording.name);
    }
    report("requests", recordings.len());
}

#[test]
fn every_recorded_reply_is_the_same_after_a_round_trip() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| recording.is_ok() && !recording.is_stream()) {
        let source: Value = serde_json::from_str(&recording.response).unwrap();
        let reply = Gemini.decode_reply(recording.response.as_bytes());
        let reply = reply.unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
        assert_eq!(reply_again(&reply), source, "{}", recording.name);
        assert_eq!(reply_again(&fold(&unfold(&reply))), source, "{} unfolded", recording.name);
        let usage = reply.usage.as_ref().unwrap();
        assert_eq!(
            Some(usage.input + usage.output),
            source["usageMetadata"]["totalTokenCount"].as_u64(),
            "{}",
            recording.name
        );
        count += 1;
    }
    report("replies", count);
}

#[test]
fn every_recorded_stream_folds_to_what_an_independent_reader_makes_of_it() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| recording.is_stream()) {
        let (events, end) = read(&Gemini, frames::frames(recording.response.as_bytes()));
        end.unwrap_or_else(|failure| panic!("{}: {failure}", recording.name));
        let expected = oracle(&data_of(recording.response.as_bytes()));
        assert_eq!(reply_again(&fold(&events)), expected, "{}", recording.name);
        count += 1;
    }
    report("streams", count);
}

#[test]
fn every_recorded_stream_is_the_same_however_it_is_cut() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| recording.is_stream()) {
        let bytes = bytes::Bytes::from(recording.response.clone());
        let whole = split(std::slice::from_ref(&bytes));
        // The reader only ever sees whole frames, and a cut only concerns the events around it.
        for pair in recording.response.split_inclusive("\r\n\r\n").collect::<Vec<_>>().windows(2) {
            let pair = bytes::Bytes::from(pair.concat());
            let frames = split(std::slice::from_ref(&pair));
            for at in 0..pair.len() {
                let cut = split(&[pair.slice(..at), pair.slice(at..)]);
                assert_eq!(cut, frames, "{} cut at {at}", recording.name);
            }
        }
        let pieces: Vec<bytes::Bytes> = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
        assert_eq!(
            format!("{:?}", read(&Gemini, split(&pieces)).0),
            format!("{:?}", read(&Gemini, whole).0),
            "{} bytewise",
            recording.name
        );
        count += 1;
    }
    report("streams, cut at every byte", count);
}

fn split(pieces: &[bytes::Bytes]) -> Vec<Frame> {
    let mut splitter = Splitter::new(1 << 24);
    let mut frames = Vec::new();
    for piece in pieces {
        splitter.push(piece.clone());
        frames
            .extend(splitter.by_ref().map(|event| event.unwrap()).filter(|event| !event.is_comment()).map(|e| e.frame));
    }
    frames.extend(splitter.finish().filter(|event| !event.is_comment()).map(|event| event.frame));
    frames
}

/// Every recorded stream survives being written and read again, and both framings carry the same events.
#[test]
fn gem_stream_sse_vs_json_array() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| recording.is_stream()) {
        let (events, _) = read(&Gemini, frames::frames(recording.response.as_bytes()));
        let sse = write(&events, Framing::Sse);
        let (second, end) = read(&Gemini, frames::frames(&sse));
        end.unwrap();
        assert_eq!(reply_again(&fold(&second)), reply_again(&fold(&events)), "{}", recording.name);
        let written: Vec<Value> = data_of(&sse);
        let joined = without_made_ids(oracle(&written));
        assert_eq!(joined, oracle(&data_of(recording.response.as_bytes())), "{}", recording.name);
        let array = write(&events, Framing::JsonArray);
        assert_eq!(value(&array), Value::Array(written), "{}", recording.name);
        let (third, end) = read(&Gemini, [Frame { event: None, data: array.into() }]);
        end.unwrap();
        assert_eq!(reply_again(&fold(&third)), reply_again(&fold(&events)), "{}", recording.name);
        count += 1;
    }
    report("streams, written and read again", count);
}

#[test]
fn every_recorded_error_says_whose_fault_it_is() {
    let mut count = 0;
    for recording in recordings().iter().filter(|recording| !recording.is_ok()) {
        let status = StatusCode::from_u16(recording.status).unwrap();
        let failure = Gemini.decode_error(status, recording.response.as_bytes());
        let source: Value = serde_json::from_str(&recording.response).unwrap();
        assert_eq!(failure.kind, FailureKind::Credential, "{}", recording.name);
        assert_eq!(failure.message, source["error"]["message"], "{}", recording.name);
        assert_eq!(failure.provider_type.as_deref(), source["error"]["status"].as_str(), "{}", recording.name);
        assert_eq!(
            failure.provider_code.as_deref(),
            source["error"]["details"][0]["reason"].as_str(),
            "{}",
            recording.name
        );
        count += 1;
    }
    report("errors", count);
}

/// Bodies cut anywhere are refused, and none makes the codec panic.
#[test]
fn cut_bodies_are_refused() {
    let short = |recording: &&Recording| recording.request.len() < 2000 && recording.response.len() < 2000;
    for recording in recordings().iter().filter(short).take(20) {
        for at in
            (0..recording.request.trim_end().len()).step_by(13).filter(|at| recording.request.is_char_boundary(*at))
        {
            let cut = &recording.request.as_bytes()[..at];
            assert!(Gemini.decode_request(cut).is_err(), "{} cut at {at}", recording.name);
        }
        for at in (0..recording.response.trim_end().len()).step_by(7) {
            let cut = &recording.response.as_bytes()[..at];
            assert!(Gemini.decode_reply(cut).is_err(), "{}", recording.name);
            Gemini.decode_error(StatusCode::BAD_GATEWAY, cut);
        }
    }
}
