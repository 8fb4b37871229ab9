//! A whole reply, both ways, and the response object that streams carry at their beginning and end.

use serde_json::value::RawValue;

use super::item::{self, Goal};
use super::sibling;
use super::spelling::overlay;
use super::usage::{decode_usage, encode_usage};
use super::wire::{Crossing, IncompleteWire, OWN, ReplyWire, need};
use crate::chat::{Extras, Part, PartKind, Raw, SPELLING};
use crate::dialect::ending;
use crate::json::{self, Array, Sheet, decode, fields, object};
use crate::reply::{Choice, Finish, FinishReason};
use crate::{ChatReply, Losses, Malformed, Text};

/// Fields that repeat what was asked, or describe how it was served: nothing of the answer.
const ECHOES: [&str; 38] = [
    "access_programs",
    "background",
    "completed_at",
    "conversation",
    "created_at",
    "error",
    "frequency_penalty",
    "image",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "moderation",
    "object",
    "output_text",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt",
    "prompt_cache_diagnostics",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "status",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tool_usage",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "billing",
    "input_transformations",
];

/// What every response says (the schema's required fields), where the other dialect has nothing to fill it with.
const PROMISED: [(&str, &str); 9] = [
    ("error", "null"),
    ("incomplete_details", "null"),
    ("instructions", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("temperature", "null"),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_p", "null"),
];

/// Why a response is incomplete (SDK `types/responses/response.py`); the first row of a reason is the one written for it.
const INCOMPLETE: [(&str, FinishReason); 3] = [
    ("max_output_tokens", FinishReason::Length),
    ("content_filter", FinishReason::ContentFilter),
    // OpenAI's own models decline in words, and complete; other providers stop without any.
    ("content_filter", FinishReason::Refusal),
];

const COMPLETED: &str = "completed";
const INCOMPLETE_STATUS: &str = "incomplete";

// === Reading ===

/// A failed response inside a 200 is malformed at `/error`: read it with `decode_error`.
pub(super) fn decode_reply(body: &[u8]) -> Result<ChatReply, Malformed> {
    let mut wire: ReplyWire<'_> = decode(body)?;
    if wire.error.is_some() {
        return Err(Malformed { pointer: "/error".into(), expected: "a response, not an error".into() });
    }
    let output = need(wire.output.take(), "", "output", "a list of items")?;
    let mut parts = Vec::new();
    for (at, raw) in output.into_iter().enumerate() {
        parts.extend(item::decode(raw, &format!("/output/{at}"))?);
    }
    let head = Head::of(wire);
    let finish = head.finish(parts.iter().any(|part| matches!(part.kind, PartKind::ToolCall(_))));
    let usage = head.usage.and_then(decode_usage);
    Ok(ChatReply {
        source: OWN,
        id: head.id,
        model: head.model,
        created: head.created,
        choices: vec![Choice { parts, finish, ..Choice::default() }],
        usage,
        extras: head.extras,
    })
}

/// All of a response but its output.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) id: Text,
    pub(super) model: Text,
    pub(super) created: Option<u64>,
    pub(super) usage: Option<&'a RawValue>,
    pub(super) extras: Extras,
    status: Option<Text>,
    incomplete: Option<&'a RawValue>,
}

impl<'a> Head<'a> {
    pub(super) fn of(wire: ReplyWire<'a>) -> Self {
        let created = wire.created_at.and_then(|raw| raw.get().parse().ok());
        let (mut echo, mut telling) = (Extras::default(), Extras::default());
        for (key, value) in wire.extras.iter() {
            // Some servers put the thoughts themselves where others repeat what was asked for.
            let is_echo = ECHOES.contains(&key) || (key == "reasoning" && !value.get().starts_with('"'));
            let side = if is_echo || value.get() == "null" { &mut echo } else { &mut telling };
            side.push(key, value.to_owned());
        }
        if let Some(status) = &wire.status {
            echo.push("status", json::quoted(status));
        }
        for (key, value) in [("incomplete_details", wire.incomplete_details), ("created_at", wire.created_at)] {
            if let Some(value) = value.filter(|_| key != "created_at" || created.is_none()) {
                echo.push(key, value.to_owned());
            }
        }
        telling.push(SPELLING, object(&echo));
        Self {
            id: wire.id.unwrap_or_default(),
            model: wire.model.unwrap_or_default(),
            created,
            usage: wire.usage,
            extras: telling,
            status: wire.status,
            incomplete: wire.incomplete_details,
        }
    }

    pub(super) fn finish(&self, calls: bool) -> Finish {
        finish(self.status.as_ref(), self.incomplete, calls)
    }
}

/// Why it stopped: a complete response that calls waits for the results.
fn finish(status: Option<&Text>, incomplete: Option<&RawValue>, calls: bool) -> Finish {
    let reason =
        incomplete.and_then(|raw| decode::<IncompleteWire<'_>>(raw.get().as_bytes()).ok()).and_then(|wire| wire.reason);
    let done = if calls { FinishReason::ToolCalls } else { FinishReason::Stop };
    let (reason, raw) = match (status.map_or(COMPLETED, Text::as_escaped), reason) {
        (COMPLETED, None) => (done, None),
        (_, Some(word)) => {
            let known = INCOMPLETE.iter().find(|(name, _)| *name == word.as_escaped());
            (known.map_or(FinishReason::Other, |(_, reason)| *reason), Some(word))
        }
        (_, None) => (FinishReason::Other, status.cloned()),
    };
    Finish { reason, raw, stop_sequence: None }
}

// === Writing ===

pub(super) fn encode_reply(reply: &ChatReply, annex: Option<&str>, losses: &mut Losses) -> Vec<u8> {
    let mut crossing = Crossing { source: reply.source, losses };
    for other in reply.choices.iter().skip(1) {
        crossing.losses.push(format!("/choices/{}", other.index), "openai_responses has one choice");
    }
    let nothing = Choice::default();
    let choice = reply.choices.first().unwrap_or(&nothing);
    let id = id_of(&reply.id);
    let output = encode_output(choice, &id, &mut crossing);
    let head = Outline { id: &id, model: &reply.model, created: reply.created, extras: &reply.extras };
    let mut out = Vec::with_capacity(1024);
    let ending = Ending { finish: &choice.finish, usage: reply.usage.as_ref(), annex };
    head.encode(&mut out, &output, Some(ending), &mut crossing);
    out
}

/// Clients key responses by id, so there always is one.
pub(super) fn id_of(id: &Text) -> Text {
    if id.is_empty() { Text::from_plain(&format!("resp_{}", uuid::Uuid::new_v4().simple())) } else { id.clone() }
}

fn encode_output(choice: &Choice, reply: &Text, crossing: &mut Crossing<'_>) -> Vec<u8> {
    let parts = if crossing.is_native() { choice.parts.clone() } else { cross_choice(choice, crossing) };
    let mut out = Vec::new();
    let mut array = Array::new(&mut out);
    let mut at = 0;
    for item in item::items(&parts) {
        let mut written = Vec::new();
        let pointer = format!("/choices/0/message/content/{at}");
        if item::encode(&mut written, &item, Goal::Client { reply, at }, &pointer, crossing) {
            array.item().extend_from_slice(&written);
            at += 1;
        }
    }
    array.end();
    out
}

/// The parts of another dialect's choice, with what its message said beside them where that has a place on a text here.
fn cross_choice(choice: &Choice, crossing: &mut Crossing<'_>) -> Vec<Part> {
    let mut parts = choice.parts.clone();
    let mut message = Extras::default();
    for (key, value) in choice.message_extras.iter().filter(|(key, value)| *key != "content" && value.get() != "[]") {
        message.push(key, value.to_owned());
    }
    crossing.lose_extras(&choice.extras, "/choices/0");
    let Some(text) = parts.iter_mut().rfind(|part| matches!(part.kind, PartKind::Text(_))) else {
        crossing.lose_extras(&message, "/choices/0/message");
        for (field, given) in [("logprobs", choice.logprobs.is_some()), ("citations", !choice.citations.is_empty())] {
            if given {
                crossing.lose(format!("/choices/0/{field}"));
            }
        }
        return parts;
    };
    if let Some(list) = message.remove("annotations").filter(|_| crossing.is_sibling()) {
        let (spelt, left) = sibling::annotations_from_chat(&list);
        if let Some(list) = spelt {
            text.extras.push("annotations", list);
        }
        if left {
            crossing.lose("/choices/0/message/annotations");
        }
    }
    if !choice.citations.is_empty() {
        text.extras.push("annotations", sibling::annotations(&choice.citations));
    }
    // The canonical object is chat's.
    if let Some(measured) = choice.logprobs.as_deref().and_then(|raw| fields(Some(raw)).remove("content")) {
        text.extras.push("logprobs", measured);
    }
    crossing.lose_extras(&message, "/choices/0/message");
    parts
}

/// The response object around an output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outline<'a> {
    pub(super) id: &'a Text,
    pub(super) model: &'a Text,
    pub(super) created: Option<u64>,
    pub(super) extras: &'a Extras,
}

/// What is known at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending<'a> {
    pub(super) finish: &'a Finish,
    pub(super) usage: Option<&'a crate::reply::Usage>,
    /// The gateway's own facts, a JSON object.
    pub(super) annex: Option<&'a str>,
}

impl Outline<'_> {
    /// Writes the response with this output, a list; without an ending it is in progress.
    pub(super) fn encode(
        &self,
        out: &mut Vec<u8>,
        output: &[u8],
        ending: Option<Ending<'_>>,
        crossing: &mut Crossing<'_>,
    ) {
        let mut rest = self.echo(ending.map(|ending| ending.finish), crossing);
        let mut sheet = Sheet::new(out);
        sheet.text("id", self.id).str("object", "response");
        match rest.remove("created_at") {
            Some(raw) => _ = sheet.raw("created_at", raw.get()),
            // SDKs demand a time; the gateway sets one where the provider gave none.
            None => _ = sheet.number("created_at", self.created.unwrap_or(0)),
        }
        sheet.text("model", self.model).key("output").extend_from_slice(output);
        match ending.and_then(|ending| ending.usage) {
            Some(usage) => encode_usage(sheet.key("usage"), usage),
            None => _ = sheet.raw("usage", "null"),
        }
        if let Some(annex) = ending.and_then(|ending| ending.annex) {
            sheet.raw("extra_fields", annex);
        }
        sheet.extras(&rest);
        crossing.extras(&mut sheet, &self.telling(crossing), "");
        sheet.end();
    }

    /// Fields of the reply that are no echo. Chat has the tier that served it too.
    fn telling(&self, crossing: &Crossing<'_>) -> Extras {
        let mut telling = self.extras.clone();
        if crossing.is_sibling() {
            telling.remove(TIER);
        }
        telling
    }

    /// The fields that describe the response: the provider's own, as far as the ending agrees with them, else what every
    /// client is promised.
    fn echo(&self, finish: Option<&Finish>, crossing: &mut Crossing<'_>) -> Extras {
        let mut echo = Extras::default();
        if crossing.is_native() {
            echo = fields(self.extras.find(SPELLING));
            echo.remove("object");
        } else {
            for (key, value) in PROMISED {
                echo.push(key, json::raw(value.to_owned()));
            }
            if let Some(tier) = self.extras.find(TIER).filter(|_| crossing.is_sibling()) {
                echo.push(TIER, tier.to_owned());
            }
        }
        let state = state(&echo, finish, crossing);
        overlay(&mut echo, &state);
        echo
    }
}

/// The fields that say how far the response has come, where they differ from what is known already.
fn state(echo: &Extras, finish: Option<&Finish>, crossing: &mut Crossing<'_>) -> Extras {
    let mut state = Extras::default();
    let Some(reached) = finish else {
        state.push("status", json::raw("\"in_progress\"".into()));
        for key in ["completed_at", "incomplete_details"].into_iter().filter(|key| echo.find(key).is_some()) {
            state.push(key, json::null());
        }
        return state;
    };
    let status = echo.find("status").and_then(Text::from_raw);
    let said =
        self::finish(status.as_ref(), echo.find("incomplete_details"), reached.reason == FinishReason::ToolCalls);
    let agrees = crossing.is_native() && (said.reason == reached.reason) && status.is_some();
    if !agrees {
        let (status, details) = status_of(reached, crossing);
        ending::lose_sequence(OWN, reached, crossing.losses);
        state.push("status", json::raw(format!("\"{status}\"")));
        state.push("incomplete_details", details);
    }
    state
}

/// The tier that served a request: the same field in both of OpenAI's dialects.
const TIER: &str = "service_tier";

/// The status that stands for a finish, and its details. What no status stands for completes, and is noted.
fn status_of(finish: &Finish, crossing: &mut Crossing<'_>) -> (&'static str, Raw) {
    let known = INCOMPLETE.iter().find(|(_, reason)| *reason == finish.reason).map(|(word, _)| *word);
    let raw = finish.raw.as_ref().map(Text::as_escaped);
    let word = match (finish.reason, known) {
        (FinishReason::Stop | FinishReason::ToolCalls, _) => return (COMPLETED, json::null()),
        (_, Some(word)) => word,
        // A turn that is to go on is not complete, and says why in the provider's own word.
        (FinishReason::Pause, _) => raw.unwrap_or("pause_turn"),
        _ => {
            if let Some(raw) = raw.filter(|_| !crossing.is_native()) {
                crossing.losses.push("/stop_reason", format!("openai_responses has no status for `{raw}`"));
            }
            return (COMPLETED, json::null());
        }
    };
    (INCOMPLETE_STATUS, json::raw(format!("{{\"reason\":\"{word}\"}}")))
}

/// The event that ends a stream with this finish.
pub(super) fn terminal(finish: &Finish, status: Option<&RawValue>) -> &'static str {
    let incomplete = match (finish.reason, status.map(RawValue::get)) {
        (FinishReason::Other, Some(status)) => status == "\"incomplete\"",
        (FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other, _) => false,
        _ => true,
    };
    if incomplete { "response.incomplete" } else { "response.completed" }
}
