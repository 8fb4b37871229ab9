//! Cohere's chat, version 2: `POST /v2/chat`, its errors and its stream.
//!
//! Sources of wire facts: the official SDK's types (`cohere` 7.3, `types/*_v2.py`, `v2/types`), the API reference, and recorded
//! traffic. What this dialect alone knows (safety modes, citation options, priorities, what a citation quotes) is kept raw and
//! goes back to it only. Replies do not say which model answered.
//!
//! `request`, `config`, `tools`, `turns`, `message`, `content` and `document` map requests; `reply`, `citation`, `logprobs` and
//! `usage` replies; `reader` and `writer` streams; `error` errors.

mod citation;
mod config;
mod content;
mod document;
mod error;
mod logprobs;
mod message;
mod reader;
mod reply;
mod request;
mod tools;
mod turns;
pub(crate) mod usage;
mod wire;
mod writer;

use http::StatusCode;
use serde_json::value::RawValue;

use crate::chat::Part;
use crate::dialect::{Problem, WriterOptions};
use crate::event::lawful;
use crate::loss::Places;
use crate::{ChatReply, ChatRequest, Codec, EventReader, EventWriter, Failure, Losses, Malformed};

pub(crate) use error::ended_in;
pub(crate) use reply::is_failure;

/// A list of texts and images, as messages and what is to be embedded have it.
pub(crate) fn decode_content(raw: &RawValue, pointer: &str) -> Result<Vec<Part>, Malformed> {
    content::decode(raw, &|| pointer.to_owned()).map(|(parts, _)| parts)
}

/// See [`Codec::places`].
const PLACES: Places = &[
    ("/tools/*/strict", "/strict_tools"),
    ("/thinking/budget_tokens", "/thinking/token_budget"),
    ("/stop", "/stop_sequences"),
    ("/top_p", "/p"),
    ("/top_k", "/k"),
    ("/reasoning", "/thinking"),
    ("/documents/*/title", "/documents/*/data/title"),
    ("/documents/*/title", "/documents/*/id"),
    ("/documents/*/name", "/documents/*/data/title"),
    ("/documents/*/name", "/documents/*/id"),
    ("/choices/*/message", "/message"),
    ("/choices/*/logprobs", "/logprobs"),
    ("/choices/*/citations", "/message/citations"),
    ("/stop_reason", "/finish_reason"),
];

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct CohereChat;

impl Codec for CohereChat {
    fn decode_request(&self, body: &[u8]) -> Result<ChatRequest, Malformed> {
        request::decode(body)
    }

    fn encode_request(&self, request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
        request::encode(request, losses)
    }

    fn decode_reply(&self, body: &[u8]) -> Result<ChatReply, Malformed> {
        reply::decode(body)
    }

    /// Cohere's shape has no place for an annex.
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
