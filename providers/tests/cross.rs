//! Crosses recorded traffic between OpenAI chat and Anthropic Messages, both ways: what a person or a tool would notice must
//! come through, and what cannot is reported.
//!
//! The expectation is made from the recorded JSON alone, by readers of this file that share nothing with the codecs.
#![cfg(test)]

#[path = "support/recorded.rs"]
mod recorded;

use bifrost_providers::chat::Extras;
use bifrost_providers::dialect::WriterOptions;
use bifrost_providers::dialect::anthropic_messages::AnthropicMessages;
use bifrost_providers::dialect::openai_chat::OpenAiChat;
use bifrost_providers::event::{Block, Delta, Fold, Start};
use bifrost_providers::reply::Finish;
use bifrost_providers::sse::{Event, Splitter};
use bifrost_providers::{ChatEvent, ChatReply, Codec, Dialect, Losses};
use recorded::Recording;
use serde_json::{Value, json};

const OPENAI: &str = "chat/completions";
const ANTHROPIC: &str = "/messages";

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(bytes)))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[expect(clippy::print_stderr, reason = "a test that replays traffic says how much")]
fn report(what: &str, count: usize) {
    eprintln!("crossed {count} {what}");
}

// === What a request says ===

/// A request as its model would understand it.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    system: String,
    turns: Vec<Spoken>,
    tools: Vec<(String, Value, Value)>,
    choice: Value,
    serial: bool,
    limit: Value,
    stop: Vec<Value>,
    stream: bool,
}

/// One speaker's turn, results first.
#[derive(Clone, Debug, Default, PartialEq)]
struct Spoken {
    assistant: bool,
    results: Vec<(String, String)>,
    text: String,
    images: usize,
    calls: Vec<(String, String, Value)>,
}

impl Asked {
    /// Turns of one speaker that follow each other are one.
    fn speak(&mut self, spoken: Spoken) {
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
    fn settled(mut self) -> Self {
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
fn openai_text(content: &Value) -> String {
    let texts = list(content).iter().filter(|part| part["type"] == "text").map(|part| text(&part["text"]));
    std::iter::once(text(content)).chain(texts).filter(|text| !text.trim().is_empty()).collect()
}

fn arguments(raw: &Value) -> Value {
    let raw = text(raw);
    match serde_json::from_str::<Value>(&raw) {
        _ if raw.trim().is_empty() => json!({}),
        Ok(Value::Object(object)) => Value::Object(object),
        _ => json!({ "_raw_arguments": raw }),
    }
}

fn openai_asked(body: &Value) -> Asked {
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
        Value::Object(choice) => json!(text(&choice["function"]["name"])),
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
fn schema(schema: &Value) -> Value {
    let mut schema = if schema.is_null() { json!({}) } else { schema.clone() };
    if let Some(fields) = schema.as_object_mut() {
        fields.entry("type").or_insert_with(|| json!("object"));
    }
    schema
}

/// Plain text documents count as text.
fn anthropic_text(content: &Value) -> String {
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

fn anthropic_asked(body: &Value) -> Asked {
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

/// What an Anthropic request must look like, whoever asked.
fn check_anthropic_rules(body: &Value, name: &str) {
    assert!(body["max_tokens"].is_u64(), "{name}");
    let messages = list(&body["messages"]);
    assert_eq!(messages.first().map(|message| &message["role"]), Some(&json!("user")), "{name}");
    for pair in messages.windows(2) {
        assert_ne!(pair[0]["role"], pair[1]["role"], "{name}: roles alternate");
    }
    for message in messages {
        let blocks = list(&message["content"]);
        assert!(message["content"].is_string() || !blocks.is_empty(), "{name}: empty content");
        let kinds: Vec<bool> = blocks.iter().map(|block| block["type"] == "tool_result").collect();
        assert!(kinds.is_sorted_by(|a, b| a >= b), "{name}: results stand first");
        for block in blocks.iter().filter(|block| block["type"] == "text") {
            assert!(!text(&block["text"]).trim().is_empty(), "{name}: blank text");
        }
        for id in blocks.iter().flat_map(|block| [&block["id"], &block["tool_use_id"]]).filter_map(Value::as_str) {
            assert!((1..=64).contains(&id.len()), "{name}: {id}");
            assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)), "{name}: {id}");
        }
    }
}

#[test]
fn every_openai_request_is_understood_by_an_anthropic_model() {
    let recordings = recorded::recordings(OPENAI);
    let mut lossless = 0;
    for Recording { name, request, .. } in &recordings {
        let source: Value = serde_json::from_str(request).unwrap();
        let mut losses = Losses::default();
        let encoded =
            AnthropicMessages.encode_request(&OpenAiChat.decode_request(request.as_bytes()).unwrap(), &mut losses);
        let crossed = value(&encoded);
        check_anthropic_rules(&crossed, name);
        lossless += usize::from(losses.is_empty());
        let mut expected = openai_asked(&source).settled();
        let lost = |pointer: &str| losses.iter().any(|loss| loss.pointer == pointer);
        if expected.limit.is_null() {
            expected.limit = json!(4096);
        }
        if expected.turns.first().is_none_or(|turn| turn.assistant) {
            assert!(losses.iter().any(|loss| loss.reason.contains("user turn")), "{name}: {losses:?}");
            let spoken = if expected.turns.is_empty() { std::mem::take(&mut expected.system) } else { ".".into() };
            expected.turns.insert(0, Spoken { text: spoken, ..Spoken::default() });
        }
        if expected.tools.is_empty() {
            (expected.choice, expected.serial) = (Value::Null, false);
        } else if (expected.serial && expected.choice.is_null()) || lost("/tool_choice") {
            expected.choice = if expected.serial { json!(":auto") } else { Value::Null };
        } else if expected.choice == ":none" {
            expected.serial = false;
        }
        assert_eq!(anthropic_asked(&crossed).settled(), expected, "{name}: {losses:?}");
        // What crossed is this dialect's own now, and stays as it is.
        let again = AnthropicMessages.decode_request(&encoded).unwrap();
        assert_eq!(value(&AnthropicMessages.encode_request(&again, &mut Losses::default())), crossed, "{name}");
        check_request_losses(&source, &losses, name);
    }
    report("OpenAI requests to Anthropic", recordings.len());
    report("of them without any loss", lossless);
}

/// Whatever stands at the top of the source and has no counterpart must be on the list.
fn check_request_losses(source: &Value, losses: &Losses, name: &str) {
    for key in ["n", "seed", "logprobs", "top_logprobs", "logit_bias", "frequency_penalty", "grammar", "provider"] {
        let given = source.get(key).is_some_and(|value| !value.is_null() && *value != false && *value != 1);
        let listed = losses.iter().any(|loss| loss.pointer == format!("/{key}"));
        assert_eq!(given, listed, "{name}: {key} {losses:?}");
    }
    for loss in losses.iter() {
        assert!(loss.pointer.is_empty() || loss.pointer.starts_with('/'), "{name}: {loss:?}");
    }
}

#[test]
fn every_anthropic_request_is_understood_by_an_openai_model() {
    let recordings = recorded::recordings(ANTHROPIC);
    for Recording { name, request, .. } in &recordings {
        let source: Value = serde_json::from_str(request).unwrap();
        let mut losses = Losses::default();
        let decoded = AnthropicMessages.decode_request(request.as_bytes()).unwrap();
        let crossed = value(&OpenAiChat.encode_request(&decoded, &mut losses));
        let expected = anthropic_asked(&source).settled();
        assert_eq!(openai_asked(&crossed).settled(), expected, "{name}: {losses:?}");
    }
    report("Anthropic requests to OpenAI", recordings.len());
}

// === What a reply says ===

/// A reply as its reader would understand it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Answered {
    thinking: String,
    text: String,
    calls: Vec<(String, String, Value)>,
    /// In Anthropic's words.
    finish: String,
    input: u64,
    output: u64,
}

fn openai_finish(word: &Value, calls: bool, refusal: bool) -> String {
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
fn chunks(content: &Value, thinking: bool) -> String {
    let of_list = list(content).iter().map(|chunk| match (chunk["type"].as_str(), thinking) {
        (Some("text"), false) => text(&chunk["text"]),
        (Some("thinking"), true) => list(&chunk["thinking"]).iter().map(|inner| text(&inner["text"])).collect(),
        _ => String::new(),
    });
    let plain = if thinking { String::new() } else { text(content) };
    std::iter::once(plain).chain(of_list).collect()
}

fn reasoning(message: &Value) -> String {
    let details = || {
        let told = |detail: &Value| text(&detail["text"]) + &text(&detail["summary"]);
        list(&message["reasoning_details"]).iter().map(told).collect::<String>()
    };
    [text(&message["reasoning_content"]), text(&message["reasoning"]), chunks(&message["content"], true)]
        .into_iter()
        .find(|thinking| !thinking.is_empty())
        .unwrap_or_else(details)
}

fn openai_usage(usage: &Value) -> (u64, u64) {
    let count = |key: &str| usage[key].as_u64().unwrap_or(0);
    (count("prompt_tokens"), count("completion_tokens"))
}

fn openai_answered(body: &Value) -> Answered {
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
fn openai_joined(body: &str) -> Value {
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

fn join_call(calls: &mut Vec<(u64, Value)>, piece: &Value) {
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

fn anthropic_answered(body: &Value) -> Answered {
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
fn anthropic_joined(body: &str, name: &str) -> Value {
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

fn read(codec: &dyn Codec, body: &str, name: &str) -> Vec<ChatEvent> {
    let mut reader = codec.reader();
    let mut events = Vec::new();
    let mut splitter = Splitter::new(1 << 24);
    splitter.push(body.to_owned().into());
    let mut frames: Vec<Event> = splitter.by_ref().map(|event| event.unwrap()).collect();
    frames.extend(splitter.finish());
    for event in frames.iter().filter(|event| !event.is_comment()) {
        reader.read(&event.frame, &mut events).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
    reader.finish(&mut events).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    events
}

fn fold(events: &[ChatEvent]) -> ChatReply {
    let mut fold = Fold::new();
    events.iter().for_each(|event| fold.push(event));
    fold.finish()
}

fn write(codec: &dyn Codec, events: &[ChatEvent]) -> String {
    let mut writer = codec.writer(WriterOptions { include_usage: true });
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.write(event, None, &mut out));
    String::from_utf8(out).unwrap()
}

/// Recordings whose stream ends as streams do: some were cut, or carry an error, on purpose.
fn is_whole_openai_stream(recording: &Recording) -> bool {
    recording.is_stream()
        && !openai_joined(&recording.response)["choices"][0]["finish_reason"].is_null()
        && !recording.response.contains("data: {\"error\"")
}

/// Blank text is left out on its way to Anthropic, which refuses to have it replayed.
fn shown(mut answered: Answered) -> Answered {
    if answered.text.trim().is_empty() {
        answered.text.clear();
    }
    answered
}

#[test]
fn every_openai_reply_reads_the_same_in_anthropic() {
    let mut count = 0;
    for Recording { name, response, .. } in
        recorded::recordings(OPENAI).iter().filter(|recording| recording.is_ok() && !recording.is_stream())
    {
        let source: Value = serde_json::from_str(response).unwrap();
        if source.get("choices").is_none() {
            continue;
        }
        let mut losses = Losses::default();
        let reply = OpenAiChat.decode_reply(response.as_bytes()).unwrap();
        let crossed = value(&AnthropicMessages.encode_reply(&reply, None, &mut losses));
        let expected = shown(openai_answered(&source));
        let usage = reply.usage.clone().unwrap_or_default();
        // Some servers count reasoning beside the output; the canonical count includes it.
        let expected = Answered { output: usage.output.max(expected.output), ..expected };
        assert_eq!(anthropic_answered(&crossed), expected, "{name}: {losses:?}");
        for block in list(&crossed["content"]).iter().filter(|block| block["type"] == "thinking") {
            assert!(block["signature"].is_string(), "{name}");
        }
        count += 1;
    }
    report("OpenAI replies to Anthropic", count);
}

#[test]
fn every_openai_stream_reads_the_same_in_anthropic_streamed_and_whole() {
    let mut count = 0;
    for Recording { name, response, .. } in
        recorded::recordings(OPENAI).iter().filter(|recording| is_whole_openai_stream(recording))
    {
        let events = read(&OpenAiChat, response, name);
        let streamed = shown(anthropic_answered(&anthropic_joined(&write(&AnthropicMessages, &events), name)));
        let whole = AnthropicMessages.encode_reply(&fold(&events), None, &mut Losses::default());
        assert_eq!(shown(anthropic_answered(&value(&whole))), streamed, "{name}");
        let expected = shown(openai_answered(&openai_joined(response)));
        // As above: never less than the server said.
        let expected = Answered { output: streamed.output.max(expected.output), ..expected };
        assert_eq!(streamed, expected, "{name}");
        count += 1;
    }
    report("OpenAI streams to Anthropic", count);
}

#[test]
fn every_anthropic_reply_reads_the_same_in_openai() {
    let mut count = 0;
    for Recording { name, response, .. } in
        recorded::recordings(ANTHROPIC).iter().filter(|recording| recording.is_ok() && !recording.is_stream())
    {
        let mut losses = Losses::default();
        let reply = AnthropicMessages.decode_reply(response.as_bytes()).unwrap();
        let crossed = value(&OpenAiChat.encode_reply(&reply, None, &mut losses));
        let expected = anthropic_answered(&serde_json::from_str(response).unwrap());
        assert_eq!(openai_answered(&crossed), expected, "{name}: {losses:?}");
        count += 1;
    }
    report("Anthropic replies to OpenAI", count);
}

#[test]
fn every_anthropic_stream_reads_the_same_in_openai_streamed_and_whole() {
    let mut count = 0;
    for Recording { name, response, .. } in
        recorded::recordings(ANTHROPIC).iter().filter(|recording| recording.is_stream())
    {
        let events = read(&AnthropicMessages, response, name);
        let streamed = openai_answered(&openai_joined(&write(&OpenAiChat, &events)));
        let whole = OpenAiChat.encode_reply(&fold(&events), None, &mut Losses::default());
        assert_eq!(openai_answered(&value(&whole)), streamed, "{name}");
        assert_eq!(streamed, anthropic_answered(&oracle_of_ours(response)), "{name}");
        count += 1;
    }
    report("Anthropic streams to OpenAI", count);
}

/// A recorded stream may go on after `message_stop` (a relay's `[DONE]`), and is joined up to there.
fn oracle_of_ours(response: &str) -> Value {
    anthropic_joined(response, "recorded")
}

// === Named promises ===

/// An OpenAI request with these fields, as Anthropic gets it, and the pointers of what was lost.
fn to_anthropic(fields: &Value) -> (Value, Vec<String>) {
    let mut request = json!({"model":"m","messages":[{"role":"user","content":"hi"}]});
    for (key, field) in fields.as_object().unwrap() {
        request[key] = field.clone();
    }
    let mut losses = Losses::default();
    let decoded = OpenAiChat.decode_request(request.to_string().as_bytes()).unwrap();
    let crossed = value(&AnthropicMessages.encode_request(&decoded, &mut losses));
    check_anthropic_rules(&crossed, &request.to_string());
    (crossed, losses.iter().map(|loss| loss.pointer.clone()).collect())
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"id":id,"type":"function","function":{"name":"f","arguments":arguments}})
}

fn tool() -> Value {
    json!([{"type":"function","function":{"name":"f"}}])
}

#[test]
fn anth_tool_results_grouped_next_user_turn() {
    let (crossed, losses) = to_anthropic(&json!({"messages":[
        {"role":"user","content":"q"},
        {"role":"assistant","content":"","tool_calls":[call("a", "{}"), call("b", "{}")]},
        {"role":"tool","tool_call_id":"a","content":"1"},
        {"role":"tool","tool_call_id":"b","content":[{"type":"text","text":"2"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]},
        {"role":"user","content":"and now?"},
        {"role":"user","content":[{"type":"text","text":"well?"}]}]}));
    assert_eq!(losses, Vec::<String>::new());
    let image = json!({"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}});
    assert_eq!(
        crossed["messages"][2],
        json!({"role":"user","content":[
            {"type":"tool_result","tool_use_id":"a","content":"1"},
            {"type":"tool_result","tool_use_id":"b","content":[{"type":"text","text":"2"}, image]},
            {"type":"text","text":"and now?"},{"type":"text","text":"well?"}]})
    );
    let calls =
        json!([{"type":"tool_use","id":"a","name":"f","input":{}},{"type":"tool_use","id":"b","name":"f","input":{}}]);
    assert_eq!(crossed["messages"][1]["content"], calls);
}

#[test]
fn anth_tool_use_id_charset_and_length() {
    let long = "x".repeat(90);
    let ids = ["call_1", "functions.f:0", "functions.f:1", "functions/f:0", "id mit ü", "", &long, &format!("{long}y")];
    let mut seen = Vec::new();
    for id in ids {
        let (crossed, _) = to_anthropic(&json!({"messages":[{"role":"user","content":"q"},
            {"role":"assistant","tool_calls":[call(id, "{}")]},{"role":"tool","tool_call_id":id,"content":"1"}]}));
        let mapped = text(&crossed["messages"][1]["content"][0]["id"]);
        assert_eq!(crossed["messages"][2]["content"][0]["tool_use_id"], *mapped, "{id}");
        assert!(!seen.contains(&mapped), "{id} and another are both {mapped}");
        seen.push(mapped);
    }
    assert_eq!(seen[0], "call_1");
    assert_eq!(seen[1], "functions_f_0_4be0e962e9dcd7b8", "the mapping is stable over releases");
}

#[test]
fn oai_chat_tool_arguments_is_string_even_if_empty() {
    for (arguments, input, lossy) in [
        ("", json!({}), false),
        (" ", json!({}), false),
        ("{\"a\":1.50}", json!({"a":1.50}), false),
        ("{\"a\":", json!({"_raw_arguments":"{\"a\":"}), true),
        ("[1]", json!({"_raw_arguments":"[1]"}), true),
        ("\"x\"", json!({"_raw_arguments":"\"x\""}), true),
    ] {
        let (crossed, losses) = to_anthropic(&json!({"messages":[{"role":"user","content":"q"},
            {"role":"assistant","tool_calls":[call("a", arguments)]}]}));
        assert_eq!(crossed["messages"][1]["content"][0]["input"], input);
        assert_eq!(losses == ["/messages/1/tool_calls/0"], lossy, "{arguments} {losses:?}");
    }
}

/// Fields of an OpenAI request, where they arrive, and what is reported lost.
#[test]
fn x_lossy_translation_reported() {
    let schema = json!({"type":"object","properties":{"a":{"type":"string"}}});
    let serial = json!({"type":"auto","disable_parallel_tool_use":true});
    for (name, fields, pointer, expected, lost) in [
        ("user", json!({"user":"u1"}), "/metadata", json!({"user_id":"u1"}), vec![]),
        (
            "oai_chat_max_tokens_vs_max_completion_tokens",
            json!({"max_completion_tokens":7}),
            "/max_tokens",
            json!(7),
            vec![],
        ),
        ("the limit must be given", json!({}), "/max_tokens", json!(4096), vec![]),
        ("stop", json!({"stop":"END"}), "/stop_sequences", json!(["END"]), vec![]),
        ("stop", json!({"stop":["\n"," x"]}), "/stop_sequences", json!([" x"]), vec!["/stop"]),
        ("temperature", json!({"temperature":0.7}), "/temperature", json!(0.7), vec![]),
        ("temperature", json!({"temperature":1.5}), "/temperature", json!(1), vec!["/temperature"]),
        ("stream", json!({"stream":true}), "/stream", json!(true), vec![]),
        ("tools", json!({"tools":tool()}), "/tools/0/input_schema", json!({"type":"object"}), vec![]),
        (
            "oai_chat_tool_choice_all_forms",
            json!({"tools":tool(),"tool_choice":"auto"}),
            "/tool_choice",
            json!({"type":"auto"}),
            vec![],
        ),
        (
            "oai_chat_tool_choice_all_forms",
            json!({"tools":tool(),"tool_choice":"none"}),
            "/tool_choice",
            json!({"type":"none"}),
            vec![],
        ),
        (
            "oai_chat_tool_choice_all_forms",
            json!({"tools":tool(),"tool_choice":"required"}),
            "/tool_choice",
            json!({"type":"any"}),
            vec![],
        ),
        (
            "oai_chat_tool_choice_all_forms",
            json!({"tools":tool(),"tool_choice":{"type":"function","function":{"name":"f"}}}),
            "/tool_choice",
            json!({"type":"tool","name":"f"}),
            vec![],
        ),
        (
            "oai_chat_tool_choice_all_forms",
            json!({"tools":tool(),"tool_choice":{"type":"allowed_tools","allowed_tools":{}}}),
            "/tool_choice",
            Value::Null,
            vec!["/tool_choice"],
        ),
        (
            "a choice among no tools",
            json!({"tool_choice":"required"}),
            "/tool_choice",
            Value::Null,
            vec!["/tool_choice"],
        ),
        (
            "oai_chat_parallel_tool_calls_false_enforced_cross",
            json!({"tools":tool(),"parallel_tool_calls":false}),
            "/tool_choice",
            serial,
            vec![],
        ),
        (
            "oai_chat_parallel_tool_calls_false_enforced_cross",
            json!({"tools":tool(),"parallel_tool_calls":true}),
            "/tool_choice",
            Value::Null,
            vec![],
        ),
        (
            "oai_chat_custom_tools_grammar",
            json!({"tools":[{"type":"custom","custom":{"name":"c"}}]}),
            "/tools",
            Value::Null,
            vec!["/tools/0"],
        ),
        (
            "oai_chat_response_format_json_schema_strict",
            json!({"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":schema}}}),
            "/output_config",
            json!({"format":{"type":"json_schema","schema":schema}}),
            vec![],
        ),
        (
            "json_object",
            json!({"response_format":{"type":"json_object"}}),
            "/output_config",
            Value::Null,
            vec!["/response_format"],
        ),
        (
            "oai_chat_reasoning_effort_all_values",
            json!({"reasoning_effort":"low"}),
            "/output_config/effort",
            json!("low"),
            vec![],
        ),
        (
            "oai_chat_reasoning_effort_all_values",
            json!({"reasoning_effort":"high"}),
            "/output_config/effort",
            json!("high"),
            vec![],
        ),
        (
            "oai_chat_reasoning_effort_all_values",
            json!({"reasoning_effort":"xhigh"}),
            "/output_config/effort",
            json!("xhigh"),
            vec![],
        ),
        (
            "oai_chat_reasoning_effort_all_values",
            json!({"reasoning_effort":"max"}),
            "/output_config/effort",
            json!("max"),
            vec![],
        ),
        (
            "oai_chat_reasoning_effort_all_values",
            json!({"reasoning_effort":"none"}),
            "/thinking",
            json!({"type":"disabled"}),
            vec![],
        ),
        (
            "oai_chat_reasoning_effort_all_values",
            json!({"reasoning_effort":"minimal"}),
            "/output_config/effort",
            json!("low"),
            vec!["/reasoning_effort"],
        ),
        (
            "reasoning budget",
            json!({"reasoning":{"max_tokens":2000}}),
            "/thinking",
            json!({"type":"enabled","budget_tokens":2000}),
            vec![],
        ),
        ("one choice", json!({"n":2}), "/n", Value::Null, vec!["/n"]),
        ("penalties", json!({"presence_penalty":0.1}), "/presence_penalty", Value::Null, vec!["/presence_penalty"]),
        (
            "oai_chat_prediction_metadata_store_user_safety_id",
            json!({"store":true,"metadata":{"a":"b"}}),
            "/metadata",
            Value::Null,
            vec!["/store", "/metadata"],
        ),
        (
            "Anthropic's own fields on the OpenAI surface",
            json!({"inference_geo":"eu","container":"c"}),
            "/inference_geo",
            json!("eu"),
            vec![],
        ),
        (
            "oai_chat_image_detail_and_data_url",
            json!({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x/y.png","detail":"low"}}]}]}),
            "/messages/0/content/0",
            json!({"type":"image","source":{"type":"url","url":"https://x/y.png"}}),
            vec!["/messages/0/content/0/image_url/detail"],
        ),
        (
            "oai_chat_input_audio_and_file_parts",
            json!({"messages":[{"role":"user","content":[{"type":"text","text":"hear"},{"type":"input_audio","input_audio":{"data":"QQ==","format":"wav"}}]}]}),
            "/messages/0/content",
            json!([{"type":"text","text":"hear"}]),
            vec!["/messages/0/content/1"],
        ),
        (
            "oai_chat_input_audio_and_file_parts",
            json!({"messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0="}}]}]}),
            "/messages/0/content/0",
            json!({"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="},"title":"a.pdf"}),
            vec![],
        ),
        (
            "oai_chat_role_developer_vs_system",
            json!({"messages":[{"role":"system","content":"a"},{"role":"developer","content":"b"},{"role":"user","content":"q"},{"role":"system","content":"c"}]}),
            "/system",
            json!([{"type":"text","text":"a"},{"type":"text","text":"b"},{"type":"text","text":"c"}]),
            vec!["/messages/3"],
        ),
        (
            "anth_cache_control_positions_system_tools_messages_toolresult",
            json!({"messages":[{"role":"user","content":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}]}]}),
            "/messages/0/content/0/cache_control",
            json!({"type":"ephemeral"}),
            vec![],
        ),
        (
            "anth_empty_text_blocks_and_trailing_whitespace",
            json!({"messages":[{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"q"}]},{"role":"assistant","content":"So: \n"}]}),
            "/messages/1/content",
            json!("So:"),
            vec!["/messages/1"],
        ),
        (
            "anth_consecutive_same_role_and_first_role_rules",
            json!({"messages":[{"role":"assistant","content":"Hello!"},{"role":"user","content":"q"}]}),
            "/messages/0",
            json!({"role":"user","content":"."}),
            vec!["/messages/0"],
        ),
        (
            "a system prompt alone",
            json!({"messages":[{"role":"system","content":"Write a poem."}]}),
            "/messages",
            json!([{"role":"user","content":"Write a poem."}]),
            vec!["/messages/0"],
        ),
        (
            "unsigned thinking is never replayed, and never as text",
            json!({"messages":[{"role":"user","content":"q"},{"role":"assistant","reasoning_content":"hm","content":"a"},{"role":"user","content":"r"}]}),
            "/messages/1/content",
            json!("a"),
            vec!["/messages/1/reasoning_content"],
        ),
    ] {
        let (crossed, losses) = to_anthropic(&fields);
        assert_eq!(crossed.pointer(pointer).cloned().unwrap_or_default(), expected, "{name}: {fields}");
        assert_eq!(losses, lost, "{name}: {fields}");
    }
}

#[test]
fn signed_thinking_is_replayed_to_its_own_origin_only() {
    for (format, replayed) in
        [(json!("anthropic-claude-v1"), true), (Value::Null, true), (json!("openai-responses-v1"), false)]
    {
        let mut detail = json!({"type":"reasoning.text","text":"hm","signature":"c2ln"});
        if !format.is_null() {
            detail["format"] = format.clone();
        }
        let (crossed, losses) = to_anthropic(&json!({"messages":[{"role":"user","content":"q"},
            {"role":"assistant","reasoning_details":[detail],"content":"a"},{"role":"user","content":"r"}]}));
        let thinking = json!({"type":"thinking","thinking":"hm","signature":"c2ln"});
        assert_eq!(crossed["messages"][1]["content"][0] == thinking, replayed, "{format}: {crossed}");
        assert_eq!(losses.is_empty(), replayed, "{format}: {losses:?}");
    }
}

#[test]
fn anth_billing_or_attribution_system_block_not_leaked_cross() {
    let request = json!({"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}],"system":[
        {"type":"text","text":"x-anthropic-billing-header: cc_version=2.1"},{"type":"text","text":"be brief"}]});
    let mut losses = Losses::default();
    let decoded = AnthropicMessages.decode_request(request.to_string().as_bytes()).unwrap();
    let crossed = String::from_utf8(OpenAiChat.encode_request(&decoded, &mut losses)).unwrap();
    assert!(!crossed.contains("billing") && crossed.contains("be brief"), "{crossed}");
    assert_eq!(losses.len(), 1, "{losses:?}");
}

fn started() -> ChatEvent {
    ChatEvent::Start(Start {
        source: Dialect::OpenAiChat,
        id: "chatcmpl-1".into(),
        model: "m".into(),
        created: None,
        usage: None,
        extras: Extras::default(),
    })
}

fn opens(index: u32, choice: u32, id: &str, custom: bool) -> ChatEvent {
    let block = Block::ToolCall { id: id.into(), name: "f".into(), custom, extras: Extras::default() };
    ChatEvent::Open { index, choice, block }
}

fn grows(index: u32, piece: &str) -> ChatEvent {
    ChatEvent::Delta { index, delta: Delta::Arguments(piece.into()) }
}

fn ends() -> [ChatEvent; 2] {
    let end = ChatEvent::End { choice: 0, finish: Finish::default(), extras: Extras::default() };
    [end, ChatEvent::Stop { usage: None, extras: Extras::default() }]
}

/// Blocks may interleave in the events and must not on Anthropic's wire; nothing is lost, and the order of opening stays.
#[test]
fn oai_chat_stream_tool_calls_by_index_interleaved() {
    let close = |index| ChatEvent::Close { index };
    let mut events =
        vec![started(), opens(0, 0, "a", false), opens(1, 0, "b", false), grows(1, "{\"x\":"), opens(2, 0, "c", true)];
    events.extend([
        grows(0, "{\"y\":"),
        grows(2, "free \"text\"\n"),
        grows(1, "1}"),
        close(1),
        grows(0, "2}"),
        close(0),
        close(2),
    ]);
    events.extend(ends());
    let body = write(&AnthropicMessages, &events);
    let joined = anthropic_joined(&body, "interleaved");
    assert_eq!(
        joined["content"],
        json!([
            {"type":"tool_use","id":"a","name":"f","input":{"y":2}},
            {"type":"tool_use","id":"b","name":"f","input":{"x":1}},
            {"type":"tool_use","id":"c","name":"f","input":{"_raw_arguments":"free \"text\"\n"}},
        ])
    );
    assert_eq!(joined["stop_reason"], "tool_use");
    let whole = AnthropicMessages.encode_reply(&fold(&events), None, &mut Losses::default());
    assert_eq!(value(&whole)["content"], joined["content"]);
}

#[test]
fn oai_chat_stream_n_choices_index() {
    let mut events = vec![started(), opens(0, 1, "a", false), grows(0, "{}"), ChatEvent::Close { index: 0 }];
    events.extend(ends());
    let mut writer = AnthropicMessages.writer(WriterOptions::default());
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.write(event, None, &mut out));
    assert_eq!(anthropic_joined(&String::from_utf8(out).unwrap(), "choices")["content"], json!([]));
    assert_eq!(writer.losses().iter().map(|loss| loss.pointer.as_str()).collect::<Vec<_>>(), ["/choices/1"]);
}
