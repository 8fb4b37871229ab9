//! The JSON objects of Anthropic Messages, one plain struct each.
//!
//! Source of every name here: `anthropic` SDK 2.11 (`types/message_*.py`, `types/raw_*_event.py`) and recorded traffic.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::chat::Extras;
pub(super) use crate::dialect::raw::{fields_of, need, object_of, overlay, pointer_key, read};
use crate::json::{self, Str, wire};
use crate::{Dialect, Losses, Text};

/// The dialect of this folder.
pub(super) const OWN: Dialect = Dialect::AnthropicMessages;

/// Why a thing of another dialect is a loss here.
pub(super) const NO_COUNTERPART: &str = "anthropic_messages has no counterpart";

wire! {
    pub(super) struct RequestWire<'a> {
        "model" => model: Text,
        "messages" => messages: Vec<MessageWire<'a>>,
        "system" => system: &'a RawValue,
        "max_tokens" => max_tokens: u64,
        "temperature" => temperature: &'a RawValue,
        "top_p" => top_p: &'a RawValue,
        "top_k" => top_k: &'a RawValue,
        "stop_sequences" => stop_sequences: Vec<Text>,
        "stream" => stream: bool,
        "tools" => tools: Vec<&'a RawValue>,
        "tool_choice" => tool_choice: &'a RawValue,
        "thinking" => thinking: &'a RawValue,
        "output_config" => output_config: &'a RawValue,
        "metadata" => metadata: &'a RawValue,
    }
}

wire! {
    pub(super) struct MessageWire<'a> {
        "role" => role: Str<'a>,
        "content" => content: &'a RawValue,
    }
}

wire! {
    pub(super) struct TextWire<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Text,
        "cache_control" => cache: &'a RawValue,
    }
}

wire! {
    pub(super) struct ThinkingWire<'a> {
        "type" => kind: Str<'a>,
        "thinking" => thinking: Text,
        "signature" => signature: Text,
        "cache_control" => cache: &'a RawValue,
    }
}

wire! {
    pub(super) struct RedactedWire<'a> {
        "type" => kind: Str<'a>,
        "data" => data: Text,
        "cache_control" => cache: &'a RawValue,
    }
}

wire! {
    pub(super) struct ToolUseWire<'a> {
        "type" => kind: Str<'a>,
        "id" => id: Text,
        "name" => name: Text,
        "input" => input: &'a RawValue,
        "cache_control" => cache: &'a RawValue,
    }
}

wire! {
    pub(super) struct ToolResultWire<'a> {
        "type" => kind: Str<'a>,
        "tool_use_id" => tool_use_id: Text,
        "content" => content: &'a RawValue,
        "is_error" => is_error: bool,
        "cache_control" => cache: &'a RawValue,
    }
}

wire! {
    /// An `image` or a `document`.
    pub(super) struct MediaWire<'a> {
        "type" => kind: Str<'a>,
        "source" => source: SourceWire<'a>,
        "title" => title: Text,
        "cache_control" => cache: &'a RawValue,
    }
}

wire! {
    pub(super) struct SourceWire<'a> {
        "type" => kind: Str<'a>,
        "media_type" => media_type: Text,
        "data" => data: Text,
        "url" => url: Text,
        "file_id" => file_id: Text,
    }
}

wire! {
    pub(super) struct ToolWire<'a> {
        "name" => name: Text,
        "description" => description: Text,
        "input_schema" => input_schema: &'a RawValue,
        "strict" => strict: bool,
        "cache_control" => cache: &'a RawValue,
    }
}

wire! {
    pub(super) struct ToolChoiceWire<'a> {
        "type" => kind: Str<'a>,
        "name" => name: Text,
        "disable_parallel_tool_use" => disable_parallel: bool,
    }
}

wire! {
    pub(super) struct ThinkingConfigWire<'a> {
        "type" => kind: Text,
        "budget_tokens" => budget_tokens: u64,
    }
}

wire! {
    pub(super) struct OutputConfigWire<'a> {
        "effort" => effort: Text,
        "format" => format: &'a RawValue,
    }
}

wire! {
    pub(super) struct FormatWire<'a> {
        "type" => kind: Str<'a>,
        "schema" => schema: &'a RawValue,
    }
}

wire! {
    pub(super) struct MetadataWire<'a> {
        "user_id" => user_id: Text,
    }
}

wire! {
    pub(super) struct ReplyWire<'a> {
        "type" => kind: Str<'a>,
        "id" => id: Text,
        "role" => role: Str<'a>,
        "model" => model: Text,
        "content" => content: Vec<&'a RawValue>,
        "stop_reason" => stop_reason: Text,
        "stop_sequence" => stop_sequence: Text,
        "usage" => usage: &'a RawValue,
    }
}

wire! {
    /// Any stream event: all of them draw on these six fields.
    pub(super) struct EventWire<'a> {
        "type" => kind: Str<'a>,
        "index" => index: u32,
        "delta" => delta: DeltaWire<'a>,
        "content_block" => content_block: &'a RawValue,
        "message" => message: &'a RawValue,
        "usage" => usage: &'a RawValue,
    }
}

wire! {
    /// What a block, or the message itself, grows by.
    pub(super) struct DeltaWire<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Text,
        "thinking" => thinking: Text,
        "partial_json" => partial_json: Text,
        "signature" => signature: Text,
        "stop_reason" => stop_reason: Text,
        "stop_sequence" => stop_sequence: Text,
    }
}

/// The `type` of an object, the rest of which is skipped unread.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Tag<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Cow<'a, str>,
}

/// The whole delta of an event whose growth only this dialect knows.
#[derive(Debug, Deserialize)]
pub(super) struct RawDelta<'a> {
    #[serde(borrow)]
    pub(super) delta: &'a RawValue,
}

/// The `type` word of an object; empty where there is none.
pub(super) fn tag(raw: &RawValue) -> Cow<'_, str> {
    json::Reader::new(raw.get()).read::<Tag<'_>>().unwrap_or_default().kind
}

/// Whether a body goes back to its own dialect, and where to note what cannot cross when it does not.
#[derive(Debug)]
pub(super) struct Crossing<'a> {
    pub(super) native: bool,
    pub(super) losses: &'a mut Losses,
}

impl Crossing<'_> {
    /// Extras go back to their own dialect, and are losses anywhere else.
    pub(super) fn extras(&mut self, object: &mut json::Object<'_>, extras: &Extras, place: &dyn Fn() -> String) {
        if self.native {
            object.extras(extras);
        } else {
            self.lose_extras(extras, place);
        }
    }

    pub(super) fn lose_extras(&mut self, extras: &Extras, place: &dyn Fn() -> String) {
        for key in extras.telling() {
            self.losses.push(format!("{}/{}", place(), pointer_key(key)), NO_COUNTERPART);
        }
    }

    /// Notes one loss.
    pub(super) fn lose(&mut self, place: String) {
        self.losses.push(place, NO_COUNTERPART);
    }
}
