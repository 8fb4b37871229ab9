//! Media as OpenAI's dialects spell it: `data:` URLs, and short names of audio formats.

use crate::chat::{Media, MediaSource};
use crate::{Text, json};

/// A `data:` URL with Base64 gives its bytes and media type; anything else stays an address.
pub(crate) fn from_url(url: Text) -> (MediaSource, Option<Text>) {
    // Some encoders escape the slash of `image/png`.
    let url = if url.as_escaped().contains('\\') { Text::from_plain(&url.to_plain()) } else { url };
    let inline = url.as_escaped().strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match inline {
        Some((mime, data)) if !mime.contains([';', ',', '\\']) => {
            (MediaSource::Base64(Text::from_plain(data)), Some(Text::from_plain(mime)))
        }
        _ => (MediaSource::Url(url), None),
    }
}

/// The media type of OpenAI's name for an audio format.
pub(in crate::dialect) fn audio_mime(format: &Text) -> Text {
    match format.as_escaped() {
        "mp3" => "audio/mpeg".into(),
        other => Text::from_plain(&format!("audio/{other}")),
    }
}

/// OpenAI's name of an audio media type; the subtype where it has none of its own.
pub(in crate::dialect) fn audio_format(mime: &str) -> &str {
    match mime {
        "audio/mpeg" => "mp3",
        "audio/x-wav" | "audio/wave" => "wav",
        other => other.strip_prefix("audio/").unwrap_or(other),
    }
}

/// Writes an address, or the bytes as a `data:` URL.
pub(crate) fn write_url(out: &mut Vec<u8>, media: &Media) {
    match &media.source {
        MediaSource::Base64(data) => {
            out.extend_from_slice(b"\"data:");
            out.extend_from_slice(media.mime.as_ref().map_or("", Text::as_escaped).as_bytes());
            out.extend_from_slice(b";base64,");
            out.extend_from_slice(data.as_escaped().as_bytes());
            out.push(b'"');
        }
        MediaSource::Url(url) | MediaSource::FileId(url) | MediaSource::Plain(url) => json::write_text(out, url),
        MediaSource::Absent => out.extend_from_slice(b"null"),
    }
}
