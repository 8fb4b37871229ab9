//! A slow, obviously right reader of Gemini, beside those of [`crate::understood`], whose words it uses.

use serde_json::{Value, json};

use crate::understood::{Answered, Asked, Spoken, list, schema, text};

fn gemini_text(content: &Value, thought: bool) -> String {
    let parts = list(&content["parts"]).iter().filter(|part| (part["thought"] == true) == thought);
    parts.map(|part| text(&part["text"])).filter(|text| thought || !text.trim().is_empty()).collect()
}

/// `OpenAPI`'s `nullable` in the words of JSON Schema.
fn plain_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let mut plain: serde_json::Map<String, Value> =
                fields.iter().map(|(key, field)| (key.clone(), plain_schema(field))).collect();
            if plain.remove("nullable") == Some(Value::Bool(true)) {
                plain["type"] = json!([plain["type"], "null"]);
            }
            Value::Object(plain)
        }
        Value::Array(items) => items.iter().map(plain_schema).collect(),
        other => other.clone(),
    }
}

/// What a function answered: the usual fields, else all of it.
fn gemini_outcome(response: &Value) -> String {
    let only = |key: &str| {
        let fields = response.as_object()?;
        fields.get(key).filter(|_| fields.len() == 1)?.as_str().map(str::to_owned)
    };
    only("output").or_else(|| only("result")).or_else(|| only("error")).unwrap_or_else(|| response.to_string())
}

/// The URL says which model and whether it streams; both are left out here. Calls without ids are linked with results by name
/// and order, and numbered.
pub(crate) fn gemini_asked(body: &Value) -> Asked {
    let mut asked = Asked { system: gemini_text(&body["systemInstruction"], false), ..Asked::default() };
    let mut open: Vec<(String, String)> = Vec::new();
    let mut count = 0;
    for content in list(&body["contents"]) {
        let mut spoken = Spoken { assistant: content["role"] == "model", ..Spoken::default() };
        spoken.text = gemini_text(content, false);
        for part in list(&content["parts"]) {
            let media = [&part["inlineData"], &part["fileData"]];
            let is_image =
                media.iter().any(|data| data["mimeType"].as_str().is_some_and(|mime| mime.starts_with("image")));
            spoken.images += usize::from(is_image);
            if let Some(call) = part.get("functionCall") {
                count += 1;
                let id = call["id"].as_str().map_or_else(|| format!("number {count}"), str::to_owned);
                open.push((id.clone(), text(&call["name"])));
                let input = if call["args"].is_null() { json!({}) } else { call["args"].clone() };
                spoken.calls.push((id, text(&call["name"]), input));
            }
            if let Some(response) = part.get("functionResponse") {
                let by_id = open.iter().position(|(id, _)| response["id"] == **id);
                let at = by_id.or_else(|| open.iter().position(|(_, name)| response["name"] == **name)).unwrap();
                spoken.results.push((open.remove(at).0, gemini_outcome(&response["response"])));
            }
        }
        asked.speak(spoken);
    }
    let functions = list(&body["tools"]).iter().flat_map(|tool| list(&tool["functionDeclarations"]));
    asked.tools = functions
        .map(|function| {
            let given = [&function["parametersJsonSchema"], &function["parameters"]];
            let given = given.into_iter().find(|schema| !schema.is_null()).unwrap_or(&Value::Null);
            (text(&function["name"]), function["description"].clone(), schema(&plain_schema(given)))
        })
        .collect();
    let calling = &body["toolConfig"]["functionCallingConfig"];
    let allowed = list(&calling["allowedFunctionNames"]).iter().chain(list(&calling["allowed_function_names"]));
    asked.choice = match (calling["mode"].as_str(), allowed.collect::<Vec<_>>().as_slice()) {
        (Some("ANY"), [name]) => (*name).clone(),
        (Some("ANY"), _) => json!(":required"),
        (Some(word), _) => json!(format!(":{}", word.to_lowercase())),
        (None, _) => Value::Null,
    };
    let config = &body["generationConfig"];
    asked.limit = config["maxOutputTokens"].clone();
    asked.stop = list(&config["stopSequences"]).to_vec();
    asked
}

pub(crate) fn gemini_answered(body: &Value) -> Answered {
    let candidate = &body["candidates"][0];
    let content = &candidate["content"];
    let calls: Vec<_> = list(&content["parts"])
        .iter()
        .filter_map(|part| part.get("functionCall"))
        .map(|call| {
            let input = if call["args"].is_null() { json!({}) } else { call["args"].clone() };
            (text(&call["id"]), text(&call["name"]), input)
        })
        .collect();
    let finish = match candidate["finishReason"].as_str() {
        Some("MAX_TOKENS") => "max_tokens",
        Some("STOP") | None if !calls.is_empty() => "tool_use",
        Some("SAFETY" | "RECITATION" | "PROHIBITED_CONTENT" | "BLOCKLIST" | "SPII") => "refusal",
        _ => "end_turn",
    };
    let count = |key: &str| body["usageMetadata"][key].as_u64().unwrap_or(0);
    let parts = || list(&content["parts"]).iter();
    Answered {
        thinking: parts().filter(|part| part["thought"] == true).map(|part| text(&part["text"])).collect(),
        text: parts().filter(|part| part["thought"] != true).map(|part| text(&part["text"])).collect(),
        calls,
        finish: finish.to_owned(),
        input: count("promptTokenCount") + count("toolUsePromptTokenCount"),
        output: count("candidatesTokenCount") + count("thoughtsTokenCount"),
    }
}

/// A stream of replies, joined to the whole one that the first candidate makes.
pub(crate) fn gemini_joined(body: &str) -> Value {
    let mut joined = json!({"candidates":[{"content":{"parts":[]}}]});
    for data in body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim) {
        let event: Value = serde_json::from_str(data).unwrap();
        if event["usageMetadata"].is_object() {
            joined["usageMetadata"] = event["usageMetadata"].clone();
        }
        let first = |candidate: &&Value| candidate["index"].as_u64().unwrap_or(0) == 0;
        for candidate in list(&event["candidates"]).iter().filter(first) {
            let parts = joined["candidates"][0]["content"]["parts"].as_array_mut().unwrap();
            parts.extend_from_slice(list(&candidate["content"]["parts"]));
            if candidate["finishReason"].is_string() {
                joined["candidates"][0]["finishReason"] = candidate["finishReason"].clone();
            }
        }
    }
    joined
}
