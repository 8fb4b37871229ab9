//! What a message says: reasoning, content, refusal and tool calls, as the same object in requests and replies.
//!
//! The canonical parts stand in the order in which a model makes them: reasoning, content, refusal, calls. How the caller
//! spelt reasoning (`reasoning_content`, `reasoning`, `reasoning_details`, which may all say the same) is remembered by marks
//! in the parts' `extras`: the names of the string fields as `null`, and a detail's own `type`.

use serde_json::value::RawValue;

use super::content::{IN_CONTENT, decode_content, encode_content};
use super::wire::{self, Sheet, fields, object, quoted};
use crate::chat::{ContentForm, Extras, Part, PartKind, Raw, ToolCall};
use crate::json::{self, Array, decode, decode_at};
use crate::{Dialect, Malformed, Text};

/// Marks calls, results and tools of the legacy `functions` API.
pub(super) const LEGACY: &str = "function_call";

/// The string fields that carry reasoning, in the order in which they are believed.
pub(super) const REASONING: [&str; 2] = ["reasoning_content", "reasoning"];

/// Marks a reasoning detail, or a tool call, of a kind not known.
const DETAILS: &str = "reasoning_details";
const CALLS: &str = "tool_calls";

/// Where a call carries what only its provider understands.
pub(in crate::dialect) const EXTRA_CONTENT: &str = "extra_content";

/// What a message says, and the fields that say nothing canonical.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) parts: Vec<Part>,
    pub(super) content: ContentForm,
    pub(super) extras: Extras,
}

// === decode ===

/// Takes a message apart. `role`, `name` and `tool_call_id` are the caller's to read.
pub(super) fn decode_message(message: wire::Message<'_>, pointer: &str) -> Result<Said, Malformed> {
    let mut extras = message.extras;
    let strings = [message.reasoning_content, message.reasoning.and_then(Text::from_raw)];
    if let (Some(raw), [_, None]) = (message.reasoning, &strings) {
        extras.push("reasoning", raw.to_owned());
    }
    let mut parts = decode_reasoning(message.reasoning_details, strings, &mut extras);
    let content = match message.content {
        Some(raw) => {
            let (form, content) = decode_content(raw, pointer)?;
            parts.extend(content);
            form
        }
        None if extras.remove("content").is_some() => ContentForm::Null,
        None => ContentForm::Absent,
    };
    match message.refusal {
        Some(refusal) if refusal.is_empty() => extras.push("refusal", quoted(&refusal)),
        Some(refusal) => parts.push(PartKind::Refusal(refusal).into()),
        None => {}
    }
    if message.tool_calls.as_ref().is_some_and(Vec::is_empty) {
        extras.push(CALLS, json::raw("[]".into()));
    }
    for (at, raw) in message.tool_calls.into_iter().flatten().enumerate() {
        parts.push(decode_call(raw, at, &format!("{pointer}/tool_calls/{at}"))?);
    }
    parts.extend(message.function_call.map(decode_legacy_call));
    Ok(Said { parts, content, extras })
}

/// Reasoning in whichever of its spellings; the same thinking said twice is one part.
fn decode_reasoning(details: Option<Vec<&RawValue>>, strings: [Option<Text>; 2], extras: &mut Extras) -> Vec<Part> {
    if details.as_ref().is_some_and(Vec::is_empty) {
        extras.push(DETAILS, json::raw("[]".into()));
    }
    let mut parts: Vec<Part> = details.into_iter().flatten().map(decode_detail).collect();
    for (key, text) in REASONING.into_iter().zip(strings) {
        let Some(text) = text else { continue };
        if text.is_empty() {
            extras.push(key, quoted(&text));
        } else if let Some(sealed) = only_sealed(&mut parts) {
            // A stream has the text in one field and the seal in the other, and clients keep both as they came.
            *sealed = text;
        } else if parts.is_empty() {
            let mut part = Part::from(PartKind::Thinking { text, signature: None });
            part.extras.push(key, json::null());
            parts.push(part);
        } else if thinking_text(parts.iter()) == text {
            if let Some(first) = parts.first_mut() {
                first.extras.push(key, json::null());
            }
        } else {
            extras.push(key, quoted(&text));
        }
    }
    parts
}

/// The empty text of thinking of which there is nothing but a seal.
fn only_sealed(parts: &mut [Part]) -> Option<&mut Text> {
    match parts {
        [Part { kind: PartKind::Thinking { text, signature: Some(_) }, .. }] if text.is_empty() => Some(text),
        _ => None,
    }
}

/// One element of `reasoning_details`.
pub(super) fn decode_detail(raw: &RawValue) -> Part {
    let whole = || {
        let mut part = Part::from(PartKind::Foreign(Dialect::OpenAiChat, raw.to_owned()));
        part.extras.push(DETAILS, json::null());
        part
    };
    let Ok(detail) = decode::<wire::ReasoningDetail<'_>>(raw.get().as_bytes()) else { return whole() };
    let mut extras = detail.extras;
    let kind = match (detail.kind.as_ref().map_or("", |kind| kind.as_str()), detail.text, detail.summary, detail.data) {
        ("reasoning.text", text, None, None) => {
            if text.as_ref().is_some_and(Text::is_empty) {
                extras.push("text", json::raw("\"\"".into()));
            }
            PartKind::Thinking { text: text.unwrap_or_default(), signature: detail.signature }
        }
        ("reasoning.summary", None, Some(text), None) => PartKind::Thinking { text, signature: detail.signature },
        ("reasoning.encrypted", None, None, Some(data)) if detail.signature.is_none() => PartKind::Redacted { data },
        _ => return whole(),
    };
    let kind_name = detail.kind.map(|kind| Text::from_plain(kind.as_str())).unwrap_or_default();
    extras.push("type", quoted(&kind_name));
    Part { extras, ..Part::from(kind) }
}

/// All thinking, as one text.
fn thinking_text<'a>(parts: impl Iterator<Item = &'a Part>) -> Text {
    let mut whole = Text::default();
    for part in parts {
        if let PartKind::Thinking { text, .. } = &part.kind {
            whole.push(text);
        }
    }
    whole
}

fn decode_call(raw: &RawValue, at: usize, pointer: &str) -> Result<Part, Malformed> {
    let call: wire::ToolCall<'_> = decode_at(raw, pointer)?;
    let mut extras = call.extras;
    if extras.find("index").is_some_and(|index| index.get().parse() == Ok(at)) {
        // The position says the same. It is written again from where the call then stands.
        extras.remove("index");
        extras.push("index", json::null());
    }
    if call.kind.is_none() {
        extras.remove("type");
        extras.push("type", json::null());
    }
    let id = call.id.unwrap_or_default();
    let kind = match (call.kind.as_ref().map_or("function", |kind| kind.as_str()), call.function, call.custom) {
        ("function", Some(body), None) => {
            let (name, arguments) = decode_body(body, &mut extras);
            ToolCall { id, name, arguments, custom: false }
        }
        ("custom", None, Some(body)) => {
            if !body.extras.is_empty() {
                extras.push("custom", object(&body.extras));
            }
            let (name, arguments) = (body.name.unwrap_or_default(), body.input.unwrap_or_default());
            ToolCall { id, name, arguments, custom: true }
        }
        _ => {
            let mut part = Part::from(PartKind::Foreign(Dialect::OpenAiChat, raw.to_owned()));
            part.extras.push(CALLS, json::null());
            return Ok(part);
        }
    };
    let signature = thought_signature(&extras);
    Ok(Part { signature, extras, ..Part::from(PartKind::ToolCall(kind)) })
}

/// The name and arguments of a function call. Arguments that some server sends as an object are put into a string.
fn decode_body(body: wire::FunctionBody<'_>, extras: &mut Extras) -> (Text, Text) {
    let arguments = body.arguments.map(arguments).unwrap_or_default();
    if !body.extras.is_empty() {
        extras.push("function", object(&body.extras));
    }
    (body.name.unwrap_or_default(), arguments)
}

/// Arguments as the escaped text of their JSON, whatever they were sent as.
pub(super) fn arguments(raw: &RawValue) -> Text {
    Text::from_raw(raw).unwrap_or_else(|| Text::from_plain(raw.get()))
}

fn decode_legacy_call(body: wire::FunctionBody<'_>) -> Part {
    let mut extras = Extras::default();
    let (name, arguments) = decode_body(body, &mut extras);
    extras.push(LEGACY, json::null());
    // The legacy API has no ids: a message makes one call, and its result names the function.
    let id = Text::from_plain(&format!("call_{}", name.as_escaped()));
    Part { extras, ..Part::from(PartKind::ToolCall(ToolCall { id, name, arguments, custom: false })) }
}

// === encode ===

/// The parts of a message by the field that says them.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) content: Vec<&'a Part>,
    pub(super) reasoning: Vec<&'a Part>,
    pub(super) refusal: Text,
    pub(super) calls: Vec<&'a Part>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(parts: impl Iterator<Item = &'a Part>) -> Self {
        let mut fields = Self::default();
        for part in parts {
            let marked = |key| part.extras.find(key).is_some();
            match &part.kind {
                PartKind::Thinking { .. } | PartKind::Refusal(_) if marked(IN_CONTENT) => fields.content.push(part),
                PartKind::Thinking { .. } | PartKind::Redacted { .. } => fields.reasoning.push(part),
                PartKind::Foreign(..) if marked(DETAILS) => fields.reasoning.push(part),
                PartKind::Foreign(..) if marked(CALLS) => fields.calls.push(part),
                PartKind::Refusal(text) => fields.refusal.push(text),
                PartKind::ToolCall(_) => fields.calls.push(part),
                PartKind::ToolResult(_) => {}
                _ => fields.content.push(part),
            }
        }
        fields
    }

    /// Writes every field, `content` first.
    pub(super) fn encode(&self, sheet: &mut Sheet<'_>, form: ContentForm) {
        encode_content(sheet, &self.content, form);
        encode_reasoning(sheet, &self.reasoning);
        if !self.refusal.is_empty() {
            sheet.text("refusal", &self.refusal);
        }
        let marked = |part: &&&Part| part.extras.find(LEGACY).is_some();
        let legacy = self.calls.iter().find(marked);
        if let Some(PartKind::ToolCall(call)) = legacy.map(|part| &part.kind) {
            encode_body(sheet.key("function_call"), call, legacy.and_then(|part| part.extras.find("function")));
        }
        let mut calls = self.calls.iter().filter(|part| !marked(part)).enumerate().peekable();
        if calls.peek().is_some() {
            let mut array = Array::new(sheet.key("tool_calls"));
            for (at, part) in calls {
                encode_call(array.item(), part, at);
            }
            array.end();
        }
    }
}

fn encode_reasoning(sheet: &mut Sheet<'_>, parts: &[&Part]) {
    let text = thinking_text(parts.iter().copied());
    let marked = |key| parts.iter().any(|part| part.extras.find(key).is_some());
    let unmarked =
        |part: &&Part| !["type", DETAILS].iter().chain(&REASONING).any(|key| part.extras.find(key).is_some());
    // What another dialect thought is said under the name that most providers read.
    let foreign = parts.iter().any(unmarked);
    for key in REASONING {
        if !text.is_empty() && (marked(key) || (foreign && key == "reasoning_content")) {
            sheet.text(key, &text);
        }
    }
    let opaque = |part: &&Part| !matches!(part.kind, PartKind::Thinking { signature: None, .. });
    if !parts.iter().any(|part| part.extras.find("type").is_some() || opaque(part)) {
        return;
    }
    let mut array = Array::new(sheet.key(DETAILS));
    for (at, part) in parts.iter().enumerate() {
        encode_detail(array.item(), part, at);
    }
    array.end();
}

/// Writes one element of `reasoning_details`: as it was spelt, or as the gateway spells it at position `at`.
pub(super) fn encode_detail(out: &mut Vec<u8>, part: &Part, at: usize) {
    if let PartKind::Foreign(_, raw) = &part.kind {
        out.extend_from_slice(raw.get().as_bytes());
        return;
    }
    let kind = part.extras.find("type").map(RawValue::get);
    let mut detail = Sheet::new(out);
    match &part.kind {
        PartKind::Redacted { data } => {
            _ = detail.raw("type", kind.unwrap_or("\"reasoning.encrypted\"")).text("data", data);
        }
        PartKind::Thinking { text, signature } => {
            let kind = kind.unwrap_or("\"reasoning.text\"");
            detail.raw("type", kind);
            let key = if kind == "\"reasoning.summary\"" { "summary" } else { "text" };
            if !text.is_empty() || key == "summary" {
                detail.text(key, text);
            }
            detail.optional_text("signature", signature.as_ref());
        }
        _ => {}
    }
    if part.extras.find("type").is_none() {
        detail.number("index", at as u64);
    }
    detail.skip(&REASONING).extras(&part.extras);
    detail.end();
}

/// Writes one element of `tool_calls`.
fn encode_call(out: &mut Vec<u8>, part: &Part, at: usize) {
    let call = match &part.kind {
        PartKind::ToolCall(call) => call,
        PartKind::Foreign(_, raw) => {
            out.extend_from_slice(raw.get().as_bytes());
            return;
        }
        _ => return out.extend_from_slice(b"null"),
    };
    let mut sheet = Sheet::new(out);
    if !call.id.is_empty() {
        sheet.text("id", &call.id);
    }
    let untyped = part.extras.find("type").is_some();
    if untyped {
        sheet.skip(&["type"]);
    } else {
        sheet.raw("type", if call.custom { "\"custom\"" } else { "\"function\"" });
    }
    if call.custom {
        let mut body = Sheet::new(sheet.key("custom"));
        body.text("name", &call.name).text("input", &call.arguments).extras(&fields(part.extras.find("custom")));
        body.end();
    } else {
        encode_body(sheet.key("function"), call, part.extras.find("function"));
    }
    if part.extras.find("index").is_some_and(|index| index.get() == "null") {
        sheet.number("index", at as u64);
    }
    if let Some(signature) = part.signature.as_ref().filter(|_| part.extras.find(EXTRA_CONTENT).is_none()) {
        encode_thought_signature(sheet.key(EXTRA_CONTENT), signature);
    }
    sheet.extras(&part.extras);
    sheet.end();
}

/// Google's signature over the thought behind a call, where its OpenAI-compatible API puts it
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures>).
pub(in crate::dialect) fn thought_signature(extras: &Extras) -> Option<Text> {
    let google = fields(extras.find(EXTRA_CONTENT)).remove("google")?;
    fields(Some(&google)).remove("thought_signature").and_then(|signature| Text::from_raw(&signature))
}

/// Writes the object that [`thought_signature`] reads.
pub(in crate::dialect) fn encode_thought_signature(out: &mut Vec<u8>, signature: &Text) {
    let mut content = Sheet::new(out);
    let mut google = Sheet::new(content.key("google"));
    google.text("thought_signature", signature);
    google.end();
    content.end();
}

fn encode_body(out: &mut Vec<u8>, call: &ToolCall, inner: Option<&RawValue>) {
    let inner = fields(inner);
    let mut body = Sheet::new(out);
    body.text("name", &call.name);
    if inner.find("arguments").is_none() {
        body.text("arguments", &call.arguments);
    }
    body.extras(&inner);
    body.end();
}

/// Fields of a part that its own dialect alone can write, as names for losses.
pub(super) fn untold(part: &Part) -> impl Iterator<Item = &str> {
    part.cache.as_ref().map(|_: &Raw| "cache_control").into_iter().chain(part.extras.telling())
}
