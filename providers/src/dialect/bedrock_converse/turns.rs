//! Canonical messages to `system` and `messages`.
//!
//! Going back to this dialect, messages keep their places. Coming from another dialect they are arranged as the API demands: system
//! text stands at the top level, the user begins, roles alternate, every result of a turn's parallel calls stands first in *one*
//! user turn, a document has a text beside it, and what the API refuses (blank text, empty messages) is left out.

use super::block::{self, obstacle};
use super::media::is_document;
use super::wire::{Crossing, NO_COUNTERPART};
use crate::chat::{Message, Part, PartKind, Role};
use crate::dialect::piece::{Piece, pieces_of};
use crate::dialect::raw::is_blank;
use crate::json::{Array, Object};
use crate::{ChatRequest, Dialect, Text};

/// Where the system prompt stands.
pub(super) const SYSTEM: &str = "/system";

/// What is said where the API wants a text and there is none.
const FILLER: &str = ".";

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
    /// The first message: it alone says what else stood beside the content.
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
            crossing.losses.push(&message.pointer, "moved to the top: not every model takes a later system prompt");
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
        let pieces: Vec<Piece<'a>> =
            pieces_of(self.source, message).filter(|piece| crossing.native || crosses(piece, crossing)).collect();
        lose_message_fields(message, crossing);
        if pieces.is_empty() && !crossing.native {
            if crossing.losses.len() == before {
                crossing.losses.push(&message.pointer, "bedrock_converse refuses an empty message");
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

    /// A conversation needs a user turn.
    fn let_user_speak(&mut self, crossing: &mut Crossing<'_>) {
        if self.turns.is_empty()
            && let Some(message) = self.system.pop()
        {
            crossing.losses.push(&message.pointer, "sent as the user's: bedrock_converse needs a user turn");
            let pieces = pieces_of(self.source, message).collect();
            self.turns.push(Turn { role: "user", head: message, pieces, merged: false });
        }
    }

    pub(super) fn write_system(&self, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
        let mut array = Array::new(out);
        for piece in self.system.iter().flat_map(|message| pieces_of(self.source, message)) {
            let place = || piece.place();
            match &piece.part.kind {
                _ if crossing.native => block::encode(piece.part, &place, crossing, &mut array),
                PartKind::Text(text) if text.is_empty() => {}
                PartKind::Text(text) if is_blank(text) => {
                    crossing.losses.push(place(), "bedrock_converse refuses blank text");
                }
                PartKind::Text(_) => block::encode(piece.part, &place, crossing, &mut array),
                _ => crossing.losses.push(place(), "a system prompt of bedrock_converse is text"),
            }
        }
        array.end();
    }

    pub(super) fn has_system(&self) -> bool {
        !self.system.is_empty()
    }

    pub(super) fn write_messages(&self, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
        let mut array = Array::new(out);
        if let Some(Turn { role: "assistant", head, .. }) = self.turns.first().filter(|_| !crossing.native) {
            crossing
                .losses
                .push(&head.pointer, "put behind a user turn of \".\": bedrock_converse begins with the user");
            let mut opener = Object::new(array.item());
            opener.str("role", "user");
            let mut content = Array::new(opener.key("content"));
            write_filler(&mut content);
            content.end();
            opener.end();
        }
        for (at, turn) in self.turns.iter().enumerate() {
            let last = at.saturating_add(1) == self.turns.len();
            turn.write(last, array.item(), crossing);
        }
        array.end();
    }
}

impl Turn<'_> {
    fn write(&self, last: bool, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
        let mut object = Object::new(out);
        object.str("role", self.role);
        self.write_blocks(last, object.key("content"), crossing);
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
            let closes = last && at.saturating_add(1) == count;
            match self.closing(piece.part, closes, crossing) {
                Some(trimmed) => block::encode(&trimmed, &|| piece.place(), crossing, &mut array),
                None => block::encode(piece.part, &|| piece.place(), crossing, &mut array),
            }
        }
        if !crossing.native && self.is_bare_document() {
            crossing.losses.push(
                &self.head.pointer,
                "a text of \".\" is added: bedrock_converse refuses a document without a text",
            );
            write_filler(&mut array);
        }
        array.end();
    }

    fn is_bare_document(&self) -> bool {
        let is_text = |part: &Part| matches!(part.kind, PartKind::Text(_));
        self.pieces.iter().any(|piece| is_document(piece.part)) && !self.pieces.iter().any(|piece| is_text(piece.part))
    }

    /// Claude refuses a last assistant text that ends in whitespace. The part without it, where that is so.
    fn closing(&self, part: &Part, last: bool, crossing: &mut Crossing<'_>) -> Option<Part> {
        let PartKind::Text(text) = &part.kind else { return None };
        if crossing.native || !last || self.role != "assistant" {
            return None;
        }
        let plain = text.to_plain();
        let trimmed = plain.trim_end();
        if trimmed.len() == plain.len() {
            return None;
        }
        crossing.losses.push(&self.head.pointer, "whitespace at the end of a prefill is refused");
        Some(Part { kind: PartKind::Text(Text::from_plain(trimmed)), ..part.clone() })
    }
}

/// Can this part be said here? If not, the loss is noted; only nothing at all is lost in silence.
fn crosses(piece: &Piece<'_>, crossing: &mut Crossing<'_>) -> bool {
    let reason = match &piece.part.kind {
        PartKind::Text(text) if text.is_empty() => return false,
        PartKind::Text(text) if is_blank(text) => Some("bedrock_converse refuses blank text"),
        _ => obstacle(piece.part, crossing),
    };
    if let Some(reason) = reason {
        crossing.losses.push(piece.place(), reason);
    }
    reason.is_none()
}

/// Does the API want this message in the turn before it? Our own clients' messages stay as they were; the results that the
/// gateway adds one by one still belong together, and so do the client's own results of the same turn.
fn joins(turn: &Turn<'_>, message: &Message, native: bool) -> bool {
    let answers =
        message.role == Role::Tool || message.parts.iter().any(|part| matches!(part.kind, PartKind::ToolResult(_)));
    !native || (turn.head.role == Role::Tool && answers)
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

fn write_filler(array: &mut Array<'_>) {
    let mut text = Object::new(array.item());
    text.str("text", FILLER);
    text.end();
}
