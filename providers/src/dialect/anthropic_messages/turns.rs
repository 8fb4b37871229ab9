//! Canonical messages to Anthropic's `system` and `messages`.
//!
//! Going back to this dialect, messages keep their places and their spelling. Coming from another dialect they are arranged
//! as the API demands: system text stands at the top level, roles alternate, every result of a turn's parallel calls stands
//! first in *one* user turn, and what the API refuses (blank text, thinking without a signature) is left out.

use super::block::{self, obstacle};
use super::wire::{Crossing, NO_COUNTERPART};
use crate::chat::{ContentForm, Message, Part, PartKind, Role};
use crate::dialect::piece::{Piece, pieces_of};
use crate::dialect::raw::is_blank;
use crate::json::{Array, Object};
use crate::seal;
use crate::{ChatRequest, Dialect, Text};

/// Where a decoded top-level `system` stands.
pub(super) const SYSTEM: &str = "/system";

/// What is said for the user where a conversation begins with the assistant, which the API refuses.
const OPENER: &str = ".";

/// A request's messages, arranged for this dialect.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    /// Whose the messages are.
    source: Dialect,
    system: Vec<&'a Message>,
    turns: Vec<Turn<'a>>,
}

/// One element of `messages`.
#[derive(Debug)]
struct Turn<'a> {
    role: &'static str,
    /// The first message: it alone says how content was spelt, and what else stood beside it.
    head: &'a Message,
    pieces: Vec<Piece<'a>>,
    merged: bool,
}

impl<'a> Conversation<'a> {
    pub(super) fn of(request: &'a ChatRequest, crossing: &mut Crossing<'_>) -> Self {
        let mut conversation = Self { source: request.source, system: Vec::new(), turns: Vec::new() };
        for message in &request.messages {
            let top = matches!(message.role, Role::System | Role::Developer)
                && (!crossing.native || !message.pointer.starts_with("/messages/"));
            if top {
                conversation.hoist(message, crossing);
            } else {
                conversation.push(message, crossing);
            }
        }
        if !crossing.native {
            conversation.let_user_speak(crossing);
        }
        conversation
    }

    fn hoist(&mut self, message: &'a Message, crossing: &mut Crossing<'_>) {
        if !self.turns.is_empty() {
            crossing.losses.push(&message.pointer, "moved to the top: anthropic_messages has one system prompt");
        }
        lose_message_fields(message, crossing);
        self.system.push(message);
    }

    fn push(&mut self, message: &'a Message, crossing: &mut Crossing<'_>) {
        let role = match message.role {
            Role::Assistant => "assistant",
            Role::System | Role::Developer => "system",
            Role::User | Role::Tool => "user",
        };
        let before = crossing.losses.len();
        let pieces: Vec<Piece<'a>> = pieces_of(self.source, message)
            .filter(|piece| if crossing.native { opens(piece, crossing) } else { crosses(piece, crossing) })
            .collect();
        lose_message_fields(message, crossing);
        let emptied = !message.parts.is_empty() && pieces.is_empty();
        if pieces.is_empty() && (!crossing.native || emptied) {
            if crossing.losses.len() == before {
                crossing.losses.push(&message.pointer, "anthropic_messages refuses an empty message");
            }
            return;
        }
        match self.turns.last_mut() {
            Some(last) if last.role == role && joins(last, message, crossing.native) => {
                last.pieces.extend(pieces);
                last.merged = true;
            }
            _ => self.turns.push(Turn { role, head: message, pieces, merged: false }),
        }
    }

    /// A conversation needs a user turn, and begins with one.
    fn let_user_speak(&mut self, crossing: &mut Crossing<'_>) {
        if self.turns.is_empty()
            && let Some(message) = self.system.pop()
        {
            crossing.losses.push(&message.pointer, "sent as the user's: anthropic_messages needs a user turn");
            let pieces = pieces_of(self.source, message).collect();
            self.turns.push(Turn { role: "user", head: message, pieces, merged: false });
        }
    }

    pub(super) fn write(&self, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
        self.write_system(object, crossing);
        let mut array = Array::new(object.key("messages"));
        if let Some(Turn { role: "assistant", head, .. }) = self.turns.first().filter(|_| !crossing.native) {
            crossing
                .losses
                .push(&head.pointer, "put behind a user turn of \".\": anthropic_messages begins with the user");
            let mut opener = Object::new(array.item());
            opener.str("role", "user").str("content", OPENER);
            opener.end();
        }
        for (at, turn) in self.turns.iter().enumerate() {
            let last = at.saturating_add(1) == self.turns.len();
            turn.write(last, array.item(), crossing);
        }
        array.end();
    }

    fn write_system(&self, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
        match self.system.as_slice() {
            [] => {}
            [Message { content: ContentForm::Plain, parts, .. }] if plain(parts).is_some() => {
                if let Some(text) = plain(parts).filter(|text| crossing.native || !is_blank(text)) {
                    object.text("system", text);
                }
            }
            messages => {
                let mut array = Array::new(object.key("system"));
                for message in messages {
                    write_system_parts(message, self.source, &mut array, crossing);
                }
                array.end();
            }
        }
    }
}

impl Turn<'_> {
    fn write(&self, last: bool, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
        let mut object = Object::new(out);
        object.str("role", self.role);
        let single = match self.pieces.as_slice() {
            [piece] if !self.merged && self.head.content == ContentForm::Plain => plain_part(piece.part),
            _ => None,
        };
        if let Some(text) = single {
            let closing = self.closing(text, last, crossing);
            object.text("content", closing.as_ref().unwrap_or(text));
        } else {
            self.write_blocks(last, object.key("content"), crossing);
        }
        if crossing.native {
            object.extras(&self.head.extras);
        }
        object.end();
    }

    fn write_blocks(&self, last: bool, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
        let mut array = Array::new(out);
        let (results, others): (Vec<Piece<'_>>, Vec<Piece<'_>>) =
            self.pieces.iter().partition(|piece| self.merged && matches!(piece.part.kind, PartKind::ToolResult(_)));
        let count = results.len().saturating_add(others.len());
        for (at, piece) in results.into_iter().chain(others).enumerate() {
            let text = if let PartKind::Text(text) = &piece.part.kind { Some(text) } else { None };
            let closes = last && at.saturating_add(1) == count;
            match text.and_then(|text| self.closing(text, closes, crossing)) {
                Some(trimmed) => {
                    let part = Part { kind: PartKind::Text(trimmed), ..piece.part.clone() };
                    block::encode(&part, &|| piece.place(), crossing, array.item());
                }
                None => block::encode(piece.part, &|| piece.place(), crossing, array.item()),
            }
        }
        array.end();
    }

    /// The API refuses a last assistant text that ends in whitespace. The text without it, where that is so.
    fn closing(&self, text: &Text, last: bool, crossing: &mut Crossing<'_>) -> Option<Text> {
        if crossing.native || !last || self.role != "assistant" {
            return None;
        }
        let plain = text.to_plain();
        let trimmed = plain.trim_end();
        if trimmed.len() == plain.len() {
            return None;
        }
        crossing.losses.push(&self.head.pointer, "anthropic_messages refuses whitespace at the end of a prefill");
        Some(Text::from_plain(trimmed))
    }
}

/// Can this part be said here? If not, the loss is noted; only nothing at all is lost in silence.
fn crosses(piece: &Piece<'_>, crossing: &mut Crossing<'_>) -> bool {
    let reason = match &piece.part.kind {
        PartKind::Text(text) if text.is_empty() => return false,
        PartKind::Text(text) if is_blank(text) => Some("anthropic_messages refuses blank text"),
        PartKind::Thinking { signature, .. } if signature.as_ref().is_none_or(Text::is_empty) => {
            Some("thinking without a signature cannot be replayed")
        }
        PartKind::Thinking { .. } | PartKind::Redacted { .. } if !seal::is_anthropics(piece.part) => {
            Some("reasoning sealed by another provider cannot be replayed")
        }
        _ => obstacle(piece.part),
    };
    if let Some(reason) = reason {
        crossing.losses.push(piece.place(), reason);
    }
    reason.is_none()
}

/// Can the API open this piece of a client of its own? Reasoning that another provider's reply was written with has an empty
/// signature, which Anthropic's never has, or the mark of its origin.
fn opens(piece: &Piece<'_>, crossing: &mut Crossing<'_>) -> bool {
    let strange = match &piece.part.kind {
        PartKind::Thinking { signature: Some(signature), .. } if signature.is_empty() => true,
        PartKind::Thinking { .. } | PartKind::Redacted { .. } => !seal::is_anthropics(piece.part),
        _ => false,
    };
    if strange {
        crossing.losses.push(piece.place(), "reasoning of another provider cannot be replayed");
    }
    !strange
}

/// Does the API want this message in the turn before it? Our own clients' messages stay as they were; the results that the
/// gateway adds one by one still belong together, and so do the client's own results of the same turn.
fn joins(turn: &Turn<'_>, message: &Message, native: bool) -> bool {
    !native || (turn.head.role == Role::Tool && answers_calls(message))
}

fn answers_calls(message: &Message) -> bool {
    message.role == Role::Tool || message.parts.iter().any(|part| matches!(part.kind, PartKind::ToolResult(_)))
}

fn lose_message_fields(message: &Message, crossing: &mut Crossing<'_>) {
    if crossing.native {
        return;
    }
    crossing.lose_extras(&message.extras, &|| message.pointer.clone());
    if message.name.is_some() {
        crossing.losses.push(format!("{}/name", message.pointer), NO_COUNTERPART);
    }
}

fn write_system_parts(message: &Message, source: Dialect, array: &mut Array<'_>, crossing: &mut Crossing<'_>) {
    for (at, part) in message.parts.iter().enumerate() {
        let place = || match message.content {
            ContentForm::Plain => format!("{}/content", message.pointer),
            _ => format!("{}/{}/{at}", message.pointer, source.parts_field()),
        };
        match &part.kind {
            PartKind::Text(text) if !crossing.native && text.is_empty() => {}
            PartKind::Text(text) if !crossing.native && is_blank(text) => {
                crossing.losses.push(place(), "anthropic_messages refuses blank text");
            }
            PartKind::Text(_) => block::encode(part, &place, crossing, array.item()),
            _ if crossing.native => block::encode(part, &place, crossing, array.item()),
            _ => crossing.losses.push(place(), "a system prompt of anthropic_messages is text"),
        }
    }
}

/// The text of parts that may be written as one string.
fn plain(parts: &[Part]) -> Option<&Text> {
    if let [part] = parts { plain_part(part) } else { None }
}

fn plain_part(part: &Part) -> Option<&Text> {
    match &part.kind {
        PartKind::Text(text) if part.cache.is_none() && part.extras.is_empty() => Some(text),
        _ => None,
    }
}
