//! A whole reply, both ways, and why the model stopped.

use serde_json::value::RawValue;

use super::block::{self, obstacle};
use super::usage;
use super::wire::{Crossing, NO_COUNTERPART, OWN, ReplyWire, need, overlay};
use crate::chat::{Extras, PartKind};
use crate::dialect::ending;
use crate::dialect::raw::is_blank;
use crate::json::{self, Array, Object};
use crate::reply::{Choice, Finish, FinishReason};
use crate::{ChatReply, Losses, Malformed, Text};

/// Anthropic's words for why the model stopped (SDK `types/stop_reason.py`); the first row of a reason is the one written for
/// it.
const STOP_REASONS: &[(&str, FinishReason)] = &[
    ("end_turn", FinishReason::Stop),
    ("stop_sequence", FinishReason::Stop),
    ("max_tokens", FinishReason::Length),
    ("model_context_window_exceeded", FinishReason::Length),
    ("tool_use", FinishReason::ToolCalls),
    ("refusal", FinishReason::Refusal),
    // Anthropic's own filters answer with `refusal`, too.
    ("refusal", FinishReason::ContentFilter),
    ("pause_turn", FinishReason::Pause),
    ("end_turn", FinishReason::Other),
];

// === Why it stopped ===

pub(super) fn decode_finish(word: Option<Text>, stop_sequence: Option<Text>) -> Finish {
    let reason = match &word {
        None => FinishReason::Other,
        Some(word) => STOP_REASONS
            .iter()
            .find(|(name, _)| *name == word.as_escaped())
            .map_or(FinishReason::Other, |(_, reason)| *reason),
    };
    Finish { reason, raw: word, stop_sequence }
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

/// Writes `stop_reason` and `stop_sequence`, which clients expect in every answer, if only as `null`.
pub(super) fn encode_finish(finish: &Finish, held: Held, crossing: &mut Crossing<'_>, object: &mut Object<'_>) {
    if !crossing.native {
        ending::lose_reason(OWN, finish, &[FinishReason::Other], crossing.losses);
    }
    match (&finish.raw, crossing.native) {
        (Some(word), true) => object.text("stop_reason", word),
        (None, true) if finish.reason == FinishReason::Other => object.null("stop_reason"),
        _ => object.str("stop_reason", stop_reason(finish, held)),
    };
    match &finish.stop_sequence {
        Some(sequence) => object.text("stop_sequence", sequence),
        None => object.null("stop_sequence"),
    };
}

fn stop_reason(finish: &Finish, held: Held) -> &'static str {
    match finish.reason {
        FinishReason::Stop if held.call => "tool_use",
        FinishReason::Stop if held.refusal => "refusal",
        FinishReason::Stop if finish.stop_sequence.is_some() => "stop_sequence",
        reason => STOP_REASONS.iter().find(|(_, known)| *known == reason).map_or("end_turn", |(word, _)| word),
    }
}

// === Reading ===

pub(super) fn decode(body: &[u8]) -> Result<ChatReply, Malformed> {
    let mut wire: ReplyWire<'_> = json::decode(body)?;
    let root = String::new;
    let blocks = need(wire.content.take(), &root, "content", "a list of content blocks")?;
    let parts = blocks
        .into_iter()
        .enumerate()
        .map(|(at, raw)| block::decode(raw, &|| format!("/content/{at}")))
        .collect::<Result<_, _>>()?;
    let head = Head::of(wire, &root)?;
    let choice = Choice { parts, finish: head.finish, ..Choice::default() };
    Ok(ChatReply {
        source: OWN,
        id: head.id,
        model: head.model,
        created: None,
        choices: vec![choice],
        usage: head.usage.and_then(usage::decode),
        extras: head.extras,
    })
}

/// All of a message but its content: the same in a whole reply and in `message_start`.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) id: Text,
    pub(super) model: Text,
    pub(super) finish: Finish,
    pub(super) usage: Option<&'a RawValue>,
    pub(super) extras: Extras,
}

impl<'a> Head<'a> {
    pub(super) fn of(wire: ReplyWire<'a>, place: block::Place<'_>) -> Result<Self, Malformed> {
        let mut extras = wire.extras;
        // Always written, so their `null` need not be remembered.
        extras.remove("stop_reason");
        extras.remove("stop_sequence");
        Ok(Self {
            id: need(wire.id, place, "id", "a string")?,
            model: need(wire.model, place, "model", "a string")?,
            finish: decode_finish(wire.stop_reason, wire.stop_sequence),
            usage: wire.usage,
            extras,
        })
    }
}

// === Writing ===

pub(super) fn encode(reply: &ChatReply, losses: &mut Losses) -> Vec<u8> {
    let mut crossing = Crossing { native: reply.source == OWN, losses };
    let nothing = Choice::default();
    let choice = reply.choices.first().unwrap_or(&nothing);
    for other in reply.choices.iter().skip(1) {
        crossing.losses.push(format!("/choices/{}", other.index), "anthropic_messages has one choice");
    }
    let mut out = Vec::new();
    let mut object = Object::new(&mut out);
    write_head(&mut object, &reply.id, &reply.model);
    let held = encode_parts(choice, &mut crossing, object.key("content"));
    encode_finish(&choice.finish, held, &mut crossing, &mut object);
    usage::encode(reply.usage.as_ref(), object.key("usage"));
    encode_extras(reply, choice, &mut crossing, &mut object);
    object.end();
    out
}

/// `id`, `type`, `role` and `model`. Clients key messages by id, so there always is one.
pub(super) fn write_head(object: &mut Object<'_>, id: &Text, model: &Text) {
    if id.is_empty() {
        object.str("id", &format!("msg_{}", uuid::Uuid::new_v4().simple()));
    } else {
        object.text("id", id);
    }
    object.str("type", "message").str("role", "assistant").text("model", model);
}

fn encode_parts(choice: &Choice, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) -> Held {
    let mut held = Held::default();
    let mut array = Array::new(out);
    for (at, part) in choice.parts.iter().enumerate() {
        let place = || format!("/choices/{}/message/content/{at}", choice.index);
        held.note(&part.kind);
        if let Some(reason) = obstacle(part).filter(|_| !crossing.native) {
            crossing.losses.push(place(), reason);
        } else if crossing.native || !matches!(&part.kind, PartKind::Text(text) if is_blank(text)) {
            block::encode(part, &place, crossing, array.item());
        }
    }
    array.end();
    held
}

/// A streamed reply has the same field in its first and its last event: the later one counts.
fn encode_extras(reply: &ChatReply, choice: &Choice, crossing: &mut Crossing<'_>, object: &mut Object<'_>) {
    if crossing.native {
        let mut extras = reply.extras.clone();
        overlay(&mut extras, &choice.extras);
        overlay(&mut extras, &choice.message_extras);
        object.extras(&extras);
        return;
    }
    crossing.lose_extras(&reply.extras, &String::new);
    let place = format!("/choices/{}", choice.index);
    crossing.lose_extras(&choice.extras, &|| place.clone());
    crossing.lose_extras(&choice.message_extras, &|| format!("{place}/message"));
    if !choice.citations.is_empty() {
        crossing.losses.push(format!("{place}/citations"), block::CITED_WITHIN);
    }
    if choice.logprobs.is_some() {
        crossing.losses.push(format!("{place}/logprobs"), NO_COUNTERPART);
    }
}
