//! Requests, both ways.

use serde_json::value::RawValue;

use super::crossing::Crossing;
use super::message::{Fields, LEGACY, Said, decode_message};
use super::wire::{self, Sheet, fields, object, quoted};
use crate::chat::{
    ContentForm, Extras, Function, MaxTokens, Message, Part, PartKind, Reasoning, ResponseFormat, Role, Sampling, Stop,
    Tool, ToolChoice, ToolKind, ToolResult,
};
use crate::json::{self, Array, decode, decode_at};
use crate::{ChatRequest, Dialect, Losses, Malformed, Text};

// === decode ===

pub(super) fn decode_request(body: &[u8]) -> Result<ChatRequest, Malformed> {
    let mut request: wire::Request<'_> = decode(body)?;
    let messages = request.messages.take().ok_or_else(|| malformed("/messages", "a list of messages"))?;
    let model = request.model.take().ok_or_else(|| malformed("/model", "a model"))?;
    let reasoning = decode_reasoning(&mut request)?;
    let stop = request.stop.map(decode_stop).transpose()?.unwrap_or_default();
    let include_usage = decode_stream_options(&mut request)?;
    let mut extras = std::mem::take(&mut request.extras);
    if request.stream == Some(false) {
        extras.push("stream", json::raw("false".into()));
    }
    for (key, list) in [("tools", &request.tools), ("functions", &request.functions)] {
        if list.as_ref().is_some_and(Vec::is_empty) {
            extras.push(key, json::raw("[]".into()));
        }
    }
    if stop.sequences.is_empty() && request.stop.is_some() {
        extras.push("stop", json::raw("[]".into()));
    }
    let max_tokens = decode_max_tokens(request.max_tokens, request.max_completion_tokens, &mut extras);
    Ok(ChatRequest {
        source: Dialect::OpenAiChat,
        model,
        messages: decode_messages(messages)?,
        tools: decode_tools(request.tools, request.functions)?,
        tool_choice: request.tool_choice.map(decode_tool_choice).or_else(|| legacy_choice(&extras)),
        parallel_tool_calls: request.parallel_tool_calls,
        max_tokens,
        sampling: Sampling {
            temperature: request.temperature,
            top_p: request.top_p,
            top_k: request.top_k,
            frequency_penalty: request.frequency_penalty,
            presence_penalty: request.presence_penalty,
            seed: request.seed,
            choices: request.n,
        },
        stop,
        response_format: request.response_format.map(decode_response_format),
        reasoning,
        user: request.user,
        stream: request.stream.unwrap_or(false),
        include_usage,
        extras,
    })
}

fn malformed(pointer: impl Into<String>, expected: &str) -> Malformed {
    Malformed { pointer: pointer.into(), expected: expected.into() }
}

/// Flat (`reasoning_effort`) or nested (`reasoning`): a caller who gives both means two things.
fn decode_reasoning(request: &mut wire::Request<'_>) -> Result<Option<Reasoning>, Malformed> {
    let flat = (request.reasoning_effort.take(), request.reasoning_max_tokens.take());
    match (flat, request.reasoning.take()) {
        ((None, None), None) => Ok(None),
        ((effort, budget), None) => Ok(Some(Reasoning { effort, budget, ..Reasoning::default() })),
        ((None, None), Some(wire::Reasoning { effort, max_tokens, extras, .. })) => {
            Ok(Some(Reasoning { effort, budget: max_tokens, mode: None, nested: true, extras }))
        }
        _ => Err(malformed(
            "/reasoning",
            "either `reasoning` or `reasoning_effort` and `reasoning_max_tokens`, not both",
        )),
    }
}

fn decode_stop(raw: &RawValue) -> Result<Stop, Malformed> {
    if let Some(text) = Text::from_raw(raw) {
        return Ok(Stop { sequences: vec![text], plain: true });
    }
    Ok(Stop { sequences: decode_at(raw, "/stop")?, plain: false })
}

/// Takes `include_usage` out of `stream_options`; what else stands there stays, as does all of it where nothing streams.
fn decode_stream_options(request: &mut wire::Request<'_>) -> Result<bool, Malformed> {
    let Some(raw) = request.stream_options else { return Ok(false) };
    let options: wire::StreamOptions<'_> = decode_at(raw, "/stream_options")?;
    let include = options.include_usage == Some(true) && request.stream == Some(true);
    if !include {
        request.extras.push("stream_options", raw.to_owned());
    } else if !options.extras.is_empty() {
        request.extras.push("stream_options", object(&options.extras));
    }
    Ok(include)
}

fn decode_max_tokens(legacy: Option<u64>, current: Option<u64>, extras: &mut Extras) -> Option<MaxTokens> {
    match (legacy, current) {
        (Some(value), None) => Some(MaxTokens { value, legacy: true }),
        (legacy, Some(value)) => {
            if let Some(old) = legacy {
                extras.push("max_tokens", json::raw(old.to_string()));
            }
            Some(MaxTokens { value, legacy: false })
        }
        (None, None) => None,
    }
}

fn decode_messages(messages: Vec<wire::Message<'_>>) -> Result<Vec<Message>, Malformed> {
    messages.into_iter().enumerate().map(|(at, message)| decode_one(message, format!("/messages/{at}"))).collect()
}

fn decode_one(mut message: wire::Message<'_>, pointer: String) -> Result<Message, Malformed> {
    let kind = message.role.take();
    let kind = kind.as_ref().map_or("", |role| role.as_str());
    let role = match kind {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => Role::Tool,
        _ => {
            let expected = "one of system, developer, user, assistant, tool, function";
            return Err(malformed(format!("{pointer}/role"), expected));
        }
    };
    let (name, call_id) = (message.name.take(), message.tool_call_id.take());
    let Said { mut parts, content, mut extras } = decode_message(message, &pointer)?;
    if role == Role::Tool {
        let legacy = kind == "function";
        parts = vec![result(parts, content, call_id, name.as_ref().filter(|_| legacy))];
    } else if let Some(id) = call_id {
        extras.push("tool_call_id", quoted(&id));
    }
    Ok(Message { role, parts, content, name, extras, pointer })
}

/// The one part of a tool message. A legacy `function` message answers the call of that name.
fn result(parts: Vec<Part>, content: ContentForm, call_id: Option<Text>, function: Option<&Text>) -> Part {
    let mut extras = Extras::default();
    let call_id = match (call_id, function) {
        (None, Some(name)) => {
            extras.push(LEGACY, json::null());
            Text::from_plain(&format!("call_{}", name.to_plain()))
        }
        (id, _) => id.unwrap_or_default(),
    };
    let result = ToolResult { call_id, parts, content, is_error: None };
    Part { extras, ..Part::from(PartKind::ToolResult(result)) }
}

fn decode_tools(tools: Option<Vec<&RawValue>>, functions: Option<Vec<&RawValue>>) -> Result<Vec<Tool>, Malformed> {
    let modern = tools.into_iter().flatten().enumerate().map(|(at, raw)| decode_tool(raw, &format!("/tools/{at}")));
    let legacy = functions.into_iter().flatten().enumerate().map(|(at, raw)| {
        let mut extras = Extras::default();
        let function = decode_function(decode_at(raw, &format!("/functions/{at}"))?, &mut extras);
        extras.push(LEGACY, json::null());
        Ok(Tool { kind: ToolKind::Function(function), cache: None, extras })
    });
    modern.chain(legacy).collect()
}

fn decode_tool(raw: &RawValue, pointer: &str) -> Result<Tool, Malformed> {
    let is_function = decode_at::<wire::Typed<'_>>(raw, pointer)
        .is_ok_and(|tool| tool.kind.is_some_and(|kind| kind.as_str() == "function") && tool.function.is_some());
    if !is_function {
        let _object: json::AnyObject<'_> = decode_at(raw, pointer)?;
        let kind = ToolKind::Foreign(Dialect::OpenAiChat, raw.to_owned());
        return Ok(Tool { kind, cache: None, extras: Extras::default() });
    }
    let tool: wire::Tool<'_> = decode_at(raw, pointer)?;
    let mut extras = tool.extras;
    let function = decode_function(tool.function.unwrap_or_default(), &mut extras);
    Ok(Tool { kind: ToolKind::Function(function), cache: tool.cache_control, extras })
}

fn decode_function(function: wire::Function<'_>, extras: &mut Extras) -> Function {
    let wire::Function { name, description, parameters, strict, extras: inner, .. } = function;
    // `strict: null`, as some SDKs spell it, says nothing that could be lost.
    if inner.telling().next().is_some() {
        extras.push("function", object(&inner));
    } else if !inner.is_empty() {
        extras.remember("function", object(&inner));
    }
    Function { name: name.unwrap_or_default(), description, schema: parameters, strict }
}

/// Forms with anything beside the canonical fields stay whole.
fn decode_tool_choice(raw: &RawValue) -> ToolChoice {
    match raw.get() {
        "\"auto\"" => return ToolChoice::Auto,
        "\"none\"" => return ToolChoice::None,
        "\"required\"" => return ToolChoice::Required,
        _ => {}
    }
    let named = decode::<wire::Typed<'_>>(raw.get().as_bytes()).ok().and_then(|choice| {
        let function = choice.function.filter(|function| choice.extras.is_empty() && function.extras.is_empty())?;
        function.name.filter(|_| choice.kind.is_some_and(|kind| kind.as_str() == "function"))
    });
    named.map_or_else(|| ToolChoice::Foreign(Dialect::OpenAiChat, raw.to_owned()), ToolChoice::Function)
}

/// The legacy `function_call` of the request, which stays in `extras` for its own dialect.
fn legacy_choice(extras: &Extras) -> Option<ToolChoice> {
    let raw = extras.find(LEGACY)?;
    match raw.get() {
        "\"auto\"" => Some(ToolChoice::Auto),
        "\"none\"" => Some(ToolChoice::None),
        object => decode::<wire::Named<'_>>(object.as_bytes()).ok()?.name.map(ToolChoice::Function),
    }
}

fn decode_response_format(raw: &RawValue) -> ResponseFormat {
    let foreign = || ResponseFormat::Foreign(Dialect::OpenAiChat, raw.to_owned());
    let Ok(format) = decode::<wire::Typed<'_>>(raw.get().as_bytes()) else { return foreign() };
    if !format.extras.is_empty() || format.text.is_some() || format.function.is_some() {
        return foreign();
    }
    match (format.kind.as_ref().map_or("", |kind| kind.as_str()), format.json_schema) {
        ("text", None) => ResponseFormat::Text,
        ("json_object", None) => ResponseFormat::Json,
        ("json_schema", Some(wire::JsonSchema { name, description, schema: Some(schema), strict, extras, .. })) => {
            ResponseFormat::Schema { name, description, schema, strict, extras }
        }
        _ => foreign(),
    }
}

// === encode ===

pub(super) fn encode_request(request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
    let crossed =
        (request.source != Dialect::OpenAiChat).then(|| Crossing::new(request.source, losses).request(request));
    let request = crossed.as_ref().unwrap_or(request);
    let mut out = Vec::with_capacity(1024);
    let mut sheet = Sheet::new(&mut out);
    sheet.text("model", &request.model);
    encode_messages(&mut sheet, &request.messages);
    encode_tools(&mut sheet, &request.tools);
    if request.extras.find(LEGACY).is_none() {
        encode_tool_choice(&mut sheet, request.tool_choice.as_ref());
    }
    sheet.optional_bool("parallel_tool_calls", request.parallel_tool_calls);
    if let Some(MaxTokens { value, legacy }) = request.max_tokens {
        sheet.number(if legacy { "max_tokens" } else { "max_completion_tokens" }, value);
    }
    encode_sampling(&mut sheet, &request.sampling);
    encode_stop(&mut sheet, &request.stop);
    encode_response_format(&mut sheet, request.response_format.as_ref());
    encode_reasoning(&mut sheet, request.reasoning.as_ref());
    sheet.optional_text("user", request.user.as_ref());
    if request.stream {
        sheet.bool("stream", true);
        encode_stream_options(&mut sheet, request);
    }
    sheet.extras(&request.extras);
    sheet.end();
    out
}

fn encode_messages(sheet: &mut Sheet<'_>, messages: &[Message]) {
    let mut array = Array::new(sheet.key("messages"));
    for message in messages {
        let results = message.parts.iter().filter_map(|part| match &part.kind {
            PartKind::ToolResult(result) => Some((part, result)),
            _ => None,
        });
        let mut answers = 0;
        for (part, result) in results {
            encode_result(array.item(), message, part, result);
            answers += 1;
        }
        // Whatever else the message says follows the results, which must directly follow their calls.
        if answers == 0 || answers < message.parts.len() {
            encode_message(array.item(), message);
        }
    }
    array.end();
}

fn encode_result(out: &mut Vec<u8>, message: &Message, part: &Part, result: &ToolResult) {
    let mut sheet = Sheet::new(out);
    if part.extras.find(LEGACY).is_some() {
        sheet.raw("role", "\"function\"");
    } else {
        sheet.raw("role", "\"tool\"").text("tool_call_id", &result.call_id);
    }
    Fields::new(result.parts.iter()).encode(&mut sheet, result.content);
    if message.role == Role::Tool {
        sheet.optional_text("name", message.name.as_ref()).extras(&message.extras);
    }
    sheet.end();
}

fn encode_message(out: &mut Vec<u8>, message: &Message) {
    let mut sheet = Sheet::new(out);
    sheet.str(
        "role",
        match message.role {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        },
    );
    Fields::new(message.parts.iter()).encode(&mut sheet, message.content);
    sheet.optional_text("name", message.name.as_ref()).extras(&message.extras);
    sheet.end();
}

fn encode_tools(sheet: &mut Sheet<'_>, tools: &[Tool]) {
    let is_legacy = |tool: &&Tool| tool.extras.find(LEGACY).is_some();
    let mut modern = tools.iter().filter(|tool| !is_legacy(tool)).peekable();
    if modern.peek().is_some() {
        let mut array = Array::new(sheet.key("tools"));
        for tool in modern {
            encode_tool(array.item(), tool);
        }
        array.end();
    }
    let mut legacy = tools.iter().filter(is_legacy).peekable();
    if legacy.peek().is_some() {
        let mut array = Array::new(sheet.key("functions"));
        for tool in legacy {
            if let ToolKind::Function(function) = &tool.kind {
                encode_function(array.item(), function, &tool.extras);
            }
        }
        array.end();
    }
}

fn encode_tool(out: &mut Vec<u8>, tool: &Tool) {
    match &tool.kind {
        ToolKind::Foreign(_, raw) => out.extend_from_slice(raw.get().as_bytes()),
        ToolKind::Function(function) => {
            let mut sheet = Sheet::new(out);
            encode_function(sheet.raw("type", "\"function\"").key("function"), function, &tool.extras);
            sheet.optional_raw("cache_control", tool.cache.as_deref()).extras(&tool.extras);
            sheet.end();
        }
    }
}

fn encode_function(out: &mut Vec<u8>, function: &Function, extras: &Extras) {
    let mut sheet = Sheet::new(out);
    sheet
        .text("name", &function.name)
        .optional_text("description", function.description.as_ref())
        .optional_raw("parameters", function.schema.as_deref())
        .optional_bool("strict", function.strict)
        .extras(&fields(extras.find("function").or_else(|| extras.recall("function"))));
    sheet.end();
}

fn encode_tool_choice(sheet: &mut Sheet<'_>, choice: Option<&ToolChoice>) {
    let Some(choice) = choice else { return };
    let out = sheet.key("tool_choice");
    match choice {
        ToolChoice::Auto => out.extend_from_slice(b"\"auto\""),
        ToolChoice::None => out.extend_from_slice(b"\"none\""),
        ToolChoice::Required => out.extend_from_slice(b"\"required\""),
        ToolChoice::Foreign(_, raw) => out.extend_from_slice(raw.get().as_bytes()),
        ToolChoice::Function(name) => {
            let mut choice = Sheet::new(out);
            let mut function = Sheet::new(choice.raw("type", "\"function\"").key("function"));
            function.text("name", name);
            function.end();
            choice.end();
        }
    }
}

fn encode_sampling(sheet: &mut Sheet<'_>, sampling: &Sampling) {
    sheet
        .optional_raw("temperature", sampling.temperature.as_deref())
        .optional_raw("top_p", sampling.top_p.as_deref())
        .optional_raw("top_k", sampling.top_k.as_deref())
        .optional_raw("frequency_penalty", sampling.frequency_penalty.as_deref())
        .optional_raw("presence_penalty", sampling.presence_penalty.as_deref())
        .optional_raw("seed", sampling.seed.as_deref())
        .optional_number("n", sampling.choices.map(u64::from));
}

fn encode_stop(sheet: &mut Sheet<'_>, stop: &Stop) {
    match stop.sequences.as_slice() {
        [] => {}
        [only] if stop.plain => _ = sheet.text("stop", only),
        sequences => {
            let mut array = Array::new(sheet.key("stop"));
            for sequence in sequences {
                json::write_text(array.item(), sequence);
            }
            array.end();
        }
    }
}

fn encode_response_format(sheet: &mut Sheet<'_>, format: Option<&ResponseFormat>) {
    let Some(format) = format else { return };
    let out = sheet.key("response_format");
    match format {
        ResponseFormat::Text => out.extend_from_slice(br#"{"type":"text"}"#),
        ResponseFormat::Json => out.extend_from_slice(br#"{"type":"json_object"}"#),
        ResponseFormat::Foreign(_, raw) => out.extend_from_slice(raw.get().as_bytes()),
        ResponseFormat::Schema { name, description, schema, strict, extras } => {
            let mut sheet = Sheet::new(out);
            let mut inner = Sheet::new(sheet.raw("type", "\"json_schema\"").key("json_schema"));
            inner
                .optional_text("name", name.as_ref())
                .optional_text("description", description.as_ref())
                .raw("schema", schema.get())
                .optional_bool("strict", *strict)
                .extras(extras);
            inner.end();
            sheet.end();
        }
    }
}

fn encode_reasoning(sheet: &mut Sheet<'_>, reasoning: Option<&Reasoning>) {
    let Some(Reasoning { effort, budget, nested, extras, .. }) = reasoning else { return };
    if *nested {
        let mut object = Sheet::new(sheet.key("reasoning"));
        object.optional_text("effort", effort.as_ref()).optional_number("max_tokens", *budget).extras(extras);
        object.end();
    } else {
        sheet.optional_text("reasoning_effort", effort.as_ref()).optional_number("reasoning_max_tokens", *budget);
    }
}

/// The caller's options, with `include_usage` as the request now says: the gateway may have asked for it.
fn encode_stream_options(sheet: &mut Sheet<'_>, request: &ChatRequest) {
    if request.include_usage {
        let mut options = Sheet::new(sheet.key("stream_options"));
        options.bool("include_usage", true).extras(&fields(request.extras.find("stream_options")));
        options.end();
    }
}
