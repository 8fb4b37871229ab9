//! The JSON objects of generateContent, one plain struct each.
//!
//! Source of every name: `google-genai` SDK 3.4 (`types.py`) and recorded traffic. By protobuf's JSON mapping a server reads
//! every field in camel case and in snake case, a number also as a string; this crate writes camel case.

use serde_json::value::RawValue;

use crate::chat::{Extras, Raw};
pub(super) use crate::dialect::raw::{fields_of, need, object_of, overlay, pointer_key, read};
use crate::json::{self, Str, wire};
pub(super) use crate::json::{quoted, written};
use crate::{Dialect, Losses, Text};

/// The dialect of this folder.
pub(super) const OWN: Dialect = Dialect::Gemini;

/// Why a thing of another dialect is a loss here.
pub(super) const NO_COUNTERPART: &str = "gemini has no counterpart";

/// Where a thing stands in the caller's body, spelt out only when it is needed.
pub(super) type Place<'a> = &'a dyn Fn() -> String;

wire! {
    pub(super) struct RequestWire<'a> {
        "model" => model: Text,
        "contents" => contents: Vec<&'a RawValue>,
        "systemInstruction" | "system_instruction" => system: &'a RawValue,
        "tools" => tools: Vec<&'a RawValue>,
        "toolConfig" | "tool_config" => tool_config: &'a RawValue,
        "generationConfig" | "generation_config" => config: &'a RawValue,
    }
}

wire! {
    pub(super) struct ConfigWire<'a> {
        "temperature" => temperature: Raw,
        "topP" | "top_p" => top_p: Raw,
        "topK" | "top_k" => top_k: Raw,
        "presencePenalty" | "presence_penalty" => presence_penalty: Raw,
        "frequencyPenalty" | "frequency_penalty" => frequency_penalty: Raw,
        "seed" => seed: Raw,
        "candidateCount" | "candidate_count" => candidate_count: Raw,
        "maxOutputTokens" | "max_output_tokens" => max_output_tokens: Raw,
        "stopSequences" | "stop_sequences" => stop_sequences: Vec<Text>,
        "responseMimeType" | "response_mime_type" => mime: Text,
        "responseSchema" | "response_schema" => schema: Raw,
        "responseJsonSchema" | "response_json_schema" | "_responseJsonSchema" => json_schema: Raw,
        "thinkingConfig" | "thinking_config" => thinking: &'a RawValue,
    }
}

wire! {
    pub(super) struct ThinkingWire<'a> {
        "includeThoughts" | "include_thoughts" => include_thoughts: bool,
        "thinkingBudget" | "thinking_budget" => budget: &'a RawValue,
        "thinkingLevel" | "thinking_level" => level: Text,
    }
}

wire! {
    pub(super) struct ContentWire<'a> {
        "role" => role: Str<'a>,
        "parts" => parts: Vec<&'a RawValue>,
    }
}

wire! {
    /// One part: exactly one of its kinds of data, and what is said about it.
    pub(super) struct PartWire<'a> {
        "text" => text: Text,
        "thought" => thought: bool,
        "thoughtSignature" | "thought_signature" => signature: Text,
        "inlineData" | "inline_data" => inline_data: &'a RawValue,
        "fileData" | "file_data" => file_data: &'a RawValue,
        "functionCall" | "function_call" => call: &'a RawValue,
        "functionResponse" | "function_response" => response: &'a RawValue,
    }
}

wire! {
    /// `inlineData` or `fileData`.
    pub(super) struct MediaWire<'a> {
        "mimeType" | "mime_type" => mime: Text,
        "data" => data: Text,
        "fileUri" | "file_uri" => uri: Text,
        "displayName" | "display_name" => name: Text,
    }
}

wire! {
    pub(super) struct CallWire<'a> {
        "id" => id: Text,
        "name" => name: Text,
        "args" => args: &'a RawValue,
        "thoughtSignature" | "thought_signature" => signature: Text,
    }
}

wire! {
    pub(super) struct ResponseWire<'a> {
        "id" => id: Text,
        "name" => name: Text,
        "response" => response: &'a RawValue,
        "parts" => parts: Vec<&'a RawValue>,
    }
}

wire! {
    /// The usual forms of a function's `response` (API reference, `FunctionResponse`).
    pub(super) struct OutcomeWire<'a> {
        "output" | "result" => output: Text,
        "error" => error: Text,
    }
}

wire! {
    pub(super) struct ToolWire<'a> {
        "functionDeclarations" | "function_declarations" => declarations: Vec<&'a RawValue>,
    }
}

wire! {
    pub(super) struct DeclarationWire<'a> {
        "name" => name: Text,
        "description" => description: Text,
        "parameters" => parameters: &'a RawValue,
        "parametersJsonSchema" | "parameters_json_schema" => json_schema: &'a RawValue,
    }
}

wire! {
    pub(super) struct ToolConfigWire<'a> {
        "functionCallingConfig" | "function_calling_config" => calling: &'a RawValue,
    }
}

wire! {
    pub(super) struct CallingWire<'a> {
        "mode" => mode: Str<'a>,
        "allowedFunctionNames" | "allowed_function_names" => allowed: Vec<Text>,
    }
}

wire! {
    /// A whole reply, or one event of a stream, which has the same shape.
    pub(super) struct ReplyWire<'a> {
        "candidates" => candidates: Vec<&'a RawValue>,
        "usageMetadata" => usage: &'a RawValue,
        "modelVersion" => model: Text,
        "responseId" => id: Text,
        "promptFeedback" => feedback: &'a RawValue,
        "error" => error: &'a RawValue,
    }
}

wire! {
    pub(super) struct CandidateWire<'a> {
        "content" => content: &'a RawValue,
        "finishReason" => finish: Text,
        "index" => index: u32,
        "logprobsResult" => logprobs: &'a RawValue,
    }
}

wire! {
    pub(super) struct FeedbackWire<'a> {
        "blockReason" => reason: Text,
        "blockReasonMessage" => message: Text,
    }
}

/// A whole number, which protobuf's JSON also writes as a string.
pub(super) fn whole<T: std::str::FromStr>(raw: &RawValue) -> Option<T> {
    raw.get().trim_matches('"').parse().ok()
}

/// Whether a body goes back to its own dialect, and where to note what cannot cross when it does not.
#[derive(Debug)]
pub(super) struct Crossing<'a> {
    pub(super) native: bool,
    pub(super) losses: &'a mut Losses,
}

impl Crossing<'_> {
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
