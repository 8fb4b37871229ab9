//! Content parts: the elements of a message's `content` list, both ways.
//!
//! A part remembers in its `extras` how its own dialect spelt it: the key of its inner object (`image_url`, `input_audio`,
//! `file`) holds the inner fields without a canonical place, or `null` where the value was a plain string instead of an
//! object; [`IN_CONTENT`] marks thinking and refusals that stood in the list rather than beside it.

use serde_json::value::RawValue;

use super::media::{audio_format, audio_mime, from_url, write_url};
use super::wire::{self, Sheet, fields, object, quoted};
use crate::chat::{ContentForm, Extras, Media, MediaSource, Part, PartKind};
use crate::json::{self, Array, decode, decode_at};
use crate::{Dialect, Malformed, Text};

/// Marks a thinking or refusal part that stood in the content list.
pub(super) const IN_CONTENT: &str = "content";

/// The key under which the inner fields of an audio part are kept.
const INPUT_AUDIO: &str = "input_audio";

/// The name of an audio format as the caller spelt it, which [`Media::mime`] says too.
const FORMAT: &str = "format";

// === decode ===

/// The parts of a `content` that is not `null`.
pub(super) fn decode_content(raw: &RawValue, pointer: &str) -> Result<(ContentForm, Vec<Part>), Malformed> {
    if let Some(text) = Text::from_raw(raw) {
        let parts = if text.is_empty() { Vec::new() } else { vec![PartKind::Text(text).into()] };
        return Ok((ContentForm::Plain, parts));
    }
    let pointer = format!("{pointer}/content");
    let elements: Vec<&RawValue> = decode(raw.get().as_bytes())
        .map_err(|_| Malformed { pointer: pointer.clone(), expected: "a string or a list of parts".into() })?;
    let parts = elements.into_iter().enumerate().map(|(at, raw)| decode_part(raw, &format!("{pointer}/{at}")));
    Ok((ContentForm::Parts, parts.collect::<Result<_, _>>()?))
}

/// One element of a content list. What is not known, or not whole, is kept as it is.
pub(super) fn decode_part(raw: &RawValue, pointer: &str) -> Result<Part, Malformed> {
    let part: wire::ContentPart<'_> = decode_at(raw, pointer)?;
    let bodies = [
        part.text.is_some(),
        part.image_url.is_some(),
        part.input_audio.is_some(),
        part.file.is_some(),
        part.refusal.is_some(),
        part.thinking.is_some(),
    ];
    let kind = part.kind.as_ref().map_or("", |kind| kind.as_str());
    let mut extras = part.extras;
    let kind = match kind {
        _ if bodies.iter().filter(|present| **present).count() != 1 => None,
        "text" => part.text.map(PartKind::Text),
        "image_url" => part.image_url.and_then(|raw| decode_image(raw, &mut extras)),
        "input_audio" => part.input_audio.and_then(|raw| decode_audio(raw, &mut extras)),
        "file" => part.file.and_then(|file| decode_file(file, &mut extras)),
        "refusal" => part.refusal.map(|refusal| {
            extras.push(IN_CONTENT, json::null());
            PartKind::Refusal(refusal)
        }),
        "thinking" => part.thinking.and_then(|raw| decode_thinking(raw, &mut extras)),
        _ => None,
    };
    Ok(match kind {
        Some(kind) => Part { cache: part.cache_control, extras, ..Part::from(kind) },
        None => PartKind::Foreign(Dialect::OpenAiChat, raw.to_owned()).into(),
    })
}

fn decode_image(raw: &RawValue, extras: &mut Extras) -> Option<PartKind> {
    if let Some(url) = Text::from_raw(raw) {
        extras.push("image_url", json::null());
        let (source, mime) = from_url(url);
        return Some(PartKind::Image(Media { source, mime, ..Media::default() }));
    }
    let wire::ImageUrl { url, file_id, detail, extras: mut inner, .. } = decode(raw.get().as_bytes()).ok()?;
    let (source, mime) = match (url, file_id) {
        (Some(url), second) => {
            if let Some(id) = second {
                inner.push("file_id", quoted(&id));
            }
            from_url(url)
        }
        (None, Some(id)) => (MediaSource::FileId(id), None),
        (None, None) => return None,
    };
    keep_inner(extras, "image_url", &inner);
    Some(PartKind::Image(Media { source, mime, name: None, detail }))
}

fn decode_audio(raw: &RawValue, extras: &mut Extras) -> Option<PartKind> {
    if let Some(audio) = Text::from_raw(raw) {
        // Mistral takes Base64 or an address here.
        extras.push(INPUT_AUDIO, json::null());
        let remote = audio.as_escaped().starts_with("http");
        let source = if remote { MediaSource::Url(audio) } else { MediaSource::Base64(audio) };
        return Some(PartKind::Audio(Media { source, ..Media::default() }));
    }
    let wire::InputAudio { data, format, extras: inner, .. } = decode(raw.get().as_bytes()).ok()?;
    let mime = format.as_ref().map(audio_mime);
    if let Some(format) = format {
        extras.remember(FORMAT, quoted(&format));
    }
    keep_inner(extras, INPUT_AUDIO, &inner);
    Some(PartKind::Audio(Media { source: MediaSource::Base64(data?), mime, ..Media::default() }))
}

fn decode_file(file: wire::File<'_>, extras: &mut Extras) -> Option<PartKind> {
    let wire::File { data, url, id, filename, extras: mut inner, .. } = file;
    let mut sources = [("file_data", data), ("file_url", url), ("file_id", id)]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    let (source, mime) = match sources.next()? {
        ("file_data", data) => match from_url(data) {
            (MediaSource::Url(plain), _) => (MediaSource::Base64(plain), None),
            decoded => decoded,
        },
        ("file_url", url) => (MediaSource::Url(url), None),
        (_, id) => (MediaSource::FileId(id), None),
    };
    sources.for_each(|(key, value)| inner.push(key, quoted(&value)));
    keep_inner(extras, "file", &inner);
    Some(PartKind::File(Media { source, mime, name: filename, detail: None }))
}

/// Mistral's `{"type":"thinking","thinking":[{"type":"text","text":".."}]}`.
fn decode_thinking(raw: &RawValue, extras: &mut Extras) -> Option<PartKind> {
    let chunks: Vec<wire::ContentPart<'_>> = decode(raw.get().as_bytes()).ok()?;
    let single = chunks.len() == 1 && chunks.iter().all(|chunk| chunk.extras.is_empty() && chunk.text.is_some());
    let mut text = Text::default();
    chunks.iter().filter_map(|chunk| chunk.text.as_ref()).for_each(|more| text.push(more));
    extras.push(IN_CONTENT, json::null());
    if !single {
        extras.push("thinking", raw.to_owned());
    }
    Some(PartKind::Thinking { text, signature: None })
}

fn keep_inner(extras: &mut Extras, key: &'static str, inner: &Extras) {
    if !inner.is_empty() {
        extras.push(key, object(inner));
    }
}

// === encode ===

/// Why a part of another dialect cannot stand in a content list, if it cannot.
pub(super) fn unsayable(kind: &PartKind) -> Option<&'static str> {
    match kind {
        PartKind::Foreign(..) => Some("openai_chat has no counterpart"),
        PartKind::Image(media) | PartKind::Audio(media) | PartKind::File(media) => match (&media.source, kind) {
            (MediaSource::FileId(_), _) => Some("a file id means nothing to another provider"),
            (MediaSource::Url(_), PartKind::File(_)) => Some("openai_chat takes no document by address"),
            (MediaSource::Url(_), PartKind::Audio(_)) => Some("openai_chat takes no audio by address"),
            (MediaSource::Absent, _) => Some("the media has no source"),
            (MediaSource::Plain(_), PartKind::Image(_) | PartKind::Audio(_)) => Some("plain text is no such media"),
            _ => None,
        },
        _ => None,
    }
}

/// Writes `content` in the caller's form where the parts still fit it, else as a string (one text) or a list.
pub(super) fn encode_content(sheet: &mut Sheet<'_>, parts: &[&Part], form: ContentForm) {
    match (form, parts) {
        (ContentForm::Absent, []) => {}
        (ContentForm::Null, []) => {
            sheet.raw("content", "null");
        }
        (ContentForm::Plain, []) => {
            sheet.raw("content", "\"\"");
        }
        (ContentForm::Plain | ContentForm::Null | ContentForm::Absent, [part]) if plain_text(part).is_some() => {
            sheet.optional_text("content", plain_text(part));
        }
        _ => {
            let mut array = Array::new(sheet.key("content"));
            for part in parts {
                encode_part(array.item(), part);
            }
            array.end();
        }
    }
}

/// The text of a part that says nothing else.
fn plain_text(part: &Part) -> Option<&Text> {
    match &part.kind {
        PartKind::Text(text) if part.cache.is_none() && part.extras.is_empty() => Some(text),
        _ => None,
    }
}

/// Writes one element of a content list.
pub(super) fn encode_part(out: &mut Vec<u8>, part: &Part) {
    if let PartKind::Foreign(_, raw) = &part.kind {
        out.extend_from_slice(raw.get().as_bytes());
        return;
    }
    let mut sheet = Sheet::new(out);
    match &part.kind {
        PartKind::Text(text) => _ = sheet.raw("type", "\"text\"").text("text", text),
        PartKind::Refusal(text) => _ = sheet.raw("type", "\"refusal\"").text("refusal", text),
        PartKind::Thinking { text, .. } => encode_thinking(&mut sheet, text, &part.extras),
        PartKind::Image(media) => encode_image(&mut sheet, media, part.extras.find("image_url")),
        PartKind::Audio(media) => encode_audio(&mut sheet, media, &part.extras),
        PartKind::File(media) => encode_file(&mut sheet, media, part.extras.find("file")),
        PartKind::Redacted { .. } | PartKind::ToolCall(_) | PartKind::ToolResult(_) | PartKind::Foreign(..) => {}
    }
    sheet.optional_raw("cache_control", part.cache.as_deref());
    sheet.skip(&[IN_CONTENT]).extras(&part.extras);
    sheet.end();
}

fn encode_thinking(sheet: &mut Sheet<'_>, text: &Text, extras: &Extras) {
    sheet.raw("type", "\"thinking\"");
    if extras.find("thinking").is_none() {
        let mut array = Array::new(sheet.key("thinking"));
        let mut chunk = Sheet::new(array.item());
        chunk.raw("type", "\"text\"").text("text", text);
        chunk.end();
        array.end();
    }
}

fn encode_image(sheet: &mut Sheet<'_>, media: &Media, inner: Option<&RawValue>) {
    let out = sheet.raw("type", "\"image_url\"").key("image_url");
    if is_null(inner) {
        write_url(out, media);
        return;
    }
    let mut image = Sheet::new(out);
    match &media.source {
        MediaSource::FileId(id) => _ = image.text("file_id", id),
        _ => write_url(image.key("url"), media),
    }
    image.optional_text("detail", media.detail.as_ref()).extras(&fields(inner));
    image.end();
}

fn encode_audio(sheet: &mut Sheet<'_>, media: &Media, extras: &Extras) {
    let inner = extras.find(INPUT_AUDIO);
    let out = sheet.raw("type", "\"input_audio\"").key("input_audio");
    let (MediaSource::Base64(data) | MediaSource::Url(data) | MediaSource::FileId(data) | MediaSource::Plain(data)) =
        &media.source
    else {
        out.extend_from_slice(b"null");
        return;
    };
    if is_null(inner) {
        json::write_text(out, data);
        return;
    }
    let inner = fields(inner);
    let mut audio = Sheet::new(out);
    audio.text("data", data);
    match (extras.recall(FORMAT), &media.mime) {
        (Some(format), _) => _ = audio.raw(FORMAT, format.get()),
        (None, Some(mime)) => _ = audio.str(FORMAT, audio_format(mime.as_escaped())),
        (None, None) => {}
    }
    audio.extras(&inner);
    audio.end();
}

fn encode_file(sheet: &mut Sheet<'_>, media: &Media, inner: Option<&RawValue>) {
    if let MediaSource::Plain(text) = &media.source {
        // Plain text needs no file around it.
        sheet.raw("type", "\"text\"").text("text", text);
        return;
    }
    let mut file = Sheet::new(sheet.raw("type", "\"file\"").key("file"));
    file.optional_text("filename", media.name.as_ref());
    match &media.source {
        MediaSource::Base64(data) if media.mime.is_none() => _ = file.text("file_data", data),
        MediaSource::Base64(_) => write_url(file.key("file_data"), media),
        MediaSource::Url(url) => _ = file.text("file_url", url),
        MediaSource::FileId(id) => _ = file.text("file_id", id),
        MediaSource::Plain(_) | MediaSource::Absent => {}
    }
    file.extras(&fields(inner));
    file.end();
}

fn is_null(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() == "null")
}
