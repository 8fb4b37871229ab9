//! Slow, obviously right readers of OpenAI chat and Anthropic Messages: what a request or a reply says to whoever it is for.
//!
//! They read JSON alone and share nothing with the codecs, so that both can be held against each other.

use serde_json::{Value, json};

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

// === What a request says ===

/// A request as its model would understand it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) system: String,
    pub(crate) turns: Vec<Spoken>,
    pub(crate) tools: Vec<(String, Value, Value)>,
    pub(crate) choice: Value,
    pub(crate) serial: bool,
    pub(crate) limit: Value,
    pub(crate) stop: Vec<Value>,
    pub(crate) stream: bool,
}

/// One speaker's turn, results first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spoken {
    pub(crate) assistant: bool,
    pub(crate) results: Vec<(String, String)>,
    pub(crate) text: String,
    pub(crate) images: usize,
    pub(crate) calls: Vec<(String, String, Value)>,
}

impl Asked {
    /// Turns of one speaker that follow each other are one.
    pub(crate) fn speak(&mut self, spoken: Spoken) {
        let says_nothing = Spoken { assistant: spoken.assistant, ..Spoken::default() } == spoken;
        match self.turns.last_mut() {
            _ if says_nothing => {}
            Some(last) if last.assistant == spoken.assistant => {
                last.results.extend(spoken.results);
                last.text += &spoken.text;
                last.images += spoken.images;
                last.calls.extend(spoken.calls);
            }
            _ => self.turns.push(spoken),
        }
    }

    /// Whitespace at the edges is the codec's to trim, and ids are whatever links calls with results.
    pub(crate) fn settled(mut self) -> Self {
        let ids: Vec<String> =
            self.turns.iter().flat_map(|turn| turn.calls.iter().map(|call| call.0.clone())).collect();
        let place =
            |id: &str| ids.iter().position(|known| known == id).map_or_else(|| id.to_owned(), |at| format!("#{at}"));
        for turn in &mut self.turns {
            turn.text = turn.text.trim().to_owned();
            turn.calls.iter_mut().for_each(|call| call.0 = place(&call.0));
            turn.results.iter_mut().for_each(|result| result.0 = place(&result.0));
        }
        self.system = self.system.trim().to_owned();
        self
    }
}

/// The text of an OpenAI content; blank texts count for nothing.
pub(crate) fn openai_text(content: &Value) -> String {
    let texts = list(content).iter().filter(|part| part["type"] == "text").map(|part| text(&part["text"]));
    std::iter::once(text(content)).chain(texts).filter(|text| !text.trim().is_empty()).collect()
}

pub(crate) fn arguments(raw: &Value) -> Value {
    let raw = text(raw);
    match serde_json::from_str::<Value>(&raw) {
        _ if raw.trim().is_empty() => json!({}),
        Ok(Value::Object(object)) => Value::Object(object),
        _ => json!({ "_raw_arguments": raw }),
    }
}

pub(crate) fn openai_asked(body: &Value) -> Asked {
    let mut asked = Asked::default();
    for message in list(&body["messages"]) {
        let said = openai_text(&message["content"]);
        let images = list(&message["content"]).iter().filter(|part| part["type"] == "image_url").count();
        let calls = list(&message["tool_calls"]).iter().map(|call| {
            (text(&call["id"]), text(&call["function"]["name"]), arguments(&call["function"]["arguments"]))
        });
        match message["role"].as_str().unwrap() {
            "system" | "developer" => asked.system += &said,
            "assistant" => {
                asked.speak(Spoken { assistant: true, text: said, calls: calls.collect(), ..Spoken::default() });
            }
            "tool" => {
                let results = vec![(text(&message["tool_call_id"]), said)];
                asked.speak(Spoken { results, ..Spoken::default() });
            }
            _ => asked.speak(Spoken { text: said, images, ..Spoken::default() }),
        }
    }
    asked.tools = list(&body["tools"])
        .iter()
        .filter(|tool| tool["type"] == "function")
        .map(|tool| &tool["function"])
        .map(|function| (text(&function["name"]), function["description"].clone(), schema(&function["parameters"])))
        .collect();
    asked.choice = match &body["tool_choice"] {
        Value::Object(choice) => {
            json!(choice.get("function").map(|function| text(&function["name"])).unwrap_or_default())
        }
        Value::String(word) => json!(format!(":{word}")),
        _ => Value::Null,
    };
    asked.serial = body["parallel_tool_calls"] == false;
    let limits = [&body["max_completion_tokens"], &body["max_tokens"]];
    asked.limit = limits.into_iter().find(|limit| !limit.is_null()).cloned().unwrap_or_default();
    asked.stop = if body["stop"].is_string() { vec![body["stop"].clone()] } else { list(&body["stop"]).to_vec() };
    asked.stream = body["stream"] == true;
    asked
}

/// A tool's schema, with what every dialect takes as understood.
pub(crate) fn schema(schema: &Value) -> Value {
    let mut schema = if schema.is_null() { json!({}) } else { schema.clone() };
    if let Some(fields) = schema.as_object_mut() {
        fields.entry("type").or_insert_with(|| json!("object"));
    }
    schema
}

/// Plain text documents count as text.
pub(crate) fn anthropic_text(content: &Value) -> String {
    let told = |block: &Value| match block["type"].as_str() {
        Some("document") if block["source"]["type"] == "text" => text(&block["source"]["data"]),
        Some("text") => text(&block["text"]),
        _ => String::new(),
    };
    std::iter::once(text(content))
        .chain(list(content).iter().map(told))
        .filter(|text| !text.trim().is_empty())
        .collect()
}

pub(crate) fn anthropic_asked(body: &Value) -> Asked {
    let mut asked = Asked { system: anthropic_text(&body["system"]), ..Asked::default() };
    for message in list(&body["messages"]) {
        let blocks = list(&message["content"]);
        if message["role"] == "system" {
            asked.system += &anthropic_text(&message["content"]);
            continue;
        }
        let of = |kind: &str| blocks.iter().filter(move |block| block["type"] == kind).collect::<Vec<_>>();
        asked.speak(Spoken {
            assistant: message["role"] == "assistant",
            text: anthropic_text(&message["content"]),
            images: of("image").len(),
            calls: of("tool_use")
                .into_iter()
                .map(|call| (text(&call["id"]), text(&call["name"]), call["input"].clone()))
                .collect(),
            results: of("tool_result")
                .into_iter()
                .map(|result| (text(&result["tool_use_id"]), anthropic_text(&result["content"])))
                .collect(),
        });
    }
    asked.tools = list(&body["tools"])
        .iter()
        .filter(|tool| tool.get("input_schema").is_some())
        .map(|tool| (text(&tool["name"]), tool["description"].clone(), schema(&tool["input_schema"])))
        .collect();
    let choice = &body["tool_choice"];
    asked.choice = match choice["type"].as_str() {
        Some("tool") => json!(text(&choice["name"])),
        Some("any") => json!(":required"),
        Some(word) => json!(format!(":{word}")),
        None => Value::Null,
    };
    asked.serial = choice["disable_parallel_tool_use"] == true;
    asked.limit = body["max_tokens"].clone();
    asked.stop = list(&body["stop_sequences"]).to_vec();
    asked.stream = body["stream"] == true;
    asked
}

// === What a reply says ===

/// A reply as its reader would understand it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answered {
    pub(crate) thinking: String,
    pub(crate) text: String,
    pub(crate) calls: Vec<(String, String, Value)>,
    /// In Anthropic's words.
    pub(crate) finish: String,
    pub(crate) input: u64,
    pub(crate) output: u64,
}

pub(crate) fn openai_finish(word: &Value, calls: bool, refusal: bool) -> String {
    match word.as_str() {
        Some("length" | "model_length" | "max_tokens") => "max_tokens",
        Some("content_filter") => "refusal",
        Some("tool_calls" | "function_call") => "tool_use",
        _ if calls => "tool_use",
        _ if refusal => "refusal",
        _ => "end_turn",
    }
    .to_owned()
}

/// Text or thinking of a content that may be a list of chunks (Mistral).
pub(crate) fn chunks(content: &Value, thinking: bool) -> String {
    let of_list = list(content).iter().map(|chunk| match (chunk["type"].as_str(), thinking) {
        (Some("text"), false) => text(&chunk["text"]),
        (Some("thinking"), true) => list(&chunk["thinking"]).iter().map(|inner| text(&inner["text"])).collect(),
        _ => String::new(),
    });
    let plain = if thinking { String::new() } else { text(content) };
    std::iter::once(plain).chain(of_list).collect()
}

pub(crate) fn reasoning(message: &Value) -> String {
    let details = || {
        let told = |detail: &Value| text(&detail["text"]) + &text(&detail["summary"]);
        list(&message["reasoning_details"]).iter().map(told).collect::<String>()
    };
    [text(&message["reasoning_content"]), text(&message["reasoning"]), chunks(&message["content"], true)]
        .into_iter()
        .find(|thinking| !thinking.is_empty())
        .unwrap_or_else(details)
}

pub(crate) fn openai_usage(usage: &Value) -> (u64, u64) {
    let count = |key: &str| usage[key].as_u64().unwrap_or(0);
    (count("prompt_tokens"), count("completion_tokens"))
}

pub(crate) fn openai_answered(body: &Value) -> Answered {
    let choice = &body["choices"][0];
    let message = &choice["message"];
    let calls: Vec<_> = list(&message["tool_calls"])
        .iter()
        .map(|call| (text(&call["id"]), text(&call["function"]["name"]), arguments(&call["function"]["arguments"])))
        .collect();
    let refusal = text(&message["refusal"]);
    let (input, output) = openai_usage(&body["usage"]);
    Answered {
        thinking: reasoning(message),
        text: chunks(&message["content"], false) + &refusal,
        finish: openai_finish(&choice["finish_reason"], !calls.is_empty(), !refusal.is_empty()),
        calls,
        input,
        output,
    }
}

/// A stream of chunks, joined to the whole reply that the first choice makes.
pub(crate) fn openai_joined(body: &str) -> Value {
    let mut message = json!({"content":"", "refusal":"", "reasoning":""});
    let mut calls: Vec<(u64, Value)> = Vec::new();
    let (mut finish, mut usage) = (Value::Null, Value::Null);
    for data in body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim) {
        let Ok(chunk) = serde_json::from_str::<Value>(data) else { continue };
        if chunk["usage"].is_object() {
            usage = chunk["usage"].clone();
        }
        for choice in list(&chunk["choices"]).iter().filter(|choice| choice["index"].as_u64().unwrap_or(0) == 0) {
            let delta = &choice["delta"];
            for (key, more) in [
                ("content", chunks(&delta["content"], false)),
                ("refusal", text(&delta["refusal"])),
                ("reasoning", reasoning(delta)),
            ] {
                message[key] = (text(&message[key]) + &more).into();
            }
            for call in list(&delta["tool_calls"]) {
                join_call(&mut calls, call);
            }
            if !choice["finish_reason"].is_null() {
                finish = choice["finish_reason"].clone();
            }
        }
    }
    message["tool_calls"] = calls.into_iter().map(|(_, call)| call).collect();
    json!({"choices":[{"message":message,"finish_reason":finish}],"usage":usage})
}

pub(crate) fn join_call(calls: &mut Vec<(u64, Value)>, piece: &Value) {
    let index = piece["index"].as_u64().unwrap_or(0);
    let function = &piece["function"];
    let more = text(&function["arguments"]);
    let begins = |call: &Value| piece["id"].is_string() && piece["id"] != "" && piece["id"] != call["id"];
    match calls.iter_mut().rfind(|(at, _)| *at == index) {
        Some((_, call)) if !begins(call) => {
            call["function"]["arguments"] = (text(&call["function"]["arguments"]) + &more).into();
        }
        _ => calls.push((index, json!({"id":piece["id"],"function":{"name":function["name"],"arguments":more}}))),
    }
}

pub(crate) fn anthropic_answered(body: &Value) -> Answered {
    let blocks = list(&body["content"]);
    let join = |kind: &str, key: &str| {
        blocks.iter().filter(|block| block["type"] == kind).map(|block| text(&block[key])).collect::<String>()
    };
    let usage = &body["usage"];
    let count = |key: &str| usage[key].as_u64().unwrap_or(0);
    let finish = match body["stop_reason"].as_str().unwrap_or("end_turn") {
        "stop_sequence" | "pause_turn" => "end_turn",
        "model_context_window_exceeded" => "max_tokens",
        word => word,
    };
    Answered {
        thinking: join("thinking", "thinking"),
        text: join("text", "text"),
        calls: blocks
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .map(|call| (text(&call["id"]), text(&call["name"]), call["input"].clone()))
            .collect(),
        finish: finish.to_owned(),
        input: count("input_tokens") + count("cache_read_input_tokens") + count("cache_creation_input_tokens"),
        output: count("output_tokens"),
    }
}

/// A stream of events, joined to the whole reply, with the order of the events checked as official clients do.
pub(crate) fn anthropic_joined(body: &str, name: &str) -> Value {
    let mut message = Value::Null;
    let mut open: Option<(usize, String)> = None;
    let mut over = false;
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]") {
        let event: Value = serde_json::from_str(data).unwrap();
        assert!(!over, "{name}: {event} after message_stop");
        let at = usize::try_from(event["index"].as_u64().unwrap_or(0)).unwrap();
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                assert!(open.is_none(), "{name}: blocks interleave");
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(content.len(), at, "{name}: indexes count up");
                content.push(event["content_block"].clone());
                open = Some((at, String::new()));
            }
            "content_block_delta" => {
                let (index, json_text) = open.as_mut().unwrap();
                assert_eq!(*index, at, "{name}: delta of another block");
                json_text.push_str(event["delta"]["partial_json"].as_str().unwrap_or_default());
                for key in ["text", "thinking", "signature"] {
                    if let Some(more) = event["delta"][key].as_str() {
                        let grown = text(&message["content"][at][key]) + more;
                        message["content"][at][key] = grown.into();
                    }
                }
            }
            "content_block_stop" => {
                let (_, json_text) = open.take().unwrap();
                if !json_text.is_empty() {
                    message["content"][at]["input"] = arguments(&json_text.into());
                }
            }
            "message_delta" => {
                assert!(open.is_none(), "{name}: message_delta within a block");
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                for (key, count) in event["usage"].as_object().unwrap().iter().filter(|(_, count)| !count.is_null()) {
                    message["usage"][key] = count.clone();
                }
            }
            "message_stop" => over = true,
            _ => {}
        }
    }
    assert!(over, "{name}: no message_stop");
    message
}
