//! What a model said, as a client of any dialect puts it together.

#![expect(clippy::indexing_slicing, reason = "JSON that lacks what it must have fails the test")]

use serde_json::Value;

use crate::OrFail as _;

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
        let input = ["/prompt_tokens", "/input_tokens", "/promptTokenCount", "/inputTokens", "/tokens/input_tokens"];
        let output =
            ["/completion_tokens", "/output_tokens", "/candidatesTokenCount", "/outputTokens", "/tokens/output_tokens"];
        let thoughts = self.counted(&["/thoughtsTokenCount"]).unwrap_or(0);
        (self.counted(&input).or_fail("input tokens"), self.counted(&output).or_fail("output tokens") + thoughts)
    }

    /// Input tokens that came from a cache.
    pub fn cached(&self) -> Option<u64> {
        let details = ["/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens"];
        let counts =
            ["/cachedContentTokenCount", "/cache_read_input_tokens", "/cacheReadInputTokens", "/cached_tokens"];
        self.counted(&details).or_else(|| self.counted(&counts))
    }

    /// The number at the first of these places of the usage that has one.
    fn counted(&self, places: &[&str]) -> Option<u64> {
        places.iter().find_map(|place| self.usage.pointer(place)?.as_u64())
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
