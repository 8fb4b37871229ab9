//! The request, both ways, all but its messages (see [`super::turns`]).

use serde_json::value::RawValue;

use super::block::decode_content;
use super::turns::{Conversation, SYSTEM};
use super::wire::{
    Crossing, FormatWire, MessageWire, MetadataWire, NO_COUNTERPART, OWN, OutputConfigWire, RequestWire,
    ThinkingConfigWire, ToolChoiceWire, ToolWire, fields_of, need, object_of, read, tag,
};
use crate::chat::{
    ContentForm, Extras, Function, MaxTokens, Message, Raw, Reasoning, ResponseFormat, Role, Sampling, Stop, Tool,
    ToolChoice, ToolKind,
};
use crate::json::{self, Array, Object};
use crate::{ChatRequest, Losses, Malformed, Text};

/// `max_tokens` where the caller's dialect lets it out: the API demands one. Every model of this API allows 4096.
const DEFAULT_MAX_TOKENS: u64 = 4096;

/// The schema of a tool that has none: an object of anything.
const ANY_OBJECT: &str = r#"{"type":"object"}"#;

/// The key of a tool's type, which may be left out where it is `custom`.
const TYPE: &str = "type";

/// Fields of this API that the gateway's OpenAI surface takes as they are.
const SHARED_FIELDS: &[&str] =
    &["cache_control", "container", "context_management", "inference_geo", "mcp_servers", "speed"];

// === Reading ===

pub(super) fn decode(body: &[u8]) -> Result<ChatRequest, Malformed> {
    let wire: RequestWire<'_> = json::decode(body)?;
    let root = String::new;
    let mut extras = wire.extras;
    let mut messages = Vec::new();
    if let Some(system) = wire.system {
        let (parts, content) = decode_content(system, &|| SYSTEM.to_owned())?;
        messages.push(message(Role::System, parts, content, SYSTEM.to_owned()));
    }
    for (at, wire) in need(wire.messages, &root, "messages", "a list of messages")?.into_iter().enumerate() {
        messages.push(decode_message(wire, at)?);
    }
    let tools = wire.tools.unwrap_or_default();
    let tools = tools.into_iter().enumerate().map(|(at, raw)| decode_tool(raw, at)).collect::<Result<_, _>>()?;
    let (tool_choice, parallel_tool_calls) = wire.tool_choice.map_or(Ok((None, None)), decode_tool_choice)?;
    let (reasoning, response_format) = decode_output(wire.thinking, wire.output_config, &mut extras)?;
    let user = wire.metadata.map_or(Ok(None), |raw| decode_user(raw, &mut extras))?;
    if wire.stream == Some(false) {
        // Remembers the spelling; it says what leaving it out says.
        extras.push("stream", json::raw("false".into()));
    }
    let raw = |value: Option<&RawValue>| value.map(RawValue::to_owned);
    Ok(ChatRequest {
        source: OWN,
        model: need(wire.model, &root, "model", "a string")?,
        messages,
        tools,
        tool_choice,
        parallel_tool_calls,
        max_tokens: wire.max_tokens.map(|value| MaxTokens { value, legacy: true }),
        sampling: Sampling {
            temperature: raw(wire.temperature),
            top_p: raw(wire.top_p),
            top_k: raw(wire.top_k),
            ..Sampling::default()
        },
        stop: Stop { sequences: wire.stop_sequences.unwrap_or_default(), plain: false },
        response_format,
        reasoning,
        user,
        stream: wire.stream.unwrap_or(false),
        include_usage: true,
        extras,
    })
}

fn message(role: Role, parts: Vec<crate::chat::Part>, content: ContentForm, pointer: String) -> Message {
    Message { role, parts, content, name: None, extras: Extras::default(), pointer }
}

fn decode_message(wire: MessageWire<'_>, at: usize) -> Result<Message, Malformed> {
    let place = || format!("/messages/{at}");
    let expected = "user, assistant or system";
    let role = match need(wire.role, &place, "role", expected)?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(Malformed { pointer: format!("/messages/{at}/role"), expected: expected.into() }),
    };
    let content = need(wire.content, &place, "content", "a string or a list of content blocks")?;
    let (parts, form) = decode_content(content, &|| format!("/messages/{at}/content"))?;
    Ok(Message { extras: wire.extras, ..message(role, parts, form, place()) })
}

/// A tool of the caller's own. Server tools, which carry a type of their own, stay whole.
fn decode_tool(raw: &RawValue, at: usize) -> Result<Tool, Malformed> {
    if !matches!(tag(raw).as_ref(), "" | "custom") {
        return Ok(Tool { kind: ToolKind::Foreign(OWN, raw.to_owned()), cache: None, extras: Extras::default() });
    }
    let place = || format!("/tools/{at}");
    let mut wire: ToolWire<'_> = read(raw, &place)?;
    if wire.extras.remove(TYPE).is_some() {
        // A `null` remembers the spelling; it says what leaving it out says.
        wire.extras.push(TYPE, json::null());
    }
    let function = Function {
        name: need(wire.name, &place, "name", "a string")?,
        description: wire.description,
        schema: wire.input_schema.map(RawValue::to_owned),
        strict: wire.strict,
    };
    Ok(Tool { kind: ToolKind::Function(function), cache: wire.cache.map(RawValue::to_owned), extras: wire.extras })
}

/// The choice, and whether several tools may be called in one turn.
fn decode_tool_choice(raw: &RawValue) -> Result<(Option<ToolChoice>, Option<bool>), Malformed> {
    let wire: ToolChoiceWire<'_> = read(raw, &|| "/tool_choice".to_owned())?;
    let parallel = wire.disable_parallel.map(|disabled| !disabled);
    let choice = match (wire.kind.as_ref().map(json::Str::as_str), wire.name) {
        _ if !wire.extras.is_empty() => return Ok((Some(ToolChoice::Foreign(OWN, raw.to_owned())), None)),
        (Some("auto"), None) => ToolChoice::Auto,
        (Some("any"), None) => ToolChoice::Required,
        (Some("none"), None) => ToolChoice::None,
        (Some("tool"), Some(name)) => ToolChoice::Function(name),
        _ => return Ok((Some(ToolChoice::Foreign(OWN, raw.to_owned())), None)),
    };
    Ok((Some(choice), parallel))
}

/// `thinking` and `output_config` hold two canonical things between them. What else stands in `output_config` stays there.
fn decode_output(
    thinking: Option<&RawValue>,
    output: Option<&RawValue>,
    extras: &mut Extras,
) -> Result<(Option<Reasoning>, Option<ResponseFormat>), Malformed> {
    let thinking: ThinkingConfigWire<'_> =
        thinking.map_or(Ok(ThinkingConfigWire::default()), |raw| read(raw, &|| "/thinking".to_owned()))?;
    let config: OutputConfigWire<'_> =
        output.map_or(Ok(OutputConfigWire::default()), |raw| read(raw, &|| "/output_config".to_owned()))?;
    let reasoning = Reasoning {
        effort: config.effort,
        budget: thinking.budget_tokens,
        mode: thinking.kind,
        extras: thinking.extras,
        ..Reasoning::default()
    };
    let said = reasoning.effort.is_some() || says_thinking(&reasoning);
    let format = config.format.map(decode_format).transpose()?;
    if !config.extras.is_empty() || (output.is_some() && reasoning.effort.is_none() && format.is_none()) {
        extras.push("output_config", object_of(&config.extras));
    }
    Ok((said.then_some(reasoning), format))
}

fn decode_format(raw: &RawValue) -> Result<ResponseFormat, Malformed> {
    let wire: FormatWire<'_> = read(raw, &|| "/output_config/format".to_owned())?;
    Ok(match (wire.kind.as_ref().map(json::Str::as_str), wire.schema) {
        (Some("json_schema"), Some(schema)) => ResponseFormat::Schema {
            name: None,
            description: None,
            schema: schema.to_owned(),
            strict: None,
            extras: wire.extras,
        },
        _ => ResponseFormat::Foreign(OWN, raw.to_owned()),
    })
}

/// `metadata.user_id`. What else stands in `metadata` stays there.
fn decode_user(raw: &RawValue, extras: &mut Extras) -> Result<Option<Text>, Malformed> {
    let wire: MetadataWire<'_> = read(raw, &|| "/metadata".to_owned())?;
    if !wire.extras.is_empty() || wire.user_id.is_none() {
        extras.push("metadata", object_of(&wire.extras));
    }
    Ok(wire.user_id)
}

// === Writing ===

pub(super) fn encode(request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
    let mut crossing = Crossing { native: request.source == OWN, losses };
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    object.text("model", &request.model);
    if let Some(MaxTokens { value, .. }) = request.max_tokens {
        object.number("max_tokens", value);
    } else if !crossing.native {
        object.number("max_tokens", DEFAULT_MAX_TOKENS);
    }
    Conversation::of(request, &mut crossing).write(&mut object, &mut crossing);
    let tools = encode_tools(&request.tools, &mut object, &mut crossing);
    encode_tool_choice(request, tools, &mut object, &mut crossing);
    encode_sampling(request, &mut object, &mut crossing);
    encode_thinking(request.reasoning.as_ref(), &mut object, &mut crossing);
    encode_output_config(request, &mut object, &mut crossing);
    encode_metadata(request, &mut object);
    if request.stream {
        object.bool("stream", true);
    }
    encode_extras(request, &mut object, &mut crossing);
    object.end();
    out
}

/// Writes the tools; says whether there were any, because a choice among none is refused.
fn encode_tools(tools: &[Tool], object: &mut Object<'_>, crossing: &mut Crossing<'_>) -> bool {
    let mut written = Vec::new();
    let mut array = Array::new(&mut written);
    let mut any = false;
    for (at, tool) in tools.iter().enumerate() {
        match &tool.kind {
            ToolKind::Foreign(source, _) if *source != OWN => crossing.lose(format!("/tools/{at}")),
            ToolKind::Foreign(_, raw) => {
                any = true;
                array.raw(raw.get());
            }
            ToolKind::Function(function) => {
                any = true;
                encode_function(function, tool, at, array.item(), crossing);
            }
        }
    }
    array.end();
    if any {
        object.key("tools").extend_from_slice(&written);
    }
    any
}

fn encode_function(function: &Function, tool: &Tool, at: usize, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
    let mut object = Object::new(out);
    object.text("name", &function.name);
    if let Some(description) = &function.description {
        object.text("description", description);
    }
    match &function.schema {
        Some(schema) if crossing.native => {
            object.raw("input_schema", schema.get());
        }
        Some(schema) => {
            object.raw("input_schema", object_schema(schema).get());
        }
        None => {
            object.raw("input_schema", ANY_OBJECT);
        }
    }
    if let Some(strict) = function.strict {
        object.bool("strict", strict);
    }
    if let Some(cache) = &tool.cache {
        object.raw("cache_control", cache.get());
    }
    let mut extras = tool.extras.clone();
    if extras.remove(TYPE).is_some() && crossing.native {
        object.str(TYPE, "custom");
    }
    crossing.extras(&mut object, &extras, &|| format!("/tools/{at}"));
    object.end();
}

/// The API refuses a tool schema that does not say `"type":"object"` itself; other dialects take that as understood.
fn object_schema(schema: &RawValue) -> Raw {
    let mut fields = fields_of(schema);
    if fields.find("type").is_some() {
        return schema.to_owned();
    }
    fields.push("type", json::raw(r#""object""#.into()));
    object_of(&fields)
}

fn encode_tool_choice(request: &ChatRequest, tools: bool, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let serial = request.parallel_tool_calls == Some(false);
    if !tools && !crossing.native {
        if !matches!(request.tool_choice, None | Some(ToolChoice::Auto | ToolChoice::None)) {
            crossing.losses.push("/tool_choice", "there is no tool to choose");
        }
        return;
    }
    let (word, name) = match &request.tool_choice {
        Some(ToolChoice::Foreign(OWN, raw)) => {
            object.raw("tool_choice", raw.get());
            return;
        }
        Some(ToolChoice::Foreign(..)) => {
            crossing.lose("/tool_choice".into());
            if !serial {
                return;
            }
            ("auto", None)
        }
        Some(ToolChoice::Auto) => ("auto", None),
        Some(ToolChoice::Required) => ("any", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Function(name)) => ("tool", Some(name)),
        None if serial => ("auto", None),
        None => return,
    };
    let mut choice = Object::new(object.key("tool_choice"));
    choice.str("type", word);
    if let Some(name) = name {
        choice.text("name", name);
    }
    match request.parallel_tool_calls {
        Some(parallel) if crossing.native => {
            choice.bool("disable_parallel_tool_use", !parallel);
        }
        // Parallel calls are the default, and `none` has no such field.
        Some(false) if word != "none" => {
            choice.bool("disable_parallel_tool_use", true);
        }
        _ => {}
    }
    choice.end();
}

fn encode_sampling(request: &ChatRequest, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let sampling = &request.sampling;
    if let Some(temperature) = &sampling.temperature {
        if !crossing.native && temperature.get().parse::<f64>().is_ok_and(|value| value > 1.0) {
            crossing.losses.push("/temperature", "lowered to 1, the most anthropic_messages allows");
            object.raw("temperature", "1");
        } else {
            object.raw("temperature", temperature.get());
        }
    }
    for (key, value) in [("top_p", &sampling.top_p), ("top_k", &sampling.top_k)] {
        if let Some(value) = value {
            object.raw(key, value.get());
        }
    }
    for (pointer, given) in [
        ("/frequency_penalty", sampling.frequency_penalty.is_some()),
        ("/presence_penalty", sampling.presence_penalty.is_some()),
        ("/seed", sampling.seed.is_some()),
        ("/n", sampling.choices.is_some_and(|choices| choices > 1)),
    ] {
        if given {
            crossing.lose(pointer.into());
        }
    }
    encode_stop(&request.stop, object, crossing);
}

fn encode_stop(stop: &Stop, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let usable = |text: &&Text| crossing.native || !crate::dialect::raw::is_blank(text);
    let sequences: Vec<&Text> = stop.sequences.iter().filter(usable).collect();
    if sequences.len() < stop.sequences.len() {
        crossing.losses.push("/stop", "anthropic_messages refuses a stop sequence of whitespace");
    }
    if !sequences.is_empty() {
        let mut array = Array::new(object.key("stop_sequences"));
        for sequence in sequences {
            json::write_text(array.item(), sequence);
        }
        array.end();
    }
}

/// Does this say something about thinking itself, beyond effort?
fn says_thinking(reasoning: &Reasoning) -> bool {
    reasoning.mode.is_some() || reasoning.budget.is_some() || !reasoning.extras.is_empty()
}

fn encode_thinking(reasoning: Option<&Reasoning>, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let Some(reasoning) = reasoning else { return };
    if crossing.native {
        if says_thinking(reasoning) {
            let mut thinking = Object::new(object.key("thinking"));
            if let Some(mode) = &reasoning.mode {
                thinking.text("type", mode);
            }
            if let Some(budget) = reasoning.budget {
                thinking.number("budget_tokens", budget);
            }
            thinking.extras(&reasoning.extras);
            thinking.end();
        }
        return;
    }
    let display = reasoning.extras.find("display");
    let mut thinking = Vec::new();
    let mut config = Object::new(&mut thinking);
    let mode = thinking_mode(reasoning);
    if let Some(mode) = mode {
        config.str("type", mode);
        if let Some(budget) = reasoning.budget.filter(|_| mode == "enabled") {
            config.number("budget_tokens", budget);
        }
        if let Some(display) = display.filter(|_| mode != "disabled") {
            config.raw("display", display.get());
        }
    }
    config.end();
    if mode.is_some() {
        object.key("thinking").extend_from_slice(&thinking);
    }
    for key in reasoning.extras.telling().filter(|key| *key != "display" || mode.is_none()) {
        crossing.lose(format!("/reasoning/{key}"));
    }
}

/// `enabled` needs a budget here; without one the model decides, which is `adaptive`. Effort alone needs no mode.
fn thinking_mode(reasoning: &Reasoning) -> Option<&'static str> {
    let word = |text: &Option<Text>| text.as_ref().map(|text| text.as_escaped().to_owned()).unwrap_or_default();
    match (word(&reasoning.mode).as_str(), word(&reasoning.effort).as_str(), reasoning.budget) {
        ("disabled", ..) | (_, "none", _) => Some("disabled"),
        (_, _, Some(_)) => Some("enabled"),
        ("enabled" | "adaptive", _, None) => Some("adaptive"),
        _ => None,
    }
}

fn encode_output_config(request: &ChatRequest, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let mut written = Vec::new();
    let mut config = Object::new(&mut written);
    if let Some(effort) = request.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_ref()) {
        encode_effort(effort, &mut config, crossing);
    }
    if let Some(format) = &request.response_format {
        encode_format(format, &mut config, crossing);
    }
    if crossing.native {
        if let Some(rest) = request.extras.find("output_config") {
            config.extras(&fields_of(rest));
        }
    } else if let Some(task_budget) = request.extras.find("task_budget") {
        config.raw("task_budget", task_budget.get());
    }
    config.end();
    if written != b"{}" || (crossing.native && request.extras.find("output_config").is_some()) {
        object.key("output_config").extend_from_slice(&written);
    }
}

/// Effort is never lowered: a word this API may not know is passed on for the API to judge.
fn encode_effort(effort: &Text, config: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    match effort.as_escaped() {
        // Said by `thinking` instead.
        "none" if !crossing.native => {}
        "minimal" if !crossing.native => {
            crossing.losses.push("/reasoning_effort", "raised to `low`, the least anthropic_messages has");
            config.str("effort", "low");
        }
        _ => {
            config.text("effort", effort);
        }
    }
}

/// The schema's name is OpenAI's label for it, and `strict` is what this API always is: neither is lost.
fn encode_format(format: &ResponseFormat, config: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    match format {
        ResponseFormat::Text => {}
        ResponseFormat::Foreign(OWN, raw) => {
            config.raw("format", raw.get());
        }
        ResponseFormat::Json | ResponseFormat::Foreign(..) => crossing.lose("/response_format".into()),
        ResponseFormat::Schema { description, schema, extras, .. } => {
            let place = "/response_format/json_schema";
            let mut object = Object::new(config.key("format"));
            object.str("type", "json_schema").raw("schema", schema.get());
            crossing.extras(&mut object, extras, &|| place.to_owned());
            object.end();
            if description.is_some() {
                crossing.losses.push(format!("{place}/description"), NO_COUNTERPART);
            }
        }
    }
}

fn encode_metadata(request: &ChatRequest, object: &mut Object<'_>) {
    let rest = request.extras.find("metadata").filter(|_| request.source == OWN);
    if request.user.is_none() && rest.is_none() {
        return;
    }
    let mut metadata = Object::new(object.key("metadata"));
    if let Some(user) = &request.user {
        metadata.text("user_id", user);
    }
    if let Some(rest) = rest {
        metadata.extras(&fields_of(rest));
    }
    metadata.end();
}

fn encode_extras(request: &ChatRequest, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let mut rest = request.extras.clone();
    if crossing.native {
        // Written in their own objects above; a stream asked for later overrules the remembered `false`.
        rest.remove("output_config");
        rest.remove("metadata");
        if request.stream {
            rest.remove("stream");
        }
        object.extras(&rest);
        return;
    }
    for key in SHARED_FIELDS {
        if let Some(value) = rest.remove(key) {
            object.raw(key, value.get());
        }
    }
    rest.remove("task_budget");
    crossing.lose_extras(&rest, &String::new);
}
