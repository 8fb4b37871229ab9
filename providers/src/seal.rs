//! Reasoning that a provider has sealed (signed or encrypted) opens again only at that provider.
//!
//! A client carries such a seal from turn to turn without reading it, in whatever field its own dialect has for one. So that it
//! is never shown to a stranger, who would refuse the request, a seal says whose it is: `<origin>:<seal>`. Anthropic's own, in
//! the canonical model, say nothing. The names of origins are those that OpenRouter's `format` field made common.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::Text;
use crate::chat::{Part, PartKind};

/// The field in which OpenRouter and its kind name the origin of reasoning (`anthropic-claude-v1`).
const FORMAT: &str = "format";

/// Whose seal it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The signature of a thinking block.
    Anthropic,
    /// The data of a redacted thinking block.
    AnthropicRedacted,
    /// The encrypted content of a reasoning item.
    OpenAi,
    /// The signature of a thought.
    Google,
    /// Stands in the place of a signature that nobody gave.
    Nobody,
}

/// Reads what clients wrote with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Origin {
    const ALL: [Self; 5] = [Self::Anthropic, Self::AnthropicRedacted, Self::OpenAi, Self::Google, Self::Nobody];

    fn mark(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic-claude-v1:",
            Self::AnthropicRedacted => "anthropic-claude-v1.redacted:",
            Self::OpenAi => "openai-responses-v1:",
            Self::Google => "google-gemini-v1:",
            Self::Nobody => "unsigned-v1:",
        }
    }
}

/// The seal with its origin before it.
pub fn mark(origin: Origin, seal: &Text) -> Text {
    let mut marked = Text::from_plain(origin.mark());
    marked.push(seal);
    marked
}

/// The origin and the seal itself, where the text says whose it is. Seals are Base64, which has no colon.
pub fn open(marked: &Text) -> Option<(Origin, Text)> {
    Origin::ALL.into_iter().find_map(|origin| {
        let seal = marked.as_escaped().strip_prefix(origin.mark())?;
        Some((origin, Text::from_escaped(seal)))
    })
}

/// The seal with its origin before it, which is as good as given where there is none.
pub(crate) fn marked(origin: Origin, seal: &Text) -> Text {
    if open(seal).is_some() { seal.clone() } else { mark(origin, seal) }
}

/// What stands for a signature that nobody gave, where a client must bring it back.
pub(crate) fn nobodys() -> Text {
    mark(Origin::Nobody, &Text::default())
}

// === Blobs ===

/// A seal where a wire wants Base64. Providers' own mostly are; what is not, as a marked one, is written as the bytes of its text,
/// so that its mark tells it apart when it comes back.
pub(crate) fn to_blob(seal: &Text) -> Text {
    let plain = seal.to_plain();
    if BASE64.decode(plain.as_bytes()).is_ok() {
        return seal.clone();
    }
    Text::from_plain(&BASE64.encode(plain.as_bytes()))
}

/// The seal of a blob: a marked one, or the blob as it is. Google's SDKs decode a blob, and encode it with the alphabet for URLs.
pub(crate) fn from_blob(blob: Text) -> Text {
    let plain = blob.to_plain().replace('-', "+").replace('_', "/");
    let bytes = BASE64.decode(plain).ok();
    let marked = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| Text::from_plain(&text));
    marked.filter(|text| open(text).is_some()).unwrap_or(blob)
}

/// Does a JSON body hold a blob that [`to_blob`] made of a seal of these origins? Told from its bytes.
pub(crate) fn is_blob_of(body: &[u8], origins: &[Origin]) -> bool {
    origins.iter().any(|origin| {
        // Three bytes are four letters; what is left over depends on what follows.
        let whole = origin.mark().as_bytes().chunks_exact(3).flatten().copied().collect::<Vec<u8>>();
        memchr::memmem::find(body, format!("\"{}", BASE64.encode(whole)).as_bytes()).is_some()
    })
}

// === In bodies ===

/// Did Anthropic's models seal this reasoning, as far as it says? They are served by several providers, and open each other's.
pub(crate) fn is_anthropics(part: &Part) -> bool {
    if let PartKind::Thinking { signature: Some(seal), .. } | PartKind::Redacted { data: seal } = &part.kind
        && is_strangers(seal)
    {
        return false;
    }
    let format = part.extras.find(FORMAT).and_then(Text::from_raw);
    format.is_none_or(|format| format.as_escaped().starts_with("anthropic"))
}

/// Does this seal say that it is none of Anthropic's?
pub(crate) fn is_strangers(seal: &Text) -> bool {
    matches!(open(seal), Some((Origin::OpenAi | Origin::Google | Origin::Nobody, _)))
}

/// Does a JSON body hold a string that begins with one of these origins' marks? Told from its bytes.
pub(crate) fn is_marked_by(body: &[u8], strangers: &[Origin]) -> bool {
    strangers.iter().any(|origin| memchr::memmem::find(body, format!("\"{}", origin.mark()).as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_comes_back_with_its_origin_and_a_plain_one_has_none() {
        let seal: Text = "gAAAA+/=".into();
        for origin in Origin::ALL {
            assert_eq!(open(&mark(origin, &seal)), Some((origin, seal.clone())));
        }
        assert_eq!(open(&seal), None);
    }

    #[test]
    fn a_seal_comes_through_an_sdk_that_decodes_and_encodes_it() {
        for origin in Origin::ALL {
            let seal = mark(origin, &"EqA+/~~??=".into());
            let blob = to_blob(&seal).to_plain().into_owned();
            for alphabet in [blob.clone(), blob.replace('+', "-").replace('/', "_")] {
                assert_eq!(from_blob(Text::from_plain(alphabet.trim_end_matches('='))), seal, "{alphabet}");
                let body = format!(r#"{{"thoughtSignature":"{alphabet}"}}"#);
                assert!(is_blob_of(body.as_bytes(), &[origin]), "{body}");
            }
        }
        let own: Text = "EmwKAhgBEgy3va3p+/A=".into();
        assert_eq!((to_blob(&own), from_blob(own.clone())), (own.clone(), own));
        assert!(!is_blob_of(br#"{"thoughtSignature":"EmwKAhgBEgy3va3p+/A="}"#, &Origin::ALL));
    }
}
