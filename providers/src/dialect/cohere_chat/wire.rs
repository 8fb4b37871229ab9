//! The JSON objects of Cohere chat, one plain struct each.
//!
//! Source of every name here: `cohere` SDK 7.3 (`types/chat_message_v2.py` and its neighbours) and recorded traffic.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::chat::{Extras, Raw};
pub(super) use crate::dialect::raw::{fields_of, need, object_of, pointer_key, read};
pub(super) use crate::json::quoted;
use crate::json::{self, Sheet, Str, wire};
use crate::{Dialect, Losses, Text};

/// The dialect of this folder.
pub(super) const OWN: Dialect = Dialect::CohereChat;

/// Why a thing of another dialect is a loss here.
pub(super) const NO_COUNTERPART: &str = "cohere_chat has no counterpart";

/// Where a thing stands in the caller's body, spelt out only when it is needed.
pub(super) type Place<'a> = &'a dyn Fn() -> String;

wire! {
    pub(super) struct RequestWire<'a> {
        "model" => model: Text,
        "messages" => messages: Vec<&'a RawValue>,
        "documents" => documents: Vec<&'a RawValue>,
        "tools" => tools: Vec<&'a RawValue>,
        "strict_tools" => strict_tools: bool,
        "tool_choice" => tool_choice: &'a RawValue,
        "response_format" => response_format: &'a RawValue,
        "max_tokens" => max_tokens: u64,
        "stop_sequences" => stop_sequences: Vec<Text>,
        "temperature" => temperature: Raw,
        "p" => top_p: Raw,
        "k" => top_k: Raw,
        "frequency_penalty" => frequency_penalty: Raw,
        "presence_penalty" => presence_penalty: Raw,
        "seed" => seed: Raw,
        "thinking" => thinking: &'a RawValue,
        "stream" => stream: bool,
    }
}

wire! {
    /// A message of a request or of a reply.
    pub(super) struct MessageWire<'a> {
        "role" => role: Str<'a>,
        "content" => content: &'a RawValue,
        "tool_plan" => tool_plan: Text,
        "tool_calls" => tool_calls: Vec<&'a RawValue>,
        "tool_call_id" => tool_call_id: Text,
        "citations" => citations: Vec<&'a RawValue>,
    }
}

wire! {
    pub(super) struct TextWire<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Text,
    }
}

wire! {
    pub(super) struct ThinkingWire<'a> {
        "type" => kind: Str<'a>,
        "thinking" => thinking: Text,
    }
}

wire! {
    pub(super) struct ImageWire<'a> {
        "type" => kind: Str<'a>,
        "image_url" => image_url: &'a RawValue,
    }
}

wire! {
    pub(super) struct ImageUrlWire<'a> {
        "url" => url: Text,
        "detail" => detail: Text,
    }
}

wire! {
    /// A document among the contents of a tool's result.
    pub(super) struct DocumentPartWire<'a> {
        "type" => kind: Str<'a>,
        "document" => document: &'a RawValue,
    }
}

wire! {
    pub(super) struct DocumentWire<'a> {
        "data" => data: &'a RawValue,
        "id" => id: Text,
    }
}

wire! {
    pub(super) struct ToolWire<'a> {
        "type" => kind: Str<'a>,
        "function" => function: FunctionWire<'a>,
    }
}

wire! {
    pub(super) struct FunctionWire<'a> {
        "name" => name: Text,
        "description" => description: Text,
        "parameters" => parameters: Raw,
    }
}

wire! {
    pub(super) struct CallWire<'a> {
        "id" => id: Text,
        "type" => kind: Str<'a>,
        "function" => function: CallBodyWire<'a>,
    }
}

wire! {
    pub(super) struct CallBodyWire<'a> {
        "name" => name: Text,
        "arguments" => arguments: Text,
    }
}

wire! {
    pub(super) struct FormatWire<'a> {
        "type" => kind: Str<'a>,
        "json_schema" => schema: Raw,
    }
}

wire! {
    pub(super) struct ReasoningWire<'a> {
        "type" => kind: Text,
        "token_budget" => token_budget: u64,
    }
}

wire! {
    pub(super) struct ReplyWire<'a> {
        "id" => id: Text,
        "message" => message: &'a RawValue,
        "finish_reason" => finish_reason: Text,
        "usage" => usage: &'a RawValue,
        "logprobs" => logprobs: Vec<&'a RawValue>,
    }
}

wire! {
    /// Any stream event: all of them draw on these fields.
    pub(super) struct EventWire<'a> {
        "type" => kind: Str<'a>,
        "id" => id: Text,
        "index" => index: u32,
        "delta" => delta: DeltaWire<'a>,
        "logprobs" => logprobs: &'a RawValue,
    }
}

wire! {
    pub(super) struct DeltaWire<'a> {
        "message" => message: GrowthWire<'a>,
        "finish_reason" => finish_reason: Text,
        "usage" => usage: &'a RawValue,
        "error" => error: Text,
    }
}

wire! {
    /// What a message grows by. The first event has an empty list where later ones have one object.
    pub(super) struct GrowthWire<'a> {
        "role" => role: Str<'a>,
        "content" => content: &'a RawValue,
        "tool_plan" => tool_plan: Text,
        "tool_calls" => tool_calls: &'a RawValue,
        "citations" => citations: &'a RawValue,
    }
}

wire! {
    /// What a content block begins with or grows by.
    pub(super) struct ContentWire<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Text,
        "thinking" => thinking: Text,
    }
}

/// The `type` of an object, the rest of which is skipped unread.
#[derive(Debug, Default, Deserialize)]
struct Tag<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
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
    pub(super) fn extras(&mut self, sheet: &mut Sheet<'_>, extras: &Extras, place: Place<'_>) {
        if self.native {
            sheet.extras(extras);
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
