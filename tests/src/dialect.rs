//! How the clients of each dialect talk and listen, a file each: what an unmodified SDK sends, and what it makes of the answer.
//!
//! Written against the providers' documentation and the official SDKs' accumulators, sharing nothing with the gateway's codecs:
//! strict about every rule of the wire that SDKs rely on.

#![expect(clippy::indexing_slicing, reason = "JSON that lacks what it must have fails the test")]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use bifrost_fixtures::Style;
use http::HeaderMap;
use serde_json::{Value, json};

use crate::OrFail as _;
use crate::answer::{Event, Fault};
use crate::told::{Call, Told};

mod anthropic;
mod bedrock;
mod cohere;
mod gemini;
mod openai_chat;
mod responses;

/// One dialect, as its clients speak it. JSON that is merged into a request's body says something at its top level.
pub(crate) trait Dialect: Sync {
    // === Talking ===

    /// Where a request for this model is sent, as a whole or for a stream.
    fn path(&self, model: &str, stream: bool) -> String;
    /// What every request says.
    fn opening(&self) -> Value {
        json!({})
    }
    /// Which model is asked; nothing where the path says it.
    fn model(&self, model: &str) -> Value {
        json!({"model": model})
    }
    /// That the answer is to be a stream, with its usage; nothing where the path says it.
    fn streaming(&self) -> Value {
        json!({"stream": true})
    }
    /// The field that holds the conversation.
    fn history(&self) -> &'static str {
        "messages"
    }
    /// A message of the user's.
    fn user(&self, text: &str) -> Value {
        json!({"role": "user", "content": text})
    }
    /// A message of the user's that shows a picture (PNG, base64) behind its text.
    fn picture(&self, text: &str, png: &str) -> Value;
    /// Puts what the operator says into a body.
    fn system(&self, body: &mut Value, text: &str);
    /// At most so many tokens, this temperature, and these stop sequences, as far as the dialect has them.
    fn limits(&self, tokens: u64, temperature: f64, stop: &[&str]) -> Value;
    /// A tool, as it stands in its list.
    fn tool(&self, name: &str, schema: &Value) -> Value;
    /// Where the list of tools stands.
    fn tools(&self) -> &'static str {
        "/tools"
    }
    /// That the model must call a tool.
    fn must_call(&self) -> Value;
    /// The result of a call.
    fn result(&self, call: &Call, text: &str) -> Value;
    /// The messages that bring results: each is one, where the dialect does not put them together.
    fn results(&self, results: Vec<Value>) -> Vec<Value> {
        results
    }

    // === Listening ===

    /// A whole reply.
    fn whole(&self, reply: &Value) -> Told;
    /// A stream.
    fn stream(&self, events: &[Event]) -> Told;
    /// An error.
    fn fault(&self, failed: &Failed<'_>) -> Fault;
    /// Is this event of a stream an error?
    fn is_fault(&self, event: &Event) -> bool {
        let data = event.json();
        data["type"] == "error" || data["error"].is_object()
    }
    /// Does this event say that the reply came to its end?
    fn is_end(&self, event: &Event) -> bool;
    /// The dialect's own word for one of `OpenAI`'s: why a reply ended, or what went wrong.
    fn word(&self, openai: &'static str) -> &'static str;
}

/// An error as it came.
#[derive(Debug)]
pub(crate) struct Failed<'a> {
    /// The headers of the answer.
    pub(crate) headers: &'a HeaderMap,
    /// The event that says it; a whole body is none.
    pub(crate) event: Option<&'a Event>,
    /// The JSON of the event or of the body.
    pub(crate) data: &'a Value,
}

/// What the clients of a style speak.
pub(crate) fn of(style: Style) -> &'static dyn Dialect {
    match style {
        Style::OpenAi => &openai_chat::OpenAiChat,
        Style::Responses => &responses::Responses,
        Style::Anthropic => &anthropic::Anthropic,
        Style::Gemini => &gemini::Gemini,
        Style::Bedrock => &bedrock::Bedrock,
        Style::Cohere => &cohere::Cohere,
    }
}

/// A blob that SDKs decode when they read it, and encode again when they send it back: Google's with the alphabet for URLs.
fn blob(value: &Value) -> Vec<u8> {
    let text = value.as_str().or_fail("a blob");
    let plain = text.replace('-', "+").replace('_', "/");
    STANDARD.decode(&plain).or_fail(&format!("decoding {text} as Base64"))
}

// === impl Failed ===

impl Failed<'_> {
    /// Fails the test unless an event that says it has this name.
    fn is_named(&self, wanted: Option<&str>) {
        if let Some(event) = self.event {
            assert_eq!(event.name.as_deref(), wanted, "the name of the error event");
        }
    }
}
