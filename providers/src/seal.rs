//! Reasoning that a provider has sealed (signed or encrypted) opens again only at that provider.
//!
//! A client carries such a seal from turn to turn without reading it, in whatever field its own dialect has for one. So that it
//! is never shown to a stranger, who would refuse the request, a seal says whose it is: `<origin>:<seal>`. Anthropic's own, in
//! the canonical model, say nothing. The names of origins are those that OpenRouter's `format` field made common.

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
}

impl Origin {
    const ALL: [Self; 4] = [Self::Anthropic, Self::AnthropicRedacted, Self::OpenAi, Self::Google];

    fn mark(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic-claude-v1:",
            Self::AnthropicRedacted => "anthropic-claude-v1.redacted:",
            Self::OpenAi => "openai-responses-v1:",
            Self::Google => "google-gemini-v1:",
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

/// Did Anthropic's models seal this reasoning, as far as it says? They are served by several providers, and open each other's.
pub(crate) fn is_anthropics(part: &Part) -> bool {
    if let PartKind::Thinking { signature: Some(seal), .. } | PartKind::Redacted { data: seal } = &part.kind
        && matches!(open(seal), Some((Origin::OpenAi | Origin::Google, _)))
    {
        return false;
    }
    let format = part.extras.find(FORMAT).and_then(Text::from_raw);
    format.is_none_or(|format| format.as_escaped().starts_with("anthropic"))
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
}
