//! Sampling, the form of the answer, and how much to think, both ways.

use serde_json::value::RawValue;

use super::wire::{Crossing, FormatWire, OWN, ReasoningWire, read};
use crate::chat::{Extras, Reasoning, ResponseFormat, Sampling, Stop};
use crate::dialect::gemini::BUDGETS;
use crate::json::{self, Array, Sheet, Str};
use crate::{ChatRequest, Malformed, Text};

const FORMAT: &str = "response_format";
const THINKING: &str = "thinking";
const STOP: &str = "stop_sequences";
const ENABLED: &str = "enabled";
const DISABLED: &str = "disabled";

/// What the API allows (API reference), by our names and the callers': other dialects allow more.
const RANGES: &[(&str, &str, [&str; 2])] = &[
    ("p", "top_p", ["0.01", "0.99"]),
    ("k", "top_k", ["0", "500"]),
    ("frequency_penalty", "frequency_penalty", ["0", "1"]),
    ("presence_penalty", "presence_penalty", ["0", "1"]),
];

// === Reading ===

/// A form with fields of its own stays whole.
pub(super) fn decode_format(raw: &RawValue) -> ResponseFormat {
    let foreign = || ResponseFormat::Foreign(OWN, raw.to_owned());
    let Ok(wire) = json::decode_at::<FormatWire<'_>>(raw, "") else { return foreign() };
    match (wire.kind.as_ref().map(Str::as_str), wire.schema) {
        _ if !wire.extras.is_empty() => foreign(),
        (Some("text"), None) => ResponseFormat::Text,
        (Some("json_object"), None) => ResponseFormat::Json,
        (Some("json_object"), Some(schema)) => {
            ResponseFormat::Schema { name: None, description: None, schema, strict: None, extras: Extras::default() }
        }
        _ => foreign(),
    }
}

pub(super) fn decode_reasoning(raw: &RawValue) -> Result<Reasoning, Malformed> {
    let wire: ReasoningWire<'_> = read(raw, &|| format!("/{THINKING}"))?;
    Ok(Reasoning { mode: wire.kind, budget: wire.token_budget, extras: wire.extras, ..Reasoning::default() })
}

// === Writing ===

pub(super) fn encode(request: &ChatRequest, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    if let Some(format) = &request.response_format {
        encode_format(format, sheet, crossing);
    }
    if let Some(limit) = request.max_tokens {
        sheet.number("max_tokens", limit.value);
    }
    encode_stop(&request.stop, &request.extras, sheet);
    encode_sampling(&request.sampling, sheet, crossing);
    if let Some(reasoning) = &request.reasoning {
        encode_reasoning(reasoning, sheet, crossing);
    }
}

/// The schema's name is OpenAI's label for it, and `strict` is what this API always is: neither is lost.
fn encode_format(format: &ResponseFormat, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    const PLACE: &str = "/response_format/json_schema";
    match format {
        ResponseFormat::Text => _ = sheet.raw(FORMAT, r#"{"type":"text"}"#),
        ResponseFormat::Json => _ = sheet.raw(FORMAT, r#"{"type":"json_object"}"#),
        ResponseFormat::Foreign(OWN, raw) => _ = sheet.raw(FORMAT, raw.get()),
        ResponseFormat::Foreign(..) => crossing.lose(format!("/{FORMAT}")),
        ResponseFormat::Schema { description, schema, extras, .. } => {
            let mut inner = Sheet::new(sheet.key(FORMAT));
            inner.str("type", "json_object").raw("json_schema", schema.get());
            inner.end();
            if description.is_some() {
                crossing.lose(format!("{PLACE}/description"));
            }
            crossing.lose_extras(extras, &|| PLACE.to_owned());
        }
    }
}

/// Remembers that the list of stop sequences was there, and empty.
pub(super) fn decode_stop(sequences: Option<Vec<Text>>, extras: &mut Extras) -> Stop {
    super::content::remember_empty(extras, STOP, sequences.as_ref());
    Stop { sequences: sequences.unwrap_or_default(), plain: false }
}

fn encode_stop(stop: &Stop, extras: &Extras, sheet: &mut Sheet<'_>) {
    if stop.sequences.is_empty() {
        sheet.optional_raw(STOP, extras.recall(STOP));
        return;
    }
    let mut array = Array::new(sheet.key(STOP));
    for sequence in &stop.sequences {
        json::write_text(array.item(), sequence);
    }
    array.end();
}

fn encode_sampling(sampling: &Sampling, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    for (key, value) in [
        ("temperature", &sampling.temperature),
        ("p", &sampling.top_p),
        ("k", &sampling.top_k),
        ("frequency_penalty", &sampling.frequency_penalty),
        ("presence_penalty", &sampling.presence_penalty),
        ("seed", &sampling.seed),
    ] {
        if let Some(value) = value {
            sheet.raw(key, within(key, value.get(), crossing));
        }
    }
    if sampling.choices.is_some_and(|choices| choices > 1) {
        crossing.lose("/n");
    }
}

/// The number, or the nearest that the API allows. Our own clients' numbers are the API's to judge.
fn within<'a>(key: &str, number: &'a str, crossing: &mut Crossing<'_>) -> &'a str {
    let Some((_, theirs, [least, most])) = RANGES.iter().find(|(ours, ..)| *ours == key) else { return number };
    let value = |text: &str| text.parse::<f64>().ok();
    let (Some(given), false) = (value(number), crossing.native) else { return number };
    let (bound, change) = match (value(least), value(most)) {
        (Some(bound), _) if given < bound => (least, "raised"),
        (_, Some(bound)) if given > bound => (most, "lowered"),
        _ => return number,
    };
    crossing.losses.push(format!("/{theirs}"), format!("{change} to {bound}, which is as far as cohere_chat goes"));
    bound
}

/// Thinking is on or off, with a budget or without. An effort is said as the budget it stands for.
fn encode_reasoning(reasoning: &Reasoning, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    if crossing.native {
        let mut thinking = Sheet::new(sheet.key(THINKING));
        thinking.optional_text("type", reasoning.mode.as_ref()).optional_number("token_budget", reasoning.budget);
        thinking.extras(&reasoning.extras);
        thinking.end();
        return;
    }
    let [mode, effort] =
        [&reasoning.mode, &reasoning.effort].map(|word| word.as_ref().map(Text::to_plain).unwrap_or_default());
    for key in reasoning.extras.telling().filter(|key| *key != "display") {
        crossing.lose(format!("/reasoning/{key}"));
    }
    if mode == DISABLED || effort == "none" {
        sheet.raw(THINKING, r#"{"type":"disabled"}"#);
        return;
    }
    if mode.is_empty() && effort.is_empty() && reasoning.budget.is_none() {
        return;
    }
    let known = BUDGETS.iter().find(|(word, _)| *word == effort).map(|(_, budget)| *budget);
    if known.is_none() && !effort.is_empty() && reasoning.budget.is_none() {
        crossing.losses.push("/reasoning_effort", "cohere_chat has no efforts: said as thinking without a limit");
    }
    let mut thinking = Sheet::new(sheet.key(THINKING));
    thinking.str("type", ENABLED).optional_number("token_budget", reasoning.budget.or(known));
    thinking.end();
}
