//! The JSON objects of OpenAI Responses, one plain struct each.
//!
//! Source of every name here: `openai` SDK 3.54 (`types/responses/*.py`) and recorded traffic.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::chat::Extras;
use crate::json::{self, Str, wire};
use crate::{Dialect, Losses, Malformed, Text};

/// The dialect of this folder.
pub(super) const OWN: Dialect = Dialect::OpenAiResponses;

/// Why a thing of another dialect is a loss here.
pub(super) const NO_COUNTERPART: &str = "openai_responses has no counterpart";

// === Requests ===

wire! {
    pub(super) struct RequestWire<'a> {
        "model" => model: Text,
        "input" => input: &'a RawValue,
        "instructions" => instructions: Text,
        "tools" => tools: Vec<&'a RawValue>,
        "tool_choice" => tool_choice: &'a RawValue,
        "parallel_tool_calls" => parallel_tool_calls: bool,
        "max_output_tokens" => max_output_tokens: u64,
        "temperature" => temperature: &'a RawValue,
        "top_p" => top_p: &'a RawValue,
        "reasoning" => reasoning: ReasoningWire<'a>,
        "text" => text: TextWire<'a>,
        "user" => user: Text,
        "stream" => stream: bool,
    }
}

wire! {
    pub(super) struct ReasoningWire<'a> {
        "effort" => effort: Text,
    }
}

wire! {
    pub(super) struct TextWire<'a> {
        "format" => format: &'a RawValue,
    }
}

wire! {
    pub(super) struct FormatWire<'a> {
        "type" => kind: Str<'a>,
        "name" => name: Text,
        "description" => description: Text,
        "schema" => schema: &'a RawValue,
        "strict" => strict: bool,
    }
}

wire! {
    pub(super) struct ToolWire<'a> {
        "type" => kind: Str<'a>,
        "name" => name: Text,
        "description" => description: Text,
        "parameters" => parameters: &'a RawValue,
        "strict" => strict: bool,
    }
}

wire! {
    pub(super) struct ToolChoiceWire<'a> {
        "type" => kind: Str<'a>,
        "name" => name: Text,
    }
}

// === Items and their parts ===

wire! {
    pub(super) struct MessageWire<'a> {
        "type" => kind: Str<'a>,
        "role" => role: Str<'a>,
        "content" => content: &'a RawValue,
    }
}

wire! {
    pub(super) struct ReasoningItemWire<'a> {
        "type" => kind: Str<'a>,
        "summary" => summary: Vec<&'a RawValue>,
        "content" => content: Vec<&'a RawValue>,
        "encrypted_content" => encrypted_content: Text,
    }
}

wire! {
    /// A call of a function (`arguments`) or of a custom tool (`input`).
    pub(super) struct CallWire<'a> {
        "type" => kind: Str<'a>,
        "call_id" => call_id: Text,
        "name" => name: Text,
        "arguments" => arguments: Text,
        "input" => input: Text,
    }
}

wire! {
    /// What a function or a custom tool answered.
    pub(super) struct OutputWire<'a> {
        "type" => kind: Str<'a>,
        "call_id" => call_id: Text,
        "output" => output: &'a RawValue,
    }
}

wire! {
    pub(super) struct PartWire<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Text,
        "refusal" => refusal: Text,
        "annotations" => annotations: Vec<&'a RawValue>,
        "logprobs" => logprobs: Vec<&'a RawValue>,
        "image_url" => image_url: Text,
        "detail" => detail: Text,
        "file_id" => file_id: Text,
        "file_data" => file_data: Text,
        "file_url" => file_url: Text,
        "filename" => filename: Text,
        "input_audio" => input_audio: AudioWire<'a>,
    }
}

wire! {
    pub(super) struct AudioWire<'a> {
        "data" => data: Text,
        "format" => format: Text,
    }
}

// === Replies ===

wire! {
    pub(super) struct ReplyWire<'a> {
        "id" => id: Text,
        "model" => model: Text,
        "created_at" => created_at: &'a RawValue,
        "output" => output: Vec<&'a RawValue>,
        "status" => status: Text,
        "incomplete_details" => incomplete_details: &'a RawValue,
        "error" => error: &'a RawValue,
        "usage" => usage: &'a RawValue,
    }
}

wire! {
    pub(super) struct IncompleteWire<'a> {
        "reason" => reason: Text,
    }
}

wire! {
    /// Any stream event: all of them draw on these fields.
    pub(super) struct EventWire<'a> {
        "type" => kind: Str<'a>,
        "sequence_number" => sequence_number: &'a RawValue,
        "output_index" => output_index: u32,
        "content_index" => content_index: u32,
        "summary_index" => summary_index: u32,
        "item_id" => item_id: Str<'a>,
        "response" => response: &'a RawValue,
        "item" => item: &'a RawValue,
        "part" => part: &'a RawValue,
        "delta" => delta: &'a RawValue,
        "logprobs" => logprobs: &'a RawValue,
        "annotation" => annotation: &'a RawValue,
        "obfuscation" => obfuscation: &'a RawValue,
    }
}

/// The `type` of an object, the rest of which is skipped unread.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Tag<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Option<Cow<'a, str>>,
}

/// The `type` word of an object; empty where there is none.
pub(super) fn tag(raw: &RawValue) -> Cow<'_, str> {
    serde_json::from_str::<Tag<'_>>(raw.get()).unwrap_or_default().kind.unwrap_or_default()
}

/// A required field.
pub(super) fn need<T>(field: Option<T>, pointer: &str, key: &str, expected: &str) -> Result<T, Malformed> {
    field.ok_or_else(|| Malformed { pointer: format!("{pointer}/{key}"), expected: expected.into() })
}

/// Whether a body goes back to its own dialect, and where to note what cannot cross when it does not.
#[derive(Debug)]
pub(super) struct Crossing<'a> {
    /// The dialect of the request or reply being written.
    pub(super) source: Dialect,
    pub(super) losses: &'a mut Losses,
}

impl Crossing<'_> {
    pub(super) fn is_native(&self) -> bool {
        self.source == OWN
    }

    /// Is the other end OpenAI's too, with the same files and the same names for things?
    pub(super) fn is_sibling(&self) -> bool {
        self.source == Dialect::OpenAiChat
    }

    /// Extras go back to their own dialect, and are losses anywhere else.
    pub(super) fn extras(&mut self, sheet: &mut json::Sheet<'_>, extras: &Extras, pointer: &str) {
        if self.is_native() {
            sheet.skip(&[crate::chat::SPELLING]).extras(extras);
        } else {
            self.lose_extras(extras, pointer);
        }
    }

    pub(super) fn lose_extras(&mut self, extras: &Extras, pointer: &str) {
        for key in extras.telling() {
            let key = key.replace('~', "~0").replace('/', "~1");
            self.losses.push(format!("{pointer}/{key}"), NO_COUNTERPART);
        }
    }

    /// Notes one loss.
    pub(super) fn lose(&mut self, pointer: impl Into<String>) {
        self.losses.push(pointer, NO_COUNTERPART);
    }
}
