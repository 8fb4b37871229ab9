//! Token counts as a relayed reply reports them, gathered over its events.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::raw_object;
use crate::chat::Raw;
use crate::dialect::Dialect;
use crate::reply::Usage;

/// The latest count of each kind, in the provider's own sense of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cache_write_5m: Option<u64>,
    cache_write_1h: Option<u64>,
    reasoning: Option<u64>,
    /// The usage object, where one object said it all.
    raw: Option<Raw>,
    reports: u32,
    is_final: bool,
}

/// OpenAI's usage, and where its imitators put the same counts. Raw: an odd count must not spoil the others.
#[derive(Deserialize)]
struct OpenAiUsage<'a> {
    #[serde(borrow)]
    prompt_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    total_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt_tokens_details: Option<&'a RawValue>,
    #[serde(borrow)]
    completion_tokens_details: Option<&'a RawValue>,
    /// DeepSeek's name for cached tokens.
    #[serde(borrow)]
    prompt_cache_hit_tokens: Option<&'a RawValue>,
    /// Copilot has it here and not among the details.
    #[serde(borrow)]
    reasoning_tokens: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct OpenAiDetails<'a> {
    #[serde(borrow, rename = "cached_tokens")]
    cached: Option<&'a RawValue>,
    #[serde(borrow, rename = "cache_write_tokens")]
    cache_write: Option<&'a RawValue>,
    #[serde(borrow, rename = "reasoning_tokens")]
    reasoning: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AnthropicUsage<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_read_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_creation: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens_details: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct AnthropicDetails<'a> {
    #[serde(borrow, rename = "ephemeral_5m_input_tokens")]
    short: Option<&'a RawValue>,
    #[serde(borrow, rename = "ephemeral_1h_input_tokens")]
    long: Option<&'a RawValue>,
    #[serde(borrow, rename = "thinking_tokens")]
    thinking: Option<&'a RawValue>,
}

impl Counts {
    /// Each report is cumulative and replaces the one before. What is no object reports nothing.
    pub(super) fn read_openai_chat(&mut self, raw: &RawValue) {
        let Some(usage) = raw_object::<OpenAiUsage<'_>>(Some(raw)) else { return };
        let input_details: OpenAiDetails<'_> = raw_object(usage.prompt_tokens_details).unwrap_or_default();
        let output_details: OpenAiDetails<'_> = raw_object(usage.completion_tokens_details).unwrap_or_default();
        *self = Self {
            input: count(usage.prompt_tokens),
            output: count(usage.completion_tokens),
            total: count(usage.total_tokens),
            cache_read: count(input_details.cached).or_else(|| count(usage.prompt_cache_hit_tokens)),
            cache_write: count(input_details.cache_write),
            cache_write_5m: None,
            cache_write_1h: None,
            reasoning: count(output_details.reasoning).or_else(|| count(usage.reasoning_tokens)),
            raw: Some(raw.to_owned()),
            reports: 1,
            is_final: true,
        };
    }

    /// `message_start` and `message_delta` both report, each some of the counts; the latest of each kind wins.
    pub(super) fn read_anthropic_messages(&mut self, raw: &RawValue) {
        let Some(usage) = raw_object::<AnthropicUsage<'_>>(Some(raw)) else { return };
        let creation: AnthropicDetails<'_> = raw_object(usage.cache_creation).unwrap_or_default();
        let output_details: AnthropicDetails<'_> = raw_object(usage.output_tokens_details).unwrap_or_default();
        for (latest, reported) in [
            (&mut self.input, usage.input_tokens),
            (&mut self.output, usage.output_tokens),
            (&mut self.cache_read, usage.cache_read_input_tokens),
            (&mut self.cache_write, usage.cache_creation_input_tokens),
            (&mut self.cache_write_5m, creation.short),
            (&mut self.cache_write_1h, creation.long),
            (&mut self.reasoning, output_details.thinking),
        ] {
            *latest = count(reported).or(*latest);
        }
        self.reports += 1;
        self.raw = (self.reports == 1).then(|| raw.to_owned());
    }

    /// The counts are the last ones.
    pub(super) fn close(&mut self) {
        self.is_final = true;
    }

    pub(super) fn is_final(&self) -> bool {
        self.is_final
    }

    /// The counts as the canonical model means them; `None` before the first report.
    pub(super) fn usage(&self, dialect: Dialect) -> Option<Usage> {
        if self.reports == 0 {
            return None;
        }
        let (input, output) = (self.input.unwrap_or(0), self.output.unwrap_or(0));
        let by_lifetime = match (self.cache_write_5m, self.cache_write_1h) {
            (None, None) => None,
            (short, long) => Some(short.unwrap_or(0).saturating_add(long.unwrap_or(0))),
        };
        let cache_write = self.cache_write.or(by_lifetime);
        let (input, output) = match dialect {
            Dialect::OpenAiChat => (input, self.output_with_reasoning(input, output)),
            Dialect::AnthropicMessages => {
                let cached = self.cache_read.unwrap_or(0).saturating_add(cache_write.unwrap_or(0));
                (input.saturating_add(cached), output)
            }
        };
        Some(Usage {
            input,
            output,
            total: self.total,
            cache_read: self.cache_read,
            cache_write,
            cache_write_5m: self.cache_write_5m,
            cache_write_1h: self.cache_write_1h,
            reasoning: self.reasoning,
            raw: self.raw.clone().map(|raw| (dialect, raw)),
        })
    }

    /// xAI counts reasoning beside the completion, not within it; only its total gives that away.
    fn output_with_reasoning(&self, input: u64, output: u64) -> u64 {
        let reasoning = self.reasoning.unwrap_or(0);
        let with_reasoning = output.saturating_add(reasoning);
        if self.total == Some(input.saturating_add(with_reasoning)) { with_reasoning } else { output }
    }
}

/// A count: whole, never negative. Floats are rounded down, a negative one is zero, and what is no number says nothing.
fn count(raw: Option<&RawValue>) -> Option<u64> {
    let text = raw?.get();
    text.parse::<u64>().ok().or_else(|| {
        let float = text.parse::<f64>().ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates: a negative count is zero, an absurd one the largest"
        )]
        Some(float as u64)
    })
}
