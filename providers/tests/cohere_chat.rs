//! Replays recorded traffic of Cohere's chat through the codec, against a fold over plain JSON values that shares nothing with it.
#![cfg(test)]

#[path = "support/crossing.rs"]
mod crossing;
#[path = "support/fold.rs"]
mod fold;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/joined_cohere.rs"]
mod joined_cohere;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/replay.rs"]
mod replay;

use bifrost_providers::dialect::Frame;
use bifrost_providers::dialect::cohere_chat::CohereChat;
use bifrost_providers::event::unfold;
use bifrost_providers::sse::Splitter;
use bifrost_providers::{ChatReply, Codec, Losses};
use fold::fold;
use http::StatusCode;
use joined_cohere::cohere_joined;
use recorded::Recording;
use serde_json::{Value, json};

const PATH: &str = "/v2/chat";

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

fn request_again(body: &str, name: &str) -> Value {
    let decoded = CohereChat.decode_request(body.as_bytes()).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    let mut losses = Losses::default();
    let encoded = CohereChat.encode_request(&decoded, &mut losses);
    assert!(losses.is_empty(), "{name}: {losses:?}");
    value(&encoded)
}

fn reply_again(reply: &ChatReply) -> Value {
    let mut losses = Losses::default();
    let encoded = CohereChat.encode_reply(reply, None, &mut losses);
    assert!(losses.is_empty(), "{losses:?}");
    value(&encoded)
}

/// What a stream begins with and a whole reply leaves out: fields of the message that stayed empty.
fn without_empty(mut reply: Value) -> Value {
    let message = reply["message"].as_object_mut().unwrap();
    message.retain(|_, field| ![json!([]), json!(""), Value::Null].contains(field));
    reply.as_object_mut().unwrap().retain(|_, field| *field != json!([]));
    reply
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, count: usize) {
    eprintln!("replayed {count} {what}");
}

fn streams() -> Vec<Recording> {
    recorded::recordings(PATH).into_iter().filter(Recording::is_stream).collect()
}

#[test]
fn every_recorded_request_is_the_same_after_a_round_trip() {
    let recordings = recorded::recordings(PATH);
    for Recording { name, request, .. } in &recordings {
        assert_eq!(request_again(request, name), serde_json::from_str::<Value>(request).unwrap(), "{name}");
    }
    report("requests", recordings.len());
}

#[test]
fn every_recorded_reply_is_the_same_after_a_round_trip() {
    let mut count = 0;
    for Recording { name, response, .. } in recorded::recordings(PATH).iter().filter(|one| !one.is_stream()) {
        let source: Value = serde_json::from_str(response).unwrap();
        let reply = CohereChat.decode_reply(response.as_bytes()).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(reply_again(&reply), source, "{name}");
        assert_eq!(reply_again(&fold(&unfold(&reply))), source, "{name} unfolded");
        let usage = reply.usage.unwrap();
        let billed = &source["usage"]["billed_units"];
        assert_eq!(json!([usage.input, usage.output]), json!([billed["input_tokens"], billed["output_tokens"]]));
        count += 1;
    }
    report("replies", count);
}

#[test]
fn every_recorded_stream_folds_to_what_an_independent_reader_makes_of_it() {
    let recordings = streams();
    for Recording { name, response, .. } in &recordings {
        let (events, end) = replay::read(&CohereChat, frames::frames(response.as_bytes()));
        end.unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert_eq!(reply_again(&fold(&events)), without_empty(cohere_joined(response)), "{name}");
    }
    report("streams", recordings.len());
}

/// Event by event, and in the same order.
#[test]
fn every_recorded_stream_is_written_as_it_came() {
    let recordings = streams();
    for Recording { name, response, .. } in &recordings {
        let written = crossing::write(&CohereChat, &crossing::read(&CohereChat, response, name));
        let told = |body: &str| {
            let frames = frames::frames(body.as_bytes());
            frames.into_iter().map(|frame| (frame.event, serde_json::from_slice::<Value>(&frame.data).ok())).collect()
        };
        let (expected, arrived): (Vec<_>, Vec<_>) = (told(response), told(&written));
        assert_eq!(arrived, expected, "{name}");
    }
    report("streams, written again", recordings.len());
}

#[test]
fn every_recorded_stream_is_the_same_however_it_is_cut() {
    let recordings = streams();
    for Recording { name, response, .. } in &recordings {
        let bytes = bytes::Bytes::from(response.clone());
        let whole = split(std::slice::from_ref(&bytes));
        // The reader only ever sees whole frames, and a cut only concerns the events around it.
        for pair in response.split_inclusive("\n\n").collect::<Vec<_>>().windows(2) {
            let pair = bytes::Bytes::from(pair.concat());
            let frames = split(std::slice::from_ref(&pair));
            for at in 0..pair.len() {
                assert_eq!(split(&[pair.slice(..at), pair.slice(at..)]), frames, "{name} cut at {at}");
            }
        }
        let pieces: Vec<bytes::Bytes> = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
        let read = |frames| format!("{:?}", replay::read(&CohereChat, frames).0);
        assert_eq!(read(split(&pieces)), read(whole), "{name} bytewise");
    }
    report("streams, cut at every byte", recordings.len());
}

fn split(pieces: &[bytes::Bytes]) -> Vec<Frame> {
    let mut splitter = Splitter::new(1 << 24);
    let mut events = Vec::new();
    for piece in pieces {
        splitter.push(piece.clone());
        events.extend(splitter.by_ref().map(Result::unwrap));
    }
    events.extend(splitter.finish());
    events.into_iter().filter(|event| !event.is_comment()).map(|event| event.frame).collect()
}

/// A stream that ends early is told from one that is whole, wherever it breaks off.
#[test]
fn a_stream_cut_short_is_an_error_not_an_answer() {
    for Recording { name, response, .. } in streams().iter().filter(|one| one.response.len() < 8000) {
        let frames = frames::frames(response.as_bytes());
        let last = frames.iter().position(|frame| frame.event.as_deref() == Some(b"message-end")).unwrap();
        for count in 0..=last {
            let (_, end) = replay::read(&CohereChat, frames[..count].iter().cloned());
            assert!(end.is_err(), "{name} after {count} events");
        }
    }
}

/// Each row is a request or a reply that the recordings do not have: the SDK's types are its source.
#[test]
fn every_form_of_the_sdk_is_the_same_after_a_round_trip() {
    for row in include_str!("tables/cohere_forms.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        if let Some(fields) = row.get("request") {
            let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
            fields.as_object().unwrap().iter().for_each(|(key, field)| request[key] = field.clone());
            assert_eq!(request_again(&request.to_string(), "table"), request, "{row}");
        }
        if let Some(reply) = row.get("reply") {
            let decoded = CohereChat.decode_reply(reply.to_string().as_bytes());
            let decoded = decoded.unwrap_or_else(|fault| panic!("{row}: {fault}"));
            assert_eq!(reply_again(&decoded), *reply, "{row}");
            // A stream has no way to say which of its fields are empty.
            let again = reply_again(&fold(&unfold(&decoded)));
            assert_eq!(without_empty(again), without_empty(reply.clone()), "{row}");
        }
    }
}

/// Bodies cut anywhere are refused, and none makes the codec panic.
#[test]
fn cut_bodies_are_refused() {
    for recording in recorded::recordings(PATH).iter().filter(|one| one.request.len() < 2000 && !one.is_stream()) {
        let boundary = |at: &usize| recording.request.is_char_boundary(*at);
        for at in (0..recording.request.trim_end().len()).step_by(13).filter(boundary) {
            assert!(CohereChat.decode_request(&recording.request.as_bytes()[..at]).is_err(), "{}", recording.name);
        }
        for at in (0..recording.response.trim_end().len()).step_by(7) {
            let cut = &recording.response.as_bytes()[..at];
            assert!(CohereChat.decode_reply(cut).is_err(), "{}", recording.name);
            CohereChat.decode_error(StatusCode::BAD_GATEWAY, cut);
        }
    }
}

// === Whatever a server sends ===

/// Pieces of a stream that are put together at random.
const PIECES: [&str; 18] = [
    r#"{"type":"message-start","id":"r","delta":{"message":{"role":"assistant","content":[],"tool_calls":[]}}}"#,
    r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}"#,
    r#"{"type":"content-start","index":1,"delta":{"message":{"content":{"type":"thinking","thinking":"h"}}}}"#,
    r#"{"type":"content-start","index":0,"delta":{"message":{"content":{"type":"later"}}}}"#,
    r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"x"}}},"logprobs":{"text":"x","token_ids":[1],"logprobs":[-1]}}"#,
    r#"{"type":"content-delta","index":1,"delta":{"message":{"content":{"thinking":"y"}}}}"#,
    r#"{"type":"content-end","index":0}"#,
    r#"{"type":"content-end","index":1}"#,
    r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"p"}}}"#,
    r#"{"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"c","type":"function","function":{"name":"f","arguments":""}}}}}"#,
    r#"{"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"d"}}}}"#,
    r#"{"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{}"}}}}}"#,
    r#"{"type":"tool-call-end","index":0}"#,
    r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0,"end":1,"text":"x","sources":[{"type":"document","document":{"url":"u"}}]}}}}"#,
    r#"{"type":"citation-end","index":0}"#,
    r#"{"type":"tomorrow","x":1}"#,
    r#"{"message":"failed","id":"x"}"#,
    r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"billed_units":{"input_tokens":1}}}}"#,
];

fn frame(data: impl Into<bytes::Bytes>) -> Frame {
    Frame { event: None, data: data.into() }
}

proptest::proptest! {
    /// Events in any order, left out or repeated, are a lawful reply or a failure (the reader checks itself here), and what
    /// was read so far can be written to a client.
    #[test]
    fn any_order_of_events_is_lawful_or_refused(order in proptest::collection::vec(0..PIECES.len(), 0..24)) {
        let frames = std::iter::once(&0).chain(&order).map(|at| frame(PIECES[*at]));
        let (events, end) = replay::read(&CohereChat, frames);
        let written = crossing::write(&CohereChat, &events);
        match end {
            Err(failure) => proptest::prop_assert!(!failure.message.contains("out of order"), "{}", failure),
            Ok(()) => _ = cohere_joined(&written),
        }
        fold(&events);
    }

    /// No single changed byte makes reader, decoder or writer panic.
    #[test]
    fn damaged_events_never_panic(which in 0..PIECES.len(), at: proptest::sample::Index, byte: u8) {
        let mut damaged = PIECES[which].as_bytes().to_vec();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let frames = [frame(PIECES[0]), frame(PIECES[1]), frame(damaged.clone()), frame(PIECES[17])];
        let (events, _) = replay::read(&CohereChat, frames);
        crossing::write(&CohereChat, &events);
        let _ = (CohereChat.decode_reply(&damaged), CohereChat.decode_request(&damaged));
        CohereChat.decode_error(StatusCode::OK, &damaged);
    }
}
