//! A whole reply, both ways, and why the model stopped.

use serde_json::value::RawValue;

use super::answer::{self, is_answer};
use super::block::{self, obstacle};
use super::usage;
use super::wire::{Crossing, NO_COUNTERPART, OWN, ReplyWire, StopFieldsWire, need, object_of, overlay};
use crate::chat::{Extras, Part, PartKind, Raw, SPELLING};
use crate::dialect::ending;
use crate::dialect::raw::is_blank;
use crate::json::{self, Array, Object};
use crate::reply::{Choice, Finish, FinishReason};
use crate::{ChatReply, Losses, Malformed, Text};

/// What the provider measured. The gateway has its own clock, so nobody else misses it.
pub(super) const METRICS: &str = "metrics";

/// Fields of the model's own answer that the caller asked to see.
pub(super) const MODEL_FIELDS: &str = "additionalModelResponseFields";

/// Words for why the model stopped (service model, `StopReason`); the first row of a reason is the one written for it.
const STOP_REASONS: &[(&str, FinishReason)] = &[
    ("end_turn", FinishReason::Stop),
    ("stop_sequence", FinishReason::Stop),
    ("max_tokens", FinishReason::Length),
    ("model_context_window_exceeded", FinishReason::Length),
    ("tool_use", FinishReason::ToolCalls),
    ("content_filtered", FinishReason::ContentFilter),
    ("guardrail_intervened", FinishReason::ContentFilter),
    // Claude's own word, which the service model has not.
    ("refusal", FinishReason::Refusal),
    ("content_filtered", FinishReason::Refusal),
    ("end_turn", FinishReason::Pause),
    ("end_turn", FinishReason::Other),
];

/// What is written, which official clients must know.
const UNKNOWN_TO_CLIENTS: &str = "refusal";

// === Why it stopped ===

/// `fields`: what the model said besides, among which may be the stop sequence.
pub(super) fn decode_finish(word: Option<Text>, fields: Option<&RawValue>) -> Finish {
    let known = |word: &Text| STOP_REASONS.iter().find(|(name, _)| *name == word.as_escaped());
    let reason = word.as_ref().and_then(known).map_or(FinishReason::Other, |(_, reason)| *reason);
    let fields = fields.and_then(|fields| json::decode::<StopFieldsWire<'_>>(fields.get().as_bytes()).ok());
    Finish { reason, raw: word, stop_sequence: fields.and_then(|fields| fields.sequence) }
}

/// What the reply held, where that decides the word: some providers say `stop` over a tool call or a refusal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) call: bool,
    pub(super) refusal: bool,
}

impl Held {
    pub(super) fn note(&mut self, kind: &PartKind) {
        self.call |= matches!(kind, PartKind::ToolCall(_));
        self.refusal |= matches!(kind, PartKind::Refusal(_));
    }
}

pub(super) fn encode_finish(finish: &Finish, held: Held, native: bool, object: &mut Object<'_>) {
    match &finish.raw {
        Some(word) if native => object.text("stopReason", word),
        _ => object.str("stopReason", stop_reason(finish, held)),
    };
}

/// Notes why another dialect's reply ended, where there is no word for it here.
pub(super) fn lose_end(finish: &Finish, losses: &mut Losses) {
    ending::lose_reason(OWN, finish, &ending::UNCOMMON, losses);
}

fn stop_reason(finish: &Finish, held: Held) -> &'static str {
    match finish.reason {
        FinishReason::Stop if held.call => "tool_use",
        FinishReason::Stop if held.refusal => "content_filtered",
        FinishReason::Stop if finish.stop_sequence.is_some() => "stop_sequence",
        reason => STOP_REASONS
            .iter()
            .find(|(word, known)| *known == reason && *word != UNKNOWN_TO_CLIENTS)
            .map_or("end_turn", |(word, _)| word),
    }
}

/// The stop sequence stands where a caller of this API would ask for it (`"/stop_sequence"`).
pub(super) fn stop_fields(finish: &Finish) -> Option<Raw> {
    let sequence = finish.stop_sequence.as_ref()?;
    let mut fields = Extras::default();
    fields.push("stop_sequence", super::wire::quoted(sequence));
    Some(object_of(&fields))
}

// === Reading ===

pub(super) fn decode(body: &[u8]) -> Result<ChatReply, Malformed> {
    let wire: ReplyWire<'_> = json::decode(body)?;
    let root = String::new;
    let output = need(wire.output, &root, "output", "an object with a message")?;
    let message = need(output.message, &|| "/output".to_owned(), "message", "a message")?;
    let blocks = need(message.content, &|| "/output/message".to_owned(), "content", "a list of content blocks")?;
    let parts = blocks
        .into_iter()
        .enumerate()
        .map(|(at, raw)| decode_block(raw, &|| format!("/output/message/content/{at}")))
        .collect::<Result<Vec<Part>, Malformed>>()?;
    let mut extras = wire.extras;
    remember(&mut extras, wire.metrics);
    let finish = decode_finish(wire.stop_reason, extras.find(MODEL_FIELDS));
    let mut choice = Choice { finish, message_extras: message.extras, ..Choice::default() };
    overlay(&mut choice.message_extras, &output.extras);
    choice.parts = parts.into_iter().map(answered).collect();
    let asks = choice.parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall(_)));
    answer::settle(&mut choice.finish, asks || choice.parts.is_empty());
    Ok(ChatReply {
        source: OWN,
        id: Text::default(),
        model: Text::default(),
        created: None,
        choices: vec![choice],
        usage: wire.usage.and_then(usage::decode),
        extras,
    })
}

/// What only a model of this API says in a reply, media among it, stays whole: no other dialect's stream carries it.
fn decode_block(raw: &RawValue, place: super::wire::Place<'_>) -> Result<Part, Malformed> {
    let part = block::decode(raw, place)?;
    Ok(match part.kind {
        PartKind::Image(_) | PartKind::Audio(_) | PartKind::File(_) | PartKind::ToolResult(_) => block::foreign(raw),
        _ => part,
    })
}

/// The form that was demanded as a tool is the text that was asked for.
fn answered(part: Part) -> Part {
    match part.kind {
        PartKind::ToolCall(call) if is_answer(&call.name) => PartKind::Text(call.arguments).into(),
        _ => part,
    }
}

/// Keeps what nobody else misses.
pub(super) fn remember(extras: &mut Extras, metrics: Option<Raw>) {
    if let Some(metrics) = metrics {
        let mut spelling = Extras::default();
        spelling.push(METRICS, metrics);
        extras.push(SPELLING, object_of(&spelling));
    }
}

// === Writing ===

pub(super) fn encode(reply: &ChatReply, annex: Option<&str>, losses: &mut Losses) -> Vec<u8> {
    let mut crossing = Crossing::to_client(reply.source, losses);
    let nothing = Choice::default();
    let choice = reply.choices.first().unwrap_or(&nothing);
    for other in reply.choices.iter().skip(1) {
        crossing.losses.push(format!("/choices/{}", other.index), "bedrock_converse has one choice");
    }
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    let mut output = Object::new(object.key("output"));
    let mut message = Object::new(output.key("message"));
    message.str("role", "assistant");
    let held = encode_parts(choice, &mut crossing, message.key("content"));
    crossing.extras(&mut message, &choice.message_extras, &|| format!("/choices/{}/message", choice.index));
    message.end();
    output.end();
    if !crossing.native {
        lose_end(&choice.finish, crossing.losses);
    }
    encode_finish(&choice.finish, held, crossing.native, &mut object);
    ending::lose_counts(OWN, reply.usage.as_ref(), &[ending::REASONING], crossing.losses);
    usage::encode(reply.usage.as_ref(), object.key("usage"));
    if let Some(metrics) = metrics_of(&reply.extras).as_deref().map(RawValue::get).or(annex) {
        object.raw(METRICS, metrics);
    }
    encode_extras(reply, choice, &mut crossing, &mut object);
    object.end();
    out
}

fn encode_parts(choice: &Choice, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) -> Held {
    let mut held = Held::default();
    let mut array = Array::new(out);
    for (at, part) in choice.parts.iter().enumerate() {
        let place = || format!("/choices/{}/message/content/{at}", choice.index);
        held.note(&part.kind);
        if let Some(reason) = obstacle(part, crossing).filter(|_| !crossing.native) {
            crossing.losses.push(place(), reason);
        } else if crossing.native || !matches!(&part.kind, PartKind::Text(text) if is_blank(text)) {
            block::encode(part, &place, crossing, &mut array);
        }
    }
    array.end();
    held
}

/// A streamed reply has the same field in several events: the later one counts.
fn encode_extras(reply: &ChatReply, choice: &Choice, crossing: &mut Crossing<'_>, object: &mut Object<'_>) {
    if crossing.native {
        let mut extras = reply.extras.clone();
        overlay(&mut extras, &choice.extras);
        object.extras_except(&extras, &[SPELLING]);
        return;
    }
    if let Some(fields) = stop_fields(&choice.finish) {
        object.raw(MODEL_FIELDS, fields.get());
    }
    crossing.lose_extras(&reply.extras, &String::new);
    let place = format!("/choices/{}", choice.index);
    crossing.lose_extras(&choice.extras, &|| place.clone());
    if !choice.citations.is_empty() {
        crossing.losses.push(format!("{place}/citations"), block::CITED_WITHIN);
    }
    if choice.logprobs.is_some() {
        crossing.losses.push(format!("{place}/logprobs"), NO_COUNTERPART);
    }
}

/// What [`remember`] kept.
pub(super) fn metrics_of(extras: &Extras) -> Option<Raw> {
    super::wire::fields_of(extras.find(SPELLING)?).remove(METRICS)
}
