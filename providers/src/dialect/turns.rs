//! Messages arranged in turns, for dialects with a system prompt of its own and roles that alternate.
//!
//! Going back to their own dialect, messages keep their places. Coming from another they are arranged as these APIs demand: system
//! text stands at the top level, a user speaks first, roles alternate, every result of a turn's parallel calls stands first in
//! *one* user turn, and what the API refuses is left out.

use std::borrow::Cow;

use super::piece::{Piece, pieces_of};
use crate::chat::{Message, Part, PartKind, Role};
use crate::{ChatRequest, Dialect, Losses, Text};

/// What a dialect says of itself while messages are arranged for it.
pub(crate) trait Host {
    /// Do the messages go back to the dialect that they came from?
    fn is_native(&self) -> bool;
    /// Can this piece be said here? If not, the loss is noted; only nothing at all is lost in silence.
    fn takes(&mut self, piece: &Piece<'_>) -> bool;
    fn losses(&mut self) -> &mut Losses;
}

/// A request's messages, arranged for `host`.
#[derive(Debug)]
pub(crate) struct Turns<'a> {
    /// Whose the messages are.
    source: Dialect,
    host: Dialect,
    /// What stands at the top level.
    pub(crate) system: Vec<&'a Message>,
    pub(crate) list: Vec<Turn<'a>>,
}

/// One element of the list of messages.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) role: &'static str,
    /// The first message: it alone says how content was spelt, and what else stood beside it.
    pub(crate) head: &'a Message,
    pub(crate) pieces: Vec<Piece<'a>>,
    /// Were several messages joined in it?
    pub(crate) merged: bool,
}

impl<'a> Turns<'a> {
    pub(crate) fn of(request: &'a ChatRequest, host: Dialect, crossing: &mut impl Host) -> Self {
        let mut arranged = Self { source: request.source, host, system: Vec::new(), list: Vec::new() };
        for message in &request.messages {
            let top = matches!(message.role, Role::System | Role::Developer)
                && (!crossing.is_native() || !message.pointer.starts_with("/messages/"));
            if top {
                arranged.hoist(message, crossing);
            } else {
                arranged.push(message, crossing);
            }
        }
        if !crossing.is_native() {
            arranged.let_user_speak(crossing);
        }
        arranged
    }

    /// The parts of one of its messages.
    pub(crate) fn pieces_of(&self, message: &'a Message) -> impl Iterator<Item = Piece<'a>> {
        pieces_of(self.source, message)
    }

    /// The assistant's first message, where nobody spoke before it and the API wants somebody to.
    pub(crate) fn unasked(&self) -> Option<&'a Message> {
        self.list.first().filter(|turn| turn.role == "assistant").map(|turn| turn.head)
    }

    fn hoist(&mut self, message: &'a Message, crossing: &mut impl Host) {
        if !self.list.is_empty() {
            let reason = format!("moved to the top: {} has one system prompt", self.host.name());
            crossing.losses().push(&message.pointer, reason);
        }
        self.lose_fields(message, crossing);
        self.system.push(message);
    }

    fn push(&mut self, message: &'a Message, crossing: &mut impl Host) {
        let role = match message.role {
            Role::Assistant => "assistant",
            Role::System | Role::Developer => "system",
            Role::User | Role::Tool => "user",
        };
        let before = crossing.losses().len();
        let pieces: Vec<Piece<'a>> = pieces_of(self.source, message).filter(|piece| crossing.takes(piece)).collect();
        self.lose_fields(message, crossing);
        let emptied = !message.parts.is_empty() && pieces.is_empty();
        if pieces.is_empty() && (!crossing.is_native() || emptied) {
            if crossing.losses().len() == before {
                let reason = format!("{} refuses an empty message", self.host.name());
                crossing.losses().push(&message.pointer, reason);
            }
            return;
        }
        match self.list.last_mut() {
            Some(last) if last.role == role && last.joins(message, crossing.is_native()) => {
                last.pieces.extend(pieces);
                last.merged = true;
            }
            _ => self.list.push(Turn { role, head: message, pieces, merged: false }),
        }
    }

    /// A conversation needs a user turn.
    fn let_user_speak(&mut self, crossing: &mut impl Host) {
        if self.list.is_empty()
            && let Some(message) = self.system.pop()
        {
            let reason = format!("sent as the user's: {} needs a user turn", self.host.name());
            crossing.losses().push(&message.pointer, reason);
            let pieces = pieces_of(self.source, message).collect();
            self.list.push(Turn { role: "user", head: message, pieces, merged: false });
        }
    }

    fn lose_fields(&self, message: &Message, crossing: &mut impl Host) {
        if crossing.is_native() || (message.extras.is_empty() && message.name.is_none()) {
            return;
        }
        let reason = format!("{} has no counterpart", self.host.name());
        crossing.losses().fields(&message.extras, &message.pointer, reason.clone());
        if message.name.is_some() {
            crossing.losses().push(format!("{}/name", message.pointer), reason);
        }
    }
}

impl<'a> Turn<'a> {
    /// Its pieces as they are written, with what is written of each: results first where messages were joined, as they must directly
    /// follow the calls. `last`: does the conversation end with this turn?
    pub(crate) fn written(
        &self,
        last: bool,
        host: Dialect,
        crossing: &mut impl Host,
    ) -> Vec<(Piece<'a>, Cow<'a, Part>)> {
        let is_result = |piece: &&Piece<'a>| self.merged && matches!(piece.part.kind, PartKind::ToolResult(_));
        let results = self.pieces.iter().filter(is_result);
        let others = self.pieces.iter().filter(|piece| !is_result(piece));
        let mut written: Vec<_> = results.chain(others).map(|piece| (*piece, Cow::Borrowed(piece.part))).collect();
        if let Some((piece, part)) = written.last_mut().filter(|_| last && self.role == "assistant")
            && let Some(trimmed) = self.trimmed(piece.part, host, crossing)
        {
            *part = Cow::Owned(trimmed);
        }
        written
    }

    /// Claude refuses a last assistant text that ends in whitespace. The text without it, where that is so.
    fn trimmed(&self, part: &Part, host: Dialect, crossing: &mut impl Host) -> Option<Part> {
        let PartKind::Text(text) = &part.kind else { return None };
        if crossing.is_native() {
            return None;
        }
        let plain = text.to_plain();
        let trimmed = plain.trim_end();
        if trimmed.len() == plain.len() {
            return None;
        }
        let reason = format!("{} refuses whitespace at the end of a prefill", host.name());
        crossing.losses().push(&self.head.pointer, reason);
        Some(Part { kind: PartKind::Text(Text::from_plain(trimmed)), ..part.clone() })
    }

    /// Does the API want this message in the turn before it? Our own clients' messages stay as they were; the results that the
    /// gateway adds one by one still belong together, and so do the client's own results of the same turn.
    fn joins(&self, message: &Message, native: bool) -> bool {
        !native || (self.head.role == Role::Tool && answers_calls(message))
    }
}

fn answers_calls(message: &Message) -> bool {
    message.role == Role::Tool || message.parts.iter().any(|part| matches!(part.kind, PartKind::ToolResult(_)))
}
