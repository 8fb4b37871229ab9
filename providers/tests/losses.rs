//! What real clients have asked of real providers, said in every dialect: what is left behind is told, with its place in the body that
//! it stood in.
#![cfg(test)]

#[path = "support/recorded.rs"]
mod recorded;

use bifrost_providers::{Dialect, Losses};
use recorded::recordings;
use serde_json::Value;

const SOURCES: [(&str, Dialect); 7] = [
    ("chat/completions", Dialect::OpenAiChat),
    ("/responses", Dialect::OpenAiResponses),
    ("/messages", Dialect::AnthropicMessages),
    ("enerateContent", Dialect::Gemini),
    ("/v2/chat", Dialect::CohereChat),
    ("/converse", Dialect::BedrockConverse),
    ("/converse-stream", Dialect::BedrockConverse),
];

/// The dialects that providers speak.
fn targets() -> impl Iterator<Item = Dialect> {
    Dialect::ALL.into_iter().chain([Dialect::Predictions])
}

#[test]
fn what_every_recorded_request_loses_has_a_place_in_it() {
    let (mut crossed, mut lost) = (0, Vec::new());
    for (path, source) in SOURCES {
        for recording in recordings(path) {
            let Ok(request) = source.codec().decode_request(recording.request.as_bytes()) else { continue };
            let asked: Value = serde_json::from_str(&recording.request).unwrap();
            crossed += 1;
            for target in targets().filter(|target| *target != source) {
                let mut losses = Losses::default();
                target.codec().encode_request(&request, &mut losses);
                let losses = losses.in_the_body(source, recording.request.as_bytes());
                let is_place = |pointer: &str| !pointer.is_empty() && asked.pointer(pointer).is_some();
                let nowhere = losses.iter().filter(|loss| !is_place(&loss.pointer));
                lost.extend(
                    nowhere.map(|loss| format!("{} to {}: no {}", recording.name, target.name(), loss.pointer)),
                );
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    assert!(crossed == 0 || crossed > 900, "{crossed}");
}

/// SDKs put these into bodies unasked.
#[test]
fn what_says_nothing_is_no_loss() {
    let body = serde_json::json!({"model": "m", "stop": [], "metadata": null, "store": false, "messages": [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "refusal": null, "annotations": [], "audio": null, "function_call": null},
        {"role": "user", "content": "And?"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": null}}]});
    let body = body.to_string();
    let request = Dialect::OpenAiChat.codec().decode_request(body.as_bytes()).unwrap();
    for target in Dialect::ALL {
        let mut losses = Losses::default();
        let written = target.codec().encode_request(&request, &mut losses);
        assert!(losses.is_empty(), "{}: {losses:?}", target.name());
        if target == Dialect::OpenAiChat {
            assert_eq!(
                serde_json::from_slice::<Value>(&written).unwrap(),
                serde_json::from_str::<Value>(&body).unwrap()
            );
        }
    }
}
