//! `instructions` and `input` to canonical messages, and back.
//!
//! Each item is a message of its own, so that a loss can name its place. Messages that did not come as items (another
//! dialect's, or what the gateway adds) are written as the items they hold: results first, then calls, reasoning and words in
//! their order.

use std::collections::HashSet;

use serde_json::value::RawValue;

use super::content::{self, Side};
use super::item::{self, Goal};
use super::spelling::{self, Mark, TYPE, sendable, split};
use super::wire::{Crossing, MessageWire, OutputWire, need, tag};
use crate::chat::{ContentForm, Extras, Message, Part, PartKind, Role, SPELLING, ToolResult};
use crate::dialect::piece::{Piece, content_of, numbered, pieces_of};
use crate::json::{self, Array, Sheet, decode_at, fields};
use crate::{ChatRequest, Malformed, Text};

/// Where a plain `input`, and the `instructions`, stand.
const INPUT: &str = "/input";
const INSTRUCTIONS: &str = "/instructions";

/// The type of a custom tool's result.
const CUSTOM_OUTPUT: &str = "custom_tool_call_output";

// === Reading ===

/// All messages of a request, and whether an empty list of items was given.
pub(super) fn decode(instructions: Option<Text>, input: Option<&RawValue>) -> Result<Vec<Message>, Malformed> {
    let mut messages = Vec::new();
    if let Some(text) = instructions {
        messages.push(plain(Role::System, text, INSTRUCTIONS));
    }
    let Some(input) = input else { return Ok(messages) };
    if let Some(text) = Text::from_raw(input) {
        messages.push(plain(Role::User, text, INPUT));
        return Ok(messages);
    }
    let items: Vec<&RawValue> = decode_at(input, INPUT)
        .map_err(|_| Malformed { pointer: INPUT.into(), expected: "a string or a list of items".into() })?;
    for (at, raw) in items.into_iter().enumerate() {
        messages.push(decode_item(raw, format!("{INPUT}/{at}"))?);
    }
    Ok(messages)
}

fn plain(role: Role, text: Text, pointer: &str) -> Message {
    let parts = vec![PartKind::Text(text).into()];
    message(role, parts, ContentForm::Plain, pointer.to_owned())
}

fn message(role: Role, parts: Vec<Part>, content: ContentForm, pointer: String) -> Message {
    Message { role, parts, content, name: None, extras: Extras::default(), pointer }
}

/// One item. A message may leave out its type.
pub(super) fn decode_item(raw: &RawValue, pointer: String) -> Result<Message, Malformed> {
    match tag(raw).as_ref() {
        "message" => decode_message(raw, pointer),
        "" if fields(Some(raw)).find("role").is_some() => decode_message(raw, pointer),
        kind @ ("function_call_output" | CUSTOM_OUTPUT) => decode_output(raw, kind, pointer),
        kind => {
            let role = if is_answer(kind) { Role::User } else { Role::Assistant };
            let parts = item::decode(raw, &pointer)?;
            Ok(message(role, parts, ContentForm::Item, pointer))
        }
    }
}

/// Items that a client makes, beside messages and results of functions.
fn is_answer(kind: &str) -> bool {
    kind.ends_with("_output") || kind.ends_with("_response") || matches!(kind, "item_reference" | "")
}

fn decode_message(raw: &RawValue, pointer: String) -> Result<Message, Malformed> {
    let wire: MessageWire<'_> = decode_at(raw, &pointer)?;
    let expected = "one of user, assistant, system, developer";
    let role = match need(wire.role, &pointer, "role", expected)?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        "developer" => Role::Developer,
        _ => return Err(Malformed { pointer: format!("{pointer}/role"), expected: expected.into() }),
    };
    let content = need(wire.content, &pointer, "content", "a string or a list of parts")?;
    let (parts, form) = content::decode_content(content, side(role), &format!("{pointer}/content"))?;
    let (mut quiet, telling) = split(&wire.extras);
    if wire.kind.is_none() {
        quiet.push(TYPE, json::null());
    }
    let mut extras = telling;
    Mark::begin(&quiet).put(&mut extras);
    Ok(Message { extras, ..message(role, parts, form, pointer) })
}

fn side(role: Role) -> Side {
    if role == Role::Assistant { Side::Model } else { Side::Caller }
}

fn decode_output(raw: &RawValue, kind: &str, pointer: String) -> Result<Message, Malformed> {
    let wire: OutputWire<'_> = decode_at(raw, &pointer)?;
    let output = need(wire.output, &pointer, "output", "a string or a list of parts")?;
    let (parts, content) = content::decode_content(output, Side::Caller, &format!("{pointer}/output"))?;
    let call_id = need(wire.call_id, &pointer, "call_id", "a string")?;
    let (quiet, telling) = split(&wire.extras);
    let mut mark = Mark::begin(&quiet);
    if kind == CUSTOM_OUTPUT {
        mark.set(TYPE, json::raw(format!("\"{kind}\"")));
    }
    let result = ToolResult { call_id, parts, content, is_error: None };
    let mut part = Part { extras: telling, ..Part::from(PartKind::ToolResult(result)) };
    mark.put(&mut part.extras);
    Ok(message(Role::Tool, vec![part], ContentForm::Item, pointer))
}

// === Writing ===

/// Writes `instructions` and `input`.
pub(super) fn encode(request: &ChatRequest, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
    let mut rest = request.messages.as_slice();
    if let Some((first, others)) = rest.split_first().filter(|(first, _)| is_plain_at(first, INSTRUCTIONS, crossing)) {
        sheet.optional_text("instructions", text_of(first));
        rest = others;
    }
    match rest {
        [] if crossing.is_native() => {}
        [only] if is_plain_at(only, INPUT, crossing) => _ = sheet.optional_text("input", text_of(only)),
        messages => {
            let customs = custom_calls(messages);
            let mut array = Array::new(sheet.key("input"));
            for message in messages {
                Items { array: &mut array, customs: &customs }.message(message, crossing);
            }
            array.end();
        }
    }
}

fn is_plain_at(message: &Message, pointer: &str, crossing: &Crossing<'_>) -> bool {
    crossing.is_native() && message.pointer == pointer && text_of(message).is_some()
}

fn text_of(message: &Message) -> Option<&Text> {
    match message.parts.as_slice() {
        [Part { kind: PartKind::Text(text), .. }] => Some(text),
        _ => None,
    }
}

/// Ids of the calls of custom tools, whose results are of a type of their own.
fn custom_calls(messages: &[Message]) -> HashSet<&str> {
    let calls = messages.iter().flat_map(|message| &message.parts).filter_map(|part| match &part.kind {
        PartKind::ToolCall(call) if call.custom => Some(call.id.as_escaped()),
        _ => None,
    });
    calls.collect()
}

/// The list of items under way.
struct Items<'a, 'b> {
    array: &'a mut Array<'b>,
    customs: &'a HashSet<&'a str>,
}

impl Items<'_, '_> {
    fn message(&mut self, message: &Message, crossing: &mut Crossing<'_>) {
        if !crossing.is_native() {
            crossing.lose_extras(&message.extras, &message.pointer);
            if message.name.is_some() {
                crossing.lose(format!("{}/name", message.pointer));
            }
        }
        let is_message = message.role != Role::Assistant || message.extras.find(SPELLING).is_some();
        let mut words: Vec<Piece<'_>> = Vec::new();
        for piece in pieces_of(crossing.source, message) {
            match &piece.part.kind {
                PartKind::ToolResult(result) => self.result(piece.part, result, &piece.place(), crossing),
                _ => words.push(piece),
            }
        }
        if !is_message || message.content == ContentForm::Item {
            self.items(&words, crossing);
        } else if !words.is_empty() || (message.parts.is_empty() && crossing.is_native()) {
            self.words(message, &words, crossing);
        }
    }

    /// A message item of any role.
    fn words(&mut self, message: &Message, words: &[Piece<'_>], crossing: &mut Crossing<'_>) {
        let side = side(message.role);
        let sayable = |piece: &Piece<'_>| content::obstacle(piece.part, side, crossing).is_none();
        if !crossing.is_native() && !words.iter().any(sayable) {
            for piece in words {
                let reason = content::obstacle(piece.part, side, crossing).unwrap_or(super::wire::NO_COUNTERPART);
                crossing.losses.push(piece.place(), reason);
            }
            return;
        }
        let quiet = sendable(Mark::of(&message.extras).item());
        let mut sheet = Sheet::new(self.array.item());
        if quiet.find(TYPE).is_none_or(|kind| kind.get() != "null") {
            sheet.str("type", "message");
        }
        sheet.skip(&[TYPE, SPELLING]).str(
            "role",
            match message.role {
                Role::System => "system",
                Role::Developer => "developer",
                Role::User | Role::Tool => "user",
                Role::Assistant => "assistant",
            },
        );
        let parts: Vec<_> = words.iter().map(|piece| (piece.at, piece.part)).collect();
        content::encode_content(sheet.key("content"), &parts, (message.content, side), &content_of(message), crossing);
        sheet.extras(&quiet);
        if crossing.is_native() {
            sheet.extras(&message.extras);
        }
        sheet.end();
    }

    /// What a model made.
    fn items(&mut self, pieces: &[Piece<'_>], crossing: &mut Crossing<'_>) {
        let made: Vec<Part> = pieces.iter().map(|piece| piece.part.clone()).collect();
        let mut left = pieces;
        for item in item::items(&made) {
            let (own, behind) = left.split_at(item.parts.len());
            left = behind;
            let place = own.first().map(Piece::place).unwrap_or_default();
            let mut written = Vec::new();
            if item::encode(&mut written, &item, Goal::Provider, &place, crossing) {
                self.array.item().extend_from_slice(&written);
            }
        }
    }

    fn result(&mut self, part: &Part, result: &ToolResult, pointer: &str, crossing: &mut Crossing<'_>) {
        let mark = Mark::of(&part.extras);
        let custom = mark.find(TYPE).is_some() || self.customs.contains(result.call_id.as_escaped());
        let mut sheet = Sheet::new(self.array.item());
        sheet.str("type", if custom { CUSTOM_OUTPUT } else { "function_call_output" });
        sheet.text("call_id", &result.call_id);
        if result.is_error == Some(true) {
            crossing.lose(format!("{pointer}/is_error"));
        }
        let parts: Vec<_> = numbered(crossing.source, &result.parts).collect();
        if parts.is_empty() && result.content != ContentForm::Parts {
            sheet.str("output", "");
        } else {
            let place = format!("{pointer}/content");
            content::encode_content(sheet.key("output"), &parts, (result.content, Side::Caller), &place, crossing);
        }
        sheet.skip(&[SPELLING]).extras(&sendable(mark.item()));
        crossing.extras(&mut sheet, &part.extras, pointer);
        sheet.end();
    }
}

/// Is there any item in the conversation that only the provider who keeps it can read?
pub(super) fn refers_to_items(messages: &[Message]) -> bool {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts.filter_map(spelling::latest).any(|raw| is_reference(&raw))
}

/// Does this item stand for another, by its id? Its type may be left out.
pub(super) fn is_reference(raw: &RawValue) -> bool {
    let kind = tag(raw);
    kind == "item_reference" || (kind.is_empty() && fields(Some(raw)).find("id").is_some())
}
