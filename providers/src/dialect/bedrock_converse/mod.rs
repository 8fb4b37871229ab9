//! Amazon Bedrock's Converse and `ConverseStream`.
//!
//! Sources of wire facts: the service model of the official SDK (botocore 1.44.5, `bedrock-runtime/2023-09-30`), the API
//! reference, and recorded traffic. The model and whether the answer is a stream stand in the URL, not in the body: see
//! [`Action`](crate::dialect::Action). Streams are framed by [`crate::eventstream`]. What this dialect alone knows (guardrails,
//! prompt resources, citations, search results) is kept raw and goes back to it only.
//!
//! `request`, `config`, `tools`, `turns`, `block` and `media` map requests, `reply` and `usage` replies, `reader` and `writer`
//! streams, `error` errors; `family` knows what a model can, `answer` how a form is demanded of one that cannot be told.

mod answer;
mod block;
mod config;
mod error;
mod family;
mod media;
mod reader;
mod reply;
mod request;
mod scan;
mod tools;
mod turns;
pub(crate) mod usage;
mod wire;
mod writer;

use std::time::Duration;

use http::{HeaderMap, StatusCode};

pub use family::base_model;
pub(crate) use scan::hint;

use crate::dialect::{Problem, WriterOptions};
use crate::event::lawful;
use crate::loss::Places;
use crate::{ChatReply, ChatRequest, Codec, EventReader, EventWriter, Failure, Losses, Malformed, seal};

/// See [`crate::Dialect::holds_what_was_made_here`]: reasoning that another provider sealed, or that nobody did.
pub(super) fn holds_reasoning_of_others(body: &[u8]) -> bool {
    seal::is_marked_by(body, &STRANGERS) || seal::is_blob_of(body, &STRANGERS)
}

/// Whose seals no model of this service opens.
const STRANGERS: [seal::Origin; 3] = [seal::Origin::OpenAi, seal::Origin::Google, seal::Origin::Nobody];

/// See [`Codec::places`].
const PLACES: Places = &[
    ("/tool_choice", "/toolConfig/toolChoice"),
    ("/tools/*/cache_control", "/toolConfig/tools"),
    ("/tools", "/toolConfig/tools"),
    // The mark is the point behind the block, which has no name of its own.
    ("/system/*/cache_control", "/system/*"),
    ("/messages/*/content/*/cache_control", "/messages/*/content/*"),
    ("/messages/*/content/*/is_error", "/messages/*/content/*/toolResult/status"),
    ("/messages/*/content/*/citations", "/messages/*/content/*/document/citations"),
    ("/messages/*/content/*/name", "/messages/*/content/*/document/name"),
    ("/thinking", "/additionalModelRequestFields/thinking"),
    ("/reasoning", "/additionalModelRequestFields/thinking"),
    ("/reasoning_effort", "/additionalModelRequestFields/reasoning_effort"),
    ("/top_p", "/inferenceConfig/topP"),
    ("/stop", "/inferenceConfig/stopSequences"),
    ("/choices/*/message/content/*/citations", "/output/message/content/*/citationsContent"),
    ("/choices/*/message/content", "/output/message/content"),
    ("/usage/cache_write", "/usage/cacheWriteInputTokens"),
    ("/stop_sequence", "/additionalModelResponseFields/stop_sequence"),
    ("/stop_reason", "/stopReason"),
];

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct BedrockConverse;

impl Codec for BedrockConverse {
    /// The body does not say which model is asked, nor whether for a stream: the caller sets both from the URL.
    fn decode_request(&self, body: &[u8]) -> Result<ChatRequest, Malformed> {
        request::decode(body)
    }

    fn encode_request(&self, request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
        request::encode(request, losses)
    }

    /// A reply has neither an id nor a model: who asked knows them.
    fn decode_reply(&self, body: &[u8]) -> Result<ChatReply, Malformed> {
        reply::decode(body)
    }

    /// An annex stands for the `metrics` of a reply that has none of its own.
    fn encode_reply(&self, reply: &ChatReply, annex: Option<&str>, losses: &mut Losses) -> Vec<u8> {
        reply::encode(reply, annex, losses)
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

    fn read_error_headers(&self, headers: &HeaderMap, failure: &mut Failure) {
        error::read_headers(headers, failure);
    }

    fn error_headers(&self, problem: &Problem) -> HeaderMap {
        error::headers(problem)
    }

    fn wait_headers(&self, wait: Duration) -> HeaderMap {
        error::wait(wait)
    }

    fn reader(&self) -> Box<dyn EventReader> {
        lawful(Box::<reader::Reader>::default())
    }

    /// Usage is always part of this stream, so the options change nothing.
    fn writer(&self, _options: WriterOptions) -> Box<dyn EventWriter> {
        Box::<writer::Writer>::default()
    }
}
