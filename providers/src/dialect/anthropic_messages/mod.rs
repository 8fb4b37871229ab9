//! Anthropic Messages: `POST /v1/messages`, its errors and its stream.
//!
//! Sources of wire facts: the official SDK's types (`anthropic` 2.11), the API reference, and recorded traffic. What this
//! dialect alone knows (server tools, citations, containers, context management) is kept raw and goes back to it only.

mod block;
mod error;
mod reader;
mod reply;
mod request;
mod turns;
pub(crate) mod usage;
mod wire;
mod writer;

use http::StatusCode;

use crate::dialect::{Problem, WriterOptions};
use crate::event::lawful;
use crate::loss::Places;
use crate::{ChatReply, ChatRequest, Codec, EventReader, EventWriter, Failure, Losses, Malformed, seal};

/// See [`crate::Dialect::holds_what_was_made_here`]: reasoning that another provider sealed, or that nobody did, which the API
/// refuses. Its own signatures are never empty.
pub(super) fn holds_reasoning_of_others(body: &[u8]) -> bool {
    const KEY: &[u8] = b"\"signature\"";
    let is_empty = |at: usize| {
        let value = body.get(at.saturating_add(KEY.len())..).unwrap_or_default().trim_ascii_start();
        value.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"\"\""))
    };
    memchr::memmem::find_iter(body, KEY).any(is_empty)
        || seal::is_marked_by(body, &[seal::Origin::OpenAi, seal::Origin::Google])
}

/// See [`Codec::places`].
const PLACES: Places = &[
    ("/messages/*/content/*/name", "/messages/*/content/*/title"),
    ("/parallel_tool_calls", "/tool_choice/disable_parallel_tool_use"),
    ("/response_format", "/output_config/format"),
    ("/reasoning_effort", "/output_config/effort"),
    ("/stop", "/stop_sequences"),
    ("/user", "/metadata/user_id"),
    ("/system/content/*", "/system/*"),
    ("/choices/*/message/content", "/content"),
    ("/usage/cache_write", "/usage/cache_creation_input_tokens"),
];

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct AnthropicMessages;

impl Codec for AnthropicMessages {
    fn decode_request(&self, body: &[u8]) -> Result<ChatRequest, Malformed> {
        request::decode(body)
    }

    fn encode_request(&self, request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
        request::encode(request, losses)
    }

    fn decode_reply(&self, body: &[u8]) -> Result<ChatReply, Malformed> {
        reply::decode(body)
    }

    /// Anthropic's shape has no place for an annex.
    fn encode_reply(&self, reply: &ChatReply, _annex: Option<&str>, losses: &mut Losses) -> Vec<u8> {
        reply::encode(reply, losses)
    }

    fn places(&self) -> Places {
        PLACES
    }

    fn encode_error(&self, problem: &Problem) -> Vec<u8> {
        error::encode(problem)
    }

    fn decode_error(&self, status: StatusCode, body: &[u8]) -> Failure {
        error::decode(status, body)
    }

    fn reader(&self) -> Box<dyn EventReader> {
        lawful(Box::<reader::Reader>::default())
    }

    /// Usage is always part of this stream, so the options change nothing.
    fn writer(&self, _options: WriterOptions) -> Box<dyn EventWriter> {
        Box::<writer::Writer>::default()
    }
}
