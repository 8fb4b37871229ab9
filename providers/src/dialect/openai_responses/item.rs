//! What a model makes, item by item: messages, reasoning, calls, and what only this dialect knows. The same in replies and,
//! sent back, in requests.

use serde_json::value::RawValue;

use super::content::{self, Side};
use super::spelling::{self, IN, MESSAGE, Mark, is_made, made_id, sendable, split};
use super::wire::{CallWire, Crossing, MessageWire, OWN, ReasoningItemWire, Tag, need, tag};
use crate::chat::{Extras, Part, PartKind, SPELLING, ToolCall};
use crate::dialect::openai_chat::message::{EXTRA_CONTENT, encode_thought_signature, thought_signature};
use crate::json::{self, Array, Sheet, decode_at, fields, object};
use crate::seal::{self, Origin};
use crate::{Malformed, Text};

/// Where reasoning may stand in its item.
pub(super) const SUMMARY: &str = "summary";
pub(super) const CONTENT: &str = "content";

/// The fields of an item and of its parts, which are the seal of reasoning.
const ENCRYPTED: &str = "encrypted_content";

// === Reading ===

/// The parts of one item. What this crate does not know is one foreign part.
pub(super) fn decode(raw: &RawValue, pointer: &str) -> Result<Vec<Part>, Malformed> {
    match tag(raw).as_ref() {
        "message" => decode_message(raw, pointer),
        "reasoning" => decode_reasoning(raw, pointer),
        "function_call" | "custom_tool_call" => Ok(vec![decode_call(raw, pointer)?]),
        _ => {
            let _object: json::AnyObject<'_> = decode_at(raw, pointer)?;
            // An item may be of a kind that is not known here, but not of one that is no word.
            let _kind: Tag<'_> = decode_at(raw, pointer)?;
            Ok(vec![foreign(raw)])
        }
    }
}

pub(super) fn foreign(raw: &RawValue) -> Part {
    PartKind::Foreign(OWN, raw.to_owned()).into()
}

/// A message of the model. One without parts stays whole, so that it is not forgotten.
fn decode_message(raw: &RawValue, pointer: &str) -> Result<Vec<Part>, Malformed> {
    let wire: MessageWire<'_> = decode_at(raw, pointer)?;
    let content = need(wire.content, pointer, "content", "a list of parts")?;
    let (mut parts, _) = content::decode_content(content, Side::Model, &format!("{pointer}/content"))?;
    for part in parts.iter_mut().filter(|part| matches!(part.kind, PartKind::Foreign(..))) {
        let mut mark = Mark::default();
        mark.set(IN, json::raw(format!("\"{MESSAGE}\"")));
        mark.put(&mut part.extras);
    }
    let Some(first) = parts.first_mut() else { return Ok(vec![foreign(raw)]) };
    begin_message(first, &wire.extras);
    Ok(parts)
}

/// Puts a message's own fields on its first part.
pub(super) fn begin_message(first: &mut Part, item: &Extras) {
    let (quiet, telling) = split(item);
    begin(&mut first.extras, &quiet);
    if !telling.is_empty() {
        first.extras.push(MESSAGE, object(&telling));
    }
}

/// Adds the beginning of an item to what a part says of itself.
fn begin(extras: &mut Extras, quiet: &Extras) {
    let mut mark = Mark::of(extras);
    mark.set(spelling::ITEM, object(quiet));
    mark.put(extras);
}

/// Reasoning: one part for each text, the seal on the last. Without any text it is the seal alone, or stays whole.
fn decode_reasoning(raw: &RawValue, pointer: &str) -> Result<Vec<Part>, Malformed> {
    let wire: ReasoningItemWire<'_> = decode_at(raw, pointer)?;
    let mut parts = Vec::new();
    for (place, list) in [(SUMMARY, &wire.summary), (CONTENT, &wire.content)] {
        for text in list.iter().flatten() {
            let Some(part) = thought(text, place) else { return Ok(vec![foreign(raw)]) };
            parts.push(part);
        }
    }
    let seal = wire.encrypted_content.as_ref().map(unsealed);
    match (parts.last_mut().map(|part| &mut part.kind), seal) {
        (Some(PartKind::Thinking { signature, .. }), Some((_, seal))) => *signature = Some(seal),
        (None, Some((true, data))) => parts.push(PartKind::Redacted { data }.into()),
        (None, Some((false, seal))) => {
            parts.push(PartKind::Thinking { text: Text::default(), signature: Some(seal) }.into());
        }
        (None, None) => return Ok(vec![foreign(raw)]),
        _ => {}
    }
    let (mut quiet, telling) = split(&wire.extras);
    for (key, list) in [(SUMMARY, &wire.summary), (CONTENT, &wire.content)] {
        if list.as_ref().is_some_and(Vec::is_empty) {
            quiet.push(key, json::raw("[]".into()));
        }
    }
    if let Some(first) = parts.first_mut() {
        spelling::overlay(&mut first.extras, &telling);
        begin(&mut first.extras, &quiet);
    }
    Ok(parts)
}

/// `None` where it holds more than its text, or none.
fn thought(raw: &RawValue, place: &str) -> Option<Part> {
    let mut all = fields(Some(raw));
    let text = all.remove("text").and_then(|text| Text::from_raw(&text))?;
    let kind = all.remove("type")?;
    if !all.is_empty() || text.is_empty() || kind.get() != kind_of_thought(place) {
        return None;
    }
    let mut part = Part::from(PartKind::Thinking { text, signature: None });
    if place == CONTENT {
        in_content().put(&mut part.extras);
    }
    Some(part)
}

/// Marks reasoning that stood in `content`, not in `summary`.
pub(super) fn in_content() -> Mark {
    let mut mark = Mark::default();
    mark.set(IN, json::raw(format!("\"{CONTENT}\"")));
    mark
}

pub(super) fn kind_of_thought(place: &str) -> &'static str {
    if place == CONTENT { "\"reasoning_text\"" } else { "\"summary_text\"" }
}

/// An encrypted content as a canonical seal, and whether it stands alone: one that the gateway took from another provider is
/// that provider's again.
pub(super) fn unsealed(encrypted: &Text) -> (bool, Text) {
    match seal::open(encrypted) {
        Some((Origin::Anthropic, seal)) => (false, seal),
        Some((Origin::Google, _)) => (false, encrypted.clone()),
        Some((Origin::AnthropicRedacted, seal)) => (true, seal),
        _ => (true, seal::mark(Origin::OpenAi, encrypted)),
    }
}

fn decode_call(raw: &RawValue, pointer: &str) -> Result<Part, Malformed> {
    let wire: CallWire<'_> = decode_at(raw, pointer)?;
    let custom = wire.kind.is_some_and(|kind| kind.as_str() == "custom_tool_call");
    let (key, arguments) = if custom { ("input", wire.input) } else { ("arguments", wire.arguments) };
    let call = ToolCall {
        id: need(wire.call_id, pointer, "call_id", "a string")?,
        name: need(wire.name, pointer, "name", "a string")?,
        arguments: need(arguments, pointer, key, "a string")?,
        custom,
    };
    let (quiet, mut telling) = split(&wire.extras);
    let signature = thought_signature(&telling);
    if signature.is_some() {
        // Written again from the part.
        telling.remove(EXTRA_CONTENT);
    }
    let mut part = Part { signature, extras: telling, ..Part::from(PartKind::ToolCall(call)) };
    begin(&mut part.extras, &quiet);
    Ok(part)
}

// === Writing ===

/// Some parts that are one item.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) kind: Kind,
    pub(super) parts: Vec<&'a Part>,
}

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    Call,
    /// Nothing of a model's that this dialect has.
    Other,
}

impl Kind {
    pub(super) fn of(part: &Part) -> Self {
        match &part.kind {
            PartKind::Foreign(OWN, _) if Mark::of(&part.extras).find(IN).is_some() => Self::Message,
            PartKind::Text(_) | PartKind::Refusal(_) => Self::Message,
            PartKind::Thinking { .. } | PartKind::Redacted { .. } => Self::Reasoning,
            PartKind::ToolCall(_) => Self::Call,
            _ => Self::Other,
        }
    }
}

/// Cuts parts into items: at every mark, at every change of kind, and behind every seal.
pub(super) fn items(parts: &[Part]) -> Vec<Item<'_>> {
    let mut items: Vec<Item<'_>> = Vec::new();
    for part in parts {
        let kind = Kind::of(part);
        match items.last_mut() {
            Some(last) if last.kind == kind && continues(last, part) => last.parts.push(part),
            _ => items.push(Item { kind, parts: vec![part] }),
        }
    }
    items
}

fn continues(item: &Item<'_>, part: &Part) -> bool {
    let sealed = item.parts.last().is_some_and(|part| is_sealed(&part.kind));
    matches!(item.kind, Kind::Message | Kind::Reasoning) && !sealed && !Mark::of(&part.extras).begins_item()
}

pub(super) fn is_sealed(kind: &PartKind) -> bool {
    matches!(kind, PartKind::Thinking { signature: Some(_), .. } | PartKind::Redacted { .. })
}

/// Where an item goes, which decides about its id.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal<'a> {
    /// To a provider, which knows its own ids only.
    Provider,
    /// To a client, at this place of the reply of this id.
    Client { reply: &'a Text, at: usize },
}

impl Goal<'_> {
    /// The item's own fields, with an id and a status for a client.
    fn fields(self, mut item: Extras, prefix: &str) -> Extras {
        match self {
            Self::Provider => return sendable(item),
            Self::Client { reply, at } => {
                if item.find("id").is_none() {
                    item.push("id", json::raw(format!("\"{}\"", made_id(prefix, reply, at))));
                    if prefix != "rs" {
                        item.remove("status");
                        item.push("status", json::raw("\"completed\"".into()));
                    }
                }
            }
        }
        item
    }
}

/// Writes an item as it begins: `first` is the part that begins it, of which nothing is said yet.
pub(super) fn encode_head(out: &mut Vec<u8>, first: &Part, goal: Goal<'_>) {
    let (prefix, call) = match &first.kind {
        PartKind::ToolCall(call) if call.custom => ("ctc", Some((call, "custom_tool_call", "input"))),
        PartKind::ToolCall(call) => ("fc", Some((call, "function_call", "arguments"))),
        PartKind::Thinking { .. } | PartKind::Redacted { .. } => ("rs", None),
        _ => ("msg", None),
    };
    let mut sheet = Sheet::new(out);
    match (call, prefix) {
        (Some((call, kind, key)), _) => {
            sheet.str("type", kind).text("call_id", &call.id).text("name", &call.name).str(key, "");
        }
        (None, "rs") => _ = sheet.str("type", "reasoning").raw(SUMMARY, "[]"),
        (None, _) => _ = sheet.str("type", "message").str("role", "assistant").raw(CONTENT, "[]"),
    }
    if prefix != "rs" {
        sheet.str("status", "in_progress");
    }
    sheet.extras(&goal.fields(quiet(&[first]), prefix));
    sheet.end();
}

/// Writes one item; says whether there was one to write.
pub(super) fn encode(
    out: &mut Vec<u8>,
    item: &Item<'_>,
    goal: Goal<'_>,
    pointer: &str,
    crossing: &mut Crossing<'_>,
) -> bool {
    let Some(first) = item.parts.first() else { return false };
    match (&first.kind, item.kind) {
        (_, Kind::Message) => encode_message(out, item, goal, pointer, crossing),
        (_, Kind::Reasoning) => return encode_reasoning(out, item, goal, pointer, crossing),
        (PartKind::ToolCall(call), _) => encode_call(out, first, call, (goal, pointer), crossing),
        (PartKind::Foreign(OWN, raw), _) if is_content(raw, goal) => {
            let whole = Item { kind: Kind::Message, parts: item.parts.clone() };
            encode_message(out, &whole, goal, pointer, crossing);
        }
        (PartKind::Foreign(OWN, _), _) => return encode_foreign(out, first, crossing),
        _ => {
            let reason = content::obstacle(first, Side::Model, crossing).unwrap_or(super::wire::NO_COUNTERPART);
            crossing.losses.push(pointer, reason);
            return false;
        }
    }
    true
}

/// Is this a part of a message's content that stands alone? Every item that a client is shown has an id.
pub(super) fn is_content(raw: &RawValue, goal: Goal<'_>) -> bool {
    matches!(goal, Goal::Client { .. }) && fields(Some(raw)).find("id").is_none()
}

/// The quiet fields of the whole item.
fn quiet(parts: &[&Part]) -> Extras {
    let mut all = Extras::default();
    for part in parts {
        spelling::overlay(&mut all, &Mark::of(&part.extras).item());
    }
    all
}

fn encode_message(out: &mut Vec<u8>, item: &Item<'_>, goal: Goal<'_>, pointer: &str, crossing: &mut Crossing<'_>) {
    let mut sheet = Sheet::new(out);
    sheet.str("type", "message").str("role", "assistant");
    let mut array = Array::new(sheet.key("content"));
    let mut telling = Extras::default();
    for part in &item.parts {
        let mut part = (*part).clone();
        if let Some(fields_of_message) = part.extras.remove(MESSAGE).filter(|_| crossing.is_native()) {
            telling = fields(Some(&fields_of_message));
        }
        content::encode_part(array.item(), &part, Side::Model, pointer, crossing);
    }
    array.end();
    sheet.skip(&[SPELLING]).extras(&goal.fields(quiet(&item.parts), "msg")).extras(&telling);
    sheet.end();
}

fn encode_call(
    out: &mut Vec<u8>,
    part: &Part,
    call: &ToolCall,
    (goal, pointer): (Goal<'_>, &str),
    crossing: &mut Crossing<'_>,
) {
    let (kind, prefix, key) =
        if call.custom { ("custom_tool_call", "ctc", "input") } else { ("function_call", "fc", "arguments") };
    let mut sheet = Sheet::new(out);
    sheet.str("type", kind).text("call_id", &call.id).text("name", &call.name);
    if call.arguments.is_empty() && !call.custom && !crossing.is_native() {
        // A call without arguments is an empty object here.
        sheet.str(key, "{}");
    } else {
        sheet.text(key, &call.arguments);
    }
    match (&part.signature, goal) {
        (Some(signature), Goal::Client { .. }) => encode_thought_signature(sheet.key(EXTRA_CONTENT), signature),
        (Some(_), Goal::Provider) => crossing.losses.push(pointer, "a signature that only Google can check"),
        (None, _) => {}
    }
    sheet.skip(&[SPELLING]).extras(&goal.fields(quiet(&[part]), prefix));
    crossing.extras(&mut sheet, &part.extras, pointer);
    sheet.end();
}

/// Reasoning sealed by nobody, or by somebody else, means nothing to a provider: it refuses what it has not sealed.
fn encode_reasoning(
    out: &mut Vec<u8>,
    item: &Item<'_>,
    goal: Goal<'_>,
    pointer: &str,
    crossing: &mut Crossing<'_>,
) -> bool {
    let seal = item.parts.last().and_then(|part| sealed(&part.kind, goal));
    let stranger = item.parts.last().is_some_and(|part| is_sealed(&part.kind)) && seal.is_none();
    // Items that a provider keeps are known to it by their id.
    let marked = item.parts.first().map(|part| Mark::of(&part.extras));
    let marked = marked.is_some_and(|mark| mark.begins_item() && !mark.item().find("id").is_some_and(is_made));
    if matches!(goal, Goal::Provider) && (stranger || (seal.is_none() && !marked)) {
        crossing.losses.push(pointer, "reasoning that this provider did not seal cannot be replayed");
        return false;
    }
    let mut sheet = Sheet::new(out);
    sheet.str("type", "reasoning");
    encode_thoughts(&mut sheet, SUMMARY, &item.parts, true);
    encode_thoughts(&mut sheet, CONTENT, &item.parts, false);
    sheet.optional_text(ENCRYPTED, seal.as_ref());
    sheet.skip(&[SPELLING]).extras(&goal.fields(quiet(&item.parts), "rs"));
    if crossing.is_native() {
        for part in &item.parts {
            crossing.extras(&mut sheet, &part.extras, pointer);
        }
    }
    sheet.end();
    true
}

/// The seal as this dialect carries it; `None` where there is none, or where it is a stranger's and goes to a provider.
fn sealed(kind: &PartKind, goal: Goal<'_>) -> Option<Text> {
    let (seal, origin) = match kind {
        PartKind::Thinking { signature: Some(seal), .. } if !seal.is_empty() => (seal, Origin::Anthropic),
        PartKind::Redacted { data } => (data, Origin::AnthropicRedacted),
        _ => return None,
    };
    match (seal::open(seal), goal) {
        (Some((Origin::OpenAi, own)), _) => Some(own),
        (_, Goal::Provider) => None,
        (_, Goal::Client { .. }) => Some(seal::marked(origin, seal)),
    }
}

/// Writes the texts of one of the two lists. The summary is always there; the other where it has something, or once had.
fn encode_thoughts(sheet: &mut Sheet<'_>, place: &'static str, parts: &[&Part], always: bool) {
    let here = |part: &&&Part| {
        let in_content = Mark::of(&part.extras).find(IN).is_some();
        in_content == (place == CONTENT)
    };
    let texts: Vec<&Text> = parts
        .iter()
        .filter(here)
        .filter_map(|part| match &part.kind {
            PartKind::Thinking { text, .. } => Some(text),
            _ => None,
        })
        .filter(|text| parts.len() > 1 || !text.is_empty())
        .collect();
    if texts.is_empty() && !always {
        return;
    }
    let mut array = Array::new(sheet.key(place));
    for text in texts {
        let mut thought = Sheet::new(array.item());
        thought.raw("type", kind_of_thought(place)).text("text", text);
        thought.end();
    }
    array.end();
}

/// What only this dialect knows goes back as it was. Reasoning of which there is nothing but an id exists only where the
/// provider keeps it, and that it does for its own clients.
fn encode_foreign(out: &mut Vec<u8>, part: &Part, crossing: &Crossing<'_>) -> bool {
    let Some(raw) = spelling::latest(part) else { return false };
    if !crossing.is_native() && tag(&raw) == "reasoning" {
        return false;
    }
    out.extend_from_slice(raw.get().as_bytes());
    true
}
