//! A slow, obviously right reader of Bedrock Converse, beside those of [`crate::understood`], whose words it uses.

use serde_json::{Value, json};

use crate::joined_bedrock;
use crate::understood::{Answered, Asked, Spoken, list, schema, text};

fn texts(blocks: &[Value]) -> String {
    blocks.iter().map(|block| text(&block["text"])).filter(|text| !text.trim().is_empty()).collect()
}

/// Text documents count as text, and JSON results as their JSON.
fn told(block: &Value) -> String {
    let document = text(&block["document"]["source"]["text"]);
    let json = if block["json"].is_null() { String::new() } else { block["json"].to_string() };
    [text(&block["text"]), document, json].concat()
}

/// The URL says which model and whether it streams; both are left out here. The tool that stands for a form is no tool, and tools
/// that are only named again are not offered.
pub(crate) fn bedrock_asked(body: &Value) -> Asked {
    let mut asked = Asked { system: texts(list(&body["system"])), ..Asked::default() };
    for message in list(&body["messages"]) {
        let blocks = list(&message["content"]);
        let of = |kind: &'static str| blocks.iter().filter_map(move |block| block.get(kind));
        asked.speak(Spoken {
            assistant: message["role"] == "assistant",
            text: blocks.iter().map(told).filter(|text| !text.trim().is_empty()).collect(),
            images: of("image").count(),
            calls: of("toolUse")
                .map(|call| (text(&call["toolUseId"]), text(&call["name"]), call["input"].clone()))
                .collect(),
            results: of("toolResult")
                .map(|result| (text(&result["toolUseId"]), list(&result["content"]).iter().map(told).collect()))
                .collect(),
        });
    }
    let config = &body["toolConfig"];
    let specs = list(&config["tools"]).iter().filter_map(|tool| tool.get("toolSpec"));
    let offered = |spec: &&Value| {
        spec["name"] != "bifrost_structured_answer" && !text(&spec["description"]).starts_with("Was used earlier")
    };
    asked.tools = specs
        .filter(offered)
        .map(|spec| (text(&spec["name"]), spec["description"].clone(), schema(&spec["inputSchema"]["json"])))
        .collect();
    asked.choice = match config["toolChoice"].as_object().and_then(|choice| choice.iter().next()) {
        Some((kind, tool)) if kind == "tool" => tool["name"].clone(),
        Some((kind, _)) if kind == "any" => json!(":required"),
        Some((kind, _)) => json!(format!(":{kind}")),
        None => Value::Null,
    };
    asked.limit = body["inferenceConfig"]["maxTokens"].clone();
    asked.stop = list(&body["inferenceConfig"]["stopSequences"]).to_vec();
    asked
}

pub(crate) fn bedrock_answered(body: &Value) -> Answered {
    let blocks = list(&body["output"]["message"]["content"]);
    let calls: Vec<_> = blocks
        .iter()
        .filter_map(|block| block.get("toolUse"))
        .map(|call| (text(&call["toolUseId"]), text(&call["name"]), call["input"].clone()))
        .collect();
    let finish = match body["stopReason"].as_str().unwrap_or("end_turn") {
        "stop_sequence" => "end_turn",
        "model_context_window_exceeded" => "max_tokens",
        "content_filtered" | "guardrail_intervened" => "refusal",
        word => word,
    };
    let count = |key: &str| body["usage"][key].as_u64().unwrap_or(0);
    let thinking = blocks.iter().map(|block| text(&block["reasoningContent"]["reasoningText"]["text"]));
    Answered {
        thinking: thinking.collect(),
        text: blocks.iter().map(|block| text(&block["text"])).collect(),
        calls,
        finish: finish.to_owned(),
        input: count("inputTokens") + count("cacheReadInputTokens") + count("cacheWriteInputTokens"),
        output: count("outputTokens"),
    }
}

pub(crate) fn bedrock_joined(stream: &[u8]) -> Value {
    joined_bedrock::joined(stream)
}
