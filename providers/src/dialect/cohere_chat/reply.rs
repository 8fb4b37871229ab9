//! A whole reply, both ways, and why the model stopped.

use std::borrow::Cow;

use super::content::{obstacle, remember_empty};
use super::error::FAILED;
use super::message::{self, CITATIONS, Fields, Piece, Said};
use super::wire::{Crossing, MessageWire, OWN, ReplyWire, need, quoted, read};
use super::{citation, logprobs, usage};
use crate::chat::{ContentForm, Extras, PartKind};
use crate::dialect::ending;
use crate::json::{self, Array, Sheet};
use crate::reply::{Choice, Finish, FinishReason};
use crate::{ChatReply, Losses, Malformed, Text};

/// Cohere's words for why the model stopped (SDK, `ChatFinishReason`; the longer ones are of version 1); the first row of a
/// reason is the one written for it.
const FINISH: &[(&str, FinishReason)] = &[
    (COMPLETE, FinishReason::Stop),
    (STOP_SEQUENCE, FinishReason::Stop),
    ("MAX_TOKENS", FinishReason::Length),
    ("ERROR_LIMIT", FinishReason::Length),
    (TOOL_CALL, FinishReason::ToolCalls),
    ("ERROR", FinishReason::Other),
    ("TIMEOUT", FinishReason::Other),
    (ERROR_TOXIC, FinishReason::ContentFilter),
    (ERROR_TOXIC, FinishReason::Refusal),
];

/// The word for an answer that ended, though nobody knows how.
const COMPLETE: &str = "COMPLETE";

const STOP_SEQUENCE: &str = "STOP_SEQUENCE";
const TOOL_CALL: &str = "TOOL_CALL";
const ERROR_TOXIC: &str = "ERROR_TOXIC";

/// Fields by their names on the wire; also the spellings that are remembered of them.
const LOGPROBS: &str = "logprobs";
const CONTENT: &str = "content";

/// The message's own fields of a finish that no answer has.
const FINISH_REASON: &str = "/finish_reason";

// === Why it stopped ===

/// Did the model, or the way to it, fail?
pub(crate) fn is_failure(word: &Text) -> bool {
    FAILED.contains(&word.as_escaped())
}

pub(super) fn decode_finish(word: Option<Text>) -> Finish {
    let known = |word: &Text| FINISH.iter().find(|(name, _)| *name == word.as_escaped()).map(|(_, reason)| *reason);
    let reason = word.as_ref().and_then(known).unwrap_or(FinishReason::Other);
    Finish { reason, raw: word, stop_sequence: None }
}

/// What the reply held, where that decides the word: some providers say `stop` over a call or a refusal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) call: bool,
    pub(super) refusal: bool,
}

/// Writes `finish_reason`. Reasons that this API has no word for are losses.
pub(super) fn encode_finish(finish: &Finish, held: Held, crossing: &mut Crossing<'_>, sheet: &mut Sheet<'_>) {
    match (&finish.raw, crossing.native) {
        (Some(word), true) => {
            sheet.text("finish_reason", word);
            return;
        }
        (None, true) if finish.reason == FinishReason::Other => return,
        _ => {}
    }
    let word = match finish.reason {
        FinishReason::Stop if held.call => TOOL_CALL,
        FinishReason::Stop if held.refusal => ERROR_TOXIC,
        FinishReason::Stop if finish.stop_sequence.is_some() => STOP_SEQUENCE,
        FinishReason::Other | FinishReason::Pause => COMPLETE,
        reason => FINISH.iter().find(|(_, known)| *known == reason).map_or(COMPLETE, |(word, _)| word),
    };
    sheet.str("finish_reason", word);
    ending::lose_reason(OWN, finish, &ending::UNCOMMON, crossing.losses);
    if finish.stop_sequence.is_some() {
        crossing.lose("/stop_sequence");
    }
}

// === Reading ===

/// An answer that failed before its first word is malformed at `/finish_reason`, and an error object at `/message`.
pub(super) fn decode(body: &[u8]) -> Result<ChatReply, Malformed> {
    let wire: ReplyWire<'_> = json::decode(body)?;
    let place = || "/message".to_owned();
    let message = need(wire.message, &String::new, "message", "a message")?;
    let mut message: MessageWire<'_> = read(message, &place)?;
    let call_id = message.tool_call_id.take();
    let Said { parts, form, extras: mut message_extras } = message::decode(message, &place)?;
    if let Some(id) = call_id {
        message_extras.push("tool_call_id", quoted(&id));
    }
    remember_form(&mut message_extras, form, &parts);
    if parts.is_empty() && wire.finish_reason.as_ref().is_some_and(is_failure) {
        let expected = "an answer, not one that failed".into();
        return Err(Malformed { pointer: FINISH_REASON.into(), expected });
    }
    let mut extras = wire.extras;
    remember_empty(&mut extras, LOGPROBS, wire.logprobs.as_ref());
    let cited: Vec<&serde_json::value::RawValue> =
        message_extras.find(CITATIONS).and_then(|list| json::decode_at(list, "").ok()).unwrap_or_default();
    let citations = citation::decode(cited, &citation::answer(&parts));
    let choice = Choice {
        index: 0,
        parts,
        finish: decode_finish(wire.finish_reason),
        logprobs: wire.logprobs.as_deref().and_then(logprobs::decode),
        citations,
        extras: Extras::default(),
        message_extras,
    };
    Ok(ChatReply {
        source: OWN,
        id: wire.id.unwrap_or_default(),
        model: Text::default(),
        created: None,
        choices: vec![choice],
        usage: wire.usage.and_then(usage::decode),
        extras,
    })
}

/// Remembers a `content` that its parts do not give back.
fn remember_form(extras: &mut Extras, form: ContentForm, parts: &[crate::chat::Part]) {
    match form {
        ContentForm::Null => extras.push(CONTENT, json::null()),
        ContentForm::Plain => extras.remember(CONTENT, json::raw("\"\"".into())),
        ContentForm::Parts if parts.is_empty() => extras.remember(CONTENT, json::raw("[]".into())),
        ContentForm::Parts | ContentForm::Absent | ContentForm::Item | ContentForm::List => {}
    }
}

// === Writing ===

pub(super) fn encode(reply: &ChatReply, losses: &mut Losses) -> Vec<u8> {
    let mut crossing = Crossing { native: reply.source == OWN, losses };
    let nothing = Choice::default();
    let choice = reply.choices.first().unwrap_or(&nothing);
    for other in reply.choices.iter().skip(1) {
        crossing.losses.push(format!("/choices/{}", other.index), ONE_CHOICE);
    }
    let mut out = Vec::with_capacity(1024);
    let mut sheet = Sheet::new(&mut out);
    write_id(&reply.id, crossing.native, &mut sheet);
    let held = encode_message(choice, &mut crossing, sheet.key("message"));
    encode_finish(&choice.finish, held, &mut crossing, &mut sheet);
    ending::lose_counts(OWN, reply.usage.as_ref(), &[ending::CACHE_WRITES], crossing.losses);
    if let Some(usage) = &reply.usage {
        usage::encode(usage, sheet.key("usage"));
    }
    encode_logprobs(reply, choice, &mut sheet, &mut crossing);
    crossing.extras(&mut sheet, &reply.extras, &String::new);
    crossing.extras(&mut sheet, &choice.extras, &|| format!("/choices/{}", choice.index));
    sheet.end();
    out
}

/// Why other choices stay behind.
pub(super) const ONE_CHOICE: &str = "cohere_chat has one choice";

/// Clients key replies by id, so there always is one.
pub(super) fn write_id(id: &Text, native: bool, sheet: &mut Sheet<'_>) {
    match (id.is_empty(), native) {
        (false, _) => _ = sheet.text("id", id),
        (true, true) => {}
        (true, false) => _ = sheet.str("id", &uuid::Uuid::new_v4().to_string()),
    }
}

/// Writes the message; says what it held.
fn encode_message(choice: &Choice, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) -> Held {
    let mut pieces = Vec::with_capacity(choice.parts.len());
    for (at, part) in choice.parts.iter().enumerate() {
        let place = format!("/choices/{}/message/content/{at}", choice.index);
        match obstacle(part).filter(|_| !crossing.native) {
            Some(reason) => crossing.losses.push(place, reason),
            None => pieces.push(Piece { part: Cow::Borrowed(part), place }),
        }
    }
    let fields = Fields::new(pieces);
    let spelt = &choice.message_extras;
    let mut sheet = Sheet::new(out);
    sheet.str("role", "assistant");
    match spelt.recall(CONTENT).filter(|_| crossing.native).map(serde_json::value::RawValue::get) {
        Some("\"\"") => fields.encode_content(ContentForm::Plain, &mut sheet, crossing),
        Some(empty) if fields.content.is_empty() => _ = sheet.raw(CONTENT, empty),
        _ if !fields.content.is_empty() || (fields.calls.is_empty() && !crossing.native) => {
            fields.encode_list(sheet.key(CONTENT), crossing);
        }
        _ => {}
    }
    fields.encode_calls(spelt, &mut sheet, crossing);
    encode_citations(choice, &mut sheet, crossing);
    crossing.extras(&mut sheet, spelt, &|| format!("/choices/{}/message", choice.index));
    sheet.end();
    let holds = |kind: fn(&PartKind) -> bool| choice.parts.iter().any(|part| kind(&part.kind));
    Held {
        call: holds(|kind| matches!(kind, PartKind::ToolCall(_))),
        refusal: holds(|kind| matches!(kind, PartKind::Refusal(_))),
    }
}

fn encode_citations(choice: &Choice, sheet: &mut Sheet<'_>, crossing: &Crossing<'_>) {
    if crossing.native {
        sheet.optional_raw(CITATIONS, choice.message_extras.recall(CITATIONS));
    } else if !choice.citations.is_empty() {
        let mut array = Array::new(sheet.key(CITATIONS));
        for citation in citation::encode(&choice.citations, &citation::answer(&choice.parts)) {
            array.item().extend_from_slice(&citation);
        }
        array.end();
    }
}

fn encode_logprobs(reply: &ChatReply, choice: &Choice, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    let Some(measured) = &choice.logprobs else {
        if crossing.native {
            sheet.optional_raw(LOGPROBS, reply.extras.recall(LOGPROBS));
        }
        return;
    };
    let mut array = Array::new(sheet.key(LOGPROBS));
    for item in logprobs::encode(measured, crossing) {
        array.raw(item.get());
    }
    array.end();
}
