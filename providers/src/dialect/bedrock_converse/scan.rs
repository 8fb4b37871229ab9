//! What the gateway reads of a request in this dialect, under this dialect's names: see [`crate::dialect::Action::scan`].

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::Malformed;
use crate::json::{self, wire};
use crate::scan::{Field, Scan};

wire! {
    struct HintsWire<'a> {
        "messages" => messages: &'a RawValue,
        "toolConfig" => tools: ToolsWire<'a>,
        "inferenceConfig" => inference: InferenceHintsWire<'a>,
    }
}

wire! {
    struct ToolsWire<'a> {
        "tools" => tools: Vec<&'a RawValue>,
    }
}

wire! {
    struct InferenceHintsWire<'a> {
        "maxTokens" => max_tokens: &'a RawValue,
    }
}

/// There is one choice only.
pub(crate) fn hint(body: &Bytes, scan: &mut Scan) -> Result<(), Malformed> {
    let hints: HintsWire<'_> = json::decode(body)?;
    scan.messages = hints.messages.map(|messages| Field::of(messages, body));
    scan.has_tools = hints.tools.and_then(|config| config.tools).is_some_and(|tools| !tools.is_empty());
    scan.n = None;
    scan.max_tokens = hints.inference.and_then(|config| config.max_tokens?.get().parse().ok());
    Ok(())
}
