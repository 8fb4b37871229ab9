//! The canonical chat reply, whole.

use crate::chat::{Extras, Part, Raw};
use crate::{Dialect, Text};

/// One answer of a model.
#[derive(Clone, Debug)]
pub struct ChatReply {
    /// The dialect it was decoded from: the owner of every `Extras` and `Foreign` inside.
    pub source: Dialect,
    pub id: Text,
    pub model: Text,
    /// Unix seconds, where the dialect says.
    pub created: Option<u64>,
    /// One for each `n`; almost always one.
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
    pub extras: Extras,
}

/// One of the answers asked for with `n`.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub index: u32,
    pub parts: Vec<Part>,
    pub finish: Finish,
    pub logprobs: Option<Raw>,
    /// Sources of the text, from dialects that say them beside it. Those that say them within a part or a message (Anthropic,
    /// OpenAI) keep them in its extras.
    pub citations: Vec<Citation>,
    /// Fields beside the message (`content_filter_results`, …).
    pub extras: Extras,
    /// Unknown fields of the message itself (`annotations`, `audio`, …).
    pub message_extras: Extras,
}

/// One source that a choice's text rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Citation {
    /// Where in the choice's text, joined, the cited passage begins and ends, in characters; `None` where that is not said.
    pub span: Option<(u64, u64)>,
    pub url: Text,
    pub title: Option<Text>,
}

/// Why the model stopped.
#[derive(Clone, Debug, Default)]
pub struct Finish {
    pub reason: FinishReason,
    /// The provider's own word (`pause_turn`, `model_length`), kept.
    pub raw: Option<Text>,
    /// The stop sequence that was met.
    pub stop_sequence: Option<Text>,
}

/// Why the model stopped, in the few ways that dialects agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FinishReason {
    #[default]
    Stop,
    Length,
    ToolCalls,
    /// A filter cut it (`content_filter`, `safety`).
    ContentFilter,
    /// The model declined (Anthropic's `refusal`).
    Refusal,
    /// The turn is unfinished and is to be sent back as it is (Anthropic's `pause_turn`).
    Pause,
    /// Something else: see [`Finish::raw`].
    Other,
}

/// Tokens, normalised: `input` always *includes* what was read from or written to a prompt cache, and `output` always
/// includes reasoning. Anthropic and Bedrock report input without cache; their readers add it.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub total: Option<u64>,
    pub cache_read: Option<u64>,
    pub cache_write: Option<u64>,
    /// Of `cache_write`, by lifetime, where reported.
    pub cache_write_5m: Option<u64>,
    pub cache_write_1h: Option<u64>,
    pub reasoning: Option<u64>,
    /// The provider's own usage object, for its own dialect.
    pub raw: Option<(Dialect, Raw)>,
}

impl Usage {
    /// Adds another turn's tokens. The raw object describes one turn only, so a sum has none.
    pub fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        self.total = match (self.total, other.total) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            _ => None,
        };
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = sum(self.cache_read, other.cache_read);
        self.cache_write = sum(self.cache_write, other.cache_write);
        self.cache_write_5m = sum(self.cache_write_5m, other.cache_write_5m);
        self.cache_write_1h = sum(self.cache_write_1h, other.cache_write_1h);
        self.reasoning = sum(self.reasoning, other.reasoning);
        self.raw = None;
    }

    /// Total as reported, else the sum.
    pub fn total(&self) -> u64 {
        self.total.unwrap_or_else(|| self.input.saturating_add(self.output))
    }
}
