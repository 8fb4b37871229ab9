//! Images, sounds and documents: `inlineData` and `fileData`, both ways.

use serde_json::value::RawValue;

use super::part::{keep, write_inner};
use super::wire::{Crossing, MediaWire, Place, read};
use crate::chat::{Extras, Media, MediaSource, Part, PartKind};
use crate::dialect::raw::sniff;
use crate::json::Object;
use crate::{Malformed, Text};

/// The two keys, under which also the inner fields are kept that the canonical model has no place for.
pub(super) const INLINE: &str = "inlineData";
pub(super) const FILE: &str = "fileData";

/// Addresses that only Google can read: Cloud Storage, and files uploaded to the Gemini API.
const GOOGLES_OWN: &[&str] = &["gs://", "https://generativelanguage.googleapis.com/"];

/// Media types by the ending of an address, for callers who left them out.
const ENDINGS: &[(&str, &str)] = &[
    (".png", "image/png"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".gif", "image/gif"),
    (".webp", "image/webp"),
    (".pdf", "application/pdf"),
];

// === Reading ===

/// Media without a type are kept whole, as `None`: nobody could say what they are.
pub(super) fn decode_media(
    raw: &RawValue,
    key: &'static str,
    extras: &mut Extras,
    place: Place<'_>,
) -> Result<Option<PartKind>, Malformed> {
    let wire: MediaWire<'_> = read(raw, &|| format!("{}/{key}", place()))?;
    let source = match (wire.data, wire.uri) {
        (Some(data), None) if key == INLINE && wire.mime.is_some() => MediaSource::Base64(data),
        (None, Some(uri)) if key == FILE => address(uri),
        _ => return Ok(None),
    };
    keep(extras, key, &wire.extras);
    let kind = wire.mime.as_ref().map_or("", Text::as_escaped).split('/').next().unwrap_or_default();
    let kind = match kind {
        "image" => PartKind::Image,
        "audio" => PartKind::Audio,
        _ => PartKind::File,
    };
    Ok(Some(kind(Media { source, mime: wire.mime, name: wire.name, detail: None })))
}

fn address(uri: Text) -> MediaSource {
    if GOOGLES_OWN.iter().any(|start| uri.to_plain().starts_with(start)) {
        MediaSource::FileId(uri)
    } else {
        MediaSource::Url(uri)
    }
}

// === Writing ===

/// Writes the data of a media part; gives the key it stands under.
pub(super) fn encode_media(
    media: &Media,
    part: &Part,
    place: Place<'_>,
    crossing: &mut Crossing<'_>,
    object: &mut Object<'_>,
) -> Option<&'static str> {
    let key = match &media.source {
        MediaSource::Base64(_) => INLINE,
        MediaSource::Url(_) | MediaSource::FileId(_) => FILE,
        MediaSource::Plain(text) => {
            object.text("text", text);
            lose_media_fields(media, place, crossing);
            return None;
        }
        MediaSource::Absent => return None,
    };
    let mut data = Object::new(object.key(key));
    if let Some(mime) = mime(media) {
        data.text("mimeType", &mime);
    }
    match &media.source {
        MediaSource::Base64(base64) => data.text("data", base64),
        MediaSource::Url(uri) | MediaSource::FileId(uri) => data.text("fileUri", uri),
        MediaSource::Plain(_) | MediaSource::Absent => &mut data,
    };
    if let Some(name) = media.name.as_ref().filter(|_| crossing.native) {
        data.text("displayName", name);
    }
    write_inner(part, key, crossing, &mut data);
    data.end();
    lose_media_fields(media, place, crossing);
    Some(key)
}

/// Names are refused by the Gemini API (only Vertex knows `displayName`).
fn lose_media_fields(media: &Media, place: Place<'_>, crossing: &mut Crossing<'_>) {
    if crossing.native {
        return;
    }
    for (key, given) in [("name", media.name.is_some()), ("detail", media.detail.is_some())] {
        if given {
            crossing.lose(format!("{}/{key}", place()));
        }
    }
}

fn mime(media: &Media) -> Option<Text> {
    let guessed = || match &media.source {
        MediaSource::Base64(base64) => Some(sniff(base64)),
        MediaSource::Url(url) => {
            let path = url.as_escaped().split(['?', '#']).next().unwrap_or_default().to_ascii_lowercase();
            ENDINGS.iter().find(|(ending, _)| path.ends_with(ending)).map(|(_, mime)| *mime)
        }
        _ => None,
    };
    media.mime.clone().or_else(|| guessed().map(Text::from_plain))
}
