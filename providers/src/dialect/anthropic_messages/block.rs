//! Content blocks, both ways: the same in requests, replies and tool results.

use serde_json::value::RawValue;

use super::wire::{
    Crossing, MediaWire, NO_COUNTERPART, OWN, RedactedWire, SourceWire, TextWire, ThinkingWire, ToolResultWire,
    ToolUseWire, fields_of, need, object_of, read, tag,
};
use crate::chat::{ContentForm, Extras, Media, MediaSource, Part, PartKind, Raw, ToolCall, ToolResult};
use crate::dialect::raw::{RAW_ARGUMENTS, arguments_object, is_blank, mapped_id, sniff};
use crate::json::{self, Array, Object};
use crate::{Malformed, Text};

/// Where a thing stands in the caller's body, spelt out only when it is needed.
pub(super) type Place<'a> = &'a dyn Fn() -> String;

/// Claude Code opens its system prompt with a block that says who is billed. It is for Anthropic's eyes only.
const BILLING_MARK: &str = "x-anthropic-billing-header";

/// Why sources that are said beside a text stay behind.
pub(super) const CITED_WITHIN: &str = "anthropic_messages cites documents of the request only";

/// Why a thought signature of Google's stays behind.
pub(super) const SIGNATURE_OVER_THINKING_ONLY: &str = "anthropic_messages signs thinking only";

/// The longest `tool_use.id` that Anthropic takes (`^[a-zA-Z0-9_-]+$`, at most 64).
const LONGEST_ID: usize = 64;

// === Reading ===

/// Content that may be one string or a list of blocks.
pub(super) fn decode_content(raw: &RawValue, place: Place<'_>) -> Result<(Vec<Part>, ContentForm), Malformed> {
    if let Some(text) = Text::from_raw(raw) {
        return Ok((vec![PartKind::Text(text).into()], ContentForm::Plain));
    }
    let blocks: Vec<&RawValue> = read(raw, place)?;
    let parts = blocks
        .into_iter()
        .enumerate()
        .map(|(at, block)| decode(block, &|| format!("{}/{at}", place())))
        .collect::<Result<_, _>>()?;
    Ok((parts, ContentForm::Parts))
}

/// One content block. What this crate does not know is kept whole.
pub(super) fn decode(raw: &RawValue, place: Place<'_>) -> Result<Part, Malformed> {
    match tag(raw).as_ref() {
        "text" => decode_text(raw, place),
        "thinking" => decode_thinking(raw, place),
        "redacted_thinking" => decode_redacted(raw, place),
        "tool_use" => decode_tool_use(raw, place),
        "tool_result" => decode_tool_result(raw, place),
        kind @ ("image" | "document") => decode_media(raw, kind == "image", place),
        _ => Ok(foreign(raw)),
    }
}

fn foreign(raw: &RawValue) -> Part {
    PartKind::Foreign(OWN, raw.to_owned()).into()
}

fn part(kind: PartKind, cache: Option<&RawValue>, extras: Extras) -> Part {
    Part { cache: cache.map(RawValue::to_owned), extras, ..Part::from(kind) }
}

fn decode_text(raw: &RawValue, place: Place<'_>) -> Result<Part, Malformed> {
    let wire: TextWire<'_> = read(raw, place)?;
    let text = need(wire.text, place, "text", "a string")?;
    if text.as_escaped().starts_with(BILLING_MARK) {
        return Ok(foreign(raw));
    }
    Ok(part(PartKind::Text(text), wire.cache, wire.extras))
}

fn decode_thinking(raw: &RawValue, place: Place<'_>) -> Result<Part, Malformed> {
    let wire: ThinkingWire<'_> = read(raw, place)?;
    let text = need(wire.thinking, place, "thinking", "a string")?;
    Ok(part(PartKind::Thinking { text, signature: wire.signature }, wire.cache, wire.extras))
}

fn decode_redacted(raw: &RawValue, place: Place<'_>) -> Result<Part, Malformed> {
    let wire: RedactedWire<'_> = read(raw, place)?;
    let data = need(wire.data, place, "data", "a string")?;
    Ok(part(PartKind::Redacted { data }, wire.cache, wire.extras))
}

fn decode_tool_use(raw: &RawValue, place: Place<'_>) -> Result<Part, Malformed> {
    let wire: ToolUseWire<'_> = read(raw, place)?;
    let call = ToolCall {
        id: need(wire.id, place, "id", "a string")?,
        name: need(wire.name, place, "name", "a string")?,
        arguments: Text::from_plain(wire.input.map_or("{}", RawValue::get)),
        custom: false,
    };
    Ok(part(PartKind::ToolCall(call), wire.cache, wire.extras))
}

fn decode_tool_result(raw: &RawValue, place: Place<'_>) -> Result<Part, Malformed> {
    let mut wire: ToolResultWire<'_> = read(raw, place)?;
    let (parts, content) = match wire.content {
        Some(content) => decode_content(content, &|| format!("{}/content", place()))?,
        None if wire.extras.remove("content").is_some() => (Vec::new(), ContentForm::Null),
        None => (Vec::new(), ContentForm::Absent),
    };
    let call_id = need(wire.tool_use_id, place, "tool_use_id", "a string")?;
    let result = ToolResult { call_id, parts, content, is_error: wire.is_error };
    Ok(part(PartKind::ToolResult(result), wire.cache, wire.extras))
}

/// A source this crate cannot spell again exactly (`content`, or one with fields of its own) stays whole.
fn decode_media(raw: &RawValue, image: bool, place: Place<'_>) -> Result<Part, Malformed> {
    let wire: MediaWire<'_> = read(raw, place)?;
    let Some((source, mime)) = wire.source.and_then(decode_source) else {
        return Ok(foreign(raw));
    };
    let media = Media { source, mime, name: wire.title, detail: None };
    let kind = if image { PartKind::Image(media) } else { PartKind::File(media) };
    Ok(part(kind, wire.cache, wire.extras))
}

fn decode_source(wire: SourceWire<'_>) -> Option<(MediaSource, Option<Text>)> {
    if !wire.extras.is_empty() {
        return None;
    }
    let fields = (wire.data, wire.url, wire.file_id);
    let source = match (wire.kind?.as_str(), fields) {
        ("base64", (Some(data), None, None)) => MediaSource::Base64(data),
        ("text", (Some(text), None, None)) => MediaSource::Plain(text),
        ("url", (None, Some(url), None)) => MediaSource::Url(url),
        ("file", (None, None, Some(id))) => MediaSource::FileId(id),
        _ => return None,
    };
    let bare = matches!(source, MediaSource::Url(_) | MediaSource::FileId(_));
    if bare == wire.media_type.is_some() {
        return None;
    }
    Some((source, wire.media_type))
}

// === Writing ===

/// Why a part of another dialect cannot be said here, or `None` where it can.
pub(super) fn obstacle(part: &Part) -> Option<&'static str> {
    match &part.kind {
        PartKind::Audio(_) => Some("anthropic_messages takes no audio"),
        PartKind::Foreign(source, _) if *source != OWN => Some(NO_COUNTERPART),
        PartKind::Image(media) | PartKind::File(media) => match media.source {
            MediaSource::FileId(_) => Some("a file id means nothing to another provider"),
            MediaSource::Absent => Some("no bytes, no address"),
            _ => None,
        },
        _ => None,
    }
}

/// Writes one part as a block. Parts with an [`obstacle`] are the caller's to leave out.
pub(super) fn encode(part: &Part, place: Place<'_>, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    if let PartKind::Foreign(_, raw) = &part.kind {
        return out.extend_from_slice(raw.get().as_bytes());
    }
    let mut object = Object::new(out);
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => {
            object.str("type", "text").text("text", text);
        }
        PartKind::Thinking { text, signature } => encode_thinking(text, signature.as_ref(), crossing, &mut object),
        PartKind::Redacted { data } => {
            object.str("type", "redacted_thinking").text("data", data);
        }
        PartKind::ToolCall(call) => encode_tool_use(call, place, crossing, &mut object),
        PartKind::ToolResult(result) => encode_tool_result(result, place, crossing, &mut object),
        PartKind::Image(media) => encode_media("image", media, place, crossing, &mut object),
        PartKind::File(media) | PartKind::Audio(media) => encode_media("document", media, place, crossing, &mut object),
        PartKind::Foreign(..) => {}
    }
    if let Some(cache) = &part.cache {
        object.raw("cache_control", cache.get());
    }
    if part.signature.is_some() {
        crossing.losses.push(place(), SIGNATURE_OVER_THINKING_ONLY);
    }
    // Beside reasoning, other dialects only keep how an entry was spelt: its number, its type, its origin.
    if crossing.native || !matches!(part.kind, PartKind::Thinking { .. } | PartKind::Redacted { .. }) {
        crossing.extras(&mut object, &part.extras, place);
    }
    object.end();
}

/// A thinking block must have a signature field; where another dialect had none, it is empty.
fn encode_thinking(text: &Text, signature: Option<&Text>, crossing: &Crossing<'_>, object: &mut Object<'_>) {
    object.str("type", "thinking").text("thinking", text);
    match signature {
        Some(signature) => {
            object.text("signature", signature);
        }
        None if crossing.native => {}
        None => {
            object.str("signature", "");
        }
    }
}

fn encode_tool_use(call: &ToolCall, place: Place<'_>, crossing: &mut Crossing<'_>, object: &mut Object<'_>) {
    object.str("type", "tool_use");
    write_id(object, "id", &call.id, crossing.native);
    object.text("name", &call.name);
    if let Some(input) = arguments_object(&call.arguments, call.custom) {
        object.raw("input", input.get());
    } else {
        crossing.losses.push(place(), "the arguments are not a JSON object; they stand in `_raw_arguments`");
        let mut wrapped = Object::new(object.key("input"));
        wrapped.text(RAW_ARGUMENTS, &call.arguments);
        wrapped.end();
    }
}

fn encode_tool_result(result: &ToolResult, place: Place<'_>, crossing: &mut Crossing<'_>, object: &mut Object<'_>) {
    object.str("type", "tool_result");
    write_id(object, "tool_use_id", &result.call_id, crossing.native);
    match (result.content, result.parts.as_slice()) {
        (ContentForm::Plain, [Part { kind: PartKind::Text(text), .. }]) => {
            object.text("content", text);
        }
        (ContentForm::Null, []) if crossing.native => {
            object.null("content");
        }
        (ContentForm::Absent | ContentForm::Null, []) => {}
        (_, parts) => encode_result_parts(parts, place, crossing, object.key("content")),
    }
    if let Some(is_error) = result.is_error {
        object.bool("is_error", is_error);
    }
}

fn encode_result_parts(parts: &[Part], place: Place<'_>, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    let mut array = Array::new(out);
    for (at, part) in parts.iter().enumerate() {
        let place = || format!("{}/content/{at}", place());
        if let Some(reason) = obstacle(part).filter(|_| !crossing.native) {
            crossing.losses.push(place(), reason);
        } else if crossing.native || !matches!(&part.kind, PartKind::Text(text) if is_blank(text)) {
            encode(part, &place, crossing, array.item());
        }
    }
    array.end();
}

fn encode_media(kind: &str, media: &Media, place: Place<'_>, crossing: &mut Crossing<'_>, object: &mut Object<'_>) {
    object.str("type", kind);
    encode_source(media, object.key("source"));
    match (&media.name, kind) {
        (Some(name), "image") if !crossing.native => crossing.lose(format!("{}/name", place())),
        (Some(name), _) => {
            object.text("title", name);
        }
        (None, _) => {}
    }
    if media.detail.is_some() {
        crossing.lose(format!("{}/image_url/detail", place()));
    }
}

fn encode_source(media: &Media, out: &mut Vec<u8>) {
    let mut source = Object::new(out);
    let mime = |fallback: &str| media.mime.clone().unwrap_or_else(|| Text::from_plain(fallback));
    match &media.source {
        MediaSource::Base64(data) => {
            source.str("type", "base64").text("media_type", &mime(sniff(data))).text("data", data);
        }
        MediaSource::Plain(text) => {
            source.str("type", "text").text("media_type", &mime("text/plain")).text("data", text);
        }
        MediaSource::Url(url) => {
            source.str("type", "url").text("url", url);
        }
        MediaSource::FileId(id) => {
            source.str("type", "file").text("file_id", id);
        }
        MediaSource::Absent => {}
    }
    source.end();
}

/// Ids of looser providers are mapped; the same id always becomes the same one, so that calls and results still meet.
fn write_id(object: &mut Object<'_>, key: &str, id: &Text, native: bool) {
    if native || is_valid_id(id.as_escaped()) {
        object.text(key, id);
    } else {
        object.str(key, &mapped_id(&id.to_plain(), LONGEST_ID, is_id_byte));
    }
}

fn is_valid_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(is_id_byte)
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

// === Growing ===

/// A foreign block with the growth its stream brought, by the rule all of Anthropic's deltas follow: strings are appended,
/// JSON text becomes `input`, the rest replaces.
pub(super) fn grown(block: &RawValue, growth: &[Raw]) -> Raw {
    let mut fields = fields_of(block);
    let mut input = String::new();
    for delta in growth {
        for (key, value) in fields_of(delta).iter() {
            match (key, Text::from_raw(value)) {
                ("type", _) => {}
                ("partial_json", Some(json)) => input.push_str(&json.to_plain()),
                (_, Some(more)) => {
                    let mut text = fields.remove(key).and_then(|old| Text::from_raw(&old)).unwrap_or_default();
                    text.push(&more);
                    fields.push(key, json::raw(format!("\"{}\"", text.as_escaped())));
                }
                (_, None) => {
                    fields.remove(key);
                    fields.push(key, value.to_owned());
                }
            }
        }
    }
    if let Ok(input) = serde_json::from_str::<&RawValue>(&input) {
        fields.remove("input");
        fields.push("input", input.to_owned());
    }
    object_of(&fields)
}
