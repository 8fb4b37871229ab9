//! Content parts: the elements of a message's `content` list, both ways; the same in requests, replies and tool results.

use serde_json::value::RawValue;

use super::document;
use super::message::Piece;
use super::wire::{
    Crossing, DocumentPartWire, ImageUrlWire, ImageWire, NO_COUNTERPART, OWN, Place, TextWire, ThinkingWire, fields_of,
    need, object_of, read, tag,
};
use crate::chat::{ContentForm, Extras, Media, MediaSource, Part, PartKind};
use crate::dialect::openai_chat::media::{from_url, write_url};
use crate::dialect::raw::sniff;
use crate::json::{self, Array, Sheet};
use crate::{Malformed, Text};

/// Where the inner fields of an image that have no canonical place are kept; `null` where the address stood there itself.
const IMAGE_URL: &str = "image_url";

/// Why some things of other dialects stay behind, or are something else here.
pub(super) const NO_REFUSALS: &str = "said as text: cohere_chat has no refusals";
pub(super) const UNSIGNED: &str = "cohere_chat does not sign thinking";
pub(super) const NO_SIGNATURES: &str = "cohere_chat carries no thought signatures";

/// The spelling that is remembered of an empty list, and of a plain string where a list is usual.
const EMPTY: &str = "[]";

// === Reading ===

/// Content that may be one string or a list of parts.
pub(super) fn decode(raw: &RawValue, place: Place<'_>) -> Result<(Vec<Part>, ContentForm), Malformed> {
    if let Some(text) = Text::from_raw(raw) {
        return Ok((vec![PartKind::Text(text).into()], ContentForm::Plain));
    }
    let elements: Vec<&RawValue> = read(raw, place)?;
    let parts = elements.into_iter().enumerate().map(|(at, raw)| decode_part(raw, &|| format!("{}/{at}", place())));
    Ok((parts.collect::<Result<_, _>>()?, ContentForm::Parts))
}

/// One element of a content list. What this crate does not know is kept whole.
pub(super) fn decode_part(raw: &RawValue, place: Place<'_>) -> Result<Part, Malformed> {
    match tag(raw).as_ref() {
        "text" => {
            let wire: TextWire<'_> = read(raw, place)?;
            let text = need(wire.text, place, "text", "a string")?;
            Ok(Part { extras: wire.extras, ..Part::from(PartKind::Text(text)) })
        }
        "thinking" => {
            let wire: ThinkingWire<'_> = read(raw, place)?;
            let text = need(wire.thinking, place, "thinking", "a string")?;
            Ok(Part { extras: wire.extras, ..Part::from(PartKind::Thinking { text, signature: None }) })
        }
        "image_url" => decode_image(raw, place),
        "document" => {
            let wire: DocumentPartWire<'_> = read(raw, place)?;
            let mut part = document::decode(need(wire.document, place, "document", "a document")?);
            wire.extras.iter().for_each(|(key, value)| part.extras.push(key, value.to_owned()));
            Ok(part)
        }
        _ => Ok(PartKind::Foreign(OWN, raw.to_owned()).into()),
    }
}

fn decode_image(raw: &RawValue, place: Place<'_>) -> Result<Part, Malformed> {
    let wire: ImageWire<'_> = read(raw, place)?;
    let address = need(wire.image_url, place, IMAGE_URL, "an object with a url")?;
    let mut extras = wire.extras;
    let (url, detail) = if let Some(url) = Text::from_raw(address) {
        extras.remember(IMAGE_URL, json::null());
        (url, None)
    } else {
        let place = || format!("{}/{IMAGE_URL}", place());
        let inner: ImageUrlWire<'_> = read(address, &place)?;
        if !inner.extras.is_empty() {
            extras.push(IMAGE_URL, object_of(&inner.extras));
        }
        (need(inner.url, &place, "url", "a string")?, inner.detail)
    };
    let (source, mime) = from_url(url);
    let media = Media { source, mime, name: None, detail };
    Ok(Part { extras, ..Part::from(PartKind::Image(media)) })
}

/// Remembers that a list was there, and empty.
pub(super) fn remember_empty<T>(extras: &mut Extras, key: &'static str, list: Option<&Vec<T>>) {
    if list.is_some_and(Vec::is_empty) {
        extras.remember(key, json::raw(EMPTY.into()));
    }
}

// === Writing ===

/// Why a part of another dialect cannot be said here, or `None` where it can. Documents are text in a list of their own.
pub(super) fn obstacle(part: &Part) -> Option<&'static str> {
    match &part.kind {
        PartKind::Redacted { .. } => Some("reasoning that only its provider can read"),
        PartKind::Audio(_) => Some("cohere_chat takes no audio"),
        PartKind::File(media) if !matches!(media.source, MediaSource::Plain(_)) => {
            Some("cohere_chat takes documents as plain text only")
        }
        PartKind::Image(media) => match media.source {
            MediaSource::FileId(_) => Some("a file id means nothing to another provider"),
            MediaSource::Absent | MediaSource::Plain(_) => Some("no bytes, no address"),
            MediaSource::Base64(_) | MediaSource::Url(_) => None,
        },
        PartKind::Foreign(source, _) if *source != OWN => Some(NO_COUNTERPART),
        _ => None,
    }
}

/// A text that says nothing, and carries nothing.
pub(super) fn is_void(part: &Part) -> bool {
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Thinking { text, signature: None } => {
            text.is_empty() && part.signature.is_none()
        }
        _ => false,
    }
}

/// A part that may be written as one plain string.
pub(super) fn plain(part: &Part) -> Option<&Text> {
    match &part.kind {
        PartKind::Text(text) if part.extras.is_empty() => Some(text),
        _ => None,
    }
}

/// Writes one element of a content list. Parts with an [`obstacle`] are the caller's to leave out.
pub(super) fn encode(part: &Part, place: Place<'_>, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    if let PartKind::Foreign(_, raw) = &part.kind {
        return encode_foreign(raw, &part.extras, out);
    }
    let mut sheet = Sheet::new(out);
    match &part.kind {
        PartKind::Text(text) => _ = sheet.str("type", "text").text("text", text),
        PartKind::Refusal(text) => {
            _ = sheet.str("type", "text").text("text", text);
            crossing.losses.push(place(), NO_REFUSALS);
        }
        PartKind::Thinking { text, signature } => {
            sheet.str("type", "thinking").text("thinking", text);
            if signature.as_ref().is_some_and(|signature| !signature.is_empty()) {
                crossing.losses.push(place(), UNSIGNED);
            }
        }
        PartKind::Image(media) => {
            encode_image(part, media, crossing, &mut sheet);
            if media.name.is_some() {
                crossing.lose(format!("{}/name", place()));
            }
        }
        PartKind::File(media) => document::encode_part(part, media, crossing.native, &mut sheet),
        _ => {}
    }
    lose_marks(part, place, crossing);
    sheet.skip(&[IMAGE_URL]);
    // Beside reasoning, other dialects only keep how an entry was spelt: its number, its type, its origin.
    if crossing.native || !matches!(part.kind, PartKind::Thinking { .. }) {
        crossing.extras(&mut sheet, &part.extras, place);
    }
    sheet.end();
}

/// What a part of any kind may carry, and no part can here.
pub(super) fn lose_marks(part: &Part, place: Place<'_>, crossing: &mut Crossing<'_>) {
    if part.cache.is_some() {
        crossing.lose(format!("{}/cache_control", place()));
    }
    if part.signature.is_some() {
        crossing.losses.push(place(), NO_SIGNATURES);
    }
}

/// A part only this dialect knows, with what its stream added to it.
fn encode_foreign(raw: &RawValue, grown: &Extras, out: &mut Vec<u8>) {
    if grown.is_empty() {
        return out.extend_from_slice(raw.get().as_bytes());
    }
    let mut fields = fields_of(raw);
    crate::dialect::raw::overlay(&mut fields, grown);
    out.extend_from_slice(object_of(&fields).get().as_bytes());
}

fn encode_image(part: &Part, media: &Media, crossing: &Crossing<'_>, sheet: &mut Sheet<'_>) {
    sheet.str("type", IMAGE_URL);
    let typed;
    let media = match &media.source {
        MediaSource::Base64(data) if media.mime.is_none() => {
            typed = Media { mime: Some(sniff(data).into()), ..media.clone() };
            &typed
        }
        _ => media,
    };
    if crossing.native && part.extras.recall(IMAGE_URL).is_some() {
        return write_url(sheet.key(IMAGE_URL), media);
    }
    let mut inner = Sheet::new(sheet.key(IMAGE_URL));
    write_url(inner.key("url"), media);
    inner.optional_text("detail", media.detail.as_ref());
    if let Some(rest) = part.extras.find(IMAGE_URL).filter(|_| crossing.native) {
        inner.extras(&fields_of(rest));
    }
    inner.end();
}

/// Writes a list of parts.
pub(super) fn encode_list<'a>(
    pieces: impl Iterator<Item = &'a Piece<'a>>,
    crossing: &mut Crossing<'_>,
    out: &mut Vec<u8>,
) {
    let mut array = Array::new(out);
    for piece in pieces {
        encode(&piece.part, &|| piece.place.clone(), crossing, array.item());
    }
    array.end();
}
