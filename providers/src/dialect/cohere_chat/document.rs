//! Documents that an answer may cite: of the request, and of a tool's result. Both ways.
//!
//! A document is a string, or an object `{"data":{<any fields>},"id"?}`, whose data may be a string as well (API reference,
//! `Document`). Canonically it is a plain text file: the text of the data, or all of the data as JSON where it has more to say
//! than a text and a title.

use serde_json::value::RawValue;

use super::wire::{DocumentWire, fields_of};
use crate::Text;
use crate::chat::{Extras, Media, MediaSource, Part, PartKind};
use crate::json::{self, Object, Sheet};

/// The spelling that is remembered: the document as its own dialect gave it.
const DOCUMENT: &str = "document";

/// Fields of a document's data that have a canonical place.
const TEXT: &str = "text";
const TITLE: &str = "title";

// === Reading ===

pub(super) fn decode(raw: &RawValue) -> Part {
    let (text, name) = match Text::from_raw(raw) {
        Some(text) => (text, None),
        None => readable(raw),
    };
    let mime = Some("text/plain".into());
    let media = Media { source: MediaSource::Plain(text), mime, name, detail: None };
    let mut extras = Extras::default();
    extras.remember(DOCUMENT, raw.to_owned());
    Part { extras, ..Part::from(PartKind::File(media)) }
}

/// What a reader of another dialect is shown of it: its text, and its title or id.
fn readable(raw: &RawValue) -> (Text, Option<Text>) {
    let whole = || (Text::from_plain(raw.get()), None);
    let Ok(DocumentWire { data: Some(data), id, .. }) = json::decode_at(raw, "") else { return whole() };
    if let Some(text) = Text::from_raw(data) {
        return (text, id);
    }
    let mut rest = fields_of(data);
    let mut take = |key| rest.remove(key).and_then(|value| Text::from_raw(&value));
    let (text, title) = (take(TEXT), take(TITLE));
    match text {
        Some(text) if rest.is_empty() => (text, title.or(id)),
        _ => (Text::from_plain(data.get()), title.or(id)),
    }
}

// === Writing ===

/// The document as it was spelt, or one made of a plain text file.
pub(super) fn encode(part: &Part, media: &Media, native: bool, out: &mut Vec<u8>) {
    if let Some(spelt) = part.extras.recall(DOCUMENT).filter(|_| native) {
        return out.extend_from_slice(spelt.get().as_bytes());
    }
    let mut document = Object::new(out);
    let mut data = Object::new(document.key("data"));
    if let Some(name) = &media.name {
        data.text(TITLE, name);
    }
    if let MediaSource::Plain(text) = &media.source {
        data.text(TEXT, text);
    }
    data.end();
    document.end();
}

/// The document among the contents of a tool's result.
pub(super) fn encode_part(part: &Part, media: &Media, native: bool, sheet: &mut Sheet<'_>) {
    encode(part, media, native, sheet.str("type", DOCUMENT).key(DOCUMENT));
}

/// A file that can be said as a document.
pub(super) fn of(part: &Part) -> Option<&Media> {
    match &part.kind {
        PartKind::File(media) if matches!(media.source, MediaSource::Plain(_)) => Some(media),
        _ => None,
    }
}
