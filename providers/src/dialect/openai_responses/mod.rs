//! OpenAI Responses: what goes in and comes out is a list of items, not one message.
//!
//! `request`, `reply` and `error` map whole bodies, `reader` reads stream events and `writer` writes them. `item` and `content`
//! are what all of them share, `input` puts items into messages, and `spelling` remembers what it takes to put them back;
//! `kept` finds those that stand for themselves by an id. [`sibling`] is what OpenAI's two dialects have in common, [`mcp`] the items in which a client is shown the gateway's own
//! tools.

mod content;
mod error;
mod input;
mod item;
mod kept;
pub mod mcp;
mod parts;
mod reader;
mod reply;
mod request;
pub(super) mod sibling;
mod spelling;
mod state;
pub(crate) mod usage;
mod wire;
mod writer;

pub use kept::{kept, may_refer, reference};

use http::StatusCode;

use crate::dialect::{EventReader, EventWriter, Problem, WriterOptions};
use crate::loss::Places;
use crate::{ChatReply, ChatRequest, Codec, Failure, Losses, Malformed};

/// See [`Codec::places`].
const PLACES: Places = &[
    ("/input/*/content/*/name", "/input/*/content/*/filename"),
    ("/response_format", "/text/format"),
    ("/thinking", "/reasoning"),
    ("/reasoning_effort", "/reasoning/effort"),
    ("/choices/*/message/content/*/logprobs", "/output/*/content/0/logprobs"),
    ("/choices/*/message/content/*/annotations", "/output/*/content/0/annotations"),
    ("/choices/*/message/content/*", "/output/*"),
    ("/usage/reasoning", "/usage/output_tokens_details/reasoning_tokens"),
    ("/stop_reason", "/status"),
];

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct OpenAiResponses;

/// Why this request means something only to the provider that keeps its state: the field at fault, and the reason as the
/// rest of a sentence (`continues a response that ..`). `None` for requests of other dialects, and for those that say all they
/// mean.
///
/// Crossing drops such a field and notes the loss; but an answer without the conversation that it continues is no answer, so a
/// caller that can refuse should.
pub fn depends_on_provider(request: &ChatRequest) -> Option<(&'static str, &'static str)> {
    request::depends_on_provider(request)
}

/// May this body hold reasoning that only the account it comes from can read? Told from its bytes.
pub fn holds_seals(body: &[u8]) -> bool {
    memchr::memmem::find(body, b"\"encrypted_content\"").is_some()
}

/// See [`crate::Dialect::holds_what_was_made_here`]: items with ids of the gateway's, and seals of other providers.
pub(super) fn holds_items_of_ours(body: &[u8]) -> bool {
    spelling::has_made(body)
}

impl Codec for OpenAiResponses {
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
        super::openai_chat::error::encode_error(problem)
    }

    fn decode_error(&self, status: StatusCode, body: &[u8]) -> Failure {
        error::decode_error(status, body)
    }

    fn reader(&self) -> Box<dyn EventReader> {
        crate::event::lawful(Box::new(reader::Reader::default()))
    }

    fn writer(&self, _options: WriterOptions) -> Box<dyn EventWriter> {
        Box::new(writer::Writer::default())
    }

    fn break_off(&self, problem: &Problem, latest: &[u8], out: &mut Vec<u8>) {
        writer::Writer::behind(latest).fail(problem, out);
    }
}
