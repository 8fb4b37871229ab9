//! The JSON objects of Converse, one plain struct each.
//!
//! Source of every name: botocore 1.44.5, `bedrock-runtime/2023-09-30/service-2.json`, and recorded traffic. A *union* there is
//! an object with exactly one member, whose name says what it is.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::family::Family;
use crate::chat::{Extras, Raw};
pub(super) use crate::dialect::raw::{fields_of, need, object_of, overlay, pointer_key, read};
use crate::json::{self, Reader, Str, wire};
pub(super) use crate::json::{quoted, written};
use crate::{ChatRequest, Dialect, Losses, Text};

/// The dialect of this folder.
pub(super) const OWN: Dialect = Dialect::BedrockConverse;

/// Why a thing of another dialect is a loss here.
pub(super) const NO_COUNTERPART: &str = "bedrock_converse has no counterpart";

/// Where a thing stands in the caller's body, spelt out only when it is needed.
pub(super) type Place<'a> = &'a dyn Fn() -> String;

wire! {
    pub(super) struct RequestWire<'a> {
        "messages" => messages: Vec<MessageWire<'a>>,
        "system" => system: Vec<&'a RawValue>,
        "inferenceConfig" => inference: InferenceWire<'a>,
        "toolConfig" => tool_config: ToolConfigWire<'a>,
        "additionalModelRequestFields" => additional: &'a RawValue,
        "outputConfig" => output_config: &'a RawValue,
    }
}

wire! {
    pub(super) struct MessageWire<'a> {
        "role" => role: Str<'a>,
        "content" => content: Vec<&'a RawValue>,
    }
}

wire! {
    pub(super) struct InferenceWire<'a> {
        "maxTokens" => max_tokens: u64,
        "temperature" => temperature: Raw,
        "topP" => top_p: Raw,
        "stopSequences" => stop: Vec<Text>,
    }
}

wire! {
    pub(super) struct ToolConfigWire<'a> {
        "tools" => tools: Vec<&'a RawValue>,
        "toolChoice" => choice: &'a RawValue,
    }
}

wire! {
    pub(super) struct ToolSpecWire<'a> {
        "name" => name: Text,
        "description" => description: Text,
        "inputSchema" => schema: SchemaWire<'a>,
        "strict" => strict: bool,
    }
}

wire! {
    pub(super) struct SchemaWire<'a> {
        "json" => json: &'a RawValue,
    }
}

wire! {
    /// What is read of `additionalModelRequestFields`, in the words of the models that know it.
    pub(super) struct AdditionalWire<'a> {
        "top_k" => top_k: Raw,
        "thinking" => thinking: ThinkingWire<'a>,
        "reasoning_effort" => effort: Text,
    }
}

wire! {
    pub(super) struct ThinkingWire<'a> {
        "type" => kind: Text,
        "budget_tokens" => budget: u64,
    }
}

wire! {
    pub(super) struct OutputConfigWire<'a> {
        "textFormat" => format: &'a RawValue,
        "effort" => effort: Text,
    }
}

wire! {
    pub(super) struct FormatWire<'a> {
        "type" => kind: Str<'a>,
        "structure" => structure: StructureWire<'a>,
    }
}

wire! {
    pub(super) struct StructureWire<'a> {
        "jsonSchema" => schema: JsonSchemaWire<'a>,
    }
}

wire! {
    pub(super) struct JsonSchemaWire<'a> {
        "schema" => schema: Text,
        "name" => name: Text,
        "description" => description: Text,
    }
}

wire! {
    pub(super) struct MediaWire<'a> {
        "format" => format: Text,
        "name" => name: Text,
        "source" => source: &'a RawValue,
    }
}

wire! {
    pub(super) struct LocationWire<'a> {
        "uri" => uri: Text,
    }
}

wire! {
    pub(super) struct ToolUseWire<'a> {
        "toolUseId" => id: Text,
        "name" => name: Text,
        "input" => input: &'a RawValue,
        /// A tool that runs at the provider: neither the client's nor the gateway's.
        "type" => kind: Text,
    }
}

wire! {
    pub(super) struct ToolResultWire<'a> {
        "toolUseId" => id: Text,
        "content" => content: Vec<&'a RawValue>,
        "status" => status: Text,
        "type" => kind: Text,
    }
}

wire! {
    /// A block of reasoning, or (`text`, `signature`) its growth.
    pub(super) struct ReasoningWire<'a> {
        "reasoningText" => whole: ReasoningTextWire<'a>,
        "redactedContent" => redacted: Text,
        "text" => text: Text,
        "signature" => signature: Text,
    }
}

wire! {
    pub(super) struct ReasoningTextWire<'a> {
        "text" => text: Text,
        "signature" => signature: Text,
    }
}

wire! {
    pub(super) struct CitationsWire<'a> {
        "content" => content: Vec<&'a RawValue>,
        "citations" => citations: &'a RawValue,
    }
}

wire! {
    pub(super) struct TextWire<'a> {
        "text" => text: Text,
    }
}

wire! {
    pub(super) struct CachePointWire<'a> {
        "type" => kind: Text,
        "ttl" => ttl: Text,
    }
}

wire! {
    pub(super) struct ReplyWire<'a> {
        "output" => output: OutputWire<'a>,
        "stopReason" => stop_reason: Text,
        "usage" => usage: &'a RawValue,
        "metrics" => metrics: Raw,
    }
}

wire! {
    pub(super) struct OutputWire<'a> {
        "message" => message: MessageWire<'a>,
    }
}

wire! {
    /// Any stream event: all of them draw on these fields.
    pub(super) struct EventWire<'a> {
        "contentBlockIndex" => index: u32,
        "start" => start: &'a RawValue,
        "delta" => delta: &'a RawValue,
        "stopReason" => stop_reason: Text,
        "usage" => usage: &'a RawValue,
        "metrics" => metrics: Raw,
        "p" => padding: Raw,
        "role" => role: Str<'a>,
    }
}

wire! {
    /// A fragment of a call's arguments.
    pub(super) struct InputWire<'a> {
        "input" => input: Text,
    }
}

wire! {
    pub(super) struct StopFieldsWire<'a> {
        "stop_sequence" => sequence: Text,
    }
}

/// The one member of a union: its name, and its value as it is written. A `null` is no member. `None` where there is none, or where
/// there are several.
pub(super) fn member(union: &RawValue) -> Option<(&str, &RawValue)> {
    let mut found: Option<(&str, &str)> = None;
    let mut count = 0_u32;
    let read = Reader::new(union.get()).members(|key, value| {
        if value != "null" {
            count = count.saturating_add(1);
            found = Some((key, value));
        }
    });
    read.ok()?;
    let (name, value) = found.filter(|_| count == 1)?;
    Some((name.trim_matches('"'), Reader::new(value).read::<&RawValue>().ok()?))
}

/// Whether a body goes back to its own dialect, to whom, and where to note what cannot cross when it does not.
#[derive(Debug)]
pub(super) struct Crossing<'a> {
    pub(super) native: bool,
    /// The model that is asked; `None` for what goes to a client, which takes whatever the dialect can say.
    pub(super) family: Option<Family>,
    /// Names of documents that are taken.
    pub(super) names: HashSet<String>,
    pub(super) losses: &'a mut Losses,
}

impl<'a> Crossing<'a> {
    pub(super) fn to_model(request: &ChatRequest, losses: &'a mut Losses) -> Self {
        let family = Some(Family::of(&request.model));
        Self { native: request.source == OWN, family, names: HashSet::new(), losses }
    }

    pub(super) fn to_client(source: Dialect, losses: &'a mut Losses) -> Self {
        Self { native: source == OWN, family: None, names: HashSet::new(), losses }
    }

    /// Can whoever gets it do this? Clients can.
    pub(super) fn can(&self, ability: impl FnOnce(Family) -> bool) -> bool {
        self.family.is_none_or(ability)
    }

    /// Extras go back to their own dialect, and are losses anywhere else.
    pub(super) fn extras(&mut self, object: &mut json::Object<'_>, extras: &Extras, place: Place<'_>) {
        if self.native {
            object.extras(extras);
        } else {
            self.lose_extras(extras, place);
        }
    }

    pub(super) fn lose_extras(&mut self, extras: &Extras, place: Place<'_>) {
        for key in extras.telling() {
            self.losses.push(format!("{}/{}", place(), pointer_key(key)), NO_COUNTERPART);
        }
    }

    /// Notes one loss.
    pub(super) fn lose(&mut self, place: impl Into<String>) {
        self.losses.push(place, NO_COUNTERPART);
    }
}

/// The rest of an object of which some fields were read: kept as fields where it says something, and else as the spelling of an
/// object that was there.
pub(super) fn keep_rest(extras: &mut Extras, key: &'static str, rest: &Extras) {
    if rest.telling().next().is_some() {
        extras.push(key, object_of(rest));
    } else {
        extras.remember(key, object_of(rest));
    }
}

/// What [`keep_rest`] kept.
pub(super) fn rest_of<'a>(extras: &'a Extras, key: &str) -> Option<&'a RawValue> {
    extras.find(key).or_else(|| extras.recall(key)).filter(|rest| rest.get() != "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_has_one_member() {
        for (union, expected) in [
            (r#"{"text":"a"}"#, Some(("text", r#""a""#))),
            (r#" {"image":null, "text" : "a" } "#, Some(("text", r#""a""#))),
            (r#"{"text":"a","image":{}}"#, None),
            ("{}", None),
            ("7", None),
        ] {
            let union = json::raw(union.to_owned());
            assert_eq!(member(&union).map(|(name, value)| (name, value.get())), expected, "{union}");
        }
    }
}
