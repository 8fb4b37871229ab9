//! `thoughtSignature`: what Google's models signed, and what the seals of others become in the same field, so that a client brings
//! them back.
//!
//! Google's SDKs decode the field, so all that stands in it is Base64. In the canonical model a signature over a thought says that
//! it is Google's; over any other part it is always Google's, and bare.

use crate::Text;
use crate::chat::PartKind;
use crate::seal::{self, Origin};

/// Whose seals Google's models do not know.
const STRANGERS: [Origin; 4] = [Origin::Anthropic, Origin::AnthropicRedacted, Origin::OpenAi, Origin::Nobody];

/// See [`crate::Dialect::holds_what_was_made_here`]: signatures that Google's API refuses, or that stand for those that it demands.
pub(in crate::dialect) fn holds_seals_of_others(body: &[u8]) -> bool {
    seal::is_blob_of(body, &STRANGERS)
}

/// What a signature says of the part that it stands on.
#[derive(Debug)]
pub(super) enum Signature {
    Googles(Text),
    /// As the canonical model has it.
    Strangers(Origin, Text),
    /// Another provider's model made the call.
    Nobodys,
}

pub(super) fn read(given: Text) -> Signature {
    let seal = seal::from_blob(given);
    match seal::open(&seal) {
        None => Signature::Googles(seal),
        Some((Origin::Nobody, _)) => Signature::Nobodys,
        Some((origin @ (Origin::Anthropic | Origin::AnthropicRedacted), own)) => Signature::Strangers(origin, own),
        Some((origin, _)) => Signature::Strangers(origin, seal),
    }
}

/// A thought and its seal. A stranger's that seals no text is data of its own.
pub(super) fn thought(text: Text, signature: Option<Signature>) -> PartKind {
    match signature {
        Some(Signature::Strangers(Origin::AnthropicRedacted | Origin::OpenAi, data)) if text.is_empty() => {
            PartKind::Redacted { data }
        }
        Some(Signature::Strangers(_, seal)) => PartKind::Thinking { text, signature: Some(seal) },
        Some(Signature::Googles(own)) => PartKind::Thinking { text, signature: Some(seal::mark(Origin::Google, &own)) },
        Some(Signature::Nobodys) | None => PartKind::Thinking { text, signature: None },
    }
}

/// Can a model of Google's open the seal of this thought? One without a seal is open.
pub(super) fn opens(seal: Option<&Text>) -> bool {
    seal.is_none_or(|seal| seal.is_empty() || matches!(seal::open(seal), Some((Origin::Google, _))))
}

/// The seal over a thought as it is written; to a provider, only Google's own.
pub(super) fn of_thought(seal: &Text, to_client: bool) -> Option<Text> {
    match seal::open(seal) {
        Some((Origin::Google, own)) => Some(own),
        _ if to_client && !seal.is_empty() => Some(seal::to_blob(&seal::marked(Origin::Anthropic, seal))),
        _ => None,
    }
}

/// Sealed data as a client gets it.
pub(super) fn of_data(data: &Text) -> Text {
    seal::to_blob(&seal::marked(Origin::AnthropicRedacted, data))
}

/// The signature, for a client, of a call that none of Google's models made.
pub(super) fn nobodys() -> Text {
    seal::to_blob(&seal::nobodys())
}
