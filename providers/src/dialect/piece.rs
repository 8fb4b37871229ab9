//! A part of a message and where it stood in the caller's body, for dialects that arrange messages anew.

use crate::Dialect;
use crate::chat::{ContentForm, Message, Part, PartKind};

/// A part and where it stood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    /// Whose the message is.
    source: Dialect,
    pub(crate) part: &'a Part,
    pub(crate) message: &'a Message,
    /// Its number in the caller's list.
    pub(crate) at: usize,
}

/// The parts of a message, in their order.
pub(crate) fn pieces_of(source: Dialect, message: &Message) -> impl Iterator<Item = Piece<'_>> {
    numbered(source, &message.parts).map(move |(at, part)| Piece { source, part, message, at })
}

/// The parts of a message, each with its number in the list of the caller's that it stood in.
pub(crate) fn numbered(source: Dialect, parts: &[Part]) -> impl Iterator<Item = (usize, &Part)> {
    let (mut calls, mut content) = (0_usize, 0_usize);
    parts.iter().map(move |part| {
        let (list, taken) = match &part.kind {
            PartKind::ToolCall(_) if has_list_of_calls(source) => (&mut calls, 1),
            PartKind::Thinking { .. } | PartKind::Redacted { .. } if source == Dialect::OpenAiChat => (&mut content, 0),
            // The cache point behind a block is an element too.
            _ if source == Dialect::BedrockConverse && part.cache.is_some() => (&mut content, 2),
            _ => (&mut content, 1),
        };
        let at = *list;
        *list = at.saturating_add(taken);
        (at, part)
    })
}

/// Calls have a list of their own in dialects of OpenAI's school.
fn has_list_of_calls(source: Dialect) -> bool {
    matches!(source, Dialect::OpenAiChat | Dialect::CohereChat)
}

/// Where the content of a message stands in the caller's body.
pub(crate) fn content_of(message: &Message) -> String {
    // A system prompt of its own is content itself.
    let is_content = message.content == ContentForm::List || message.pointer == "/system";
    if is_content { message.pointer.clone() } else { format!("{}/content", message.pointer) }
}

impl Piece<'_> {
    /// A pointer into the caller's body. Calls, reasoning and refusals have fields of their own in dialects of OpenAI's school.
    pub(crate) fn place(&self) -> String {
        let Self { source, part, message, at } = self;
        let pointer = &message.pointer;
        match (&part.kind, source) {
            _ if message.content == ContentForm::Item => pointer.clone(),
            (PartKind::ToolResult(_), Dialect::OpenAiChat | Dialect::CohereChat) => pointer.clone(),
            (PartKind::ToolCall(_), source) if has_list_of_calls(*source) => format!("{pointer}/tool_calls/{at}"),
            (PartKind::Thinking { signature: None, .. }, Dialect::OpenAiChat) => {
                format!("{pointer}/reasoning_content")
            }
            (PartKind::Thinking { .. } | PartKind::Redacted { .. }, Dialect::OpenAiChat) => {
                format!("{pointer}/reasoning_details")
            }
            (PartKind::Refusal(_), Dialect::OpenAiChat) => format!("{pointer}/refusal"),
            _ if message.content == ContentForm::Plain => content_of(message),
            _ => format!("{}/{at}", content_of(message)),
        }
    }
}
