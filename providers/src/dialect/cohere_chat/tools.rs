//! Tools and which of them may be called, both ways.

use serde_json::value::RawValue;

use super::content::remember_empty;
use super::wire::{Crossing, FunctionWire, OWN, ToolWire, fields_of, need, object_of, read};
use crate::chat::{Extras, Function, Tool, ToolChoice, ToolKind};
use crate::json::{self, Array, Sheet};
use crate::{ChatRequest, Malformed, Text};

/// Fields by their names on the wire; also the spellings that are remembered of them.
const TOOLS: &str = "tools";
const STRICT: &str = "strict_tools";
const CHOICE: &str = "tool_choice";
const FUNCTION: &str = "function";
const TYPE: &str = "type";

/// The schema of a tool that has none, which the API demands: an object of anything.
const ANY_OBJECT: &str = r#"{"type":"object","properties":{}}"#;

/// The words there are (SDK, `V2ChatRequestToolChoice`).
const REQUIRED: &str = "REQUIRED";
const NONE: &str = "NONE";

// === Reading ===

/// Strictness is said once for all tools: each of them is given it.
pub(super) fn decode(
    tools: Option<Vec<&RawValue>>,
    strict: Option<bool>,
    extras: &mut Extras,
) -> Result<Vec<Tool>, Malformed> {
    remember_empty(extras, TOOLS, tools.as_ref());
    if let Some(strict) = strict {
        extras.remember(STRICT, json::raw(strict.to_string()));
    }
    tools.into_iter().flatten().enumerate().map(|(at, raw)| decode_tool(raw, at, strict)).collect()
}

/// A function. Anything else is kept whole.
fn decode_tool(raw: &RawValue, at: usize, strict: Option<bool>) -> Result<Tool, Malformed> {
    let place = || format!("/{TOOLS}/{at}");
    let wire: ToolWire<'_> = read(raw, &place)?;
    let mut extras = wire.extras;
    let Some(FunctionWire { name, description, parameters, extras: inner, .. }) = wire.function else {
        return Ok(Tool { kind: ToolKind::Foreign(OWN, raw.to_owned()), cache: None, extras: Extras::default() });
    };
    if !inner.is_empty() {
        extras.push(FUNCTION, object_of(&inner));
    }
    if wire.kind.is_none() {
        extras.remember(TYPE, json::null());
    }
    let name = need(name, &|| format!("{}/{FUNCTION}", place()), "name", "a string")?;
    let function = Function { name, description, schema: parameters, strict };
    Ok(Tool { kind: ToolKind::Function(function), cache: None, extras })
}

pub(super) fn decode_choice(raw: &RawValue) -> ToolChoice {
    match raw.get().trim_matches('"') {
        REQUIRED => ToolChoice::Required,
        NONE => ToolChoice::None,
        _ => ToolChoice::Foreign(OWN, raw.to_owned()),
    }
}

// === Writing ===

pub(super) fn encode(request: &ChatRequest, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    let named = match &request.tool_choice {
        Some(ToolChoice::Function(name)) => alone(&request.tools, name),
        _ => None,
    };
    let mut written = Vec::new();
    let mut array = Array::new(&mut written);
    let mut any = false;
    for (at, tool) in request.tools.iter().enumerate().filter(|(at, _)| named.is_none_or(|named| named == *at)) {
        match &tool.kind {
            ToolKind::Foreign(source, _) if *source != OWN => crossing.lose(format!("/{TOOLS}/{at}")),
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
        sheet.key(TOOLS).extend_from_slice(&written);
    } else if crossing.native {
        sheet.optional_raw(TOOLS, request.extras.recall(TOOLS));
    }
    encode_strict(request, sheet, crossing);
    encode_choice(request, any, named.is_some(), sheet, crossing);
}

fn encode_function(function: &Function, tool: &Tool, at: usize, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
    let mut sheet = Sheet::new(out);
    if !(crossing.native && tool.extras.recall(TYPE).is_some()) {
        sheet.str(TYPE, FUNCTION);
    }
    let mut inner = Sheet::new(sheet.key(FUNCTION));
    inner.text("name", &function.name).optional_text("description", function.description.as_ref());
    match &function.schema {
        Some(schema) => _ = inner.raw("parameters", schema.get()),
        None if crossing.native => {}
        None => _ = inner.raw("parameters", ANY_OBJECT),
    }
    if let Some(rest) = tool.extras.find(FUNCTION).filter(|_| crossing.native) {
        inner.extras(&fields_of(rest));
    }
    inner.end();
    if tool.cache.is_some() {
        crossing.lose(format!("/{TOOLS}/{at}/cache_control"));
    }
    sheet.skip(&[FUNCTION]);
    crossing.extras(&mut sheet, &tool.extras, &|| format!("/{TOOLS}/{at}"));
    sheet.end();
}

/// Strict for all tools or for none. Where they differ nothing is said: a schema that was not written for it would be refused.
fn encode_strict(request: &ChatRequest, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    if crossing.native {
        sheet.optional_raw(STRICT, request.extras.recall(STRICT));
        return;
    }
    let is_strict = |tool: &Tool| matches!(&tool.kind, ToolKind::Function(function) if function.strict == Some(true));
    let strict = request.tools.iter().filter(|tool| is_strict(tool)).count();
    if strict > 0 && strict == request.tools.len() {
        sheet.bool(STRICT, true);
    } else if strict > 0 {
        for (at, _) in request.tools.iter().enumerate().filter(|(_, tool)| is_strict(tool)) {
            let reason = "cohere_chat is strict about all tools or about none";
            crossing.losses.push(format!("/{TOOLS}/{at}/strict"), reason);
        }
    }
}

/// The one function that must be called, by its place among the tools.
fn alone(tools: &[Tool], name: &Text) -> Option<usize> {
    let is_named = |tool: &Tool| matches!(&tool.kind, ToolKind::Function(function) if function.name == *name);
    tools.iter().position(is_named)
}

fn encode_choice(request: &ChatRequest, any: bool, alone: bool, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    let pointer = format!("/{CHOICE}");
    if request.parallel_tool_calls == Some(false) {
        crossing.lose("/parallel_tool_calls");
    }
    match &request.tool_choice {
        Some(ToolChoice::Foreign(OWN, raw)) => _ = sheet.raw(CHOICE, raw.get()),
        Some(ToolChoice::Foreign(..)) => crossing.lose(pointer),
        Some(ToolChoice::Required | ToolChoice::Function(_)) if !any && !crossing.native => {
            crossing.losses.push(pointer, "there is no tool to choose");
        }
        Some(ToolChoice::None) if any || crossing.native => _ = sheet.str(CHOICE, NONE),
        // A model that may choose is told nothing, and neither is one that has no tools.
        None | Some(ToolChoice::Auto | ToolChoice::None) => {}
        Some(ToolChoice::Required) => _ = sheet.str(CHOICE, REQUIRED),
        Some(ToolChoice::Function(_)) => {
            let reason = if alone {
                "cohere_chat cannot name a tool: it is required, and offered alone"
            } else {
                "cohere_chat cannot name a tool: some tool is required"
            };
            crossing.losses.push(pointer, reason);
            sheet.str(CHOICE, REQUIRED);
        }
    }
}
