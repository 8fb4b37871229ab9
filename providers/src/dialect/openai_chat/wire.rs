//! The wire objects of OpenAI chat completions, field by field.
//!
//! Source: OpenAI's API reference, and for what other providers add (reasoning, content chunks, legacy functions) what their
//! servers were recorded to send.

use serde_json::value::RawValue;

use crate::Text;
use crate::chat::Raw;
pub(super) use crate::json::{Sheet, fields, object, quoted};
use crate::json::{Str, wire};

wire! {
    pub(super) struct Request<'a> {
        "model" => model: Text,
        "messages" => messages: Vec<Message<'a>>,
        "tools" => tools: Vec<&'a RawValue>,
        "functions" => functions: Vec<&'a RawValue>,
        "tool_choice" => tool_choice: &'a RawValue,
        "parallel_tool_calls" => parallel_tool_calls: bool,
        "max_tokens" => max_tokens: u64,
        "max_completion_tokens" => max_completion_tokens: u64,
        "temperature" => temperature: Raw,
        "top_p" => top_p: Raw,
        "top_k" => top_k: Raw,
        "frequency_penalty" => frequency_penalty: Raw,
        "presence_penalty" => presence_penalty: Raw,
        "seed" => seed: Raw,
        "n" => n: u32,
        "stop" => stop: &'a RawValue,
        "response_format" => response_format: &'a RawValue,
        "reasoning_effort" => reasoning_effort: Text,
        "reasoning_max_tokens" => reasoning_max_tokens: u64,
        "reasoning" => reasoning: Reasoning<'a>,
        "user" => user: Text,
        "stream" => stream: bool,
        "stream_options" => stream_options: &'a RawValue,
    }
}

wire! {
    /// OpenRouter's and the gateway's object for what OpenAI says with `reasoning_effort`.
    pub(super) struct Reasoning<'a> {
        "effort" => effort: Text,
        "max_tokens" => max_tokens: u64,
    }
}

wire! {
    pub(super) struct StreamOptions<'a> {
        "include_usage" => include_usage: bool,
    }
}

wire! {
    /// A message of a request, of a reply, or the `delta` of a stream: one shape, by and large.
    pub(super) struct Message<'a> {
        "role" => role: Str<'a>,
        "content" => content: &'a RawValue,
        "name" => name: Text,
        "tool_call_id" => tool_call_id: Text,
        "tool_calls" => tool_calls: Vec<&'a RawValue>,
        "function_call" => function_call: FunctionBody<'a>,
        "refusal" => refusal: Text,
        "reasoning_content" => reasoning_content: Text,
        "reasoning" => reasoning: &'a RawValue,
        "reasoning_details" => reasoning_details: Vec<&'a RawValue>,
    }
}

wire! {
    pub(super) struct ContentPart<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Text,
        "image_url" => image_url: &'a RawValue,
        "input_audio" => input_audio: &'a RawValue,
        "file" => file: File<'a>,
        "refusal" => refusal: Text,
        "thinking" => thinking: &'a RawValue,
        "cache_control" => cache_control: Raw,
    }
}

wire! {
    pub(super) struct ImageUrl<'a> {
        "url" => url: Text,
        "file_id" => file_id: Text,
        "detail" => detail: Text,
    }
}

wire! {
    pub(super) struct InputAudio<'a> {
        "data" => data: Text,
        "format" => format: Text,
    }
}

wire! {
    pub(super) struct File<'a> {
        "file_data" => data: Text,
        "file_url" => url: Text,
        "file_id" => id: Text,
        "filename" => filename: Text,
    }
}

wire! {
    /// OpenRouter's unified reasoning; the gateway emits it too.
    pub(super) struct ReasoningDetail<'a> {
        "type" => kind: Str<'a>,
        "text" => text: Text,
        "summary" => summary: Text,
        "data" => data: Text,
        "signature" => signature: Text,
    }
}

wire! {
    pub(super) struct ToolCall<'a> {
        "id" => id: Text,
        "type" => kind: Str<'a>,
        "function" => function: FunctionBody<'a>,
        "custom" => custom: CustomBody<'a>,
    }
}

wire! {
    pub(super) struct FunctionBody<'a> {
        "name" => name: Text,
        "arguments" => arguments: &'a RawValue,
    }
}

wire! {
    pub(super) struct CustomBody<'a> {
        "name" => name: Text,
        "input" => input: Text,
    }
}

wire! {
    pub(super) struct Tool<'a> {
        "type" => kind: Str<'a>,
        "function" => function: Function<'a>,
        "cache_control" => cache_control: Raw,
    }
}

wire! {
    pub(super) struct Function<'a> {
        "name" => name: Text,
        "description" => description: Text,
        "parameters" => parameters: Raw,
        "strict" => strict: bool,
    }
}

wire! {
    /// `{"type":"function","function":{"name":..}}`, and the head of any other object with a `type`.
    pub(super) struct Typed<'a> {
        "type" => kind: Str<'a>,
        "function" => function: Named<'a>,
        "json_schema" => json_schema: JsonSchema<'a>,
        "text" => text: Text,
    }
}

wire! {
    pub(super) struct Named<'a> {
        "name" => name: Text,
    }
}

wire! {
    pub(super) struct JsonSchema<'a> {
        "name" => name: Text,
        "description" => description: Text,
        "schema" => schema: Raw,
        "strict" => strict: bool,
    }
}

wire! {
    pub(super) struct Reply<'a> {
        "id" => id: Text,
        "object" => object: Str<'a>,
        "created" => created: u64,
        "model" => model: Text,
        "choices" => choices: Vec<Choice<'a>>,
        "usage" => usage: &'a RawValue,
        "error" => error: &'a RawValue,
    }
}

wire! {
    pub(super) struct Choice<'a> {
        "index" => index: u32,
        "message" => message: Message<'a>,
        "finish_reason" => finish_reason: Text,
        "logprobs" => logprobs: Raw,
    }
}

wire! {
    /// One chunk of a stream.
    pub(super) struct Chunk<'a> {
        "id" => id: Text,
        "object" => object: Str<'a>,
        "created" => created: u64,
        "model" => model: Text,
        "choices" => choices: Vec<ChunkChoice<'a>>,
        "usage" => usage: &'a RawValue,
        "error" => error: &'a RawValue,
    }
}

wire! {
    /// What a chunk brings to one choice. `message` alone means a whole reply in one frame; beside a `delta` it repeats
    /// what the deltas said so far (Perplexity).
    pub(super) struct ChunkChoice<'a> {
        "index" => index: u32,
        "delta" => delta: Message<'a>,
        "message" => message: Message<'a>,
        "finish_reason" => finish_reason: Text,
        "logprobs" => logprobs: Raw,
    }
}

wire! {
    /// An error body, or the object inside one: the union of what is sent.
    pub(super) struct Error<'a> {
        "error" => inner: &'a RawValue,
        "message" => message: &'a RawValue,
        "detail" => detail: &'a RawValue,
        "type" => kind: &'a RawValue,
        "code" => code: &'a RawValue,
        "param" => param: &'a RawValue,
        "status_code" => status_code: &'a RawValue,
        "raw_status_code" => raw_status_code: &'a RawValue,
    }
}

wire! {
    /// The data of an event of message fields (`crate::event::MESSAGE_FIELDS`).
    pub(super) struct MessageFields<'a> {
        "index" => index: u32,
        "delta" => delta: &'a RawValue,
    }
}
