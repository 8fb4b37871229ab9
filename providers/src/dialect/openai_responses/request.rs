//! The request, both ways, all but its conversation (see [`super::input`]).

use serde_json::value::RawValue;

use super::input;
use super::sibling;
use super::wire::{Crossing, FormatWire, OWN, ReasoningWire, RequestWire, TextWire, ToolChoiceWire, ToolWire, need};
use crate::chat::{
    Extras, Function, MaxTokens, Raw, Reasoning, ResponseFormat, SPELLING, Sampling, Stop, Tool, ToolChoice, ToolKind,
};
use crate::json::{self, Array, Sheet, decode, decode_at, fields, object};
use crate::{ChatRequest, Losses, Malformed, Text};

/// The parameters of a tool that takes none.
const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

/// OpenAI demands a name for a schema; the gateway gives this one where the other dialect has none.
const SCHEMA_NAME: &str = "response";

/// The objects that hold a canonical field and maybe others, which stay there.
const TEXT: &str = "text";

/// What is to come with the reply, and the one of them that seals reasoning.
const INCLUDE: &str = "include";
const SEALS: &str = "reasoning.encrypted_content";

// === Reading ===

pub(super) fn decode_request(body: &[u8]) -> Result<ChatRequest, Malformed> {
    let wire: RequestWire<'_> = decode(body)?;
    let mut extras = wire.extras;
    if wire.stream == Some(false) {
        // Remembers the spelling; it says what leaving it out says.
        extras.push("stream", json::raw("false".into()));
    }
    if wire.tools.as_ref().is_some_and(Vec::is_empty) {
        extras.push("tools", json::raw("[]".into()));
    }
    if let Some(include) = extras.find(INCLUDE).filter(|include| only_seals(include)).map(RawValue::to_owned) {
        // Every other dialect brings its seals unasked.
        extras.remove(INCLUDE);
        extras.push(SPELLING, object(&one(INCLUDE, include)));
    }
    let messages = input::decode(wire.instructions, wire.input)?;
    if wire.input.is_some_and(|input| input.get().bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*b"[]")) {
        extras.push("input", json::raw("[]".into()));
    }
    let tools = wire.tools.into_iter().flatten().enumerate().map(|(at, raw)| decode_tool(raw, at));
    let raw = |value: Option<&RawValue>| value.map(RawValue::to_owned);
    Ok(ChatRequest {
        source: OWN,
        model: need(wire.model, "", "model", "a model")?,
        messages,
        tools: tools.collect::<Result<_, _>>()?,
        tool_choice: wire.tool_choice.map(decode_tool_choice),
        parallel_tool_calls: wire.parallel_tool_calls,
        max_tokens: wire.max_output_tokens.map(|value| MaxTokens { value, legacy: false }),
        sampling: Sampling { temperature: raw(wire.temperature), top_p: raw(wire.top_p), ..Sampling::default() },
        stop: Stop::default(),
        response_format: decode_text(wire.text, &mut extras),
        reasoning: wire.reasoning.map(decode_reasoning),
        user: wire.user,
        stream: wire.stream.unwrap_or(false),
        include_usage: true,
        extras,
    })
}

fn only_seals(include: &RawValue) -> bool {
    decode::<Vec<Text>>(include.get().as_bytes()).is_ok_and(|names| names.iter().all(|name| name.as_escaped() == SEALS))
}

fn one(key: &str, value: Raw) -> Extras {
    let mut extras = Extras::default();
    extras.push(key, value);
    extras
}

fn decode_reasoning(wire: ReasoningWire<'_>) -> Reasoning {
    Reasoning { effort: wire.effort, nested: true, extras: wire.extras, ..Reasoning::default() }
}

/// The format out of `text`. What else stands there stays.
fn decode_text(wire: Option<TextWire<'_>>, extras: &mut Extras) -> Option<ResponseFormat> {
    let wire = wire?;
    if wire.format.is_none() || !wire.extras.is_empty() {
        extras.push(TEXT, object(&wire.extras));
    }
    wire.format.map(decode_format)
}

/// A form with a field too many stays whole.
fn decode_format(raw: &RawValue) -> ResponseFormat {
    let foreign = || ResponseFormat::Foreign(OWN, raw.to_owned());
    let Ok(wire) = decode::<FormatWire<'_>>(raw.get().as_bytes()) else { return foreign() };
    let bare = wire.extras.is_empty() && wire.name.is_none() && wire.description.is_none() && wire.strict.is_none();
    match (wire.kind.as_ref().map_or("", |kind| kind.as_str()), wire.schema) {
        ("text", None) if bare => ResponseFormat::Text,
        ("json_object", None) if bare => ResponseFormat::Json,
        ("json_schema", Some(schema)) => ResponseFormat::Schema {
            name: wire.name,
            description: wire.description,
            schema: schema.to_owned(),
            strict: wire.strict,
            extras: wire.extras,
        },
        _ => foreign(),
    }
}

/// A function of the caller's. Built-in tools, and those with free text for input, stay whole.
fn decode_tool(raw: &RawValue, at: usize) -> Result<Tool, Malformed> {
    let pointer = format!("/tools/{at}");
    if super::wire::tag(raw) != "function" {
        let _object: json::AnyObject<'_> = decode_at(raw, &pointer)?;
        return Ok(Tool { kind: ToolKind::Foreign(OWN, raw.to_owned()), cache: None, extras: Extras::default() });
    }
    let wire: ToolWire<'_> = decode_at(raw, &pointer)?;
    let function = Function {
        name: need(wire.name, &pointer, "name", "a string")?,
        description: wire.description,
        schema: wire.parameters.map(RawValue::to_owned),
        strict: wire.strict,
    };
    Ok(Tool { kind: ToolKind::Function(function), cache: None, extras: wire.extras })
}

fn decode_tool_choice(raw: &RawValue) -> ToolChoice {
    match raw.get() {
        "\"auto\"" => return ToolChoice::Auto,
        "\"none\"" => return ToolChoice::None,
        "\"required\"" => return ToolChoice::Required,
        _ => {}
    }
    let named = decode::<ToolChoiceWire<'_>>(raw.get().as_bytes()).ok().and_then(|choice| {
        let is_function = choice.kind.is_some_and(|kind| kind.as_str() == "function");
        choice.name.filter(|_| is_function && choice.extras.is_empty())
    });
    named.map_or_else(|| ToolChoice::Foreign(OWN, raw.to_owned()), ToolChoice::Function)
}

// === Writing ===

pub(super) fn encode_request(request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
    let mut crossing = Crossing { source: request.source, losses };
    let mut out = Vec::with_capacity(1024);
    let mut sheet = Sheet::new(&mut out);
    sheet.text("model", &request.model);
    input::encode(request, &mut sheet, &mut crossing);
    let any = encode_tools(&request.tools, &mut sheet, &mut crossing);
    encode_tool_choice(request, any, &mut sheet, &mut crossing);
    sheet.optional_bool("parallel_tool_calls", request.parallel_tool_calls);
    sheet.optional_number("max_output_tokens", request.max_tokens.map(|limit| limit.value));
    encode_sampling(request, &mut sheet, &mut crossing);
    encode_reasoning(request.reasoning.as_ref(), &mut sheet, &mut crossing);
    encode_text(request, &mut sheet, &mut crossing);
    sheet.optional_text("user", request.user.as_ref());
    if request.stream {
        sheet.bool("stream", true);
    }
    encode_extras(request, &mut sheet, &mut crossing);
    sheet.end();
    out
}

/// Writes the tools; says whether there were any, because a choice among none is refused.
fn encode_tools(tools: &[Tool], sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) -> bool {
    let mut written = Vec::new();
    let mut array = Array::new(&mut written);
    let mut any = false;
    for (at, tool) in tools.iter().enumerate() {
        let pointer = format!("/tools/{at}");
        match &tool.kind {
            ToolKind::Function(function) => encode_function(function, tool, array.item(), &pointer, crossing),
            ToolKind::Foreign(source, raw) => {
                let own = if *source == OWN { Some(raw.clone()) } else { sibling::tool_from_chat(*source, raw) };
                let Some(own) = own else {
                    crossing.lose(pointer);
                    continue;
                };
                array.raw(own.get());
            }
        }
        any = true;
    }
    array.end();
    if any {
        sheet.key("tools").extend_from_slice(&written);
    }
    any
}

/// A function is strict here unless it says otherwise, and lax everywhere else: that is said aloud.
fn encode_function(function: &Function, tool: &Tool, out: &mut Vec<u8>, pointer: &str, crossing: &mut Crossing<'_>) {
    let mut sheet = Sheet::new(out);
    sheet.str("type", "function").text("name", &function.name);
    sheet.optional_text("description", function.description.as_ref());
    match &function.schema {
        Some(schema) => _ = sheet.raw("parameters", schema.get()),
        None if crossing.is_native() => {}
        None => _ = sheet.raw("parameters", NO_PARAMETERS),
    }
    sheet.optional_bool("strict", function.strict.or((!crossing.is_native()).then_some(false)));
    if tool.cache.is_some() {
        crossing.losses.push(format!("{pointer}/cache_control"), "OpenAI caches prompts by itself");
    }
    crossing.extras(&mut sheet, &tool.extras, pointer);
    sheet.end();
}

fn encode_tool_choice(request: &ChatRequest, any: bool, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    let Some(choice) = &request.tool_choice else { return };
    if !any && !crossing.is_native() {
        if !matches!(choice, ToolChoice::Auto | ToolChoice::None) {
            crossing.losses.push("/tool_choice", "there is no tool to choose");
        }
        return;
    }
    match choice {
        ToolChoice::Auto => _ = sheet.str("tool_choice", "auto"),
        ToolChoice::None => _ = sheet.str("tool_choice", "none"),
        ToolChoice::Required => _ = sheet.str("tool_choice", "required"),
        ToolChoice::Function(name) => {
            let mut named = Sheet::new(sheet.key("tool_choice"));
            named.str("type", "function").text("name", name);
            named.end();
        }
        ToolChoice::Foreign(OWN, raw) => _ = sheet.raw("tool_choice", raw.get()),
        ToolChoice::Foreign(source, raw) => match sibling::choice_from_chat(*source, raw) {
            Some(own) => _ = sheet.raw("tool_choice", own.get()),
            None => crossing.lose("/tool_choice"),
        },
    }
}

fn encode_sampling(request: &ChatRequest, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    let sampling = &request.sampling;
    sheet.optional_raw("temperature", sampling.temperature.as_deref());
    sheet.optional_raw("top_p", sampling.top_p.as_deref());
    for (pointer, given) in [
        ("/top_k", sampling.top_k.is_some()),
        ("/frequency_penalty", sampling.frequency_penalty.is_some()),
        ("/presence_penalty", sampling.presence_penalty.is_some()),
        ("/seed", sampling.seed.is_some()),
        ("/n", sampling.choices.is_some_and(|choices| choices > 1)),
        ("/stop", !request.stop.sequences.is_empty()),
    ] {
        if given {
            crossing.lose(pointer);
        }
    }
}

/// This dialect has efforts only. A budget of tokens is said as the effort nearest to it; an effort is never changed.
fn encode_reasoning(reasoning: Option<&Reasoning>, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    let Some(Reasoning { effort, budget, mode, extras, .. }) = reasoning else { return };
    if crossing.is_native() {
        let mut object = Sheet::new(sheet.key("reasoning"));
        object.optional_text("effort", effort.as_ref()).extras(extras);
        object.end();
        return;
    }
    crossing.lose_extras(extras, "/thinking");
    let said = match (effort, budget) {
        (Some(effort), Some(_)) => {
            let reason = "openai_responses takes an effort, which the request also gives";
            crossing.losses.push("/thinking/budget_tokens", reason);
            Some(effort.clone())
        }
        (Some(effort), None) => Some(effort.clone()),
        (None, Some(budget)) => {
            let effort = crate::dialect::openai_chat::crossing::nearest_effort(*budget);
            let reason = format!("openai_responses takes no budget: said as effort `{effort}`");
            crossing.losses.push("/thinking/budget_tokens", reason);
            Some(Text::from_plain(effort))
        }
        (None, None) => {
            if mode.as_ref().is_some_and(|mode| mode.as_escaped() == "disabled") {
                let reason = "openai_responses has no common way to switch reasoning off";
                crossing.losses.push("/thinking", reason);
            }
            None
        }
    };
    if let Some(effort) = said {
        let mut object = Sheet::new(sheet.key("reasoning"));
        object.text("effort", &effort);
        object.end();
    }
}

fn encode_text(request: &ChatRequest, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    let rest = request.extras.find(TEXT).filter(|rest| crossing.is_native() && rest.get() != "null");
    let verbosity = request.extras.find("verbosity").filter(|_| crossing.is_sibling());
    let mut written = Vec::new();
    let mut text = Sheet::new(&mut written);
    if let Some(format) = &request.response_format {
        encode_format(format, &mut text, crossing);
    }
    text.optional_raw("verbosity", verbosity).extras(&fields(rest));
    text.end();
    if written != b"{}" || rest.is_some() {
        sheet.key(TEXT).extend_from_slice(&written);
    }
}

fn encode_format(format: &ResponseFormat, text: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    match format {
        ResponseFormat::Text => _ = text.raw("format", r#"{"type":"text"}"#),
        ResponseFormat::Json => _ = text.raw("format", r#"{"type":"json_object"}"#),
        ResponseFormat::Foreign(OWN, raw) => _ = text.raw("format", raw.get()),
        ResponseFormat::Foreign(..) => crossing.lose("/response_format"),
        ResponseFormat::Schema { name, description, schema, strict, extras } => {
            let mut object = Sheet::new(text.key("format"));
            object.str("type", "json_schema");
            match name {
                Some(name) => _ = object.text("name", name),
                None if crossing.is_native() => {}
                None => _ = object.str("name", SCHEMA_NAME),
            }
            object.optional_text("description", description.as_ref()).raw("schema", schema.get());
            object.optional_bool("strict", *strict);
            crossing.extras(&mut object, extras, "/response_format/json_schema");
            object.end();
        }
    }
}

/// Another dialect's caller never asked that its conversation be kept, and what is not kept must carry its own reasoning.
fn encode_extras(request: &ChatRequest, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    if crossing.is_native() {
        if request.extras.find(TEXT).is_some_and(|text| text.get() != "null") {
            sheet.skip(&[TEXT]);
        }
        sheet.skip(&[SPELLING]).extras(&fields(request.extras.find(SPELLING)));
        if request.stream {
            sheet.skip(&["stream"]);
        }
        sheet.extras(&request.extras);
        return;
    }
    let mut rest = request.extras.clone();
    if crossing.is_sibling() {
        sibling::request_from_chat(&mut rest, sheet);
    }
    let thinks = request.reasoning.as_ref().is_some_and(|reasoning| {
        reasoning.budget.is_some() || reasoning.effort.as_ref().is_some_and(|effort| effort.as_escaped() != "none")
    });
    let logprobs = crossing.is_sibling() && rest.remove("logprobs").is_some_and(|asked| asked.get() == "true");
    let wanted = [(SEALS, thinks), ("message.output_text.logprobs", logprobs)];
    if wanted.iter().any(|(_, wanted)| *wanted) {
        let mut include = Array::new(sheet.key(INCLUDE));
        wanted.iter().filter(|(_, wanted)| *wanted).for_each(|(name, _)| json::write_str(include.item(), name));
        include.end();
    }
    let store = if crossing.is_sibling() { rest.remove("store") } else { None };
    sheet.raw("store", store.as_deref().map_or("false", RawValue::get));
    crossing.lose_extras(&rest, "");
}

/// Why this request means something only where the provider keeps its state: the field at fault, and the reason in words.
///
/// Crossing drops such a field and notes it; but a reply without the conversation it continues is no reply. A caller that can
/// refuse should.
pub(super) fn depends_on_provider(request: &ChatRequest) -> Option<(&'static str, &'static str)> {
    const KEPT: [(&str, &str); 4] = [
        ("previous_response_id", "continues a response that only its own provider keeps"),
        ("conversation", "belongs to a conversation that only its own provider keeps"),
        ("prompt", "uses a prompt that only its own provider keeps"),
        ("background", "is to run in the background, which only its own provider does"),
    ];
    if request.source != OWN {
        return None;
    }
    let telling = |key: &str| request.extras.telling().any(|name| name == key);
    let kept = KEPT.into_iter().find(|(key, _)| telling(key));
    let refers = || {
        input::refers_to_items(&request.messages)
            .then_some(("input", "refers to items that only their own provider keeps"))
    };
    kept.or_else(refers)
}
