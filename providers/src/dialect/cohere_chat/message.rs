//! What a message says: thinking, text, plan and calls, as the same object in requests and replies.
//!
//! The canonical parts stand in the order in which a model makes them: content, plan, calls. The plan is reasoning, never the
//! answer; what tells it from a thinking block is a remembered spelling.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::content::{self, remember_empty};
use super::wire::{CallBodyWire, CallWire, Crossing, MessageWire, OWN, Place, fields_of, need, object_of, read};
use crate::chat::{ContentForm, Extras, Part, PartKind, Raw, ToolCall, ToolResult};
use crate::dialect::raw::{RAW_ARGUMENTS, arguments_object};
use crate::json::{self, Array, Object, Sheet};
use crate::{Malformed, Text};

/// Fields by their names on the wire; also the spellings that are remembered of them.
pub(super) const PLAN: &str = "tool_plan";
pub(super) const CALLS: &str = "tool_calls";
pub(super) const CITATIONS: &str = "citations";
const FUNCTION: &str = "function";
const TYPE: &str = "type";
const ARGUMENTS: &str = "arguments";

/// What a message says, and the fields that say nothing canonical.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) parts: Vec<Part>,
    pub(super) form: ContentForm,
    pub(super) extras: Extras,
}

// === Reading ===

/// Takes a message apart. `role` and `tool_call_id` are the caller's to read.
pub(super) fn decode(wire: MessageWire<'_>, place: Place<'_>) -> Result<Said, Malformed> {
    let mut extras = wire.extras;
    let (mut parts, form) = match wire.content {
        Some(raw) => content::decode(raw, &|| format!("{}/content", place()))?,
        None if extras.remove("content").is_some() => (Vec::new(), ContentForm::Null),
        None => (Vec::new(), ContentForm::Absent),
    };
    match wire.tool_plan {
        Some(plan) if plan.is_empty() => extras.remember(PLAN, json::raw("\"\"".into())),
        Some(plan) => parts.push(planned(plan)),
        None => {}
    }
    remember_empty(&mut extras, CALLS, wire.tool_calls.as_ref());
    for (at, raw) in wire.tool_calls.into_iter().flatten().enumerate() {
        parts.push(decode_call(raw, &|| format!("{}/{CALLS}/{at}", place()))?);
    }
    remember_empty(&mut extras, CITATIONS, wire.citations.as_ref());
    if let Some(citations) = wire.citations.filter(|citations| !citations.is_empty()) {
        extras.push(CITATIONS, list(&citations));
    }
    Ok(Said { parts, form, extras })
}

/// The plan as reasoning.
pub(super) fn planned(plan: Text) -> Part {
    Part { extras: plan_mark(), ..Part::from(PartKind::Thinking { text: plan, signature: None }) }
}

/// What the extras of a plan remember.
pub(super) fn plan_mark() -> Extras {
    let mut extras = Extras::default();
    extras.remember(PLAN, json::null());
    extras
}

pub(super) fn is_plan(extras: &Extras) -> bool {
    extras.recall(PLAN).is_some()
}

/// A call. One without a function is kept whole.
pub(super) fn decode_call(raw: &RawValue, place: Place<'_>) -> Result<Part, Malformed> {
    let wire: CallWire<'_> = read(raw, place)?;
    let mut extras = wire.extras;
    let Some(CallBodyWire { name, arguments, extras: inner, .. }) = wire.function else {
        extras = Extras::default();
        extras.remember(CALLS, json::null());
        return Ok(Part { extras, ..Part::from(PartKind::Foreign(OWN, raw.to_owned())) });
    };
    if !inner.is_empty() {
        extras.push(FUNCTION, object_of(&inner));
    }
    if wire.kind.is_none() {
        extras.remember(TYPE, json::null());
    }
    if arguments.is_none() {
        extras.remember(ARGUMENTS, json::null());
    }
    let call = ToolCall {
        id: wire.id.unwrap_or_default(),
        name: need(name, &|| format!("{}/{FUNCTION}", place()), "name", "a string")?,
        arguments: arguments.unwrap_or_default(),
        custom: false,
    };
    Ok(Part { extras, ..Part::from(PartKind::ToolCall(call)) })
}

pub(super) fn list(elements: &[&RawValue]) -> Raw {
    let mut out = Vec::new();
    let mut array = Array::new(&mut out);
    for element in elements {
        array.raw(element.get());
    }
    array.end();
    json::written(out)
}

// === Writing ===

/// A part, or what is said for it, and where it stood in the caller's body.
#[derive(Clone, Debug)]
pub(super) struct Piece<'a> {
    pub(super) part: Cow<'a, Part>,
    pub(super) place: String,
}

/// The pieces of a message by the field that says them. Results are messages of their own.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) content: Vec<Piece<'a>>,
    plan: Text,
    pub(super) calls: Vec<Piece<'a>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(pieces: impl IntoIterator<Item = Piece<'a>>) -> Self {
        let mut fields = Self::default();
        for piece in pieces {
            let extras = &piece.part.extras;
            match &piece.part.kind {
                PartKind::Thinking { text, .. } if is_plan(extras) => fields.plan.push(text),
                PartKind::ToolCall(_) => fields.calls.push(piece),
                PartKind::Foreign(..) if extras.recall(CALLS).is_some() => fields.calls.push(piece),
                PartKind::ToolResult(_) => {}
                _ => fields.content.push(piece),
            }
        }
        fields
    }

    /// Writes `tool_plan`, `tool_calls` and the empty fields that were there.
    pub(super) fn encode_calls(&self, spelt: &Extras, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
        let empty = |key| spelt.recall(key).filter(|_| crossing.native);
        if self.plan.is_empty() {
            sheet.optional_raw(PLAN, empty(PLAN));
        } else {
            sheet.text(PLAN, &self.plan);
        }
        if self.calls.is_empty() {
            sheet.optional_raw(CALLS, empty(CALLS));
        } else {
            let mut array = Array::new(sheet.key(CALLS));
            for call in &self.calls {
                encode_call(call, crossing, array.item());
            }
            array.end();
        }
    }

    /// Writes `content` as the caller's own dialect spelt it, or as a string where it is one text.
    pub(super) fn encode_content(&self, form: ContentForm, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
        let single = match self.content.as_slice() {
            [piece] if !(crossing.native && form == ContentForm::Parts) => {
                content::plain(&piece.part).map(|text| (piece, text))
            }
            _ => None,
        };
        match (single, self.content.is_empty()) {
            (Some((piece, text)), _) => {
                sheet.text("content", text);
                content::lose_marks(&piece.part, &|| piece.place.clone(), crossing);
            }
            (None, true) if crossing.native && form == ContentForm::Null => _ = sheet.raw("content", "null"),
            (None, true) if !crossing.native || form == ContentForm::Absent => {}
            (None, _) => self.encode_list(sheet.key("content"), crossing),
        }
    }

    pub(super) fn encode_list(&self, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
        content::encode_list(self.content.iter(), crossing, out);
    }
}

fn encode_call(piece: &Piece<'_>, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    let place = || piece.place.clone();
    let call = match &piece.part.kind {
        PartKind::ToolCall(call) => call,
        PartKind::Foreign(_, raw) => return out.extend_from_slice(raw.get().as_bytes()),
        _ => return out.extend_from_slice(b"null"),
    };
    let extras = &piece.part.extras;
    let mut sheet = Sheet::new(out);
    if !(crossing.native && call.id.is_empty()) {
        sheet.text("id", &call.id);
    }
    if !(crossing.native && extras.recall(TYPE).is_some()) {
        sheet.str(TYPE, FUNCTION);
    }
    let mut body = Sheet::new(sheet.key(FUNCTION));
    body.text("name", &call.name);
    if !(crossing.native && extras.recall(ARGUMENTS).is_some() && call.arguments.is_empty()) {
        encode_arguments(call, &place, crossing, &mut body);
    }
    if let Some(inner) = extras.find(FUNCTION).filter(|_| crossing.native) {
        body.extras(&fields_of(inner));
    }
    body.end();
    content::lose_marks(&piece.part, &place, crossing);
    sheet.skip(&[FUNCTION]);
    crossing.extras(&mut sheet, extras, &place);
    sheet.end();
}

/// Arguments are the JSON text of an object. What another dialect has that is none stands in `_raw_arguments`.
fn encode_arguments(call: &ToolCall, place: Place<'_>, crossing: &mut Crossing<'_>, body: &mut Sheet<'_>) {
    if crossing.native && !call.custom {
        body.text(ARGUMENTS, &call.arguments);
        return;
    }
    match arguments_object(&call.arguments, call.custom) {
        Some(_) if call.arguments.to_plain().trim().is_empty() => _ = body.str(ARGUMENTS, "{}"),
        Some(_) => _ = body.text(ARGUMENTS, &call.arguments),
        None => {
            crossing.losses.push(place(), "the arguments are not a JSON object; they stand in `_raw_arguments`");
            let mut wrapped = Vec::new();
            let mut object = Object::new(&mut wrapped);
            object.text(RAW_ARGUMENTS, &call.arguments);
            object.end();
            body.str(ARGUMENTS, &String::from_utf8_lossy(&wrapped));
        }
    }
}

/// Writes the message that a tool's result is.
pub(super) fn encode_result(
    result: &ToolResult,
    spelt: &Extras,
    piece: &Piece<'_>,
    crossing: &mut Crossing<'_>,
    out: &mut Vec<u8>,
) {
    let place = || piece.place.clone();
    let mut sheet = Sheet::new(out);
    sheet.str("role", "tool");
    if !(crossing.native && result.call_id.is_empty()) {
        sheet.text("tool_call_id", &result.call_id);
    }
    let mut said = Vec::with_capacity(result.parts.len());
    for (at, part) in result.parts.iter().enumerate() {
        let place = format!("{}/content/{at}", place());
        match obstacle_in_result(part).filter(|_| !crossing.native) {
            Some(reason) => crossing.losses.push(place, reason),
            None => said.push(Piece { part: Cow::Borrowed(part), place }),
        }
    }
    let fields = Fields { content: said, ..Fields::default() };
    if fields.content.is_empty() && !crossing.native {
        // A result must say something, if only nothing.
        sheet.str("content", "");
    } else {
        fields.encode_content(result.content, &mut sheet, crossing);
    }
    if result.is_error == Some(true) {
        crossing.lose(format!("{}/is_error", place()));
    }
    content::lose_marks(&piece.part, &place, crossing);
    crossing.lose_extras(&piece.part.extras, &place);
    if crossing.native {
        sheet.extras(spelt);
    }
    sheet.end();
}

fn obstacle_in_result(part: &Part) -> Option<&'static str> {
    match &part.kind {
        PartKind::Image(_) => Some("a tool's result in cohere_chat is text and documents"),
        _ => content::obstacle(part),
    }
}
