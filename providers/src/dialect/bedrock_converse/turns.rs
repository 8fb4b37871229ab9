//! Canonical messages to `system` and `messages`, as [`crate::dialect::turns`] arranges them. A document has a text beside it.

use super::block::{self, obstacle};
use super::media::is_document;
use super::wire::{Crossing, OWN};
use crate::chat::{Part, PartKind};
use crate::dialect::piece::Piece;
use crate::dialect::raw::is_blank;
use crate::dialect::turns::{Host, Turn, Turns};
use crate::json::{Array, Object};
use crate::{ChatRequest, Losses, seal};

/// Where the system prompt stands.
pub(super) const SYSTEM: &str = "/system";

/// What is said where the API wants a text and there is none.
const FILLER: &str = ".";

/// A request's messages, arranged for this dialect.
#[derive(Debug)]
pub(super) struct Conversation<'a>(Turns<'a>);

impl Host for Crossing<'_> {
    fn is_native(&self) -> bool {
        self.native
    }

    fn takes(&mut self, piece: &Piece<'_>) -> bool {
        crosses(piece, self)
    }

    fn losses(&mut self) -> &mut Losses {
        self.losses
    }
}

impl<'a> Conversation<'a> {
    pub(super) fn of(request: &'a ChatRequest, crossing: &mut Crossing<'_>) -> Self {
        Self(Turns::of(request, OWN, crossing))
    }

    pub(super) fn write_system(&self, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
        let mut array = Array::new(out);
        for piece in self.0.system.iter().flat_map(|message| self.0.pieces_of(message)) {
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
        !self.0.system.is_empty()
    }

    pub(super) fn write_messages(&self, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
        let mut array = Array::new(out);
        if let Some(unasked) = self.0.unasked().filter(|_| !crossing.native) {
            crossing
                .losses
                .push(&unasked.pointer, "put behind a user turn of \".\": bedrock_converse begins with the user");
            let mut opener = Object::new(array.item());
            opener.str("role", "user");
            let mut content = Array::new(opener.key("content"));
            write_filler(&mut content);
            content.end();
            opener.end();
        }
        for (at, turn) in self.0.list.iter().enumerate() {
            let last = at.saturating_add(1) == self.0.list.len();
            write_turn(turn, last, array.item(), crossing);
        }
        array.end();
    }
}

fn write_turn(turn: &Turn<'_>, last: bool, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
    let mut object = Object::new(out);
    object.str("role", turn.role);
    write_blocks(turn, last, object.key("content"), crossing);
    if crossing.native {
        object.extras(&turn.head.extras);
    }
    object.end();
}

fn write_blocks(turn: &Turn<'_>, last: bool, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
    let mut array = Array::new(out);
    for (piece, part) in turn.written(last, OWN, crossing) {
        block::encode(&part, &|| piece.place(), crossing, &mut array);
    }
    if !crossing.native && is_bare_document(turn) {
        crossing
            .losses
            .push(&turn.head.pointer, "a text of \".\" is added: bedrock_converse refuses a document without a text");
        write_filler(&mut array);
    }
    array.end();
}

fn is_bare_document(turn: &Turn<'_>) -> bool {
    let is_text = |part: &Part| matches!(part.kind, PartKind::Text(_));
    turn.pieces.iter().any(|piece| is_document(piece.part)) && !turn.pieces.iter().any(|piece| is_text(piece.part))
}

/// Can this part be said here? If not, the loss is noted; only nothing at all is lost in silence.
fn crosses(piece: &Piece<'_>, crossing: &mut Crossing<'_>) -> bool {
    let reason = match &piece.part.kind {
        // Our own clients' reasoning is the API's to judge, but for what came from others.
        PartKind::Thinking { signature: Some(seal), .. } | PartKind::Redacted { data: seal }
            if crossing.native && seal::is_strangers(seal) =>
        {
            Some("reasoning of another provider cannot be replayed")
        }
        _ if crossing.native => return true,
        PartKind::Text(text) if text.is_empty() => return false,
        PartKind::Text(text) if is_blank(text) => Some("bedrock_converse refuses blank text"),
        _ => obstacle(piece.part, crossing),
    };
    if let Some(reason) = reason {
        crossing.losses.push(piece.place(), reason);
    }
    reason.is_none()
}

fn write_filler(array: &mut Array<'_>) {
    let mut text = Object::new(array.item());
    text.str("text", FILLER);
    text.end();
}
