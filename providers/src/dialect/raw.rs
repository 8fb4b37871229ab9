//! Raw JSON values and media, as every dialect handles them: objects field by field, faults with their place, media types.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::chat::{Extras, Raw};
use crate::json;
pub(crate) use crate::json::object as object_of;
use crate::{Malformed, Text};

/// The media type of base64 by its first characters, for callers who left it out.
const SIGNATURES: &[(&str, &str)] = &[
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("JVBERi0", "application/pdf"),
];

/// Holds arguments that are not a JSON object, where a dialect must have one.
pub(crate) const RAW_ARGUMENTS: &str = "_raw_arguments";

/// Any object, field by field; nothing where it is no object.
pub(crate) fn fields_of(raw: &RawValue) -> Extras {
    json::fields(Some(raw))
}

/// Parses a value whose place is only spelt out when it is at fault.
pub(crate) fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue, place: &dyn Fn() -> String) -> Result<T, Malformed> {
    json::decode(raw.get().as_bytes())
        .map_err(|fault| Malformed { pointer: format!("{}{}", place(), fault.pointer), ..fault })
}

/// A required field.
pub(crate) fn need<T>(field: Option<T>, place: &dyn Fn() -> String, key: &str, expected: &str) -> Result<T, Malformed> {
    field.ok_or_else(|| Malformed { pointer: format!("{}/{key}", place()), expected: expected.into() })
}

/// Escapes one key for a JSON pointer (RFC 6901).
pub(crate) fn pointer_key(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Lays newer fields over older ones: the latest wins, so that no key is written twice.
pub(crate) fn overlay(base: &mut Extras, newer: &Extras) {
    for (key, value) in newer.iter() {
        base.remove(key);
        base.push(key, value.to_owned());
    }
}

/// What this base64 most likely is.
pub(crate) fn sniff(base64: &Text) -> &'static str {
    let start = base64.as_escaped();
    SIGNATURES.iter().find(|(mark, _)| start.starts_with(mark)).map_or("application/octet-stream", |(_, mime)| mime)
}

/// A call's arguments as the object that some dialects want; none at all are an empty one. `None` where they are no object.
pub(crate) fn arguments_object(arguments: &Text, custom: bool) -> Option<Raw> {
    if custom {
        return None;
    }
    let plain = arguments.to_plain();
    match plain.trim() {
        "" => Some(json::raw("{}".into())),
        object if object.starts_with('{') => serde_json::from_str::<&RawValue>(object).ok().map(RawValue::to_owned),
        _ => None,
    }
}

/// A text that is empty or only whitespace, which some providers refuse.
pub(crate) fn is_blank(text: &Text) -> bool {
    match text.as_escaped().bytes().next() {
        None => true,
        Some(b' ' | b'\\') => text.to_plain().trim().is_empty(),
        Some(_) => false,
    }
}

/// What can be kept of an id that is too long, or not of the allowed bytes, and a hash (64-bit FNV-1a, stable over releases) that
/// keeps different ids different.
pub(crate) fn mapped_id(id: &str, longest: usize, is_allowed: impl Fn(u8) -> bool) -> String {
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let room = longest.saturating_sub(17);
    let kept: String =
        id.bytes().take(room).map(|byte| if is_allowed(byte) { char::from(byte) } else { '_' }).collect();
    format!("{kept}_{hash:016x}")
}
