//! What a model said, as a client of each dialect puts it together: strict about every rule of the wire that SDKs rely on.
//!
//! Written against the providers' documentation and the official SDKs' accumulators, sharing nothing with the gateway's codecs.

#![expect(clippy::indexing_slicing, reason = "JSON that lacks what it must have fails the test")]

use serde_json::Value;

use crate::answer::Answer;
use crate::{OrFail as _, Style};

pub(crate) mod anthropic;
pub(crate) mod gemini;
pub(crate) mod openai_chat;
pub(crate) mod responses;

/// A reply, put together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// All visible text.
    pub text: String,
    /// All thinking (`reasoning_content`).
    pub thinking: String,
    /// The refusal, where the dialect has a field for it.
    pub refusal: Option<String>,
    /// The tool calls that the client is to answer.
    pub calls: Vec<Call>,
    /// Why it ended, in the dialect's word; of Responses the status, or why it is incomplete.
    pub finish: String,
    /// `usage`, as the dialect has it; null if it did not come.
    pub usage: Value,
    /// `extra_fields`; null where the dialect has none.
    pub extra: Value,
    /// What an SDK puts into its history: the assistant's message, or a list of items (Responses).
    pub message: Value,
}

/// A tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its id.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments, as JSON text.
    pub arguments: String,
}

impl Told {
    /// Input and output tokens, counted as the dialect counts them.
    pub fn tokens(&self) -> (u64, u64) {
        let field = |names: &[&str]| names.iter().find_map(|name| self.usage[name].as_u64());
        let input = field(&["prompt_tokens", "input_tokens", "promptTokenCount"]).or_fail("input tokens");
        let output = field(&["completion_tokens", "output_tokens", "candidatesTokenCount"]).or_fail("output tokens");
        (input, output + self.usage["thoughtsTokenCount"].as_u64().unwrap_or(0))
    }

    /// The names of the calls, in order.
    pub fn called(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.name.as_str()).collect()
    }

    /// The tool calls that the gateway ran, by name, from `extra_fields.mcp.executed`.
    pub fn executed(&self) -> Vec<&str> {
        let executed = self.extra["mcp"]["executed"].as_array();
        executed.into_iter().flatten().map(|call| call["name"].as_str().unwrap_or("?")).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Reads an answer by the grammar of the client's dialect.
pub(crate) fn read(answer: &Answer) -> Told {
    match (answer.style, answer.is_stream()) {
        (Style::OpenAi, false) => openai_chat::whole(&answer.json()),
        (Style::OpenAi, true) => openai_chat::stream(&answer.events()),
        (Style::Responses, false) => responses::whole(&answer.json()),
        (Style::Responses, true) => responses::stream(&answer.events()),
        (Style::Anthropic, false) => anthropic::whole(&answer.json()),
        (Style::Anthropic, true) => anthropic::stream(&answer.events()),
        (Style::Gemini, false) => gemini::whole(&answer.json()),
        (Style::Gemini, true) => gemini::stream(&answer.events()),
        (other, _) => None.or_fail(&format!("a reader of what {other:?} clients are told")),
    }
}
