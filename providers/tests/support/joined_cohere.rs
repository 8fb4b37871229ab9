//! A slow, obviously right reader of Cohere's streams: the whole reply that one makes, with the order of its events checked.

use serde_json::{Value, json};

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A stream of events, joined to the whole reply that it makes, with their order checked.
pub(crate) fn cohere_joined(body: &str) -> Value {
    let mut reply = json!({});
    let mut open: Vec<(&str, u64)> = Vec::new();
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let event: Value = serde_json::from_str(data).unwrap();
        let index = event["index"].as_u64().unwrap_or(0);
        let at = usize::try_from(index).unwrap();
        let brought = &event["delta"]["message"];
        let message = &mut reply["message"];
        let mut block = |series: &'static str, begins: bool| match open.iter().position(|one| *one == (series, index)) {
            Some(at) if !begins => _ = open.remove(at),
            None if begins => open.push((series, index)),
            _ => panic!("{event}: {open:?}"),
        };
        match event["type"].as_str().unwrap() {
            "message-start" => {
                assert!(message.is_null(), "{event}");
                *message = brought.clone();
                reply["id"] = event["id"].clone();
            }
            "content-start" => {
                block("content", true);
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(content.len(), at, "{event}");
                content.push(brought["content"].clone());
            }
            "content-delta" => {
                for (key, more) in brought["content"].as_object().unwrap() {
                    let grown = text_of(&message["content"][at][key]) + more.as_str().unwrap();
                    message["content"][at][key] = grown.into();
                }
            }
            "content-end" => block("content", false),
            "tool-plan-delta" => {
                message["tool_plan"] = (text_of(&message["tool_plan"]) + &text_of(&brought["tool_plan"])).into();
            }
            "tool-call-start" => {
                block("call", true);
                let calls = message["tool_calls"].as_array_mut().unwrap();
                assert_eq!(calls.len(), at, "{event}");
                calls.push(brought["tool_calls"].clone());
            }
            "tool-call-delta" => {
                let known = &mut message["tool_calls"][at]["function"]["arguments"];
                *known = (text_of(known) + &text_of(&brought["tool_calls"]["function"]["arguments"])).into();
            }
            "tool-call-end" => block("call", false),
            "citation-start" => {
                block("citation", true);
                message["citations"].as_array_mut().unwrap().push(brought["citations"].clone());
            }
            "citation-end" => block("citation", false),
            "message-end" => {
                assert!(open.is_empty(), "{event}: {open:?}");
                for (key, field) in event["delta"].as_object().unwrap() {
                    reply[key] = field.clone();
                }
            }
            _ => {}
        }
    }
    assert!(reply["finish_reason"].is_string(), "no message-end: {body}");
    reply
}
