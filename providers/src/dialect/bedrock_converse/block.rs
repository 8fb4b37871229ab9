//! Content blocks, both ways: the same in requests, replies and tool results.

use serde_json::value::RawValue;

use super::family::Family;
use super::media::{self, Kind};
use super::wire::{
    CachePointWire, CitationsWire, Crossing, NO_COUNTERPART, OWN, Place, ReasoningWire, TextWire, ToolResultWire,
    ToolUseWire, fields_of, member, need, object_of, quoted, read,
};
use crate::chat::{ContentForm, Extras, Part, PartKind, Raw, ToolCall, ToolResult};
use crate::dialect::raw::{RAW_ARGUMENTS, arguments_object, is_blank, mapped_id};
use crate::json::{self, Array, Object};
use crate::seal;
use crate::{Malformed, Text};

/// Sources of a text, within whose block it then stands.
pub(super) const CITATIONS: &str = "citations";

/// Spellings that are remembered: a cache point, the pieces of a cited text, a result that is JSON.
const CACHE_POINT: &str = "cachePoint";
const CITED: &str = "citationsContent";
const JSON: &str = "json";

/// A text that a guardrail is to judge: what else is said of it.
const GUARDED: &str = "guardContent";

/// Why sources that are said beside a text stay behind.
pub(super) const CITED_WITHIN: &str = "bedrock_converse cites documents of the request only";

/// Why a thought signature of Google's stays behind.
pub(super) const SIGNATURE_OVER_REASONING_ONLY: &str = "bedrock_converse signs reasoning only";

/// The longest `toolUseId` (`[a-zA-Z0-9_.:-]+`, at most 64).
const LONGEST_ID: usize = 64;

// === Reading ===

/// A list of blocks. A cache point is a mark on the block before it.
pub(super) fn decode_all(blocks: Vec<&RawValue>, place: Place<'_>) -> Result<Vec<Part>, Malformed> {
    let mut parts: Vec<Part> = Vec::with_capacity(blocks.len());
    for (at, raw) in blocks.into_iter().enumerate() {
        let point = member(raw).filter(|(name, _)| *name == CACHE_POINT).map(|(_, point)| point);
        match (point, parts.last_mut()) {
            (Some(point), Some(part)) if part.cache.is_none() => {
                part.cache = Some(cache_mark(point));
                part.extras.remember(CACHE_POINT, point.to_owned());
            }
            _ => parts.push(decode(raw, &|| format!("{}/{at}", place()))?),
        }
    }
    Ok(parts)
}

/// A cache point as the mark that other dialects know.
pub(super) fn cache_mark(point: &RawValue) -> Raw {
    let wire: CachePointWire<'_> = json::decode(point.get().as_bytes()).unwrap_or_default();
    let mut out = Vec::new();
    let mut mark = Object::new(&mut out);
    mark.str("type", "ephemeral");
    if let Some(ttl) = &wire.ttl {
        mark.text("ttl", ttl);
    }
    mark.end();
    super::wire::written(out)
}

/// One block. What this crate does not know is kept whole.
pub(super) fn decode(raw: &RawValue, place: Place<'_>) -> Result<Part, Malformed> {
    let Some((name, value)) = member(raw) else { return Ok(foreign(raw)) };
    let decoded = match name {
        "text" => Text::from_raw(value).map(|text| PartKind::Text(text).into()),
        "toolUse" => decode_tool_use(value, place)?,
        "toolResult" => decode_tool_result(value, place)?,
        "reasoningContent" => decode_reasoning(value, place)?,
        "citationsContent" => decode_cited(value, place)?,
        GUARDED => decode_guarded(value),
        JSON => Some(decode_json(value)),
        _ => match Kind::named(name) {
            Some(kind) => media::decode(kind, value, place)?,
            None => None,
        },
    };
    Ok(decoded.unwrap_or_else(|| foreign(raw)))
}

pub(super) fn foreign(raw: &RawValue) -> Part {
    PartKind::Foreign(OWN, raw.to_owned()).into()
}

fn with(kind: PartKind, extras: Extras) -> Part {
    Part { extras, ..Part::from(kind) }
}

fn decode_tool_use(raw: &RawValue, place: Place<'_>) -> Result<Option<Part>, Malformed> {
    let place = || format!("{}/toolUse", place());
    let wire: ToolUseWire<'_> = read(raw, &place)?;
    if wire.kind.is_some() {
        return Ok(None);
    }
    let call = ToolCall {
        id: need(wire.id, &place, "toolUseId", "a string")?,
        name: need(wire.name, &place, "name", "a string")?,
        arguments: Text::from_plain(wire.input.map_or("{}", RawValue::get)),
        custom: false,
    };
    Ok(Some(with(PartKind::ToolCall(call), wire.extras)))
}

fn decode_tool_result(raw: &RawValue, place: Place<'_>) -> Result<Option<Part>, Malformed> {
    let place = || format!("{}/toolResult", place());
    let wire: ToolResultWire<'_> = read(raw, &place)?;
    if wire.kind.is_some() {
        return Ok(None);
    }
    let content = if wire.content.is_some() { ContentForm::Parts } else { ContentForm::Absent };
    let parts = decode_all(wire.content.unwrap_or_default(), &|| format!("{}/content", place()))?;
    let call_id = need(wire.id, &place, "toolUseId", "a string")?;
    let mut extras = wire.extras;
    let is_error = match wire.status.as_ref().map(Text::as_escaped) {
        Some("error") => Some(true),
        Some("success") => Some(false),
        _ => None,
    };
    if let Some(status) = wire.status.filter(|_| is_error.is_none()) {
        extras.push("status", quoted(&status));
    }
    Ok(Some(with(PartKind::ToolResult(ToolResult { call_id, parts, content, is_error }), extras)))
}

/// A result's JSON is text to the others.
fn decode_json(raw: &RawValue) -> Part {
    let mut extras = Extras::default();
    extras.remember(JSON, raw.to_owned());
    with(PartKind::Text(Text::from_plain(raw.get())), extras)
}

fn decode_reasoning(raw: &RawValue, place: Place<'_>) -> Result<Option<Part>, Malformed> {
    let place = || format!("{}/reasoningContent", place());
    let wire: ReasoningWire<'_> = read(raw, &place)?;
    if !wire.extras.is_empty() {
        return Ok(None);
    }
    Ok(match (wire.whole, wire.redacted) {
        (Some(whole), None) => {
            let text = need(whole.text, &|| format!("{}/reasoningText", place()), "text", "a string")?;
            Some(with(PartKind::Thinking { text, signature: whole.signature }, whole.extras))
        }
        (None, Some(blob)) => Some(with(PartKind::Redacted { data: seal::from_blob(blob) }, Extras::default())),
        _ => None,
    })
}

/// The text that citations belong to is one, whatever pieces it comes in.
fn decode_cited(raw: &RawValue, place: Place<'_>) -> Result<Option<Part>, Malformed> {
    let wire: CitationsWire<'_> = read(raw, &|| format!("{}/citationsContent", place()))?;
    let Some(pieces) = wire.content.filter(|_| wire.extras.is_empty()) else { return Ok(None) };
    let mut whole = Text::default();
    for piece in &pieces {
        let Some(text) = member(piece).filter(|(name, _)| *name == "text").and_then(|(_, text)| Text::from_raw(text))
        else {
            return Ok(None);
        };
        whole.push(&text);
    }
    let mut extras = Extras::default();
    let mut spelling = Vec::new();
    let mut array = Array::new(&mut spelling);
    for piece in &pieces {
        array.raw(piece.get());
    }
    array.end();
    extras.remember(CITED, super::wire::written(spelling));
    if let Some(citations) = wire.citations {
        extras.push(CITATIONS, citations.to_owned());
    }
    Ok(Some(with(PartKind::Text(whole), extras)))
}

/// Text to be judged by a guardrail is text all the same. An image stays whole.
fn decode_guarded(raw: &RawValue) -> Option<Part> {
    let (_, guarded) = member(raw).filter(|(name, _)| *name == "text")?;
    let wire: TextWire<'_> = json::decode(guarded.get().as_bytes()).ok()?;
    let mut extras = Extras::default();
    extras.push(GUARDED, object_of(&wire.extras));
    Some(with(PartKind::Text(wire.text?), extras))
}

// === Writing ===

/// Why a part of another dialect cannot be said here, or `None` where it can.
pub(super) fn obstacle(part: &Part, crossing: &Crossing<'_>) -> Option<&'static str> {
    let signs = crossing.can(Family::signs_reasoning);
    match &part.kind {
        PartKind::Foreign(source, _) if *source != OWN => Some(NO_COUNTERPART),
        // What a client gets, it gets with every seal.
        _ if crossing.family.is_none() => media::obstacle(part),
        PartKind::Thinking { signature, .. } if signs && signature.as_ref().is_none_or(Text::is_empty) => {
            Some("thinking without a signature cannot be replayed")
        }
        PartKind::Redacted { .. } if !signs => Some("this model does not seal its reasoning"),
        PartKind::Thinking { .. } | PartKind::Redacted { .. } if signs && !seal::is_anthropics(part) => {
            Some("reasoning sealed by another provider cannot be replayed")
        }
        _ => media::obstacle(part),
    }
}

/// Writes one part as a block, and its cache point behind it. Parts with an [`obstacle`] are the caller's to leave out.
pub(super) fn encode(part: &Part, place: Place<'_>, crossing: &mut Crossing<'_>, array: &mut Array<'_>) {
    match &part.kind {
        PartKind::Foreign(_, raw) => {
            array.raw(raw.get());
        }
        PartKind::Image(_) | PartKind::Audio(_) | PartKind::File(_) => {
            media::encode(part, place, crossing, array.item());
        }
        _ => encode_own(part, place, crossing, array.item()),
    }
    if part.signature.is_some() {
        crossing.losses.push(place(), SIGNATURE_OVER_REASONING_ONLY);
    }
    if let Some(cache) = &part.cache {
        let spelt = part.extras.recall(CACHE_POINT);
        write_cache_point(cache, spelt, &|| format!("{}/cache_control", place()), crossing, array);
    }
}

fn encode_own(part: &Part, place: Place<'_>, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => encode_text(text, part, place, crossing, out),
        PartKind::Thinking { text, signature } => {
            encode_thinking(text, signature.as_ref(), part, place, crossing, out);
        }
        PartKind::Redacted { data } => {
            let mut union = Object::new(out);
            let mut reasoning = Object::new(union.key("reasoningContent"));
            reasoning.text("redactedContent", &seal::to_blob(data));
            reasoning.end();
            union.end();
        }
        PartKind::ToolCall(call) => encode_tool_use(call, part, place, crossing, out),
        PartKind::ToolResult(result) => encode_tool_result(result, part, place, crossing, out),
        PartKind::Image(_) | PartKind::Audio(_) | PartKind::File(_) | PartKind::Foreign(..) => {}
    }
}

fn encode_text(text: &Text, part: &Part, place: Place<'_>, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    let mut union = Object::new(out);
    let own = |key| part.extras.find(key).filter(|_| crossing.native);
    let remembered = |key| part.extras.recall(key).filter(|_| crossing.native);
    let (citations, pieces) = (own(CITATIONS), remembered(CITED));
    if let Some(json) = remembered(JSON) {
        union.raw(JSON, json.get());
    } else if citations.is_some() || pieces.is_some() {
        encode_cited(text, citations, pieces, union.key("citationsContent"));
    } else if let Some(rest) = own(GUARDED) {
        let mut guarded = Object::new(union.key(GUARDED));
        let mut inner = Object::new(guarded.key("text"));
        inner.text("text", text).extras(&fields_of(rest));
        inner.end();
        guarded.end();
    } else {
        union.text("text", text);
    }
    union.end();
    if !crossing.native {
        crossing.lose_extras(&part.extras, place);
    }
}

/// Pieces that are no longer the text, because it grew, are one.
fn encode_cited(text: &Text, citations: Option<&RawValue>, pieces: Option<&RawValue>, out: &mut Vec<u8>) {
    let mut cited = Object::new(out);
    if let Some(pieces) = pieces {
        cited.raw("content", pieces.get());
    } else {
        let mut content = Array::new(cited.key("content"));
        let mut piece = Object::new(content.item());
        piece.text("text", text);
        piece.end();
        content.end();
    }
    if let Some(citations) = citations {
        cited.raw(CITATIONS, citations.get());
    }
    cited.end();
}

/// Beside reasoning, other dialects only keep how an entry was spelt: its number, its type, its origin.
fn encode_thinking(
    text: &Text,
    signature: Option<&Text>,
    part: &Part,
    place: Place<'_>,
    crossing: &mut Crossing<'_>,
    out: &mut Vec<u8>,
) {
    let own = |seal: &Text| crossing.family.is_none() || !seal::is_strangers(seal);
    let signs = signature.is_some_and(own) && (crossing.native || crossing.can(Family::signs_reasoning));
    let mut union = Object::new(out);
    let mut reasoning = Object::new(union.key("reasoningContent"));
    let mut whole = Object::new(reasoning.key("reasoningText"));
    whole.text("text", text);
    match signature {
        Some(signature) if signs => {
            whole.text("signature", signature);
        }
        // Models here refuse reasoning that nobody signed, and it is to be known when it comes back.
        None if crossing.family.is_none() && !crossing.native => {
            whole.text("signature", &seal::nobodys());
        }
        Some(_) => crossing.losses.push(place(), "sent without its signature: this model does not sign its reasoning"),
        None => {}
    }
    if crossing.native {
        whole.extras(&part.extras);
    }
    whole.end();
    reasoning.end();
    union.end();
}

fn encode_tool_use(call: &ToolCall, part: &Part, place: Place<'_>, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    let mut union = Object::new(out);
    let mut object = Object::new(union.key("toolUse"));
    write_id(&call.id, crossing, &mut object);
    object.text("name", &call.name);
    let plain = call.arguments.to_plain();
    // No object, and yet this dialect's own. What a model streams need not be JSON at all.
    let own = || serde_json::from_str::<&RawValue>(&plain).ok().filter(|_| crossing.native && !call.custom);
    if let Some(input) = arguments_object(&call.arguments, call.custom) {
        object.raw("input", input.get());
    } else if let Some(input) = own() {
        object.raw("input", input.get());
    } else {
        crossing.losses.push(place(), "the arguments are not a JSON object; they stand in `_raw_arguments`");
        let mut wrapped = Object::new(object.key("input"));
        wrapped.text(RAW_ARGUMENTS, &call.arguments);
        wrapped.end();
    }
    crossing.extras(&mut object, &part.extras, place);
    object.end();
    union.end();
}

/// A text that happens to be JSON stays text: as `json` it would have to be an object, and one that the service likes.
fn encode_tool_result(
    result: &ToolResult,
    part: &Part,
    place: Place<'_>,
    crossing: &mut Crossing<'_>,
    out: &mut Vec<u8>,
) {
    let mut union = Object::new(out);
    let mut object = Object::new(union.key("toolResult"));
    write_id(&result.call_id, crossing, &mut object);
    if !(crossing.native && result.content == ContentForm::Absent && result.parts.is_empty()) {
        encode_result_parts(&result.parts, place, crossing, object.key("content"));
    }
    match result.is_error {
        Some(is_error) if crossing.native => {
            object.str("status", if is_error { "error" } else { "success" });
        }
        Some(true) if crossing.can(Family::takes_status) => {
            object.str("status", "error");
        }
        Some(true) => crossing.losses.push(format!("{}/is_error", place()), "this model takes no status of a result"),
        Some(false) | None => {}
    }
    crossing.extras(&mut object, &part.extras, place);
    object.end();
    union.end();
}

fn encode_result_parts(parts: &[Part], place: Place<'_>, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    let mut array = Array::new(out);
    for (at, part) in parts.iter().enumerate() {
        let place = || format!("{}/content/{at}", place());
        if let Some(reason) = obstacle(part, crossing).filter(|_| !crossing.native) {
            crossing.losses.push(place(), reason);
        } else if matches!(part.kind, PartKind::Audio(_)) && !crossing.native {
            crossing.losses.push(place(), "a result of bedrock_converse holds no sounds");
        } else if crossing.native || !matches!(&part.kind, PartKind::Text(text) if is_blank(text)) {
            encode(part, &place, crossing, &mut array);
        }
    }
    array.end();
}

/// Ids of looser providers are mapped; the same id always becomes the same one, so that calls and results still meet. A client
/// gets them as they are.
fn write_id(id: &Text, crossing: &Crossing<'_>, object: &mut Object<'_>) {
    let is_id_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    let is_valid = (1..=LONGEST_ID).contains(&id.len()) && id.as_escaped().bytes().all(is_id_byte);
    if is_valid || crossing.native || crossing.family.is_none() {
        object.text("toolUseId", id);
    } else {
        object.str("toolUseId", &mapped_id(&id.to_plain(), LONGEST_ID, is_id_byte));
    }
}

/// Writes a cache point behind a block or a tool, for a model that knows them. `spelt`: as this dialect's own caller had it.
pub(super) fn write_cache_point(
    mark: &RawValue,
    spelt: Option<&RawValue>,
    place: Place<'_>,
    crossing: &mut Crossing<'_>,
    array: &mut Array<'_>,
) {
    if !crossing.native && !crossing.can(Family::caches) {
        crossing.losses.push(place(), "this model has no prompt cache");
        return;
    }
    let mut union = Object::new(array.item());
    if let Some(point) = spelt.filter(|_| crossing.native) {
        union.raw(CACHE_POINT, point.get());
    } else {
        let mut point = Object::new(union.key(CACHE_POINT));
        point.str("type", "default");
        if let Some(ttl) = fields_of(mark).find("ttl") {
            point.raw("ttl", ttl.get());
        }
        point.end();
    }
    union.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Origin;

    #[test]
    fn bdk_redacted_content_bytes() {
        let own: Text = "EmwKAhgBEgy3va3p+/A=".into();
        let other = seal::mark(Origin::OpenAi, &"gAAAA-_".into());
        for (data, blob) in [(own.clone(), own), (other.clone(), seal::to_blob(&other))] {
            assert!(!blob.as_escaped().contains([':', '-', '_']), "an SDK can read it: {blob:?}");
            let block = format!(r#"{{"reasoningContent":{{"redactedContent":"{}"}}}}"#, blob.as_escaped());
            let read = decode(&RawValue::from_string(block).unwrap(), &String::new).unwrap();
            assert!(matches!(&read.kind, PartKind::Redacted { data: read } if *read == data), "{read:?}");
        }
    }
}
