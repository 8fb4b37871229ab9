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

/// The whole reply that a stream makes, by the rules of the service model.
pub(crate) fn joined(stream: &[u8]) -> Value {
    let mut reply = serde_json::json!({"output":{"message":{"role":"assistant","content":[]}}});
    let mut blocks: Vec<(u64, Value)> = Vec::new();
    for (name, event) in events(stream) {
        match name.as_str() {
            "contentBlockStart" => {
                let mut block = event["start"].clone();
                block["toolUse"]["input"] = "".into();
                blocks.push((event["contentBlockIndex"].as_u64().unwrap(), block));
            }
            "contentBlockDelta" => grow(&mut blocks, event["contentBlockIndex"].as_u64().unwrap(), &event["delta"]),
            "messageStop" => reply["stopReason"] = event["stopReason"].clone(),
            "metadata" => {
                reply["usage"] = event["usage"].clone();
                if event["metrics"].is_object() {
                    reply["metrics"] = event["metrics"].clone();
                }
            }
            _ => {}
        }
    }
    for (_, mut block) in blocks {
        if let Some(text) = block["toolUse"]["input"].as_str() {
            block["toolUse"]["input"] = arguments(text);
        }
        if block["toolUse"].is_null() {
            block.as_object_mut().unwrap().remove("toolUse");
        }
        reply["output"]["message"]["content"].as_array_mut().unwrap().push(block);
    }
    reply
}

/// A call that was cut short has arguments that are no JSON.
fn arguments(text: &str) -> Value {
    match text.parse::<Value>() {
        _ if text.is_empty() => serde_json::json!({}),
        Ok(object @ Value::Object(_)) => object,
        _ => serde_json::json!({ "_raw_arguments": text }),
    }
}

fn grow(blocks: &mut Vec<(u64, Value)>, index: u64, delta: &Value) {
    if !blocks.iter().any(|(at, _)| *at == index) {
        blocks.push((index, serde_json::json!({})));
    }
    let block = &mut blocks.iter_mut().find(|(at, _)| *at == index).unwrap().1;
    let join = |old: &mut Value, more: &Value| {
        *old = format!("{}{}", old.as_str().unwrap_or_default(), more.as_str().unwrap()).into();
    };
    if delta["text"].is_string() {
        join(&mut block["text"], &delta["text"]);
    } else if delta["toolUse"].is_object() {
        join(&mut block["toolUse"]["input"], &delta["toolUse"]["input"]);
    } else if delta["reasoningContent"]["redactedContent"].is_string() {
        block["reasoningContent"]["redactedContent"] = delta["reasoningContent"]["redactedContent"].clone();
    } else {
        for key in ["text", "signature"] {
            if delta["reasoningContent"][key].is_string() {
                join(&mut block["reasoningContent"]["reasoningText"][key], &delta["reasoningContent"][key]);
            }
        }
    }
}
