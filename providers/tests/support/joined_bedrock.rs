//! A slow, obviously right fold of Bedrock's streams, beside the reader of [`crate::messages`].

use serde_json::Value;

use crate::messages::events;

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
