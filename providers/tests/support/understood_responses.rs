//! A slow, obviously right reader of OpenAI Responses: what a request or a reply says to whoever it is for.
//!
//! It reads JSON alone and shares nothing with the codec, so that both can be held against each other.

use serde_json::{Value, json};

use crate::understood::{Answered, Asked, Spoken, arguments, list, schema, text};

/// The words of a content or a tool's output; blank texts count for nothing.
fn words(content: &Value) -> String {
    let told = |part: &Value| text(&part["text"]) + &text(&part["refusal"]);
    std::iter::once(text(content))
        .chain(list(content).iter().map(told))
        .filter(|text| !text.trim().is_empty())
        .collect()
}

pub(crate) fn responses_asked(body: &Value) -> Asked {
    let mut asked = Asked { system: words(&body["instructions"]), ..Asked::default() };
    if body["input"].is_string() {
        asked.speak(Spoken { text: words(&body["input"]), ..Spoken::default() });
    }
    for item in list(&body["input"]) {
        let said = words(&item["content"]);
        match (item["type"].as_str().unwrap_or("message"), item["role"].as_str().unwrap_or_default()) {
            ("message", "system" | "developer") => asked.system += &said,
            ("message", role) => {
                let images = list(&item["content"]).iter().filter(|part| part["type"] == "input_image").count();
                asked.speak(Spoken { assistant: role == "assistant", text: said, images, ..Spoken::default() });
            }
            ("function_call", _) => {
                let call = (text(&item["call_id"]), text(&item["name"]), arguments(&item["arguments"]));
                asked.speak(Spoken { assistant: true, calls: vec![call], ..Spoken::default() });
            }
            ("function_call_output", _) => {
                let results = vec![(text(&item["call_id"]), words(&item["output"]))];
                asked.speak(Spoken { results, ..Spoken::default() });
            }
            _ => {}
        }
    }
    asked.tools = list(&body["tools"])
        .iter()
        .filter(|tool| tool["type"] == "function")
        .map(|tool| (text(&tool["name"]), tool["description"].clone(), schema(&tool["parameters"])))
        .collect();
    asked.choice = match &body["tool_choice"] {
        Value::Object(choice) => json!(text(choice.get("name").unwrap_or(&Value::Null))),
        Value::String(word) => json!(format!(":{word}")),
        _ => Value::Null,
    };
    asked.serial = body["parallel_tool_calls"] == false;
    asked.limit = body["max_output_tokens"].clone();
    asked.stream = body["stream"] == true;
    asked
}

pub(crate) fn responses_answered(body: &Value) -> Answered {
    let mut answered = Answered::default();
    let mut refused = false;
    for item in list(&body["output"]) {
        match item["type"].as_str().unwrap() {
            "reasoning" => {
                for list_of in ["summary", "content"] {
                    answered.thinking +=
                        &list(&item[list_of]).iter().map(|part| text(&part["text"])).collect::<String>();
                }
            }
            "message" => {
                for part in list(&item["content"]) {
                    answered.text += &(text(&part["text"]) + &text(&part["refusal"]));
                    refused |= part["type"] == "refusal";
                }
            }
            "function_call" => {
                answered.calls.push((text(&item["call_id"]), text(&item["name"]), arguments(&item["arguments"])));
            }
            _ => {}
        }
    }
    answered.finish = match (body["status"].as_str(), body["incomplete_details"]["reason"].as_str()) {
        (Some("incomplete"), Some("max_output_tokens")) => "max_tokens",
        (Some("incomplete"), Some("content_filter")) => "refusal",
        _ if !answered.calls.is_empty() => "tool_use",
        _ if refused => "refusal",
        _ => "end_turn",
    }
    .to_owned();
    let count = |key: &str| body["usage"][key].as_u64().unwrap_or(0);
    (answered.input, answered.output) = (count("input_tokens"), count("output_tokens"));
    answered
}

/// The response that a stream makes: its last word, with the items as its deltas made them. Some servers leave the items out
/// of the last word.
pub(crate) fn responses_joined(body: &str, name: &str) -> Value {
    let mut items: Vec<Value> = Vec::new();
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let event: Value = serde_json::from_str(data).unwrap();
        let at = |key: &str| usize::try_from(event[key].as_u64().unwrap_or(0)).unwrap();
        let more = text(&event["delta"]);
        let index = at("output_index");
        let mut grow = |list_of: &str, at: usize, key: &str| {
            let part = &mut items[index][list_of][at];
            part[key] = (text(&part[key]) + &more).into();
        };
        match event["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(items.len(), index, "{name}");
                items.push(event["item"].clone());
            }
            "response.content_part.added" => push(&mut items[index], "content", &event["part"]),
            "response.reasoning_summary_part.added" => push(&mut items[index], "summary", &event["part"]),
            "response.output_text.delta" | "response.reasoning_text.delta" => {
                grow("content", at("content_index"), "text");
            }
            "response.refusal.delta" => grow("content", at("content_index"), "refusal"),
            "response.reasoning_summary_text.delta" => grow("summary", at("summary_index"), "text"),
            "response.function_call_arguments.delta" => {
                items[index]["arguments"] = (text(&items[index]["arguments"]) + &more).into();
            }
            "response.output_item.done" => {
                let said = responses_answered(&json!({"output":[items[index].clone()]}));
                let whole = responses_answered(&json!({"output":[event["item"].clone()]}));
                assert_eq!(said, whole, "{name}: {event}");
            }
            "response.completed" | "response.incomplete" => {
                let mut response = event["response"].clone();
                response["output"] = items.into();
                return response;
            }
            _ => {}
        }
    }
    panic!("{name}: no response.completed");
}

fn push(item: &mut Value, key: &str, part: &Value) {
    if !item[key].is_array() {
        item[key] = json!([]);
    }
    item[key].as_array_mut().unwrap().push(part.clone());
}
