//! How the model is to answer, both ways: `inferenceConfig`, `additionalModelRequestFields`, `outputConfig`, `serviceTier`.
//!
//! What a caller of this dialect wrote into the last three is kept as it was, beside what could be read of it: models differ in what
//! they take there, and their own words are never put into others.

use serde_json::value::RawValue;

use super::family::{Effort, Family};
use super::wire::{
    AdditionalWire, Crossing, FormatWire, InferenceWire, NO_COUNTERPART, OWN, OutputConfigWire, ThinkingWire,
    keep_rest, object_of, overlay, quoted, read, rest_of,
};
use crate::chat::{Extras, MaxTokens, Raw, Reasoning, ResponseFormat, Sampling, Stop};
use crate::dialect::raw::is_blank;
use crate::json::{self, Array, Object};
use crate::{ChatRequest, Malformed, Text};

/// The keys of this file's objects, under which also their rests are kept.
pub(super) const INFERENCE: &str = "inferenceConfig";
pub(super) const ADDITIONAL: &str = "additionalModelRequestFields";
pub(super) const OUTPUT: &str = "outputConfig";
const SERVICE_TIER: &str = "serviceTier";

/// Spellings that are remembered: the objects as they came.
const ADDITIONAL_WHOLE: &str = "additionalModelRequestFields as it came";
const OUTPUT_WHOLE: &str = "outputConfig as it came";

/// The field in which OpenAI's and Anthropic's callers name a service tier, and the tiers that have a counterpart
/// (service model, `ServiceTierType`). `auto` is what is had without asking.
const OTHERS_TIER: &str = "service_tier";
const TIERS: &[(&str, &str)] =
    &[("default", "default"), ("standard_only", "default"), ("flex", "flex"), ("priority", "priority")];

/// The words for effort that Nova 2 knows, least first.
const NOVAS_EFFORTS: &[&str] = &["low", "medium", "high"];

// === Reading ===

/// What a request says of its answer.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub(super) max_tokens: Option<MaxTokens>,
    pub(super) sampling: Sampling,
    pub(super) stop: Stop,
    pub(super) reasoning: Option<Reasoning>,
    pub(super) response_format: Option<ResponseFormat>,
}

/// Reads the three objects. What of them the canonical model has no place for goes to `extras`.
pub(super) fn decode(
    inference: Option<InferenceWire<'_>>,
    additional: Option<&RawValue>,
    output: Option<&RawValue>,
    extras: &mut Extras,
) -> Result<Config, Malformed> {
    let mut config = Config::default();
    if let Some(wire) = inference {
        config.max_tokens = wire.max_tokens.map(|value| MaxTokens { value, legacy: true });
        config.sampling = Sampling { temperature: wire.temperature, top_p: wire.top_p, ..Sampling::default() };
        config.stop = Stop { sequences: wire.stop.unwrap_or_default(), plain: false };
        keep_rest(extras, INFERENCE, &wire.extras);
    }
    let mut reasoning = Reasoning::default();
    if let Some(raw) = additional {
        decode_additional(raw, &mut reasoning, &mut config.sampling, extras);
    }
    if let Some(raw) = output {
        config.response_format = decode_output(raw, &mut reasoning, extras)?;
    }
    let said = reasoning.effort.is_some() || reasoning.mode.is_some() || reasoning.budget.is_some();
    config.reasoning = said.then_some(reasoning);
    Ok(config)
}

/// Words that another model than ours may have meant otherwise are left alone.
fn decode_additional(raw: &RawValue, reasoning: &mut Reasoning, sampling: &mut Sampling, extras: &mut Extras) {
    extras.remember(ADDITIONAL_WHOLE, raw.to_owned());
    let Ok(wire) = json::decode::<AdditionalWire<'_>>(raw.get().as_bytes()) else {
        extras.push(ADDITIONAL, raw.to_owned());
        return;
    };
    sampling.top_k = wire.top_k;
    reasoning.effort = wire.effort;
    if let Some(ThinkingWire { kind, budget, extras, .. }) = wire.thinking {
        (reasoning.mode, reasoning.budget, reasoning.extras) = (kind, budget, extras);
    }
    if wire.extras.telling().next().is_some() {
        extras.push(ADDITIONAL, object_of(&wire.extras));
    }
}

fn decode_output(
    raw: &RawValue,
    reasoning: &mut Reasoning,
    extras: &mut Extras,
) -> Result<Option<ResponseFormat>, Malformed> {
    let wire: OutputConfigWire<'_> = read(raw, &|| format!("/{OUTPUT}"))?;
    extras.remember(OUTPUT_WHOLE, raw.to_owned());
    if wire.extras.telling().next().is_some() {
        extras.push(OUTPUT, object_of(&wire.extras));
    }
    reasoning.effort = wire.effort.or(reasoning.effort.take());
    Ok(wire.format.map(|raw| decode_format(raw).unwrap_or_else(|| ResponseFormat::Foreign(OWN, raw.to_owned()))))
}

/// `None` where it is not the one form that is known. The schema stands there as a string.
fn decode_format(raw: &RawValue) -> Option<ResponseFormat> {
    let wire: FormatWire<'_> = json::decode(raw.get().as_bytes()).ok()?;
    let structure = wire.structure.filter(|structure| structure.extras.is_empty() && wire.extras.is_empty())?;
    let given = structure.schema.filter(|_| wire.kind.as_ref().is_some_and(|kind| kind.as_str() == "json_schema"))?;
    let schema: Raw = serde_json::from_str::<&RawValue>(&given.schema?.to_plain()).ok()?.to_owned();
    let (name, description, extras) = (given.name, given.description, given.extras);
    Some(ResponseFormat::Schema { name, description, schema, strict: None, extras })
}

// === Writing ===

/// Writes the objects. Gives the form of the answer where it has to be demanded as a tool.
pub(super) fn encode<'a>(
    request: &'a ChatRequest,
    object: &mut Object<'_>,
    crossing: &mut Crossing<'_>,
) -> Option<&'a ResponseFormat> {
    encode_inference(request, object, crossing);
    if crossing.native {
        for (key, whole) in [(ADDITIONAL, ADDITIONAL_WHOLE), (OUTPUT, OUTPUT_WHOLE)] {
            if let Some(whole) = request.extras.recall(whole) {
                object.raw(key, whole.get());
            }
        }
        return None;
    }
    encode_additional(request, object, crossing);
    encode_service_tier(request, object, crossing);
    encode_output(request, object, crossing)
}

fn encode_inference(request: &ChatRequest, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let mut written = Vec::new();
    let mut config = Object::new(&mut written);
    if let Some(MaxTokens { value, .. }) = request.max_tokens {
        config.number("maxTokens", value);
    }
    encode_sampling(&request.sampling, &mut config, crossing);
    encode_stop(&request.stop, &mut config, crossing);
    let rest = rest_of(&request.extras, INFERENCE).filter(|_| crossing.native);
    if let Some(rest) = rest {
        config.extras(&super::wire::fields_of(rest));
    }
    config.end();
    if written != b"{}" || rest.is_some() {
        object.key(INFERENCE).extend_from_slice(&written);
    }
}

fn encode_sampling(sampling: &Sampling, config: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    if let Some(temperature) = &sampling.temperature {
        if !crossing.native && temperature.get().parse::<f64>().is_ok_and(|value| value > 1.0) {
            crossing.losses.push("/temperature", "lowered to 1, the most bedrock_converse allows");
            config.raw("temperature", "1");
        } else {
            config.raw("temperature", temperature.get());
        }
    }
    if let Some(top_p) = &sampling.top_p {
        config.raw("topP", top_p.get());
    }
    for (pointer, given) in [
        ("/frequency_penalty", sampling.frequency_penalty.is_some()),
        ("/presence_penalty", sampling.presence_penalty.is_some()),
        ("/seed", sampling.seed.is_some()),
        ("/n", sampling.choices.is_some_and(|choices| choices > 1)),
    ] {
        if given {
            crossing.lose(pointer);
        }
    }
}

fn encode_stop(stop: &Stop, config: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let usable = |text: &&Text| crossing.native || !is_blank(text);
    let sequences: Vec<&Text> = stop.sequences.iter().filter(usable).collect();
    if sequences.len() < stop.sequences.len() {
        crossing.losses.push("/stop", "a stop sequence of whitespace is refused");
    }
    if !sequences.is_empty() {
        let mut array = Array::new(config.key("stopSequences"));
        for sequence in sequences {
            json::write_text(array.item(), sequence);
        }
        array.end();
    }
}

/// What this API has no field for, in the words of the model that is asked, under what the caller gave for it.
fn encode_additional(request: &ChatRequest, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let family = Family::of(&request.model);
    let mut fields = Extras::default();
    if let Some(top_k) = &request.sampling.top_k {
        let (parent, key) = family.top_k();
        match parent {
            Some(parent) => fields.push(parent, json::raw(format!(r#"{{"{key}":{}}}"#, top_k.get()))),
            None => fields.push(key, top_k.clone()),
        }
    }
    if let Some(reasoning) = &request.reasoning {
        encode_thinking(reasoning, family, &mut fields, crossing);
    }
    if let Some(given) = request.extras.find(ADDITIONAL) {
        overlay(&mut fields, &super::wire::fields_of(given));
    }
    if !fields.is_empty() {
        object.raw(ADDITIONAL, object_of(&fields).get());
    }
}

fn encode_thinking(reasoning: &Reasoning, family: Family, fields: &mut Extras, crossing: &mut Crossing<'_>) {
    match (family.effort(), &reasoning.effort) {
        (Effort::Plain, Some(effort)) => fields.push("reasoning_effort", quoted(effort)),
        (Effort::Config, Some(effort)) => {
            fields.push("reasoningConfig", novas_reasoning(effort, crossing));
        }
        _ => {}
    }
    let mode = thinking_mode(reasoning);
    let display = reasoning.extras.find("display").filter(|_| mode.is_some());
    if let Some(mode) = mode.filter(|_| family.takes_thinking_budget()) {
        let mut out = Vec::new();
        let mut thinking = Object::new(&mut out);
        thinking.str("type", mode);
        if let Some(budget) = reasoning.budget.filter(|_| mode == "enabled") {
            thinking.number("budget_tokens", budget);
        }
        if let Some(display) = display.filter(|_| mode != "disabled") {
            thinking.raw("display", display.get());
        }
        thinking.end();
        fields.push("thinking", super::wire::written(out));
    } else if reasoning.budget.is_some() {
        crossing.losses.push("/reasoning", "this model takes no budget of thinking");
    }
    for key in reasoning.extras.telling().filter(|key| *key != "display" || display.is_none()) {
        crossing.lose(format!("/reasoning/{key}"));
    }
}

/// Effort is never lowered but to what there is.
fn novas_reasoning(effort: &Text, crossing: &mut Crossing<'_>) -> Raw {
    let word = match effort.as_escaped() {
        "none" => return json::raw(r#"{"type":"disabled"}"#.to_owned()),
        word if NOVAS_EFFORTS.contains(&word) => word,
        "minimal" => {
            crossing.losses.push("/reasoning_effort", "raised to `low`, the least this model has");
            "low"
        }
        _ => {
            crossing.losses.push("/reasoning_effort", "said as `high`, the most this model has");
            "high"
        }
    };
    json::raw(format!(r#"{{"type":"enabled","maxReasoningEffort":"{word}"}}"#))
}

/// `enabled` needs a budget; without one the model decides, which is `adaptive`. Effort alone needs no mode.
fn thinking_mode(reasoning: &Reasoning) -> Option<&'static str> {
    let word = |text: &Option<Text>| text.as_ref().map(|text| text.as_escaped().to_owned()).unwrap_or_default();
    match (word(&reasoning.mode).as_str(), word(&reasoning.effort).as_str(), reasoning.budget) {
        ("disabled", ..) | (_, "none", _) => Some("disabled"),
        (_, _, Some(_)) => Some("enabled"),
        ("enabled" | "adaptive", _, None) => Some("adaptive"),
        _ => None,
    }
}

fn encode_service_tier(request: &ChatRequest, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let given = request.extras.find(OTHERS_TIER).filter(|_| request.extras.find(SERVICE_TIER).is_none());
    let Some(given) = given.and_then(Text::from_raw) else { return };
    match TIERS.iter().find(|(theirs, _)| *theirs == given.as_escaped()) {
        Some((_, tier)) => {
            let mut object = Object::new(object.key(SERVICE_TIER));
            object.str("type", tier);
            object.end();
        }
        None if given.as_escaped() == "auto" => {}
        None => crossing.lose(format!("/{OTHERS_TIER}")),
    }
}

/// Fields of other dialects that are read here, and so are no loss.
pub(super) fn is_read(key: &str) -> bool {
    key == OTHERS_TIER || key == ADDITIONAL
}

fn encode_output<'a>(
    request: &'a ChatRequest,
    object: &mut Object<'_>,
    crossing: &mut Crossing<'_>,
) -> Option<&'a ResponseFormat> {
    let family = Family::of(&request.model);
    let mut written = Vec::new();
    let mut config = Object::new(&mut written);
    let effort = request.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_ref());
    if let Some(effort) = effort.filter(|_| family.effort() == Effort::Output) {
        encode_effort(effort, &mut config, crossing);
    }
    let as_tool = request.response_format.as_ref().and_then(|format| match format {
        ResponseFormat::Schema { .. } if family.takes_formats() => {
            encode_format(format, &mut config, crossing);
            None
        }
        ResponseFormat::Schema { extras, .. } => {
            crossing.lose_extras(extras, &|| SCHEMA.to_owned());
            Some(format)
        }
        ResponseFormat::Json => Some(format),
        ResponseFormat::Foreign(..) => {
            crossing.lose("/response_format");
            None
        }
        ResponseFormat::Text => None,
    });
    config.end();
    if written != b"{}" {
        object.key(OUTPUT).extend_from_slice(&written);
    }
    as_tool
}

/// A word the API may not know is passed on for the API to judge.
fn encode_effort(effort: &Text, config: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    match effort.as_escaped() {
        // Said by `thinking` instead.
        "none" => {}
        "minimal" => {
            crossing.losses.push("/reasoning_effort", "raised to `low`, the least bedrock_converse has");
            config.str("effort", "low");
        }
        _ => {
            config.text("effort", effort);
        }
    }
}

/// Where a caller's schema stands.
const SCHEMA: &str = "/response_format/json_schema";

/// `strict` is what this API always is: nothing is lost.
fn encode_format(format: &ResponseFormat, config: &mut Object<'_>, crossing: &mut Crossing<'_>) {
    let ResponseFormat::Schema { name, description, schema, extras, .. } = format else { return };
    let mut object = Object::new(config.key("textFormat"));
    object.str("type", "json_schema");
    let mut structure = Object::new(object.key("structure"));
    let mut inner = Object::new(structure.key("jsonSchema"));
    inner.str("schema", schema.get());
    for (key, text) in [("name", name), ("description", description)] {
        if let Some(text) = text {
            inner.text(key, text);
        }
    }
    for key in extras.telling() {
        crossing.losses.push(format!("{SCHEMA}/{key}"), NO_COUNTERPART);
    }
    inner.end();
    structure.end();
    object.end();
}
