//! OpenAI's two dialects are siblings: much that no other dialect has is the same thing in another spelling. Here are both
//! spellings of each, so that it crosses instead of being lost.

use serde_json::value::RawValue;

use super::spelling;
use super::wire::OWN;
use crate::Dialect;
use crate::chat::{Extras, Part, PartKind, Raw};
use crate::json::{self, Array, Sheet, fields, object};
use crate::reply::Citation;

/// Fields of a request that both have, by the same name and with the same meaning.
const SHARED: [&str; 7] = [
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "top_logprobs",
];

/// Where each dialect keeps a custom tool: chat in an object of this name, Responses beside its `type`.
const CUSTOM: &str = "custom";

/// Lists on a text of this dialect, and the one kind of citation that both have.
const ANNOTATIONS: &str = "annotations";
const LOGPROBS: &str = "logprobs";
const CITATION: &str = "url_citation";

fn is(fields: &Extras, key: &str, word: &str) -> bool {
    fields.find(key).is_some_and(|value| value.get().trim_matches('"') == word)
}

fn with_type(kind: &str, rest: &Extras) -> Extras {
    let mut all = Extras::default();
    all.push("type", json::raw(format!("\"{kind}\"")));
    rest.iter().for_each(|(key, value)| all.push(key, value.to_owned()));
    all
}

fn one(key: &str, value: Raw) -> Extras {
    let mut extras = Extras::default();
    extras.push(key, value);
    extras
}

/// `{"type":T,T:{..}}` as `{"type":T,..}`.
fn flat(mut nested: Extras, kind: &str) -> Option<Raw> {
    nested.remove("type")?;
    let inner = nested.remove(kind)?;
    nested.is_empty().then(|| object(&with_type(kind, &fields(Some(&inner)))))
}

/// The reverse of [`flat`].
fn nested(mut flat: Extras, kind: &str) -> Option<Raw> {
    flat.remove("type")?;
    Some(object(&with_type(kind, &one(kind, object(&flat)))))
}

// === Requests from chat ===

/// A tool of chat's that is no function.
pub(super) fn tool_from_chat(source: Dialect, raw: &RawValue) -> Option<Raw> {
    let tool = fields(Some(raw));
    if source != Dialect::OpenAiChat || !is(&tool, "type", CUSTOM) {
        return None;
    }
    let mut tool = fields(Some(&*flat(tool, CUSTOM)?));
    // A grammar stands in an object of its own in chat.
    if let Some(format) = tool.remove("format") {
        tool.push("format", flat(fields(Some(&format)), "grammar").unwrap_or(format));
    }
    Some(object(&tool))
}

/// A choice of chat's that is no function.
pub(super) fn choice_from_chat(source: Dialect, raw: &RawValue) -> Option<Raw> {
    let choice = fields(Some(raw));
    if source != Dialect::OpenAiChat {
        return None;
    }
    if is(&choice, "type", CUSTOM) {
        return flat(choice, CUSTOM);
    }
    let allowed = fields(Some(&*flat(choice, "allowed_tools")?));
    Some(object(&each_tool(allowed, |tool| {
        let kind = if is(&tool, "type", CUSTOM) { CUSTOM } else { "function" };
        flat(tool, kind)
    })?))
}

/// The fields that both have, taken out of `rest` and written.
pub(super) fn request_from_chat(rest: &mut Extras, sheet: &mut Sheet<'_>) {
    for key in SHARED {
        if let Some(value) = rest.remove(key) {
            sheet.raw(key, value.get());
        }
    }
    // Written within `text`.
    rest.remove("verbosity");
}

// === Requests to chat ===

/// A tool of Responses' that is no function.
pub(in crate::dialect) fn tool_to_chat(source: Dialect, raw: &RawValue) -> Option<Raw> {
    let mut tool = fields(Some(raw));
    if source != OWN || !is(&tool, "type", CUSTOM) {
        return None;
    }
    if let Some(format) = tool.remove("format") {
        let grammar = fields(Some(&format));
        let format = if is(&grammar, "type", "grammar") { nested(grammar, "grammar")? } else { format };
        tool.push("format", format);
    }
    nested(tool, CUSTOM)
}

/// A choice of Responses' that is no function.
pub(in crate::dialect) fn choice_to_chat(source: Dialect, raw: &RawValue) -> Option<Raw> {
    let choice = fields(Some(raw));
    if source != OWN {
        return None;
    }
    if is(&choice, "type", CUSTOM) {
        return nested(choice, CUSTOM);
    }
    if !is(&choice, "type", "allowed_tools") {
        return None;
    }
    let allowed = each_tool(choice, |tool| {
        let kind = ["function", CUSTOM].into_iter().find(|kind| is(&tool, "type", kind))?;
        nested(tool, kind)
    })?;
    nested(allowed, "allowed_tools")
}

/// The fields of a Responses request that chat has too; what is left in `rest` is lost.
pub(in crate::dialect) fn request_to_chat(rest: &mut Extras) -> Extras {
    let mut kept = Extras::default();
    for key in SHARED.into_iter().chain(["store"]) {
        if let Some(value) = rest.remove(key) {
            kept.push(key, value);
        }
    }
    if let Some(mut text) = rest.remove("text").map(|text| fields(Some(&text))) {
        if let Some(verbosity) = text.remove("verbosity") {
            kept.push("verbosity", verbosity);
        }
        if text.telling().next().is_some() {
            rest.push("text", object(&text));
        }
    }
    take_include(rest, &mut kept);
    kept
}

/// What a caller wants included: log-probabilities have a field of their own in chat, and a seal always comes along.
fn take_include(rest: &mut Extras, kept: &mut Extras) {
    let Some(include) = rest.remove("include") else { return };
    let mut left: Vec<&RawValue> = json::decode(include.get().as_bytes()).unwrap_or_default();
    left.retain(|name| match name.get() {
        "\"message.output_text.logprobs\"" => {
            kept.push("logprobs", json::raw("true".into()));
            false
        }
        name => name != "\"reasoning.encrypted_content\"",
    });
    if !left.is_empty() {
        rest.push("include", spelling::list(left));
    }
}

/// An object with every element of its `tools` respelt; `None` where one cannot be.
fn each_tool(mut object_of_tools: Extras, spell: impl Fn(Extras) -> Option<Raw>) -> Option<Extras> {
    let tools = object_of_tools.remove("tools")?;
    let tools: Vec<&RawValue> = json::decode(tools.get().as_bytes()).ok()?;
    let tools: Vec<Raw> = tools.into_iter().map(|tool| spell(fields(Some(tool)))).collect::<Option<_>>()?;
    object_of_tools.push("tools", spelling::list(tools.iter().map(|tool| &**tool)));
    Some(object_of_tools)
}

// === Replies ===

/// What stands on a text here and beside the message in chat: citations, and log-probabilities in an object of their own.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Beside {
    pub(in crate::dialect) annotations: Option<Raw>,
    pub(in crate::dialect) logprobs: Option<Raw>,
}

/// Takes from a reply's texts what chat has beside the message.
pub(in crate::dialect) fn beside_message(parts: &[Part]) -> (Beside, Vec<Part>) {
    let mut parts = parts.to_vec();
    let (mut annotations, mut logprobs) = (Vec::new(), Vec::new());
    for part in parts.iter_mut().filter(|part| matches!(part.kind, PartKind::Text(_))) {
        let spelt = cited(&mut part.extras);
        annotations.extend(spelt.as_deref().map(elements).into_iter().flatten().map(ToOwned::to_owned));
        let measured = part.extras.remove(LOGPROBS);
        logprobs.extend(measured.as_deref().map(elements).into_iter().flatten().map(ToOwned::to_owned));
    }
    let joined = |list: &[Raw]| (!list.is_empty()).then(|| spelling::list(list.iter().map(|one| &**one)));
    (Beside { annotations: joined(&annotations), logprobs: joined(&logprobs).map(|list| measured(&list)) }, parts)
}

/// The same for the growth of one text; what chat has no place for is left.
pub(in crate::dialect) fn beside_text(growth: &RawValue) -> (Beside, Extras) {
    let mut rest = fields(Some(growth));
    let annotations = cited(&mut rest);
    let logprobs = rest.remove(LOGPROBS).filter(|list| list.get() != "[]").map(|list| measured(&list));
    (Beside { annotations, logprobs }, rest)
}

/// The citations that chat can spell, taken out of a text's fields; the others stay.
fn cited(extras: &mut Extras) -> Option<Raw> {
    let list = extras.remove(ANNOTATIONS)?;
    let (mut spelt, mut left) = (Vec::new(), Vec::new());
    for raw in elements(&list) {
        let citation = fields(Some(raw));
        let is_url = is(&citation, "type", CITATION);
        match is_url.then(|| nested(citation, CITATION)).flatten() {
            Some(own) => spelt.push(own),
            None => left.push(raw.to_owned()),
        }
    }
    if !left.is_empty() {
        extras.push(ANNOTATIONS, spelling::list(left.iter().map(|one| &**one)));
    }
    (!spelt.is_empty()).then(|| spelling::list(spelt.iter().map(|one| &**one)))
}

/// Sources that another dialect says beside its text.
pub(super) fn annotations(citations: &[Citation]) -> Raw {
    let mut out = Vec::new();
    let mut array = Array::new(&mut out);
    for citation in citations {
        let (start, end) = citation.span.unwrap_or_default();
        let mut sheet = Sheet::new(array.item());
        sheet.str("type", CITATION).number("start_index", start).number("end_index", end);
        sheet.text("title", citation.title.as_ref().unwrap_or(&citation.url)).text("url", &citation.url);
        sheet.end();
    }
    array.end();
    json::written(out)
}

fn measured(tokens: &RawValue) -> Raw {
    json::raw(format!(r#"{{"content":{},"refusal":null}}"#, tokens.get()))
}

fn elements(list: &RawValue) -> Vec<&RawValue> {
    json::decode(list.get().as_bytes()).unwrap_or_default()
}

/// Chat's citations as they are spelt here, and whether one was left behind.
pub(super) fn annotations_from_chat(list: &RawValue) -> (Option<Raw>, bool) {
    let all = elements(list);
    let count = all.len();
    let spelt: Vec<Raw> = all.into_iter().filter_map(|one| flat(fields(Some(one)), CITATION)).collect();
    let list = (!spelt.is_empty()).then(|| spelling::list(spelt.iter().map(|one| &**one)));
    (list, spelt.len() < count)
}
