//! A slow, obviously right reader of Cohere's chat, beside those of [`crate::understood`], whose words it uses.

use serde_json::{Value, json};

use crate::understood::{Answered, Asked, Spoken, arguments, list, openai_text, schema, text};

/// What a document says: its text, or all of its data.
fn document(document: &Value) -> String {
    let data = &document["data"];
    match data["text"].as_str() {
        _ if document.is_string() => text(document),
        Some(said) if data.as_object().unwrap().keys().all(|key| key == "text" || key == "title") => said.to_owned(),
        _ => data.to_string(),
    }
}

/// The words of a content, documents among them.
fn words(content: &Value) -> String {
    let documents = list(content).iter().filter(|part| part["type"] == "document");
    openai_text(content) + &documents.map(|part| document(&part["document"])).collect::<String>()
}

pub(crate) fn cohere_asked(body: &Value) -> Asked {
    let mut asked = Asked::default();
    let mut documents: String = list(&body["documents"]).iter().map(document).collect();
    for message in list(&body["messages"]) {
        let content = &message["content"];
        let said = words(content);
        if message["role"] != "system" {
            asked.speak(Spoken { text: std::mem::take(&mut documents), ..Spoken::default() });
        }
        match message["role"].as_str().unwrap() {
            "system" => asked.system += &said,
            "assistant" => {
                let calls = list(&message["tool_calls"]).iter().map(|call| {
                    let function = &call["function"];
                    (text(&call["id"]), text(&function["name"]), arguments(&function["arguments"]))
                });
                asked.speak(Spoken { assistant: true, text: said, calls: calls.collect(), ..Spoken::default() });
            }
            "tool" => {
                let results = vec![(text(&message["tool_call_id"]), said)];
                asked.speak(Spoken { results, ..Spoken::default() });
            }
            _ => {
                let images = list(content).iter().filter(|part| part["type"] == "image_url").count();
                asked.speak(Spoken { text: said, images, ..Spoken::default() });
            }
        }
    }
    asked.tools = list(&body["tools"])
        .iter()
        .map(|tool| &tool["function"])
        .map(|function| (text(&function["name"]), function["description"].clone(), schema(&function["parameters"])))
        .collect();
    asked.choice = match body["tool_choice"].as_str() {
        Some(word) => json!(format!(":{}", word.to_lowercase())),
        None => Value::Null,
    };
    asked.limit = body["max_tokens"].clone();
    asked.stop = list(&body["stop_sequences"]).to_vec();
    asked.stream = body["stream"] == true;
    asked
}

pub(crate) fn cohere_answered(body: &Value) -> Answered {
    let message = &body["message"];
    let join = |key: &str| list(&message["content"]).iter().map(|part| text(&part[key])).collect::<String>();
    let calls: Vec<_> = list(&message["tool_calls"])
        .iter()
        .map(|call| (text(&call["id"]), text(&call["function"]["name"]), arguments(&call["function"]["arguments"])))
        .collect();
    let finish = match body["finish_reason"].as_str() {
        Some("MAX_TOKENS") => "max_tokens",
        Some("TOOL_CALL") => "tool_use",
        Some("ERROR_TOXIC") => "refusal",
        _ if !calls.is_empty() => "tool_use",
        _ => "end_turn",
    };
    let count = |key: &str| body["usage"]["billed_units"][key].as_u64().unwrap_or(0);
    Answered {
        thinking: join("thinking") + &text(&message["tool_plan"]),
        text: join("text"),
        calls,
        finish: finish.to_owned(),
        input: count("input_tokens"),
        output: count("output_tokens"),
    }
}
