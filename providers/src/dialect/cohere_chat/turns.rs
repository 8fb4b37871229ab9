//! Canonical messages to `messages` and `documents`, and back.
//!
//! The documents of a request are canonically a user's message of plain text files, in front of the first that is not the
//! system's. Going back to this dialect, messages keep their places and their spelling. Coming from another one, results are
//! messages of their own behind their calls, one turn of the assistant is one message, and plain text files are documents.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::content::{is_void, lose_marks, obstacle};
use super::message::{self, Fields, Piece};
use super::wire::{Crossing, MessageWire, need, quoted, read};
use super::{document, message::CITATIONS};
use crate::chat::{ContentForm, Extras, Media, MediaSource, Message, Part, PartKind, Role, ToolResult};
use crate::dialect::piece::pieces_of;
use crate::json::{Array, Sheet};
use crate::{ChatRequest, Dialect, Malformed};

/// Where the documents of a request stand.
pub(super) const DOCUMENTS: &str = "/documents";

/// The field that names the call of a result.
const CALL_ID: &str = "tool_call_id";

const ROLES: &[(&str, Role)] =
    &[("system", Role::System), ("user", Role::User), ("assistant", Role::Assistant), ("tool", Role::Tool)];

// === Reading ===

pub(super) fn decode(messages: &[&RawValue], documents: &[&RawValue]) -> Result<Vec<Message>, Malformed> {
    let mut decoded: Vec<Message> =
        messages.iter().enumerate().map(|(at, raw)| decode_message(raw, at)).collect::<Result<_, _>>()?;
    if !documents.is_empty() {
        let at = decoded.iter().position(|message| message.role != Role::System).unwrap_or(decoded.len());
        decoded.insert(at, decode_documents(documents));
    }
    Ok(decoded)
}

fn decode_documents(documents: &[&RawValue]) -> Message {
    Message {
        role: Role::User,
        parts: documents.iter().map(|raw| document::decode(raw)).collect(),
        content: ContentForm::List,
        name: None,
        extras: Extras::default(),
        pointer: DOCUMENTS.to_owned(),
    }
}

fn decode_message(raw: &RawValue, at: usize) -> Result<Message, Malformed> {
    let place = || format!("/messages/{at}");
    let mut wire: MessageWire<'_> = read(raw, &place)?;
    let expected = "one of system, user, assistant, tool";
    let word = need(wire.role.take(), &place, "role", expected)?;
    let role = ROLES.iter().find(|(name, _)| *name == word.as_str()).map(|(_, role)| *role);
    let role = need(role, &place, "role", expected)?;
    let call_id = wire.tool_call_id.take();
    let message::Said { mut parts, form, mut extras } = message::decode(wire, &place)?;
    if role == Role::Tool {
        let call_id = call_id.unwrap_or_default();
        let result = ToolResult { call_id, parts, content: form, is_error: None };
        parts = vec![PartKind::ToolResult(result).into()];
    } else if let Some(id) = call_id {
        extras.push(CALL_ID, quoted(&id));
    }
    Ok(Message { role, parts, content: form, name: None, extras, pointer: place() })
}

// === Writing ===

/// A request's messages, arranged for this dialect.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    source: Dialect,
    turns: Vec<Turn<'a>>,
    documents: Vec<&'a Part>,
}

/// One element of `messages`.
#[derive(Debug)]
struct Turn<'a> {
    role: Role,
    /// The first message: it alone says how content was spelt, and what else stood beside it.
    head: &'a Message,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Conversation<'a> {
    pub(super) fn of(request: &'a ChatRequest, crossing: &mut Crossing<'_>) -> Self {
        let mut conversation = Self { source: request.source, turns: Vec::new(), documents: Vec::new() };
        for message in &request.messages {
            if crossing.native && message.pointer == DOCUMENTS {
                conversation.documents.extend(&message.parts);
            } else {
                conversation.push(message, crossing);
            }
        }
        if !crossing.native {
            conversation.let_user_speak(crossing);
        }
        conversation
    }

    fn push(&mut self, message: &'a Message, crossing: &mut Crossing<'_>) {
        let before = (crossing.losses.len(), self.turns.len());
        let mut pieces = Vec::with_capacity(message.parts.len());
        let mut documents = Vec::new();
        for stood in pieces_of(self.source, message) {
            let (part, place) = (stood.part, stood.place());
            let piece = Piece { part: Cow::Borrowed(part), place };
            if matches!(part.kind, PartKind::ToolResult(_)) {
                self.turns.push(Turn { role: Role::Tool, head: message, pieces: vec![piece] });
            } else if crossing.native {
                pieces.push(piece);
            } else if document::of(part).is_some() {
                documents.push((part, piece));
            } else if crosses(&piece, message.role, crossing) {
                pieces.push(piece);
            }
        }
        if pieces.is_empty() {
            pieces.extend(documents.into_iter().map(|(part, piece)| as_text(part, piece, crossing)));
        } else {
            for (part, piece) in documents {
                self.set_aside(part, &piece, crossing);
            }
        }
        lose_message_fields(message, crossing);
        let answers = self.turns.len() > before.1;
        if !pieces.is_empty() || (crossing.native && !answers) {
            self.speak(message, pieces, crossing.native);
        } else if (crossing.losses.len(), self.turns.len()) == before {
            crossing.losses.push(&message.pointer, "cohere_chat refuses an empty message");
        }
    }

    /// A document beside other words is one of the request's.
    fn set_aside(&mut self, part: &'a Part, piece: &Piece<'_>, crossing: &mut Crossing<'_>) {
        crossing.losses.push(&piece.place, "said among the documents of the request");
        lose_marks(part, &|| piece.place.clone(), crossing);
        crossing.lose_extras(&part.extras, &|| piece.place.clone());
        self.documents.push(part);
    }

    /// One turn of the assistant is one message, though other dialects spell it as several items.
    fn speak(&mut self, message: &'a Message, pieces: Vec<Piece<'a>>, native: bool) {
        match self.turns.last_mut() {
            Some(last) if !native && [last.role, message.role] == [Role::Assistant; 2] => last.pieces.extend(pieces),
            _ => self.turns.push(Turn { role: message.role, head: message, pieces }),
        }
    }

    /// A conversation needs more than a system prompt.
    fn let_user_speak(&mut self, crossing: &mut Crossing<'_>) {
        let is_system = |turn: &Turn<'_>| matches!(turn.role, Role::System | Role::Developer);
        if self.turns.iter().all(is_system)
            && let Some(last) = self.turns.last_mut()
        {
            crossing.losses.push(&last.head.pointer, "sent as the user's: cohere_chat needs a user turn");
            last.role = Role::User;
        }
    }

    pub(super) fn write(&self, sheet: &mut Sheet<'_>, crossing: &mut Crossing<'_>) {
        let mut array = Array::new(sheet.key("messages"));
        for turn in &self.turns {
            turn.write(array.item(), crossing);
        }
        array.end();
        if !self.documents.is_empty() {
            let mut array = Array::new(sheet.key("documents"));
            for (part, media) in self.documents.iter().filter_map(|part| Some((part, document::of(part)?))) {
                document::encode(part, media, crossing.native, array.item());
            }
            array.end();
        }
    }
}

impl Turn<'_> {
    fn write(&self, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
        if let [piece] = self.pieces.as_slice()
            && let PartKind::ToolResult(result) = &piece.part.kind
        {
            let nothing = Extras::default();
            let spelt = if self.head.role == Role::Tool { &self.head.extras } else { &nothing };
            return message::encode_result(result, spelt, piece, crossing, out);
        }
        let mut sheet = Sheet::new(out);
        sheet.str("role", word(self.role));
        let fields = Fields::new(self.pieces.iter().cloned());
        fields.encode_content(self.head.content, &mut sheet, crossing);
        fields.encode_calls(&self.head.extras, &mut sheet, crossing);
        if crossing.native {
            sheet.optional_raw(CITATIONS, self.head.extras.recall(CITATIONS));
            sheet.extras(&self.head.extras);
        }
        sheet.end();
    }
}

/// Can this part be said in its message? If not, the loss is noted; only nothing at all is lost in silence.
fn crosses(piece: &Piece<'_>, role: Role, crossing: &mut Crossing<'_>) -> bool {
    if is_void(&piece.part) {
        return false;
    }
    let reason = match (&piece.part.kind, role) {
        (PartKind::Image(_), Role::System | Role::Developer | Role::Assistant) => {
            Some("cohere_chat takes images from the user only")
        }
        _ => obstacle(&piece.part),
    };
    if let Some(reason) = reason {
        crossing.losses.push(&piece.place, reason);
    }
    reason.is_none()
}

/// A document that is all its message says: its words are the message's.
fn as_text<'a>(part: &'a Part, piece: Piece<'a>, crossing: &mut Crossing<'_>) -> Piece<'a> {
    let Some(Media { source: MediaSource::Plain(text), name, .. }) = document::of(part) else { return piece };
    if name.is_some() {
        crossing.losses.push(format!("{}/title", piece.place), "a plain text document is sent as text");
    }
    let said = Part { kind: PartKind::Text(text.clone()), ..part.clone() };
    Piece { part: Cow::Owned(said), place: piece.place }
}

fn word(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    }
}

fn lose_message_fields(message: &Message, crossing: &mut Crossing<'_>) {
    if crossing.native {
        return;
    }
    crossing.lose_extras(&message.extras, &|| message.pointer.clone());
    if message.name.is_some() {
        crossing.lose(format!("{}/name", message.pointer));
    }
}
