//! Canonical messages to Anthropic's `system` and `messages`, as [`crate::dialect::turns`] arranges them.

use super::block::{self, obstacle};
use super::wire::{Crossing, OWN};
use crate::chat::{ContentForm, Message, Part, PartKind};
use crate::dialect::piece::Piece;
use crate::dialect::raw::is_blank;
use crate::dialect::turns::{Host, Turn, Turns};
use crate::json::{Array, Object};
use crate::seal;
use crate::{ChatRequest, Losses, Text};

/// Where a decoded top-level `system` stands.
pub(super) const SYSTEM: &str = "/system";

/// What is said for the user where a conversation begins with the assistant, which the API refuses.
const OPENER: &str = ".";

/// A request's messages, arranged for this dialect.
#[derive(Debug)]
pub(super) struct Conversation<'a>(Turns<'a>);

impl Host for Crossing<'_> {
    fn is_native(&self) -> bool {
        self.native
    }

    fn takes(&mut self, piece: &Piece<'_>) -> bool {
        if self.native { opens(piece, self) } else { crosses(piece, self) }
    }

    fn losses(&mut self) -> &mut Losses {
        self.losses
    }
}

impl<'a> Conversation<'a> {
    pub(super) fn of(request: &'a ChatRequest, crossing: &mut Crossing<'_>) -> Self {
        Self(Turns::of(request, OWN, crossing))
    }

    pub(super) fn write(&self, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
        self.write_system(object, crossing);
        let mut array = Array::new(object.key("messages"));
        if let Some(unasked) = self.0.unasked().filter(|_| !crossing.native) {
            crossing
                .losses
                .push(&unasked.pointer, "put behind a user turn of \".\": anthropic_messages begins with the user");
            let mut opener = Object::new(array.item());
            opener.str("role", "user").str("content", OPENER);
            opener.end();
        }
        for (at, turn) in self.0.list.iter().enumerate() {
            let last = at.saturating_add(1) == self.0.list.len();
            write_turn(turn, last, array.item(), crossing);
        }
        array.end();
    }

    fn write_system(&self, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
        match self.0.system.as_slice() {
            [] => {}
            [Message { content: ContentForm::Plain, parts, .. }] if plain(parts).is_some() => {
                if let Some(text) = plain(parts).filter(|text| crossing.native || !is_blank(text)) {
                    object.text("system", text);
                }
            }
            messages => {
                let mut array = Array::new(object.key("system"));
                for piece in messages.iter().flat_map(|message| self.0.pieces_of(message)) {
                    write_system_part(&piece, &mut array, crossing);
                }
                array.end();
            }
        }
    }
}

fn write_turn(turn: &Turn<'_>, last: bool, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
    let mut object = Object::new(out);
    object.str("role", turn.role);
    let written = turn.written(last, OWN, crossing);
    let single = match written.as_slice() {
        [(_, part)] if !turn.merged && turn.head.content == ContentForm::Plain => plain_part(part),
        _ => None,
    };
    if let Some(text) = single {
        object.text("content", text);
    } else {
        let mut array = Array::new(object.key("content"));
        for (piece, part) in &written {
            block::encode(part, &|| piece.place(), crossing, array.item());
        }
        array.end();
    }
    if crossing.native {
        object.extras(&turn.head.extras);
    }
    object.end();
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

fn write_system_part(piece: &Piece<'_>, array: &mut Array<'_>, crossing: &mut Crossing<'_>) {
    let place = || piece.place();
    match &piece.part.kind {
        _ if crossing.native => block::encode(piece.part, &place, crossing, array.item()),
        PartKind::Text(text) if text.is_empty() => {}
        PartKind::Text(text) if is_blank(text) => {
            crossing.losses.push(place(), "anthropic_messages refuses blank text");
        }
        PartKind::Text(_) => block::encode(piece.part, &place, crossing, array.item()),
        _ => crossing.losses.push(place(), "a system prompt of anthropic_messages is text"),
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
