//! Tools and the choice among them, both ways.
//!
//! A tool here is an object that holds many functions, or a built-in tool, or both. The canonical model has one tool for each
//! function; the first of an object remembers it ([`GROUP`]), so that the caller gets back the objects it sent.

use serde_json::value::RawValue;

use super::family::Family;
use super::schema::{to_json_schema, to_openapi};
use super::wire::{
    CallingWire, Crossing, DeclarationWire, OWN, ToolConfigWire, ToolWire, fields_of, need, object_of, read,
};
use crate::chat::{Extras, Function, Raw, Tool, ToolChoice, ToolKind};
use crate::json::{self, Array, Object, Str};
use crate::{ChatRequest, Malformed, Text};

/// Marks the first canonical tool of a tool object, and keeps the object's fields beside its functions.
const GROUP: &str = "group";

/// The older key of a function's schema, under which the caller's own spelling is remembered.
const PARAMETERS: &str = "parameters";

/// Where what else stands in `toolConfig` is kept.
pub(super) const TOOL_CONFIG: &str = "toolConfig";

/// A field of the gateway's OpenAI surface that means one in `toolConfig`, and its name here.
const SERVER_SIDE: (&str, &str) = ("include_server_side_tool_invocations", "includeServerSideToolInvocations");

// === Reading ===

pub(super) fn decode(tools: Vec<&RawValue>) -> Result<Vec<Tool>, Malformed> {
    let mut decoded = Vec::new();
    for (at, raw) in tools.into_iter().enumerate() {
        let place = || format!("/tools/{at}");
        let wire: ToolWire<'_> = read(raw, &place)?;
        let functions = wire.declarations.unwrap_or_default();
        let beside = object_of(&wire.extras);
        if functions.is_empty() {
            decoded.push(grouped(foreign(raw.to_owned()), json::null()));
            continue;
        }
        let first = decoded.len();
        if wire.extras.telling().next().is_some() {
            decoded.push(grouped(foreign(beside.clone()), json::null()));
        }
        for (at, raw) in functions.into_iter().enumerate() {
            let tool = decode_function(raw, &|| format!("{}/functionDeclarations/{at}", place()))?;
            decoded.push(if decoded.len() == first { grouped(tool, beside.clone()) } else { tool });
        }
    }
    Ok(decoded)
}

fn foreign(raw: Raw) -> Tool {
    Tool { kind: ToolKind::Foreign(OWN, raw), cache: None, extras: Extras::default() }
}

fn grouped(mut tool: Tool, beside: Raw) -> Tool {
    tool.extras.remember(GROUP, beside);
    tool
}

fn decode_function(raw: &RawValue, place: &dyn Fn() -> String) -> Result<Tool, Malformed> {
    let wire: DeclarationWire<'_> = read(raw, place)?;
    let mut extras = wire.extras;
    let schema = match (wire.json_schema, wire.parameters) {
        (Some(schema), _) => Some(schema.to_owned()),
        (None, Some(parameters)) => {
            extras.remember(PARAMETERS, parameters.to_owned());
            Some(to_json_schema(parameters))
        }
        (None, None) => None,
    };
    let name = need(wire.name, place, "name", "a string")?;
    let function = Function { name, description: wire.description, schema, strict: None };
    Ok(Tool { kind: ToolKind::Function(function), cache: None, extras })
}

/// The choice that `toolConfig` makes. What else stands there stays there.
pub(super) fn decode_choice(raw: &RawValue, extras: &mut Extras) -> Result<Option<ToolChoice>, Malformed> {
    let wire: ToolConfigWire<'_> = read(raw, &|| format!("/{TOOL_CONFIG}"))?;
    if wire.extras.telling().next().is_some() {
        extras.push(TOOL_CONFIG, object_of(&wire.extras));
    } else if !wire.extras.is_empty() || wire.calling.is_none() {
        extras.remember(TOOL_CONFIG, object_of(&wire.extras));
    }
    let Some(raw) = wire.calling else { return Ok(None) };
    let calling: CallingWire<'_> = read(raw, &|| format!("/{TOOL_CONFIG}/functionCallingConfig"))?;
    let mode = calling.mode.as_ref().map_or("", Str::as_str).to_ascii_uppercase();
    let allowed = calling.allowed.as_deref();
    Ok(Some(match (mode.as_str(), allowed) {
        _ if !calling.extras.is_empty() => ToolChoice::Foreign(OWN, raw.to_owned()),
        ("AUTO", None) => ToolChoice::Auto,
        ("NONE", None) => ToolChoice::None,
        ("ANY", None) => ToolChoice::Required,
        ("ANY", Some([name])) => ToolChoice::Function(name.clone()),
        _ => ToolChoice::Foreign(OWN, raw.to_owned()),
    }))
}

// === Writing ===

/// A tool object in the making.
#[derive(Debug, Default)]
struct Group {
    beside: Extras,
    functions: Vec<u8>,
}

/// Writes the tools; says whether there were functions, because a choice among none is refused.
pub(super) fn encode(request: &ChatRequest, object: &mut Object<'_>, crossing: &mut Crossing<'_>) -> bool {
    let family = Family::of(&request.model);
    let mut groups: Vec<Group> = Vec::new();
    let mut any = false;
    for (at, tool) in request.tools.iter().enumerate() {
        let beside = tool.extras.recall(GROUP).filter(|_| crossing.native);
        if let ToolKind::Foreign(source, raw) = &tool.kind {
            if *source == OWN {
                groups.push(Group { beside: fields_of(raw), functions: Vec::new() });
            } else {
                crossing.lose(format!("/tools/{at}"));
            }
            continue;
        }
        if let Some(beside) = beside {
            groups.push(Group { beside: fields_of(beside), functions: Vec::new() });
        } else if groups.is_empty() {
            groups.push(Group::default());
        }
        let (ToolKind::Function(function), Some(group)) = (&tool.kind, groups.last_mut()) else { continue };
        any = true;
        group.functions.push(if group.functions.is_empty() { b'[' } else { b',' });
        encode_function(function, tool, (family, at), &mut group.functions, crossing);
    }
    if !groups.is_empty() {
        let mut array = Array::new(object.key("tools"));
        for group in groups {
            group.write(array.item());
        }
        array.end();
    }
    any
}

impl Group {
    fn write(mut self, out: &mut Vec<u8>) {
        let mut object = Object::new(out);
        object.extras(&self.beside);
        if !self.functions.is_empty() {
            self.functions.push(b']');
            object.key("functionDeclarations").extend_from_slice(&self.functions);
        }
        object.end();
    }
}

fn encode_function(
    function: &Function,
    tool: &Tool,
    (family, at): (Family, usize),
    out: &mut Vec<u8>,
    crossing: &mut Crossing<'_>,
) {
    let place = || format!("/tools/{at}");
    let mut object = Object::new(out);
    object.text("name", &function.name);
    if let Some(description) = &function.description {
        object.text("description", description);
    }
    match (&function.schema, tool.extras.recall(PARAMETERS).filter(|_| crossing.native)) {
        (_, Some(parameters)) => {
            object.raw(PARAMETERS, parameters.get());
        }
        (None, None) => {}
        (Some(schema), None) if crossing.native || family.takes_json_schema() => {
            object.raw("parametersJsonSchema", object_schema(schema).get());
        }
        (Some(schema), None) => encode_parameters(schema, &place, &mut object, crossing),
    }
    if tool.cache.is_some() {
        crossing.lose(format!("{}/cache_control", place()));
    }
    if function.strict == Some(true) {
        crossing.lose(format!("{}/strict", place()));
    }
    crossing.extras(&mut object, &tool.extras, &place);
    object.end();
}

/// In the subset a function without parameters must not mention them.
fn encode_parameters(
    schema: &RawValue,
    place: &dyn Fn() -> String,
    object: &mut Object<'_>,
    crossing: &mut Crossing<'_>,
) {
    let parameters = to_openapi(schema, &|| format!("{}/{PARAMETERS}", place()), crossing);
    if fields_of(&parameters).find("properties").is_some() {
        object.raw(PARAMETERS, parameters.get());
    }
}

/// "The schema must describe an object" (API reference); other dialects take that as understood.
fn object_schema(schema: &RawValue) -> Raw {
    let mut fields = fields_of(schema);
    if fields.find("type").is_some() || fields.find("$ref").is_some() {
        return schema.to_owned();
    }
    fields.push("type", json::raw(r#""object""#.into()));
    object_of(&fields)
}

pub(super) fn encode_choice(
    request: &ChatRequest,
    functions: bool,
    object: &mut Object<'_>,
    crossing: &mut Crossing<'_>,
) {
    let mut written = Vec::new();
    let mut config = Object::new(&mut written);
    let choosable = functions || crossing.native;
    match &request.tool_choice {
        Some(ToolChoice::Foreign(OWN, raw)) => {
            config.raw("functionCallingConfig", raw.get());
        }
        Some(ToolChoice::Foreign(..)) => crossing.lose("/tool_choice"),
        Some(choice) if choosable => encode_calling(choice, config.key("functionCallingConfig")),
        Some(ToolChoice::Required | ToolChoice::Function(_)) => {
            crossing.losses.push("/tool_choice", "there is no tool to choose");
        }
        Some(ToolChoice::Auto | ToolChoice::None) | None => {}
    }
    let (shared, own) = SERVER_SIDE;
    let rest = request.extras.find(TOOL_CONFIG).or_else(|| request.extras.recall(TOOL_CONFIG));
    let rest = rest.filter(|_| crossing.native);
    if let Some(rest) = rest {
        config.extras(&fields_of(rest));
    } else if let Some(value) = request.extras.find(shared).filter(|_| !crossing.native) {
        config.raw(own, value.get());
    }
    config.end();
    if written != b"{}" {
        object.key(TOOL_CONFIG).extend_from_slice(&written);
    } else if let Some(empty) = rest {
        object.raw(TOOL_CONFIG, empty.get());
    }
    if request.parallel_tool_calls == Some(false) {
        crossing.lose("/parallel_tool_calls");
    }
}

/// Fields that are read here, and so are no loss.
pub(super) fn is_shared(key: &str) -> bool {
    key == SERVER_SIDE.0
}

fn encode_calling(choice: &ToolChoice, out: &mut Vec<u8>) {
    let mut calling = Object::new(out);
    let (mode, name) = match choice {
        ToolChoice::Auto | ToolChoice::Foreign(..) => ("AUTO", None),
        ToolChoice::None => ("NONE", None),
        ToolChoice::Required => ("ANY", None),
        ToolChoice::Function(name) => ("ANY", Some(name)),
    };
    calling.str("mode", mode);
    if let Some(name) = name {
        allow(name, &mut calling);
    }
    calling.end();
}

fn allow(name: &Text, calling: &mut Object<'_>) {
    let mut allowed = Array::new(calling.key("allowedFunctionNames"));
    json::write_text(allowed.item(), name);
    allowed.end();
}
