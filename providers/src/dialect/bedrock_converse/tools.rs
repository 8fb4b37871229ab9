//! `toolConfig`, both ways.
//!
//! Coming from another dialect, it is also where what this API cannot say is made up for: calls are forbidden by offering no tools, a
//! conversation with calls in it must offer some, and a model without a place for the answer's form gets the form as a tool.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::answer::{self, ANY_OBJECT, object_schema};
use super::block::{cache_mark, write_cache_point};
use super::family::{Family, Force};
use super::wire::{Crossing, OWN, ToolConfigWire, ToolSpecWire, keep_rest, member, need, read, rest_of};
use crate::chat::{Extras, Function, Message, PartKind, ResponseFormat, Tool, ToolCall, ToolChoice, ToolKind};
use crate::dialect::raw::fields_of;
use crate::json::{Array, Object};
use crate::{ChatRequest, Malformed, Text};

/// Where what else stands in `toolConfig` is kept.
pub(super) const TOOL_CONFIG: &str = "toolConfig";

/// The spelling of a cache point behind a tool.
const CACHE_POINT: &str = "cachePoint";

/// What is said of a tool that was called once and is no longer offered.
const FORMER: &str = "Was used earlier in this conversation, and is no longer there.";

// === Reading ===

/// Tools and the choice among them.
pub(super) fn decode(
    wire: ToolConfigWire<'_>,
    extras: &mut Extras,
) -> Result<(Vec<Tool>, Option<ToolChoice>), Malformed> {
    keep_rest(extras, TOOL_CONFIG, &wire.extras);
    let mut tools: Vec<Tool> = Vec::new();
    for (at, raw) in wire.tools.into_iter().flatten().enumerate() {
        match (member(raw), tools.last_mut()) {
            (Some((CACHE_POINT, point)), Some(tool)) if tool.cache.is_none() => {
                tool.cache = Some(cache_mark(point));
                tool.extras.remember(CACHE_POINT, point.to_owned());
            }
            (Some(("toolSpec", spec)), _) => tools.push(decode_spec(raw, spec, at)?),
            _ => tools.push(foreign(raw)),
        }
    }
    Ok((tools, wire.choice.map(decode_choice)))
}

fn foreign(raw: &RawValue) -> Tool {
    Tool { kind: ToolKind::Foreign(OWN, raw.to_owned()), cache: None, extras: Extras::default() }
}

fn decode_spec(raw: &RawValue, spec: &RawValue, at: usize) -> Result<Tool, Malformed> {
    let place = || format!("/{TOOL_CONFIG}/tools/{at}/toolSpec");
    let wire: ToolSpecWire<'_> = read(spec, &place)?;
    let schema = match wire.schema {
        Some(schema) if !schema.extras.is_empty() => return Ok(foreign(raw)),
        Some(schema) => schema.json.map(RawValue::to_owned),
        None => None,
    };
    let name = need(wire.name, &place, "name", "a string")?;
    let function = Function { name, description: wire.description, schema, strict: wire.strict };
    Ok(Tool { kind: ToolKind::Function(function), cache: None, extras: wire.extras })
}

fn decode_choice(raw: &RawValue) -> ToolChoice {
    let only_name = |tool: &RawValue| {
        let mut fields = fields_of(tool);
        let name = fields.remove("name").and_then(|name| Text::from_raw(&name));
        name.filter(|_| fields.is_empty())
    };
    let decoded = match member(raw) {
        Some(("auto", rest)) if fields_of(rest).is_empty() => Some(ToolChoice::Auto),
        Some(("any", rest)) if fields_of(rest).is_empty() => Some(ToolChoice::Required),
        Some(("tool", tool)) => only_name(tool).map(ToolChoice::Function),
        _ => None,
    };
    decoded.unwrap_or_else(|| ToolChoice::Foreign(OWN, raw.to_owned()))
}

// === Writing ===

/// What is to be offered, and how the choice is made.
struct Offer<'a> {
    tools: Vec<(usize, &'a Tool)>,
    /// Tools that the conversation calls and nobody offers any more.
    former: Vec<&'a Text>,
    /// The form of the answer, where it is asked for as a tool.
    answer: Option<&'a ResponseFormat>,
    choice: Option<Choice<'a>>,
}

/// A choice that this API can make.
#[derive(Clone, Copy)]
enum Choice<'a> {
    Auto,
    Any,
    Tool(&'a Text),
    Answer,
    Raw(&'a RawValue),
}

/// `answer`: the form of the answer, where it is to be demanded as a tool.
pub(super) fn encode(
    request: &ChatRequest,
    answer: Option<&ResponseFormat>,
    object: &mut Object<'_>,
    crossing: &mut Crossing<'_>,
) {
    if request.parallel_tool_calls == Some(false) {
        crossing.lose("/parallel_tool_calls");
    }
    let offer = Offer::of(request, answer, crossing);
    let rest = rest_of(&request.extras, TOOL_CONFIG).filter(|_| crossing.native);
    let is_empty = offer.tools.is_empty() && offer.former.is_empty() && offer.answer.is_none();
    if is_empty && rest.is_none() {
        return;
    }
    let mut config = Object::new(object.key(TOOL_CONFIG));
    let mut array = Array::new(config.key("tools"));
    for (at, tool) in offer.tools {
        encode_tool(tool, at, crossing, &mut array);
    }
    for name in offer.former {
        encode_former(name, array.item());
    }
    match offer.answer {
        Some(ResponseFormat::Schema { schema, description, .. }) => {
            answer::write_tool(schema, description.as_ref(), array.item());
        }
        Some(_) => answer::write_tool(&crate::json::raw(ANY_OBJECT.to_owned()), None, array.item()),
        None => {}
    }
    array.end();
    if let Some(choice) = offer.choice {
        choice.write(config.key("toolChoice"));
    }
    if let Some(rest) = rest {
        config.extras(&fields_of(rest));
    }
    config.end();
}

impl<'a> Offer<'a> {
    fn of(request: &'a ChatRequest, answer: Option<&'a ResponseFormat>, crossing: &mut Crossing<'_>) -> Self {
        let mut offer = Self { tools: Vec::new(), former: Vec::new(), answer: None, choice: None };
        for (at, tool) in request.tools.iter().enumerate() {
            match &tool.kind {
                ToolKind::Foreign(source, _) if *source != OWN => crossing.lose(format!("/tools/{at}")),
                _ => offer.tools.push((at, tool)),
            }
        }
        if crossing.native {
            offer.choice = request.tool_choice.as_ref().and_then(Choice::of);
            return offer;
        }
        let forbidden = matches!(request.tool_choice, Some(ToolChoice::None));
        if forbidden && !offer.tools.is_empty() {
            offer.forbid(&request.messages, crossing);
        } else {
            offer.choose(request.tool_choice.as_ref(), crossing);
        }
        offer.remember_former(&request.messages, crossing);
        offer.demand(answer, request, crossing);
        offer
    }

    /// There is no choice of none: without tools there is nothing to call. But a conversation with calls must have tools.
    fn forbid(&mut self, messages: &[Message], crossing: &mut Crossing<'_>) {
        if calls(messages).next().is_some() {
            crossing
                .losses
                .push("/tool_choice", "bedrock_converse cannot forbid calls in a conversation that has some");
        } else {
            crossing.losses.push("/tools", "left out, because bedrock_converse cannot forbid calls otherwise");
            self.tools.clear();
        }
    }

    fn choose(&mut self, choice: Option<&'a ToolChoice>, crossing: &mut Crossing<'_>) {
        let Some(choice) = choice else { return };
        let made = match choice {
            ToolChoice::Foreign(..) => None,
            ToolChoice::Required | ToolChoice::Function(_) if self.tools.is_empty() => {
                crossing.losses.push("/tool_choice", "there is no tool to choose");
                return;
            }
            ToolChoice::Auto | ToolChoice::None if self.tools.is_empty() => return,
            choice => Choice::of(choice),
        };
        let force = crossing.family.map_or(Force::One, Family::force);
        self.choice = match (made, force) {
            (None, _) => {
                crossing.lose("/tool_choice");
                None
            }
            (Some(Choice::Any | Choice::Tool(_)), Force::No) => {
                crossing.losses.push("/tool_choice", "this model cannot be made to call a tool");
                None
            }
            (Some(Choice::Tool(_)), Force::Any) => {
                crossing.losses.push("/tool_choice", "this model can be made to call some tool, but not a certain one");
                Some(Choice::Any)
            }
            (made, _) => made,
        };
    }

    /// The API refuses calls and results in a conversation that offers no tools.
    fn remember_former(&mut self, messages: &'a [Message], crossing: &mut Crossing<'_>) {
        if !self.tools.is_empty() {
            return;
        }
        let mut named = HashSet::new();
        self.former.extend(calls(messages).map(|call| &call.name).filter(|name| named.insert(name.as_escaped())));
        let has_calls = |message: &&Message| calls(std::slice::from_ref(*message)).next().is_some();
        if let Some(first) = messages.iter().find(has_calls) {
            crossing
                .losses
                .push(first.pointer.clone(), "tools of earlier calls are named again: bedrock_converse demands it");
        }
    }

    /// The form of the answer as a tool, which the model is made to call where that can be.
    fn demand(&mut self, answer: Option<&'a ResponseFormat>, request: &ChatRequest, crossing: &mut Crossing<'_>) {
        let Some(answer) = answer else { return };
        if matches!(self.choice, Some(Choice::Any | Choice::Tool(_))) {
            crossing.losses.push("/response_format", "a tool must be called instead");
            return;
        }
        let thinks = request.reasoning.as_ref().is_some_and(|reasoning| {
            reasoning.budget.is_some() || reasoning.mode.as_ref().is_some_and(|mode| mode.as_escaped() != "disabled")
        });
        let force = crossing.family.map_or(Force::One, Family::force);
        self.answer = Some(answer);
        self.choice = match force {
            _ if thinks => {
                crossing
                    .losses
                    .push("/response_format", "asked for, but not enforced: a thinking model cannot be made to");
                None
            }
            Force::One if self.tools.is_empty() && self.former.is_empty() => Some(Choice::Answer),
            Force::One | Force::Any => Some(Choice::Any),
            Force::No => {
                crossing.losses.push("/response_format", "asked for, but not enforced: this model cannot be made to");
                None
            }
        };
    }
}

impl<'a> Choice<'a> {
    /// `None` for a choice that this API cannot make.
    fn of(choice: &'a ToolChoice) -> Option<Self> {
        match choice {
            ToolChoice::Auto => Some(Self::Auto),
            ToolChoice::Required => Some(Self::Any),
            ToolChoice::Function(name) => Some(Self::Tool(name)),
            ToolChoice::Foreign(OWN, raw) => Some(Self::Raw(raw)),
            ToolChoice::None | ToolChoice::Foreign(..) => None,
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        let mut choice = Object::new(out);
        match self {
            Self::Raw(raw) => {
                choice.extras(&fields_of(raw));
            }
            Self::Auto => {
                choice.raw("auto", "{}");
            }
            Self::Any => {
                choice.raw("any", "{}");
            }
            Self::Tool(name) => {
                let mut tool = Object::new(choice.key("tool"));
                tool.text("name", name);
                tool.end();
            }
            Self::Answer => {
                let mut tool = Object::new(choice.key("tool"));
                tool.str("name", answer::ANSWER);
                tool.end();
            }
        }
        choice.end();
    }
}

fn calls(messages: &[Message]) -> impl Iterator<Item = &ToolCall> {
    messages.iter().flat_map(|message| &message.parts).filter_map(|part| match &part.kind {
        PartKind::ToolCall(call) => Some(call),
        _ => None,
    })
}

fn encode_tool(tool: &Tool, at: usize, crossing: &mut Crossing<'_>, array: &mut Array<'_>) {
    match &tool.kind {
        ToolKind::Foreign(_, raw) => {
            array.raw(raw.get());
        }
        ToolKind::Function(function) => {
            let mut union = Object::new(array.item());
            encode_spec(function, tool, at, union.key("toolSpec"), crossing);
            union.end();
        }
    }
    if let Some(mark) = &tool.cache {
        let spelt = tool.extras.recall(CACHE_POINT);
        write_cache_point(mark, spelt, &|| format!("/tools/{at}/cache_control"), crossing, array);
    }
}

fn encode_spec(function: &Function, tool: &Tool, at: usize, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
    let mut spec = Object::new(out);
    spec.text("name", &function.name);
    // An empty one is refused, and says nothing.
    if let Some(description) = function.description.as_ref().filter(|text| !text.is_empty()) {
        spec.text("description", description);
    }
    if function.schema.is_some() || !crossing.native {
        let mut schema = Object::new(spec.key("inputSchema"));
        match &function.schema {
            Some(given) if crossing.native => schema.raw("json", given.get()),
            Some(given) => schema.raw("json", object_schema(given).get()),
            None => schema.raw("json", ANY_OBJECT),
        };
        schema.end();
    }
    // What is not strict need not say so, and not every model knows the word.
    if let Some(strict) = function.strict.filter(|strict| *strict || crossing.native) {
        spec.bool("strict", strict);
    }
    crossing.extras(&mut spec, &tool.extras, &|| format!("/tools/{at}"));
    spec.end();
}

fn encode_former(name: &Text, out: &mut Vec<u8>) {
    let mut union = Object::new(out);
    let mut spec = Object::new(union.key("toolSpec"));
    spec.text("name", name).str("description", FORMER);
    let mut schema = Object::new(spec.key("inputSchema"));
    schema.raw("json", ANY_OBJECT);
    schema.end();
    spec.end();
    union.end();
}
