//! OpenAI chat completions, and what the many servers that speak it add to it.
//!
//! `request`, `reply` and `error` map whole bodies, `stream` reads chunks and `writer` writes them; `message` and `content`
//! are the message that all of them share. [`crossing`] makes sayable what comes from another dialect.

mod calls;
mod content;
pub(super) mod crossing;
pub(super) mod error;
pub(crate) mod media;
pub(super) mod message;
pub(crate) mod reply;
mod request;
mod stream;
mod wire;
mod writer;

use http::StatusCode;

use crate::dialect::{EventReader, EventWriter, Problem, WriterOptions};
use crate::loss::Places;
use crate::{ChatReply, ChatRequest, Codec, Failure, Losses, Malformed};

/// See [`Codec::places`].
const PLACES: Places = &[
    ("/messages/*/content/*/name", "/messages/*/content/*/file/filename"),
    ("/tools/*/strict", "/tools/*/function/strict"),
    ("/messages/*/content/*/detail", "/messages/*/content/*/image_url/detail"),
    ("/thinking/budget_tokens", "/reasoning/max_tokens"),
    ("/reasoning_effort", "/reasoning_effort"),
    ("/reasoning_effort", "/reasoning/effort"),
    ("/choices/*/message/content/*", "/choices/*/message"),
    ("/usage/reasoning", "/usage/completion_tokens_details/reasoning_tokens"),
    ("/stop_reason", "/choices/0/finish_reason"),
];

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiChat;

impl Codec for OpenAiChat {
    fn decode_request(&self, body: &[u8]) -> Result<ChatRequest, Malformed> {
        request::decode_request(body)
    }

    fn encode_request(&self, request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
        request::encode_request(request, losses)
    }

    fn decode_reply(&self, body: &[u8]) -> Result<ChatReply, Malformed> {
        reply::decode_reply(body)
    }

    fn encode_reply(&self, reply: &ChatReply, annex: Option<&str>, losses: &mut Losses) -> Vec<u8> {
        reply::encode_reply(reply, annex, losses)
    }

    fn places(&self) -> Places {
        PLACES
    }

    fn encode_error(&self, problem: &Problem) -> Vec<u8> {
        error::encode_error(problem)
    }

    fn decode_error(&self, status: StatusCode, body: &[u8]) -> Failure {
        error::decode_error(status, body)
    }

    fn reader(&self) -> Box<dyn EventReader> {
        crate::event::lawful(Box::new(stream::Reader::default()))
    }

    fn writer(&self, options: WriterOptions) -> Box<dyn EventWriter> {
        Box::new(writer::Writer::new(options))
    }
}
