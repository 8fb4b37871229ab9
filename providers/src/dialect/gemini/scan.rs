//! What the gateway reads of a request in this dialect, under this dialect's names: see [`crate::dialect::Action::scan`].

use bytes::Bytes;
use serde_json::value::RawValue;

use super::wire::whole;
use crate::Malformed;
use crate::json::{self, wire};
use crate::scan::{Field, Scan};

wire! {
    struct HintsWire<'a> {
        "contents" => contents: &'a RawValue,
        "generationConfig" | "generation_config" => config: ConfigHintsWire<'a>,
    }
}

wire! {
    struct ConfigHintsWire<'a> {
        "candidateCount" | "candidate_count" => candidates: &'a RawValue,
        "maxOutputTokens" | "max_output_tokens" => max_tokens: &'a RawValue,
    }
}

/// `messages` are the contents.
pub(crate) fn hint(body: &Bytes, scan: &mut Scan) -> Result<(), Malformed> {
    let hints: HintsWire<'_> = json::decode(body)?;
    let config = hints.config.unwrap_or_default();
    scan.messages = hints.contents.map(|contents| Field::of(contents, body));
    scan.n = config.candidates.and_then(whole);
    scan.max_tokens = config.max_tokens.and_then(whole);
    Ok(())
}
