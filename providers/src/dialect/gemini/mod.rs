//! Google's generateContent, as the Gemini API and Vertex speak it.
//!
//! Sources of wire facts: the official SDK (`google-genai` 3.4, `types.py` and `models.py`), the API reference, and recorded
//! traffic. The model and whether the answer is a stream stand in the URL, not in the body: see [`Action`](crate::dialect::Action). What this dialect
//! alone knows (built-in tools, safety settings, caches, grounding) is kept raw and goes back to it only.
//!
//! `request`, `config`, `tools`, `turns`, `part` and `media` map requests, `reply`, `usage`, `grounding` and `logprobs` replies, `reader` and
//! `writer` streams, `error` errors; `schema` knows the two languages in which schemas are written, `family` what a model can, `signature`
//! whose seal a thought has.

mod config;
mod error;
mod family;
mod grounding;
mod logprobs;
mod media;
mod part;
mod reader;
pub(crate) mod reply;
mod request;
mod scan;
mod schema;
mod signature;
mod tools;
mod turns;
pub(crate) mod usage;
mod wire;
mod writer;

use http::StatusCode;

pub(super) use config::BUDGETS;
pub(crate) use scan::hint;
pub(super) use signature::holds_seals_of_others;

pub use crate::dialect::Action;

use crate::dialect::{Problem, WriterOptions};
use crate::event::lawful;
use crate::loss::Places;
use crate::{ChatReply, ChatRequest, Codec, EventReader, EventWriter, Failure, Losses, Malformed};

/// See [`Codec::places`].
const PLACES: Places = &[
    ("/tool_choice", "/toolConfig/functionCallingConfig"),
    ("/response_format", "/generationConfig/responseMimeType"),
    ("/thinking/budget_tokens", "/generationConfig/thinkingConfig/thinkingBudget"),
    ("/thinking", "/generationConfig/thinkingConfig"),
    ("/reasoning_effort", "/generationConfig/thinkingConfig/thinkingLevel"),
    ("/reasoning", "/generationConfig/thinkingConfig"),
    ("/n", "/generationConfig/candidateCount"),
    ("/top_k", "/generationConfig/topK"),
    ("/top_p", "/generationConfig/topP"),
    ("/frequency_penalty", "/generationConfig/frequencyPenalty"),
    ("/presence_penalty", "/generationConfig/presencePenalty"),
    ("/seed", "/generationConfig/seed"),
    ("/stop", "/generationConfig/stopSequences"),
    ("/contents/*/content", "/contents/*/parts"),
    ("/systemInstruction/content", "/systemInstruction/parts"),
    ("/choices/*/message/content", "/candidates/*/content/parts"),
    ("/choices/*/citations", "/candidates/*/groundingMetadata"),
    ("/choices/*/logprobs", "/candidates/*/logprobsResult"),
    ("/choices", "/candidates"),
    ("/usage/reasoning", "/usageMetadata/thoughtsTokenCount"),
    ("/stop_reason", "/candidates/0/finishReason"),
];

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct Gemini;

impl Codec for Gemini {
    /// The body does not say which model is asked, nor whether for a stream: the caller sets both from the [`Action`](crate::dialect::Action).
    fn decode_request(&self, body: &[u8]) -> Result<ChatRequest, Malformed> {
        request::decode(body)
    }

    fn encode_request(&self, request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
        request::encode(request, losses)
    }

    fn decode_reply(&self, body: &[u8]) -> Result<ChatReply, Malformed> {
        reply::decode(body)
    }

    /// Google's shape has no place for an annex.
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

    fn writer(&self, options: WriterOptions) -> Box<dyn EventWriter> {
        Box::new(writer::Writer::new(options))
    }
}
