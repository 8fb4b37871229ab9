//! What a request or a reply says, fact by fact, so that two of them can be held against each other whatever their dialects are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bifrost_providers::chat::{
    Media, MediaSource, Part, PartKind, ResponseFormat, Role, Tool, ToolCall, ToolChoice, ToolKind,
};
use bifrost_providers::reply::{Choice, FinishReason};
use bifrost_providers::{ChatReply, ChatRequest, Dialect, Text};
use serde_json::Value;

/// One thing said: what kind of thing, and its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) kind: &'static str,
    pub(crate) words: String,
}

impl Fact {
    pub(crate) fn new(kind: &'static str, words: impl Into<String>) -> Self {
        Self { kind, words: words.into() }
    }
}

/// Kind of a fact whose words may stand anywhere in a body.
pub(crate) const STOP_WORD: &str = "stop reason in its own word";

/// Kinds of facts whose words a reader of plain text would understand.
pub(crate) const SPOKEN: [&str; 3] = ["system", "user", "assistant"];

pub(crate) fn of_request(request: &ChatRequest, body: &Value) -> Vec<Fact> {
    let mut facts = Vec::new();
    for message in &request.messages {
        let kind = match message.role {
            Role::System | Role::Developer => "system",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        message.parts.iter().for_each(|part| of_part(kind, part, &mut facts));
    }
    request.tools.iter().for_each(|tool| of_tool(tool, &mut facts));
    match &request.tool_choice {
        Some(ToolChoice::None) => facts.push(Fact::new("tool choice", "none")),
        Some(ToolChoice::Required) => facts.push(Fact::new("tool choice", "required")),
        Some(ToolChoice::Function(name)) => facts.push(Fact::new("tool choice", name.to_plain())),
        Some(ToolChoice::Auto | ToolChoice::Foreign(..)) | None => {}
    }
    if request.parallel_tool_calls == Some(false) {
        facts.push(Fact::new("one call at a time", ""));
    }
    let is_off = |mode: &Text| mode.to_plain() == "disabled";
    if request.reasoning.as_ref().is_some_and(|reasoning| !reasoning.mode.as_ref().is_some_and(is_off)) {
        facts.push(Fact::new("reasoning is asked for", ""));
    }
    match &request.response_format {
        Some(ResponseFormat::Json) => facts.push(Fact::new("any JSON", "")),
        Some(ResponseFormat::Schema { schema, .. }) => facts.push(Fact::new("answer's schema", json(schema.get()))),
        Some(ResponseFormat::Text | ResponseFormat::Foreign(..)) | None => {}
    }
    if asks_for_logprobs(request.source, body) {
        facts.push(Fact::new("log-probabilities are asked for", ""));
    }
    facts
}

/// The canonical model has no field for it: read from the body itself.
fn asks_for_logprobs(dialect: Dialect, body: &Value) -> bool {
    match dialect {
        Dialect::OpenAiChat | Dialect::CohereChat => body["logprobs"] == true,
        Dialect::OpenAiResponses => body["include"]
            .as_array()
            .is_some_and(|list| list.iter().any(|word| word == "message.output_text.logprobs")),
        Dialect::Gemini => body["generationConfig"]["responseLogprobs"] == true,
        Dialect::AnthropicMessages | Dialect::BedrockConverse | Dialect::Predictions => false,
    }
}

pub(crate) fn of_reply(reply: &ChatReply, body: &Value) -> Vec<Fact> {
    let mut facts = Vec::new();
    for choice in &reply.choices {
        choice.parts.iter().for_each(|part| of_part("assistant", part, &mut facts));
        facts.push(stop_reason(choice));
        let sequence = choice.finish.stop_sequence.iter();
        facts.extend(sequence.map(|sequence| Fact::new("stop sequence", sequence.to_plain())));
    }
    let usage = reply.usage.clone().unwrap_or_default();
    let counts = [
        ("tokens read", Some(usage.input)),
        ("tokens written", Some(usage.output)),
        ("tokens read from a cache", usage.cache_read.or_else(|| cached(reply.source, body))),
        ("tokens written to a cache", usage.cache_write),
        ("tokens of reasoning", usage.reasoning),
    ];
    let counts = counts.into_iter().filter_map(|(kind, count)| Some((kind, count.filter(|count| *count > 0)?)));
    facts.extend(counts.map(|(kind, count)| Fact::new(kind, count.to_string())));
    facts
}

/// No dialect tells a model that declines from a filter that cuts in: both are one reason here. What has no common name is told
/// in its own word.
fn stop_reason(choice: &Choice) -> Fact {
    let declined = choice.parts.iter().any(|part| matches!(part.kind, PartKind::Refusal(_)));
    match (choice.finish.reason, &choice.finish.raw) {
        (FinishReason::Refusal | FinishReason::ContentFilter, _) => Fact::new("stop reason", "declined"),
        (FinishReason::Stop, _) if declined => Fact::new("stop reason", "declined"),
        (FinishReason::Pause | FinishReason::Other, Some(raw)) => Fact::new(STOP_WORD, raw.to_plain()),
        (reason, _) => Fact::new("stop reason", format!("{reason:?}")),
    }
}

/// Cohere's count of cached tokens is nobody's discount, and so not canonical: read from the body itself.
fn cached(dialect: Dialect, body: &Value) -> Option<u64> {
    body["usage"]["cached_tokens"].as_u64().filter(|_| dialect == Dialect::CohereChat)
}

fn of_part(speaker: &'static str, part: &Part, facts: &mut Vec<Fact>) {
    if part.cache.is_some() {
        facts.push(Fact::new("cache mark", "on a part"));
    }
    facts.extend(part.signature.iter().map(|signature| Fact::new("signature", signature.to_plain())));
    let mut say = |kind, words: &Text| {
        if !words.is_empty() {
            facts.push(Fact::new(kind, words.to_plain()));
        }
    };
    match &part.kind {
        PartKind::Text(words) => say(speaker, words),
        PartKind::Thinking { text, signature } => {
            say("thinking", text);
            if let Some(signature) = signature {
                say("signature", signature);
            }
        }
        PartKind::Redacted { data } => say("encrypted thinking", data),
        PartKind::Refusal(words) => say("refusal", words),
        PartKind::Image(media) => facts.push(of_media("image", media)),
        PartKind::Audio(media) => facts.push(of_media("audio", media)),
        PartKind::File(media) => facts.push(of_media("file", media)),
        PartKind::ToolCall(call) => facts.push(of_call(call)),
        PartKind::ToolResult(result) => {
            let id = result.call_id.to_plain();
            if result.is_error == Some(true) {
                facts.push(Fact::new("failed call", id.clone()));
            }
            let text = result.parts.iter().filter_map(|part| match &part.kind {
                PartKind::Text(text) => Some(text.to_plain()),
                _ => None,
            });
            facts.push(Fact::new("result", format!("{id}: {}", text.collect::<String>())));
            let others = result.parts.iter().filter(|part| !matches!(part.kind, PartKind::Text(_)));
            others.for_each(|part| of_part(speaker, part, facts));
        }
        // What only its own dialect knows is looked for by its marks.
        PartKind::Foreign(..) => {}
    }
}

fn of_media(kind: &'static str, media: &Media) -> Fact {
    let words = match &media.source {
        MediaSource::Base64(data) => written(&data.to_plain()),
        MediaSource::Url(url) => url.to_plain().into_owned(),
        MediaSource::FileId(id) => format!("stored as {}", id.to_plain()),
        MediaSource::Plain(text) => text.to_plain().into_owned(),
        MediaSource::Absent => String::new(),
    };
    Fact::new(kind, words)
}

/// Base64 of words is these words; of anything else, itself.
fn written(base64: &str) -> String {
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    let words = String::from_utf8(bytes).ok().filter(|words| words.chars().all(|letter| !letter.is_control()));
    words.filter(|words| words.contains(' ')).unwrap_or_else(|| base64.to_owned())
}

fn of_call(call: &ToolCall) -> Fact {
    let arguments = json(&call.arguments.to_plain());
    Fact::new("call", format!("{} {} {arguments}", call.id.to_plain(), call.name.to_plain()))
}

fn of_tool(tool: &Tool, facts: &mut Vec<Fact>) {
    if tool.cache.is_some() {
        facts.push(Fact::new("cache mark", "on a tool"));
    }
    let ToolKind::Function(function) = &tool.kind else { return };
    let name = function.name.to_plain();
    let description = function.description.as_ref().map(Text::to_plain).unwrap_or_default();
    facts.push(Fact::new("tool", format!("{name} {description}")));
    let schema = function.schema.as_ref().map(|schema| json(schema.get()));
    // "Any object" is what no schema says.
    let schema = schema.filter(|schema| !schema.contains(r#""properties":{}"#) && schema.contains("properties"));
    facts.extend(schema.map(|schema| Fact::new("tool's schema", format!("{name} {schema}"))));
    if function.strict == Some(true) {
        facts.push(Fact::new("strict tool", name));
    }
}

/// Without the spaces that do not count.
fn json(text: &str) -> String {
    match text.parse::<Value>() {
        Ok(value) => value.to_string(),
        Err(_) => text.to_owned(),
    }
}
