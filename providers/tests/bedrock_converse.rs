//! Replays recorded Bedrock traffic through the codec, against a fold over plain JSON values that shares nothing with it.
#![cfg(test)]

#[path = "support/fold.rs"]
mod fold;
#[path = "support/joined_bedrock.rs"]
mod joined_bedrock;
#[path = "support/messages.rs"]
mod messages;
#[path = "support/recorded.rs"]
mod recorded;
#[path = "support/replay.rs"]
mod replay;

use bifrost_providers::dialect::bedrock_converse::BedrockConverse;
use bifrost_providers::dialect::{Frame, WriterOptions};
use bifrost_providers::event::unfold;
use bifrost_providers::failure::FailureKind;
use bifrost_providers::provider::failure_of;
use bifrost_providers::tap::{Seen, Tap};
use bifrost_providers::{ChatEvent, ChatReply, Codec, Dialect, Losses};
use bytes::Bytes;
use fold::fold;
use http::{HeaderMap, StatusCode};
use joined_bedrock::joined;
use messages::{events, frames};
use replay::read;
use serde_json::Value;

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

fn streams() -> Vec<(recorded::Recording, Vec<u8>)> {
    recorded::binary_recordings("/converse-stream")
}

fn write(events: &[ChatEvent]) -> Vec<u8> {
    let mut writer = BedrockConverse.writer(WriterOptions::default());
    let mut out = Vec::new();
    for event in events {
        writer.write(event, None, &mut out);
    }
    assert!(writer.losses().is_empty(), "{:?}", writer.losses());
    out
}

fn reply_again(reply: &ChatReply) -> Value {
    let mut losses = Losses::default();
    let encoded = BedrockConverse.encode_reply(reply, None, &mut losses);
    assert!(losses.is_empty(), "{losses:?}");
    value(&encoded)
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, count: usize) {
    eprintln!("replayed {count} {what}");
}

#[test]
fn every_recorded_request_is_the_same_after_a_round_trip() {
    let streamed = streams().into_iter().map(|(recording, _)| recording);
    let requests: Vec<_> = recorded::recordings("/converse").into_iter().chain(streamed).collect();
    for recording in &requests {
        let source: Value = serde_json::from_str(&recording.request).unwrap();
        let decoded = BedrockConverse.decode_request(recording.request.as_bytes());
        let decoded = decoded.unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
        let mut losses = Losses::default();
        assert_eq!(value(&BedrockConverse.encode_request(&decoded, &mut losses)), source, "{}", recording.name);
        assert!(losses.is_empty(), "{}: {losses:?}", recording.name);
    }
    report("requests", requests.len());
}

#[test]
fn every_recorded_reply_is_the_same_after_a_round_trip() {
    let mut count = 0;
    for recording in recorded::recordings("/converse").iter().filter(|recording| recording.is_ok()) {
        let source: Value = serde_json::from_str(&recording.response).unwrap();
        let reply = BedrockConverse.decode_reply(recording.response.as_bytes());
        let reply = reply.unwrap_or_else(|fault| panic!("{}: {fault}", recording.name));
        assert_eq!(reply_again(&reply), source, "{}", recording.name);
        assert_eq!(reply_again(&fold(&unfold(&reply))), source, "{} unfolded", recording.name);
        assert_eq!(joined(&write(&unfold(&reply))), source, "{} as a stream", recording.name);
        let usage = reply.usage.as_ref().unwrap();
        assert_eq!(Some(usage.input + usage.output), source["usage"]["totalTokens"].as_u64(), "{}", recording.name);
        count += 1;
    }
    report("replies", count);
}

#[test]
fn every_recorded_stream_folds_to_what_an_independent_reader_makes_of_it() {
    let streams = streams();
    for (recording, stream) in &streams {
        let (events, end) = read(&BedrockConverse, frames(stream));
        end.unwrap_or_else(|failure| panic!("{}: {failure}", recording.name));
        assert_eq!(reply_again(&fold(&events)), joined(stream), "{}", recording.name);
    }
    report("streams", streams.len());
}

#[test]
fn every_recorded_stream_is_the_same_however_it_is_cut() {
    let streams = streams();
    for (recording, stream) in &streams {
        let bytes = Bytes::from(stream.clone());
        let whole = frames(stream);
        // The reader only ever sees whole frames, and a cut only concerns the messages around it.
        for (pair, frames) in pairs(&bytes).iter().zip(whole.windows(2)) {
            for at in 0..pair.len() {
                let cut = split(&[pair.slice(..at), pair.slice(at..)]);
                assert_eq!(cut, frames, "{} cut at {at}", recording.name);
            }
        }
        let pieces: Vec<Bytes> = (0..bytes.len()).map(|at| bytes.slice(at..=at)).collect();
        assert_eq!(
            format!("{:?}", read(&BedrockConverse, split(&pieces)).0),
            format!("{:?}", read(&BedrockConverse, whole).0),
            "{} bytewise",
            recording.name
        );
    }
    report("streams, cut at every byte", streams.len());
}

/// Each message of a stream together with the next.
fn pairs(stream: &Bytes) -> Vec<Bytes> {
    let mut starts = vec![0];
    while let Some(length) = stream.get(starts[starts.len() - 1]..).and_then(|rest| rest.first_chunk()) {
        starts.push(starts[starts.len() - 1] + usize::try_from(u32::from_be_bytes(*length)).unwrap());
    }
    starts.windows(3).map(|ends| stream.slice(ends[0]..ends[2])).collect()
}

fn split(pieces: &[Bytes]) -> Vec<Frame> {
    let mut splitter = Dialect::BedrockConverse.framing().splitter(1 << 24);
    let mut frames = Vec::new();
    for piece in pieces {
        splitter.push(piece.clone());
        frames.extend(splitter.by_ref().map(|event| event.unwrap().frame));
    }
    assert!(splitter.finish().is_none());
    frames
}

/// Event by event, padding and all.
#[test]
fn every_recorded_stream_is_the_same_when_it_is_written_again() {
    let streams = streams();
    for (recording, stream) in &streams {
        let (canonical, _) = read(&BedrockConverse, frames(stream));
        assert_eq!(events(&write(&canonical)), events(stream), "{}", recording.name);
    }
    report("streams, written again", streams.len());
}

#[test]
fn a_tap_sees_in_every_recorded_stream_what_the_reader_reads() {
    let streams = streams();
    for (recording, stream) in &streams {
        let (canonical, _) = read(&BedrockConverse, frames(stream));
        let reply = fold(&canonical);
        let mut splitter = Dialect::BedrockConverse.framing().splitter(1 << 24);
        splitter.push(Bytes::from(stream.clone()));
        let mut tap = Tap::new(Dialect::BedrockConverse);
        let seen: Vec<Seen> = splitter.by_ref().map(|event| tap.event(&event.unwrap())).collect();
        assert!(matches!(seen.first(), Some(Seen::Preamble)), "{}", recording.name);
        assert!(matches!(seen.last(), Some(Seen::Terminal)), "{}", recording.name);
        assert!(tap.has_content() && tap.is_done() && tap.is_complete(), "{}", recording.name);
        let (usage, read) = (tap.usage().unwrap(), reply.usage.unwrap());
        assert_eq!((usage.input, usage.output), (read.input, read.output), "{}", recording.name);
        assert_eq!(tap.finish(), reply.choices[0].finish.raw.as_ref(), "{}", recording.name);
    }
    report("streams, tapped", streams.len());
}

#[test]
fn every_recorded_error_says_whose_fault_it_is() {
    let mut count = 0;
    for recording in recorded::recordings("/converse").iter().filter(|recording| !recording.is_ok()) {
        let source: Value = serde_json::from_str(&recording.response).unwrap();
        let (name, status) = if recording.status == 400 {
            ("ValidationException", StatusCode::BAD_REQUEST)
        } else {
            ("ResourceNotFoundException", StatusCode::NOT_FOUND)
        };
        let mut headers = HeaderMap::new();
        let spelt = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
        headers.insert("x-amzn-errortype", spelt.parse().unwrap());
        let body = Bytes::from(recording.response.clone());
        let failure = failure_of(&BedrockConverse, status, &headers, body, std::time::SystemTime::UNIX_EPOCH);
        assert_eq!((failure.kind, failure.status), (FailureKind::Rejected, Some(status)), "{}", recording.name);
        assert_eq!(failure.message, source["message"], "{}", recording.name);
        assert_eq!(failure.provider_type.as_deref(), Some(name), "{}", recording.name);
        count += 1;
    }
    report("errors", count);
}

/// Bodies cut anywhere are refused, and none makes the codec panic.
#[test]
fn cut_bodies_are_refused() {
    for recording in recorded::recordings("/converse") {
        for at in (0..recording.request.trim_end().len()).step_by(13) {
            let Some(cut) = recording.request.get(..at) else { continue };
            assert!(BedrockConverse.decode_request(cut.as_bytes()).is_err(), "{} cut at {at}", recording.name);
        }
        for at in 0..recording.response.trim_end().len() {
            let cut = &recording.response.as_bytes()[..at];
            assert!(BedrockConverse.decode_reply(cut).is_err(), "{}", recording.name);
            BedrockConverse.decode_error(StatusCode::BAD_GATEWAY, cut);
        }
    }
}
