//! Images, documents, videos and sounds, both ways. Each says its format by a word, where others give a media type.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::wire::{Crossing, LocationWire, MediaWire, Place, member, quoted, read};
use crate::chat::{Media, MediaSource, Part, PartKind};
use crate::dialect::raw::sniff;
use crate::json::{Object, write_text};
use crate::{Malformed, Text};

/// Spellings that are remembered: the word of the format, and where in S3 the bytes are.
const FORMAT: &str = "format";
const LOCATION: &str = "s3Location";

/// Addresses that Bedrock itself reads.
const S3: &str = "s3://";

/// Words of formats and their media types (service model: `ImageFormat`, …); of several rows with one type the first is written.
const IMAGES: Formats = &[
    ("png", "image/png"),
    ("jpeg", "image/jpeg"),
    ("jpeg", "image/jpg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
];
const DOCUMENTS: Formats = &[
    ("pdf", "application/pdf"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("html", "text/html"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
];
const VIDEOS: Formats = &[
    ("mp4", "video/mp4"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
    ("flv", "video/x-flv"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("wmv", "video/x-ms-wmv"),
    ("three_gp", "video/3gpp"),
];
const SOUNDS: Formats = &[
    ("mp3", "audio/mpeg"),
    ("mp3", "audio/mp3"),
    ("mpeg", "audio/mpeg"),
    ("mpga", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("wav", "audio/x-wav"),
    ("opus", "audio/opus"),
    ("aac", "audio/aac"),
    ("x-aac", "audio/x-aac"),
    ("flac", "audio/flac"),
    ("mp4", "audio/mp4"),
    ("m4a", "audio/x-m4a"),
    ("ogg", "audio/ogg"),
    ("mkv", "audio/x-matroska"),
    ("mka", "audio/x-matroska"),
    ("pcm", "audio/pcm"),
    ("webm", "audio/webm"),
];

/// A document without a name of its own.
const UNNAMED: &str = "document";

/// The longest name (service model, `DocumentBlockNameString`).
const LONGEST_NAME: usize = 200;

type Formats = &'static [(&'static str, &'static str)];

/// A member of the union of blocks that is media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Document,
    Video,
    Audio,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Image, Self::Document, Self::Video, Self::Audio];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Document => "document",
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }

    fn formats(self) -> Formats {
        match self {
            Self::Image => IMAGES,
            Self::Document => DOCUMENTS,
            Self::Video => VIDEOS,
            Self::Audio => SOUNDS,
        }
    }

    /// A video is a file, to the canonical model.
    fn part(self, media: Media) -> PartKind {
        match self {
            Self::Image => PartKind::Image(media),
            Self::Audio => PartKind::Audio(media),
            Self::Document | Self::Video => PartKind::File(media),
        }
    }

    fn of(part: &Part) -> Option<(Self, &Media)> {
        Some(match &part.kind {
            PartKind::Image(media) => (Self::Image, media),
            PartKind::Audio(media) => (Self::Audio, media),
            PartKind::File(media) if is_video(media) => (Self::Video, media),
            PartKind::File(media) => (Self::Document, media),
            _ => return None,
        })
    }
}

/// Is it a document, which the API refuses without a text beside it?
pub(super) fn is_document(part: &Part) -> bool {
    Kind::of(part).is_some_and(|(kind, _)| kind == Kind::Document)
}

fn is_video(media: &Media) -> bool {
    media.mime.as_ref().is_some_and(|mime| mime.as_escaped().starts_with("video"))
}

// === Reading ===

/// `None` for what this crate cannot spell again exactly: it stays whole.
pub(super) fn decode(kind: Kind, raw: &RawValue, place: Place<'_>) -> Result<Option<Part>, Malformed> {
    let wire: MediaWire<'_> = read(raw, &|| format!("{}/{}", place(), kind.name()))?;
    let mut extras = wire.extras;
    let source = match wire.source.and_then(member) {
        Some(("bytes", bytes)) => Text::from_raw(bytes).map(MediaSource::Base64),
        Some(("text", text)) if kind == Kind::Document => Text::from_raw(text).map(MediaSource::Plain),
        Some((LOCATION, location)) => {
            let wire: LocationWire<'_> = read(location, &|| format!("{}/{}/source/{LOCATION}", place(), kind.name()))?;
            extras.remember(LOCATION, location.to_owned());
            wire.uri.map(MediaSource::FileId)
        }
        _ => None,
    };
    let known = |format: &Text| kind.formats().iter().find(|(word, _)| *word == format.as_escaped());
    let mime = match &wire.format {
        None => None,
        Some(format) => match known(format) {
            Some((_, mime)) => Some(Text::from_plain(mime)),
            None => return Ok(None),
        },
    };
    let Some(source) = source else { return Ok(None) };
    if let Some(format) = &wire.format {
        extras.remember(FORMAT, quoted(format));
    }
    let media = Media { source, mime, name: wire.name, detail: None };
    Ok(Some(Part { extras, ..Part::from(kind.part(media)) }))
}

// === Writing ===

/// Why this media of another dialect cannot be said here, or `None` where it can.
pub(super) fn obstacle(part: &Part) -> Option<&'static str> {
    let (kind, media) = Kind::of(part)?;
    match &media.source {
        MediaSource::FileId(address) | MediaSource::Url(address) if !address.as_escaped().starts_with(S3) => {
            return Some(match media.source {
                MediaSource::FileId(_) => "a file id means nothing to another provider",
                _ => "bedrock_converse reads no addresses but those of S3",
            });
        }
        MediaSource::Absent => return Some("no bytes, no address"),
        MediaSource::Plain(_) if kind != Kind::Document => return Some("plain text is no such media"),
        _ => {}
    }
    format_of(kind, media).is_none().then_some("bedrock_converse has no word for this format")
}

/// Writes a media block. Media with an [`obstacle`] are the caller's to leave out.
pub(super) fn encode(part: &Part, place: Place<'_>, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    let Some((kind, media)) = Kind::of(part) else { return };
    let mut union = Object::new(out);
    let mut object = Object::new(union.key(kind.name()));
    let spelt = part.extras.recall(FORMAT).filter(|_| crossing.native);
    if let Some(format) = spelt {
        object.raw("format", format.get());
    } else if let Some(format) = format_of(kind, media).filter(|_| !crossing.native) {
        object.str("format", format);
    }
    write_name(kind, media, place, crossing, &mut object);
    write_source(part, media, crossing.native, object.key("source"));
    crossing.extras(&mut object, &part.extras, place);
    object.end();
    union.end();
    if media.detail.is_some() {
        crossing.lose(format!("{}/image_url/detail", place()));
    }
}

fn write_name(kind: Kind, media: &Media, place: Place<'_>, crossing: &mut Crossing<'_>, object: &mut Object<'_>) {
    match (&media.name, kind) {
        (name, _) if crossing.native => {
            if let Some(name) = name {
                object.text("name", name);
            }
        }
        (name, Kind::Document) => {
            let given = name.as_ref().map_or(UNNAMED.into(), Text::to_plain);
            let written = unique(&sanitised(&given), &mut crossing.names);
            if written != given && name.is_some() {
                crossing.losses.push(format!("{}/name", place()), format!("renamed to {written:?}"));
            }
            object.str("name", &written);
        }
        (Some(_), _) => crossing.lose(format!("{}/name", place())),
        (None, _) => {}
    }
}

fn write_source(part: &Part, media: &Media, native: bool, out: &mut Vec<u8>) {
    let mut source = Object::new(out);
    match &media.source {
        MediaSource::Base64(bytes) => {
            source.text("bytes", bytes);
        }
        MediaSource::Plain(text) => {
            source.text("text", text);
        }
        MediaSource::FileId(uri) | MediaSource::Url(uri) => {
            if let Some(location) = part.extras.recall(LOCATION).filter(|_| native) {
                source.raw(LOCATION, location.get());
            } else {
                let mut location = Object::new(source.key(LOCATION));
                write_text(location.key("uri"), uri);
                location.end();
            }
        }
        MediaSource::Absent => {}
    }
    source.end();
}

/// The format's word: by the media type, else by the name's or the address's ending, else by the first bytes.
fn format_of(kind: Kind, media: &Media) -> Option<&'static str> {
    let by_mime = |mime: &str| kind.formats().iter().find(|(_, known)| *known == mime).map(|(word, _)| *word);
    let plain = if kind == Kind::Document { Some("txt") } else { None };
    if let Some(mime) = &media.mime {
        let mime = mime.to_plain().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        return by_mime(&mime).or_else(|| plain.filter(|_| mime.starts_with("text/")));
    }
    let ending = |text: &Text| {
        let lower = text.to_plain().to_ascii_lowercase();
        let (_, ending) = lower.rsplit_once('.')?;
        let ending = if ending == "jpg" { "jpeg" } else { ending };
        kind.formats().iter().find(|(word, _)| *word == ending).map(|(word, _)| *word)
    };
    media.name.as_ref().and_then(ending).or_else(|| match &media.source {
        MediaSource::Url(address) | MediaSource::FileId(address) => ending(address),
        MediaSource::Base64(bytes) => by_mime(sniff(bytes)),
        MediaSource::Plain(_) => plain,
        MediaSource::Absent => None,
    })
}

/// Letters, digits, single spaces, hyphens, parentheses and square brackets are what a name may hold.
fn sanitised(name: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
    let mapped: String = name.chars().map(|c| if is_allowed(c) || c.is_whitespace() { c } else { '-' }).collect();
    let squeezed = mapped.split_whitespace().collect::<Vec<_>>().join(" ");
    let kept: String = squeezed.chars().take(LONGEST_NAME).collect();
    if kept.trim().is_empty() { UNNAMED.to_owned() } else { kept.trim().to_owned() }
}

/// No two documents of a request may have one name.
fn unique(name: &str, taken: &mut HashSet<String>) -> String {
    let numbered = |number: usize| {
        let suffix = format!(" ({number})");
        let kept: String = name.chars().take(LONGEST_NAME - suffix.len()).collect();
        format!("{kept}{suffix}")
    };
    // One more name than there are taken ones is enough.
    let last = taken.len().saturating_add(2);
    let mut names = std::iter::once(name.to_owned()).chain((2..=last).map(numbered));
    let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_bedrock_takes_and_no_two_are_alike() {
        for (given, expected) in [
            ("report.final v2.pdf", "report-final v2-pdf"),
            ("  a \t b\n", "a b"),
            ("[x] (y)-z", "[x] (y)-z"),
            ("Übersicht", "-bersicht"),
            ("", "document"),
            ("\u{3000}", "document"),
        ] {
            assert_eq!(sanitised(given), expected);
        }
        assert_eq!(sanitised(&"a".repeat(300)).len(), LONGEST_NAME);
        let mut taken = HashSet::new();
        let names: Vec<String> = (0..3).map(|_| unique("a", &mut taken)).collect();
        assert_eq!(names, ["a", "a (2)", "a (3)"]);
        let long = "b".repeat(LONGEST_NAME);
        unique(&long, &mut taken);
        assert_eq!(unique(&long, &mut taken).len(), LONGEST_NAME);
    }
}
