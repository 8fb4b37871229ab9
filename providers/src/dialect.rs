//! A dialect is a wire format. The same module serves a *client* that speaks it and a *provider* that speaks it.

mod action;
pub mod anthropic_messages;
pub mod bedrock_converse;
pub mod cohere_chat;
mod ending;
mod fault;
pub mod gemini;
pub mod openai_chat;
pub mod openai_responses;
mod piece;
pub mod predictions;
pub(crate) mod raw;
mod turns;

pub use action::Action;
pub(crate) use action::{escaped, operation};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::chat::{Part, PartKind};
use crate::event::ChatEvent;
use crate::framing::Framing;
use crate::loss::Places;
use crate::{ChatReply, ChatRequest, Failure, Losses, Text, seal};

/// The wire formats of chat that this crate speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    OpenAiChat,
    OpenAiResponses,
    AnthropicMessages,
    /// Google's generateContent.
    Gemini,
    /// Cohere's chat, version 2.
    CohereChat,
    /// Amazon Bedrock's Converse and `ConverseStream`.
    BedrockConverse,
    /// Replicate's predictions, which no client speaks.
    Predictions,
}

impl Dialect {
    /// Every one that clients speak.
    pub const ALL: [Self; 6] = [
        Self::OpenAiChat,
        Self::OpenAiResponses,
        Self::AnthropicMessages,
        Self::Gemini,
        Self::BedrockConverse,
        Self::CohereChat,
    ];

    /// The codec that speaks it.
    pub fn codec(self) -> &'static dyn Codec {
        match self {
            Self::OpenAiChat => &openai_chat::OpenAiChat,
            Self::OpenAiResponses => &openai_responses::OpenAiResponses,
            Self::AnthropicMessages => &anthropic_messages::AnthropicMessages,
            Self::Gemini => &gemini::Gemini,
            Self::CohereChat => &cohere_chat::CohereChat,
            Self::BedrockConverse => &bedrock_converse::BedrockConverse,
            Self::Predictions => &predictions::Predictions,
        }
    }

    /// The name used in configuration, logs and losses.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiResponses => "openai_responses",
            Self::AnthropicMessages => "anthropic_messages",
            Self::Gemini => "gemini",
            Self::CohereChat => "cohere_chat",
            Self::BedrockConverse => "bedrock_converse",
            Self::Predictions => "predictions",
        }
    }

    /// How its streams are cut into events, unless a client asks for another framing.
    pub fn framing(self) -> Framing {
        if self == Self::BedrockConverse { Framing::EventStream } else { Framing::Sse }
    }

    /// Do its requests say in the URL which model is asked, and whether for a stream? See [`Action`].
    pub fn names_model_in_url(self) -> bool {
        matches!(self, Self::Gemini | Self::BedrockConverse)
    }

    /// Does the body of a request hold what the gateway made of another provider's reply? It means nothing to a provider of this
    /// dialect, which may refuse it: such a request must not be relayed, but decoded and encoded, which leaves it out. Told
    /// from the bytes; the answer may be yes for nothing, which costs a decoding.
    pub fn holds_what_was_made_here(self, body: &[u8]) -> bool {
        match self {
            Self::OpenAiResponses => openai_responses::holds_items_of_ours(body),
            Self::AnthropicMessages => anthropic_messages::holds_reasoning_of_others(body),
            Self::Gemini => gemini::holds_seals_of_others(body),
            Self::BedrockConverse => bedrock_converse::holds_reasoning_of_others(body),
            Self::OpenAiChat | Self::CohereChat | Self::Predictions => false,
        }
    }

    /// Have the bodies of its replies a place for the gateway's own facts (`extra_fields`)?
    pub fn carries_annex(self) -> bool {
        matches!(self, Self::OpenAiChat | Self::OpenAiResponses)
    }

    /// Is what a provider sealed of this part (reasoning, or a call that Google's models signed) sure to come back from clients of
    /// this dialect? Cohere's have no place for it. In OpenAI's chat the places (`reasoning_details`, `extra_content`) are none of
    /// its own, so that frameworks which rebuild a conversation from their own types leave them out, as pydantic-ai's clients of
    /// Bedrock do with the reasoning of models that they do not know. Only Google's dialect has a field for the signature over a
    /// call.
    pub fn brings_back_seal_of(self, part: &Part) -> bool {
        let seals = matches!(part.kind, PartKind::Redacted { .. } | PartKind::Thinking { signature: Some(_), .. });
        match self {
            Self::Gemini => true,
            Self::OpenAiResponses | Self::AnthropicMessages => part.signature.is_none(),
            Self::OpenAiChat | Self::BedrockConverse | Self::CohereChat | Self::Predictions => {
                !seals && part.signature.is_none()
            }
        }
    }

    /// Makes a part of another dialect's reply what a client of this one holds of it. Where reasoning is sealed, what nobody sealed
    /// says so, or the models that seal all of theirs would take it for their own.
    pub fn hold(self, part: &mut Part) {
        let PartKind::Thinking { signature: signature @ None, .. } = &mut part.kind else { return };
        *signature = match self {
            Self::AnthropicMessages => Some(Text::default()),
            Self::BedrockConverse => Some(seal::nobodys()),
            Self::OpenAiChat | Self::OpenAiResponses | Self::Gemini | Self::CohereChat | Self::Predictions => None,
        };
    }
}

/// A body that does not say what its dialect demands: where, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {expected}")]
pub struct Malformed {
    /// JSON pointer of the place; empty for the whole body.
    pub pointer: String,
    /// What was expected there, as a sentence fragment: `a list of messages`.
    pub expected: String,
}

/// One frame of a stream: a server-sent event, or its counterpart in another framing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The event's name, where the framing has one.
    pub event: Option<Bytes>,
    pub data: Bytes,
}

/// An error of the gateway itself, or a provider's, in the words of the caller's dialect.
#[derive(Clone, Debug)]
pub struct Problem {
    pub status: StatusCode,
    /// The gateway's machine-readable word: `virtual_key_not_found`, `model_blocked`, `invalid_request_error`, …
    pub kind: String,
    pub code: Option<String>,
    pub param: Option<String>,
    pub message: String,
    /// A JSON object of the gateway's own facts (`extra_fields`), for dialects whose errors have a place for it.
    pub annex: Option<String>,
}

/// A dialect's two-way mapping to the canonical model. Pure functions: bytes in, bytes out.
pub trait Codec: Sync + Send + std::fmt::Debug {
    fn decode_request(&self, body: &[u8]) -> Result<ChatRequest, Malformed>;
    fn encode_request(&self, request: &ChatRequest, losses: &mut Losses) -> Vec<u8>;
    fn decode_reply(&self, body: &[u8]) -> Result<ChatReply, Malformed>;
    /// `annex`: a JSON object of the gateway's own facts; only dialects with a place for it write it: `extra_fields`, or Bedrock's
    /// `metrics` where its provider gave none.
    fn encode_reply(&self, reply: &ChatReply, annex: Option<&str>, losses: &mut Losses) -> Vec<u8>;
    /// Where its bodies have what the canonical model has elsewhere, so that a loss can be told in its terms.
    fn places(&self) -> Places {
        &[]
    }
    /// The client's own error shape.
    fn encode_error(&self, problem: &Problem) -> Vec<u8>;
    /// What a provider's error answer means. Never fails: an unreadable body is described as such. The caller sets
    /// `retry_after`, `headers` and `body` from the response.
    fn decode_error(&self, status: StatusCode, body: &[u8]) -> Failure;
    /// What the headers of an error answer add to that. Most dialects say everything in the body.
    fn read_error_headers(&self, _headers: &HeaderMap, _failure: &mut Failure) {}
    /// The headers that belong to [`Codec::encode_error`]'s body.
    fn error_headers(&self, _problem: &Problem) -> HeaderMap {
        HeaderMap::new()
    }
    /// The headers besides `retry-after` in which SDKs of this dialect look for how long to wait. Most know no other.
    fn wait_headers(&self, _wait: Duration) -> HeaderMap {
        HeaderMap::new()
    }
    /// Upstream frames to events.
    fn reader(&self) -> Box<dyn EventReader>;
    /// Events to client bytes.
    fn writer(&self, options: WriterOptions) -> Box<dyn EventWriter>;
    /// [`EventWriter::fail`] for a stream that was passed on as it came: `latest` is the data of its latest event, for dialects
    /// whose events are numbered.
    fn break_off(&self, problem: &Problem, _latest: &[u8], out: &mut Vec<u8>) {
        self.writer(WriterOptions::default()).fail(problem, out);
    }
}

/// What the client asked of its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterOptions {
    /// Send the usage chunk (OpenAI's `stream_options.include_usage`). Dialects that always send usage ignore it.
    pub include_usage: bool,
    /// Dialects with one framing ignore it.
    pub framing: Framing,
}

/// Turns upstream frames into events. An error is an error *event* of the provider, or a frame that is not the dialect.
pub trait EventReader: Send {
    fn read(&mut self, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>>;
    /// The upstream body ended. Emits what is still owed (`Close`, `End`, `Stop`), or says that the stream was cut.
    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>>;
    /// The terminal event was seen: nothing of interest follows, even if the connection stays open.
    fn is_done(&self) -> bool;
}

/// Turns events into the bytes that a client of this dialect reads.
pub trait EventWriter: Send {
    /// `annex` is written into the last chunk (with `Stop`) by dialects that have a place for it.
    fn write(&mut self, event: &ChatEvent, annex: Option<&str>, out: &mut Vec<u8>);
    /// One error event in the dialect's shape; the stream then closes without its normal terminator.
    fn fail(&mut self, problem: &Problem, out: &mut Vec<u8>);
    /// What could not be said so far.
    fn losses(&self) -> &Losses;
}
