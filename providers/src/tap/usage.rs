//! Token counts of OpenAI chat completions, and of what imitates them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::raw_object;
use crate::dialect::Dialect;
use crate::reply::Usage;

/// OpenAI's usage, and where its imitators put the same counts. Raw: an odd count must not spoil the others.
#[derive(Deserialize)]
struct Counts<'a> {
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
struct Details<'a> {
    #[serde(borrow, rename = "cached_tokens")]
    cached: Option<&'a RawValue>,
    #[serde(borrow, rename = "cache_write_tokens")]
    cache_write: Option<&'a RawValue>,
    #[serde(borrow, rename = "reasoning_tokens")]
    reasoning: Option<&'a RawValue>,
}

/// Reads a usage object. `None` where it is not an object at all.
pub(super) fn openai_chat(raw: &RawValue) -> Option<Usage> {
    let counts = raw_object::<Counts<'_>>(Some(raw))?;
    let input_details: Details<'_> = raw_object(counts.prompt_tokens_details).unwrap_or_default();
    let output_details: Details<'_> = raw_object(counts.completion_tokens_details).unwrap_or_default();
    let (input, output) = (count(counts.prompt_tokens).unwrap_or(0), count(counts.completion_tokens).unwrap_or(0));
    let total = count(counts.total_tokens);
    let reasoning = count(output_details.reasoning).or_else(|| count(counts.reasoning_tokens));
    // xAI counts reasoning beside the completion, not within it; only its total gives that away.
    let with_reasoning = output.saturating_add(reasoning.unwrap_or(0));
    let is_beside = total == Some(input.saturating_add(with_reasoning));
    Some(Usage {
        input,
        output: if is_beside { with_reasoning } else { output },
        total,
        cache_read: count(input_details.cached).or_else(|| count(counts.prompt_cache_hit_tokens)),
        cache_write: count(input_details.cache_write),
        cache_write_5m: None,
        cache_write_1h: None,
        reasoning,
        raw: Some((Dialect::OpenAiChat, raw.to_owned())),
    })
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
