//! A part of a message and where it stood in the caller's body, for dialects that arrange messages anew.

use super::raw::part_pointer;
use crate::Dialect;
use crate::chat::{Message, Part};

/// A part and where it stood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// Whose the message is.
    pub(crate) source: Dialect,
    pub(crate) part: &'a Part,
    pub(crate) message: &'a Message,
    pub(crate) at: usize,
}

/// The parts of a message, in their order.
pub(crate) fn pieces_of(source: Dialect, message: &Message) -> impl Iterator<Item = Piece<'_>> {
    (0..).zip(&message.parts).map(move |(at, part)| Piece { source, part, message, at })
}

impl Piece<'_> {
    /// A pointer into the caller's body.
    pub(crate) fn place(&self) -> String {
        part_pointer(self.source, self.message, self.at)
    }
}
