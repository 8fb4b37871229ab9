//! `generationConfig`, both ways: limits, sampling, the form of the answer, and how much to think.

use serde_json::value::RawValue;

use super::family::{Family, Thinking};
use super::schema::{to_json_schema, to_openapi};
use super::wire::{ConfigWire, Crossing, OWN, ThinkingWire, fields_of, object_of, quoted, read, whole};
use crate::chat::{Extras, MaxTokens, Raw, Reasoning, ResponseFormat, Sampling, Stop};
use crate::json::{self, Array, Object};
use crate::{ChatRequest, Dialect, Malformed, Text};

/// Where what else stands in the configuration is kept.
pub(super) const CONFIG: &str = "generationConfig";

/// Spellings that are remembered: the older language of a response schema, and the caller's own thinking configuration.
const SCHEMA: &str = "responseSchema";
const THINKING: &str = "thinkingConfig";

const JSON: &str = "application/json";

/// Efforts as budgets, in tokens: Google's own table for OpenAI's words
/// (<https://ai.google.dev/gemini-api/docs/openai#thinking>).
pub(in crate::dialect) const BUDGETS: &[(&str, u64)] =
    &[("none", 0), ("minimal", 1024), ("low", 1024), ("medium", 8192), ("high", 24_576)];

/// The levels there are (SDK, `ThinkingLevel`).
const LEVELS: &[&str] = &["minimal", "low", "medium", "high", "xhigh"];

/// Fields of OpenAI's requests that ask for log-probabilities, and their names here.
const LOGPROBS: &[(&str, &str)] = &[("logprobs", "responseLogprobs"), ("top_logprobs", "logprobs")];

/// What the configuration says in canonical words.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub(super) sampling: Sampling,
    pub(super) max_tokens: Option<MaxTokens>,
    pub(super) stop: Stop,
    pub(super) response_format: Option<ResponseFormat>,
    pub(super) reasoning: Option<Reasoning>,
}

// === Reading ===

/// What is not read stays in `extras`.
pub(super) fn decode(raw: &RawValue, extras: &mut Extras) -> Result<Config, Malformed> {
    let mut wire: ConfigWire<'_> = read(raw, &|| format!("/{CONFIG}"))?;
    let mut rest = std::mem::take(&mut wire.extras);
    let mut number = |key: &str, value: Option<Raw>| {
        let read = value.as_deref().and_then(whole::<u64>);
        if let (None, Some(odd)) = (read, value) {
            rest.push(key, odd);
        }
        read
    };
    let max_tokens = number("maxOutputTokens", wire.max_output_tokens.take());
    let choices = number("candidateCount", wire.candidate_count.take());
    let reasoning = wire.thinking.map(decode_thinking).transpose()?;
    let response_format = decode_format(&mut wire);
    let sampling = Sampling {
        temperature: wire.temperature,
        top_p: wire.top_p,
        top_k: wire.top_k,
        frequency_penalty: wire.frequency_penalty,
        presence_penalty: wire.presence_penalty,
        seed: wire.seed,
        choices: choices.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
    };
    if rest.telling().next().is_some() {
        extras.push(CONFIG, object_of(&rest));
    } else if !rest.is_empty() || fields_of(raw).is_empty() {
        extras.remember(CONFIG, object_of(&rest));
    }
    Ok(Config {
        sampling,
        max_tokens: max_tokens.map(|value| MaxTokens { value, legacy: true }),
        stop: Stop { sequences: wire.stop_sequences.unwrap_or_default(), plain: false },
        response_format,
        reasoning,
    })
}

/// A schema demands JSON, whatever the media type says; a media type alone may, too. Any other goes back as it came.
fn decode_format(wire: &mut ConfigWire<'_>) -> Option<ResponseFormat> {
    let (schema, json_schema, mime) = (wire.schema.take(), wire.json_schema.take(), wire.mime.take());
    let is_json = mime.as_ref().is_some_and(|mime| mime.as_escaped() == JSON);
    let mut extras = Extras::default();
    let schema = match (json_schema, schema) {
        (Some(schema), None) if is_json => schema,
        (None, Some(schema)) if is_json => {
            extras.remember(SCHEMA, schema.clone());
            to_json_schema(&schema)
        }
        (None, None) if is_json => return Some(ResponseFormat::Json),
        (None, None) if mime.as_ref().is_none_or(|mime| mime.as_escaped() == "text/plain") => {
            return mime.map(|_| ResponseFormat::Text);
        }
        (json_schema, schema) => {
            let mut whole = Extras::default();
            let fields = [
                ("responseMimeType", mime.as_ref().map(quoted)),
                (SCHEMA, schema),
                ("responseJsonSchema", json_schema),
            ];
            for (key, value) in fields.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                whole.push(key, value);
            }
            return Some(ResponseFormat::Foreign(OWN, object_of(&whole)));
        }
    };
    Some(ResponseFormat::Schema { name: None, description: None, schema, strict: None, extras })
}

/// A budget of 0 switches thinking off, one of -1 leaves it to the model: to dialects of words that is medium.
fn decode_thinking(raw: &RawValue) -> Result<Reasoning, Malformed> {
    let wire: ThinkingWire<'_> = read(raw, &|| format!("/{CONFIG}/{THINKING}"))?;
    let mut reasoning =
        Reasoning { effort: wire.level.map(|level| lower(&level)), extras: wire.extras, ..Reasoning::default() };
    match wire.budget.and_then(whole::<i64>) {
        Some(0) => reasoning.mode = Some("disabled".into()),
        Some(..0) => {
            reasoning.mode = Some("adaptive".into());
            reasoning.effort.get_or_insert_with(|| "medium".into());
        }
        Some(budget) => reasoning.budget = u64::try_from(budget).ok(),
        None => {}
    }
    reasoning.extras.remember(THINKING, raw.to_owned());
    Ok(reasoning)
}

fn lower(word: &Text) -> Text {
    Text::from_plain(&word.to_plain().to_ascii_lowercase())
}

// === Writing ===

pub(super) fn encode(request: &ChatRequest, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let mut written = Vec::new();
    let mut config = Object::new(&mut written);
    if let Some(MaxTokens { value, .. }) = request.max_tokens {
        config.number("maxOutputTokens", value);
    }
    encode_sampling(&request.sampling, &mut config);
    encode_stop(&request.stop, &mut config);
    if let Some(format) = &request.response_format {
        encode_format(format, Family::of(&request.model), &mut config, crossing);
    }
    if let Some(reasoning) = &request.reasoning {
        encode_thinking(reasoning, Family::of(&request.model), &mut config, crossing);
    }
    let rest = request.extras.find(CONFIG).or_else(|| request.extras.recall(CONFIG)).filter(|_| crossing.native);
    if let Some(rest) = rest {
        config.extras(&fields_of(rest));
    } else if takes_shared(request.source) {
        encode_logprobs(&request.extras, &mut config);
    }
    config.end();
    if written != b"{}" {
        object.key(CONFIG).extend_from_slice(&written);
    } else if let Some(empty) = rest {
        object.raw(CONFIG, empty.get());
    }
}

fn encode_sampling(sampling: &Sampling, config: &mut Object<'_>) {
    for (key, value) in [
        ("temperature", &sampling.temperature),
        ("topP", &sampling.top_p),
        ("topK", &sampling.top_k),
        ("frequencyPenalty", &sampling.frequency_penalty),
        ("presencePenalty", &sampling.presence_penalty),
        ("seed", &sampling.seed),
    ] {
        if let Some(value) = value {
            config.raw(key, value.get());
        }
    }
    if let Some(choices) = sampling.choices {
        config.number("candidateCount", choices.into());
    }
}

fn encode_stop(stop: &Stop, config: &mut Object<'_>) {
    if stop.sequences.is_empty() {
        return;
    }
    let mut array = Array::new(config.key("stopSequences"));
    for sequence in &stop.sequences {
        json::write_text(array.item(), sequence);
    }
    array.end();
}

/// Do requests of this dialect ask for log-probabilities in OpenAI's words?
pub(super) fn takes_shared(source: Dialect) -> bool {
    matches!(source, Dialect::OpenAiChat | Dialect::CohereChat)
}

/// Is this field of such a request read here, and so no loss?
pub(super) fn is_shared(key: &str) -> bool {
    LOGPROBS.iter().any(|(theirs, _)| *theirs == key)
}

fn encode_logprobs(extras: &Extras, config: &mut Object<'_>) {
    for (theirs, ours) in LOGPROBS {
        if let Some(value) = extras.find(theirs).filter(|value| !matches!(value.get(), "null" | "false")) {
            config.raw(ours, value.get());
        }
    }
}

/// The schema's name is OpenAI's label for it, and `strict` is what this API always is: neither is lost.
fn encode_format(format: &ResponseFormat, family: Family, config: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    const PLACE: &str = "/response_format/json_schema";
    match format {
        ResponseFormat::Text => {
            config.str("responseMimeType", "text/plain");
        }
        ResponseFormat::Json => {
            config.str("responseMimeType", JSON);
        }
        ResponseFormat::Foreign(OWN, raw) => {
            config.extras(&fields_of(raw));
        }
        ResponseFormat::Foreign(..) => crossing.lose("/response_format"),
        ResponseFormat::Schema { description, schema, extras, .. } => {
            config.str("responseMimeType", JSON);
            match extras.recall(SCHEMA).filter(|_| crossing.native) {
                Some(spelt) => config.raw(SCHEMA, spelt.get()),
                None if crossing.native || family.takes_json_schema() => config.raw("responseJsonSchema", schema.get()),
                None => {
                    let schema = to_openapi(schema, &|| format!("{PLACE}/schema"), crossing);
                    config.raw(SCHEMA, schema.get())
                }
            };
            if !crossing.native {
                crossing.lose_extras(extras, &|| PLACE.to_owned());
            }
            if description.is_some() {
                crossing.lose(format!("{PLACE}/description"));
            }
        }
    }
}

fn encode_thinking(reasoning: &Reasoning, family: Family, config: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    if let Some(spelt) = reasoning.extras.recall(THINKING).filter(|_| crossing.native) {
        config.raw(THINKING, spelt.get());
        return;
    }
    let mut written = Vec::new();
    let mut thinking = Object::new(&mut written);
    match family.thinking() {
        Thinking::No => {
            if !is_off(reasoning) {
                crossing.losses.push("/reasoning", "this model does not think");
            }
            return;
        }
        Thinking::Budget(most) => encode_budget(reasoning, most, &mut thinking, crossing),
        Thinking::Level => encode_level(reasoning, &mut thinking, crossing),
    }
    // Other dialects show what was thought unless they are told not to (Anthropic's `display`).
    let hidden = reasoning.extras.find("display").is_some_and(|display| display.get() == r#""omitted""#);
    if !is_off(reasoning) && !hidden {
        thinking.bool("includeThoughts", true);
    }
    for key in reasoning.extras.telling().filter(|key| *key != "display") {
        crossing.lose(format!("/reasoning/{key}"));
    }
    thinking.end();
    if written != b"{}" {
        config.key(THINKING).extend_from_slice(&written);
    }
}

fn effort(reasoning: &Reasoning) -> &str {
    reasoning.effort.as_ref().map_or("", Text::as_escaped)
}

fn is_off(reasoning: &Reasoning) -> bool {
    reasoning.mode.as_ref().is_some_and(|mode| mode.as_escaped() == "disabled") || effort(reasoning) == "none"
}

fn encode_budget(reasoning: &Reasoning, most: u64, thinking: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let word = effort(reasoning);
    let budget = match (reasoning.budget, BUDGETS.iter().find(|(effort, _)| *effort == word)) {
        _ if is_off(reasoning) => Some(0),
        (Some(budget), _) => Some(budget),
        (None, Some((_, budget))) => Some(*budget),
        (None, None) if !word.is_empty() => {
            crossing.losses.push("/reasoning_effort", format!("said as a budget of {most}, the most this model has"));
            Some(most)
        }
        (None, None) => None,
    };
    match budget {
        Some(budget) => thinking.number("thinkingBudget", budget),
        None => thinking.raw("thinkingBudget", "-1"),
    };
}

fn encode_level(reasoning: &Reasoning, thinking: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let word = effort(reasoning);
    if is_off(reasoning) {
        crossing.losses.push("/reasoning_effort", "said as `minimal`: this model cannot stop thinking");
        thinking.str("thinkingLevel", "minimal");
    } else if let Some(budget) = reasoning.budget.filter(|_| word.is_empty()) {
        // Taken for the sake of older callers; both at once are refused.
        thinking.number("thinkingBudget", budget);
    } else if !word.is_empty() {
        if reasoning.budget.is_some() {
            crossing
                .losses
                .push("/reasoning/max_tokens", "gemini takes a level or a budget, and the request gives both");
        }
        let known = LEVELS.contains(&word);
        if !known {
            crossing.losses.push("/reasoning_effort", "said as `xhigh`, the most gemini has");
        }
        thinking.str("thinkingLevel", if known { word } else { "xhigh" });
    }
}
