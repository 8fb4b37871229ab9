//! A small, slow, obviously right reader of AWS's binary messages: the oracle that streams of Bedrock are tested with. It leaves the
//! checksums to others.

use bifrost_providers::dialect::Frame;
use serde_json::Value;

/// The messages of a whole stream: name and payload of each.
pub(crate) fn messages(stream: &[u8]) -> Vec<(String, Vec<u8>)> {
    let number = |at: usize| usize::try_from(u32::from_be_bytes(stream[at..at + 4].try_into().unwrap())).unwrap();
    let mut messages = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let (total, headers) = (number(at), number(at + 4));
        let name = name(&stream[at + 12..at + 12 + headers]);
        messages.push((name, stream[at + 12 + headers..at + total - 4].to_vec()));
        at += total;
    }
    messages
}

/// All headers are strings.
fn name(headers: &[u8]) -> String {
    let mut rest = headers;
    let mut name = String::new();
    while !rest.is_empty() {
        let (key, tail) = rest[1..].split_at(usize::from(rest[0]));
        assert_eq!(tail[0], 7, "a string");
        let length = usize::from(u16::from_be_bytes([tail[1], tail[2]]));
        let (value, tail) = tail[3..].split_at(length);
        if [&b":event-type"[..], b":exception-type"].contains(&key) {
            name = String::from_utf8(value.to_vec()).unwrap();
        }
        rest = tail;
    }
    name
}

pub(crate) fn frames(stream: &[u8]) -> Vec<Frame> {
    let frame = |(name, payload): (String, Vec<u8>)| Frame { event: Some(name.into()), data: payload.into() };
    messages(stream).into_iter().map(frame).collect()
}

/// Names and payloads as JSON.
pub(crate) fn events(stream: &[u8]) -> Vec<(String, Value)> {
    let json = |(name, payload): (String, Vec<u8>)| (name, serde_json::from_slice(&payload).unwrap());
    messages(stream).into_iter().map(json).collect()
}
