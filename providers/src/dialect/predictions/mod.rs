//! Replicate's predictions: one prompt in, one output out, made while one waits.
//!
//! Sources of wire facts: <https://replicate.com/docs/reference/http>, <https://replicate.com/docs/topics/predictions/streaming>, the
//! official SDKs (`replicate` 2.0 for Python, 1.4 for Node), and the inputs that the models' own pages list. A prediction is made by
//! more than one call; [`crate::provider`] makes them, so that here is one request, and one answer or one stream: `output` events
//! between two `prediction` events, which are the prediction as it was made and as it ended.
//!
//! Only providers speak it. What would be said to a client is said in OpenAI's words.
//!
//! `request` maps requests (`words`: what inputs are called, `prompt`: a conversation as one text), `reply` replies, `reader` streams,
//! `error` errors.

mod error;
mod prompt;
mod reader;
mod reply;
mod request;
mod words;

use http::StatusCode;

use super::escaped;
use super::openai_chat::OpenAiChat;
use crate::dialect::{Problem, WriterOptions};
use crate::event::lawful;
use crate::{ChatReply, ChatRequest, Codec, Dialect, EventReader, EventWriter, Failure, Losses, Malformed};

pub(crate) use error::{failed, failure_in};
pub(crate) use reply::{PredictionWire, State, count_usage, unix_seconds};

const OWN: Dialect = Dialect::Predictions;

/// Name of the events that are a prediction as a whole.
pub(crate) const PREDICTION: &[u8] = b"prediction";

/// Is this the name of a version, rather than of a model? `owner/name:version`, or the 64 digits of the version alone
/// (<https://replicate.com/docs/reference/http#predictions.create>).
pub(crate) fn names_version(model: &str) -> bool {
    model.contains(':') || (model.len() == 64 && model.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Where predictions of this model, or version, are made, behind the version of the API.
pub(crate) fn place(model: &str) -> String {
    if names_version(model) { "predictions".to_owned() } else { format!("models/{}/predictions", owned(model)) }
}

/// A name behind its owner's, as two segments of a path.
pub(crate) fn owned(name: &str) -> String {
    let segments: Vec<String> = name.split('/').map(escaped).collect();
    segments.join("/")
}

/// The codec.
#[derive(Clone, Copy, Debug)]
pub struct Predictions;

impl Codec for Predictions {
    fn decode_request(&self, body: &[u8]) -> Result<ChatRequest, Malformed> {
        OpenAiChat.decode_request(body)
    }

    fn encode_request(&self, request: &ChatRequest, losses: &mut Losses) -> Vec<u8> {
        request::encode(request, losses)
    }

    fn decode_reply(&self, body: &[u8]) -> Result<ChatReply, Malformed> {
        reply::decode(body)
    }

    fn encode_reply(&self, reply: &ChatReply, annex: Option<&str>, losses: &mut Losses) -> Vec<u8> {
        OpenAiChat.encode_reply(reply, annex, losses)
    }

    fn encode_error(&self, problem: &Problem) -> Vec<u8> {
        OpenAiChat.encode_error(problem)
    }

    fn decode_error(&self, status: StatusCode, body: &[u8]) -> Failure {
        error::decode(status, body)
    }

    fn reader(&self) -> Box<dyn EventReader> {
        lawful(Box::<reader::Reader>::default())
    }

    fn writer(&self, options: WriterOptions) -> Box<dyn EventWriter> {
        OpenAiChat.writer(options)
    }
}
