//! Content parts: the elements of a message's `content` and of a tool's `output`, both ways.

use serde_json::value::RawValue;

use super::spelling::{self, Mark, TYPE};
use super::wire::{AudioWire, Crossing, OWN, PartWire};
use crate::chat::{ContentForm, Extras, Media, MediaSource, Part, PartKind};
use crate::dialect::openai_chat::media::{audio_format, audio_mime, from_url, write_url};
use crate::json::{self, Array, Sheet, decode_at, quoted};
use crate::{Malformed, Text};

/// Lists that a text of the model's always has.
pub(super) const LISTS: [&str; 2] = ["annotations", "logprobs"];

/// OpenAI demands a file name beside inline bytes.
const FILE_NAME: &str = "document";

/// Whose words these are: the same text has another type on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Caller,
    Model,
}

impl Side {
    fn text_type(self) -> &'static str {
        match self {
            Self::Caller => "input_text",
            Self::Model => "output_text",
        }
    }
}

// === Reading ===

/// A content that may be one string or a list of parts.
pub(super) fn decode_content(raw: &RawValue, side: Side, pointer: &str) -> Result<(Vec<Part>, ContentForm), Malformed> {
    if let Some(text) = Text::from_raw(raw) {
        return Ok((vec![PartKind::Text(text).into()], ContentForm::Plain));
    }
    let elements: Vec<&RawValue> = decode_at(raw, pointer)
        .map_err(|_| Malformed { pointer: pointer.into(), expected: "a string or a list of parts".into() })?;
    let parts = elements.into_iter().enumerate().map(|(at, raw)| decode_part(raw, side, &format!("{pointer}/{at}")));
    Ok((parts.collect::<Result<_, _>>()?, ContentForm::Parts))
}

/// One part. What is not known, or not whole, is kept as it is.
pub(super) fn decode_part(raw: &RawValue, side: Side, pointer: &str) -> Result<Part, Malformed> {
    let mut wire: PartWire<'_> = decode_at(raw, pointer)?;
    let kind = wire.kind.take();
    let kind = kind.as_ref().map_or("", |kind| kind.as_str());
    let mut extras = std::mem::take(&mut wire.extras);
    let told = match kind {
        "input_text" | "output_text" | "text" => decode_text(kind, &mut wire, side, &mut extras),
        "refusal" => wire.refusal.take().map(PartKind::Refusal),
        "input_image" => decode_image(&mut wire),
        "input_file" => decode_file(&mut wire),
        "input_audio" => decode_audio(&mut wire),
        _ => None,
    };
    Ok(match told {
        Some(kind) if is_empty(&wire) => Part { extras, ..Part::from(kind) },
        _ => PartKind::Foreign(OWN, raw.to_owned()).into(),
    })
}

/// Was every field taken?
fn is_empty(wire: &PartWire<'_>) -> bool {
    let texts =
        [&wire.text, &wire.refusal, &wire.image_url, &wire.detail, &wire.file_id, &wire.file_data, &wire.file_url];
    texts.iter().all(|text| text.is_none())
        && wire.filename.is_none()
        && wire.annotations.is_none()
        && wire.logprobs.is_none()
        && wire.input_audio.is_none()
}

/// Lists that the model's texts always have are remembered where they are left out.
fn decode_text(kind: &str, wire: &mut PartWire<'_>, side: Side, extras: &mut Extras) -> Option<PartKind> {
    let text = wire.text.take()?;
    let mut mark = Mark::default();
    if kind != side.text_type() {
        mark.set(TYPE, quoted(&Text::from_plain(kind)));
    }
    for (key, list) in LISTS.into_iter().zip([wire.annotations.take(), wire.logprobs.take()]) {
        match list {
            Some(list) if list.is_empty() && side == Side::Model => {}
            Some(list) => extras.push(key, spelling::list(list)),
            None if side == Side::Model && extras.find(key).is_none() => _ = mark.set(key, json::null()),
            None => {}
        }
    }
    mark.put(extras);
    Some(PartKind::Text(text))
}

fn decode_image(wire: &mut PartWire<'_>) -> Option<PartKind> {
    let (source, mime) = match (wire.image_url.take(), wire.file_id.take()) {
        (Some(url), None) => from_url(url),
        (None, Some(id)) => (MediaSource::FileId(id), None),
        _ => return None,
    };
    Some(PartKind::Image(Media { source, mime, name: None, detail: wire.detail.take() }))
}

fn decode_file(wire: &mut PartWire<'_>) -> Option<PartKind> {
    let (source, mime) = match (wire.file_data.take(), wire.file_url.take(), wire.file_id.take()) {
        (Some(data), None, None) => match from_url(data) {
            // Bare Base64, as some callers send it.
            (MediaSource::Url(plain), _) => (MediaSource::Base64(plain), None),
            inline => inline,
        },
        (None, Some(url), None) => (MediaSource::Url(url), None),
        (None, None, Some(id)) => (MediaSource::FileId(id), None),
        _ => return None,
    };
    let (name, detail) = (wire.filename.take(), wire.detail.take());
    Some(PartKind::File(Media { source, mime, name, detail }))
}

fn decode_audio(wire: &mut PartWire<'_>) -> Option<PartKind> {
    let AudioWire { data, format, extras, .. } = wire.input_audio.take()?;
    if !extras.is_empty() {
        return None;
    }
    let mime = format.as_ref().map(audio_mime);
    Some(PartKind::Audio(Media { source: MediaSource::Base64(data?), mime, ..Media::default() }))
}

// === Writing ===

/// Why a part of another dialect cannot be said here, or `None` where it can.
pub(super) fn obstacle(part: &Part, side: Side, crossing: &Crossing<'_>) -> Option<&'static str> {
    match &part.kind {
        PartKind::Text(_) | PartKind::Refusal(_) => None,
        PartKind::Foreign(source, _) if *source == OWN => None,
        PartKind::Image(_) | PartKind::File(_) | PartKind::Audio(_) if side == Side::Model => {
            Some("in openai_responses the model says text only")
        }
        PartKind::Image(media) | PartKind::File(media) | PartKind::Audio(media) => match (&media.source, &part.kind) {
            (MediaSource::FileId(_), _) if !crossing.is_sibling() => {
                Some("a file id means nothing to another provider")
            }
            (MediaSource::Url(_) | MediaSource::FileId(_), PartKind::Audio(_)) => {
                Some("openai_responses takes no audio by address")
            }
            (MediaSource::Absent, _) => Some("the media has no source"),
            (MediaSource::Plain(_), PartKind::Image(_) | PartKind::Audio(_)) => Some("plain text is no such media"),
            _ => None,
        },
        _ => Some(super::wire::NO_COUNTERPART),
    }
}

/// Writes parts in the caller's form where they still fit it, else as a list. Those with an obstacle are left out and noted.
pub(super) fn encode_content(
    out: &mut Vec<u8>,
    parts: &[(usize, &Part)],
    (form, side): (ContentForm, Side),
    pointer: &str,
    crossing: &mut Crossing<'_>,
) {
    if let (ContentForm::Plain, [(_, Part { kind: PartKind::Text(text), cache: None, extras, .. })]) = (form, parts)
        && extras.telling().next().is_none()
    {
        return json::write_text(out, text);
    }
    let mut array = Array::new(out);
    for (at, part) in parts {
        let place = if form == ContentForm::Parts { format!("{pointer}/{at}") } else { pointer.to_owned() };
        match obstacle(part, side, crossing).filter(|_| !crossing.is_native()) {
            Some(reason) => crossing.losses.push(place, reason),
            None => encode_part(array.item(), part, side, &place, crossing),
        }
    }
    array.end();
}

/// Writes one part. Parts with an [`obstacle`] are the caller's to leave out.
pub(super) fn encode_part(out: &mut Vec<u8>, part: &Part, side: Side, pointer: &str, crossing: &mut Crossing<'_>) {
    if let Some(raw) = spelling::latest(part) {
        return out.extend_from_slice(raw.get().as_bytes());
    }
    let mut sheet = Sheet::new(out);
    match &part.kind {
        PartKind::Text(text) => encode_text(&mut sheet, text, part, side, crossing),
        PartKind::Refusal(text) => _ = sheet.str("type", "refusal").text("refusal", text),
        PartKind::Image(media) => encode_image(&mut sheet, media, crossing),
        PartKind::Audio(media) => encode_audio(&mut sheet, media),
        PartKind::File(media) => encode_file(&mut sheet, media, crossing),
        _ => {}
    }
    if part.signature.is_some() {
        crossing.losses.push(pointer, "openai_responses signs reasoning and calls only");
    }
    if part.cache.is_some() {
        crossing.losses.push(format!("{pointer}/cache_control"), "OpenAI caches prompts by itself");
    }
    let mut extras = part.extras.clone();
    if !crossing.is_native() {
        // Said already: what a text has here and a message elsewhere, and how chat spells a format.
        LISTS.iter().filter(|_| side == Side::Model).for_each(|key| _ = extras.remove(key));
        extras.remove("input_audio").into_iter().for_each(|inner| spelling::overlay(&mut extras, &unsaid(&inner)));
    }
    crossing.extras(&mut sheet, &extras, pointer);
    sheet.end();
}

/// What chat says of a sound beside its format.
fn unsaid(audio: &RawValue) -> Extras {
    let mut inner = json::fields(Some(audio));
    inner.remove("format");
    inner
}

fn encode_text(sheet: &mut Sheet<'_>, text: &Text, part: &Part, side: Side, crossing: &Crossing<'_>) {
    let mark = if crossing.is_native() { Mark::of(&part.extras) } else { Mark::default() };
    match mark.find(TYPE) {
        Some(kind) => sheet.raw("type", kind.get()),
        None => sheet.str("type", side.text_type()),
    };
    sheet.text("text", text);
    if side == Side::Model {
        for key in LISTS {
            let known = part.extras.find(key);
            if known.is_some() || mark.find(key).is_none() {
                sheet.raw(key, known.map_or("[]", RawValue::get));
            }
        }
    }
}

/// The API demands a detail; `auto` is what leaving it out says elsewhere.
fn encode_image(sheet: &mut Sheet<'_>, media: &Media, crossing: &Crossing<'_>) {
    sheet.str("type", "input_image");
    match (&media.detail, crossing.is_native()) {
        (Some(detail), _) => _ = sheet.text("detail", detail),
        (None, false) => _ = sheet.str("detail", "auto"),
        (None, true) => {}
    }
    match &media.source {
        MediaSource::FileId(id) => _ = sheet.text("file_id", id),
        _ => write_url(sheet.key("image_url"), media),
    }
}

fn encode_audio(sheet: &mut Sheet<'_>, media: &Media) {
    sheet.str("type", "input_audio");
    let mut audio = Sheet::new(sheet.key("input_audio"));
    if let MediaSource::Base64(data) = &media.source {
        audio.text("data", data);
    }
    if let Some(mime) = &media.mime {
        audio.str("format", audio_format(mime.as_escaped()));
    }
    audio.end();
}

fn encode_file(sheet: &mut Sheet<'_>, media: &Media, crossing: &Crossing<'_>) {
    if let MediaSource::Plain(text) = &media.source {
        // Plain text needs no file around it.
        sheet.str("type", "input_text").text("text", text);
        return;
    }
    sheet.str("type", "input_file");
    match (&media.name, &media.source) {
        (Some(name), _) => _ = sheet.text("filename", name),
        (None, MediaSource::Base64(_)) if !crossing.is_native() => _ = sheet.str("filename", FILE_NAME),
        (None, _) => {}
    }
    sheet.optional_text("detail", media.detail.as_ref().filter(|_| crossing.is_native()));
    match &media.source {
        MediaSource::Base64(data) if media.mime.is_none() => _ = sheet.text("file_data", data),
        MediaSource::Base64(_) => write_url(sheet.key("file_data"), media),
        MediaSource::Url(url) => _ = sheet.text("file_url", url),
        MediaSource::FileId(id) => _ = sheet.text("file_id", id),
        MediaSource::Plain(_) | MediaSource::Absent => {}
    }
}
