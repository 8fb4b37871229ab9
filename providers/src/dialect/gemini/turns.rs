//! Canonical messages to `systemInstruction` and `contents`.
//!
//! Going back to this dialect, messages keep their places and their spelling. Coming from another dialect they are arranged
//! as the API demands: system text stands at the top level, and all results of a turn's parallel calls stand in *one* content,
//! in the order of the calls.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::family::Family;
use super::part::{self, Calls, Context, NOBODYS, Names, media_behind, obstacle};
use super::wire::{ContentWire, Crossing, Place, quoted, read};
use crate::chat::{ContentForm, Message, Part, PartKind, Role};
use crate::dialect::piece::{Piece, pieces_of};
use crate::json::{self, Array, Object};
use crate::{ChatRequest, Dialect, Malformed, Text};

/// Where the system prompt stands.
pub(super) const SYSTEM: &str = "/systemInstruction";

/// The spelling of a content's role that is remembered where it is not the usual one.
const ROLE: &str = "role";

/// Stands for a signature that nobody has: calls that another model made
/// (<https://ai.google.dev/gemini-api/docs/thought-signatures>, "FAQs").
const UNSIGNED: &str = "skip_thought_signature_validator";

/// How the gateway's OpenAI surface names encrypted reasoning that belongs to a call: this, and the call's id.
const SIGNS_CALL: &str = "tool_call_";

// === Reading ===

/// A content of the request, or its system instruction.
pub(super) fn decode(raw: &RawValue, calls: &mut Calls, pointer: String) -> Result<Message, Malformed> {
    let wire: ContentWire<'_> = read(raw, &|| pointer.clone())?;
    let is_system = pointer == SYSTEM;
    let mut extras = wire.extras;
    let word = wire.role.as_ref().map(json::Str::as_str);
    let (role, usual) = match word {
        _ if is_system => (Role::System, None),
        Some("model") => (Role::Assistant, Some("model")),
        // The older word for a content of results (`function`), and none at all, are the user's.
        _ => (Role::User, Some("user")),
    };
    // A `null` is among the extras already.
    if word != usual && extras.find(ROLE).is_none() {
        extras.remember(ROLE, word.map_or_else(json::null, |word| quoted(&Text::from_plain(word))));
    }
    let content = if wire.parts.is_some() { ContentForm::Parts } else { ContentForm::Absent };
    let mut parts = Vec::new();
    for (at, raw) in wire.parts.into_iter().flatten().enumerate() {
        parts.push(part::decode(raw, calls, &|| format!("{pointer}/parts/{at}"))?);
    }
    Ok(Message { role, parts, content, name: None, extras, pointer })
}

// === Writing ===

/// A request's messages, arranged for this dialect.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    source: Dialect,
    family: Family,
    names: Names<'a>,
    /// Signatures over calls that stand beside them.
    signatures: HashMap<String, &'a Text>,
    system: Option<Turn<'a>>,
    turns: Vec<Turn<'a>>,
}

/// One element of `contents`.
#[derive(Debug)]
struct Turn<'a> {
    role: &'static str,
    /// The first message: it alone says how the content was spelt.
    head: &'a Message,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Conversation<'a> {
    pub(super) fn of(request: &'a ChatRequest, crossing: &mut Crossing<'_>) -> Self {
        let mut conversation = Self {
            source: request.source,
            family: Family::of(&request.model),
            names: Names::of(&request.messages),
            signatures: signatures(&request.messages),
            system: None,
            turns: Vec::new(),
        };
        for message in &request.messages {
            if matches!(message.role, Role::System | Role::Developer) {
                conversation.hoist(message, crossing);
            } else {
                conversation.push(message, crossing);
            }
        }
        if !crossing.native {
            conversation.let_user_speak(crossing);
            conversation.order_results();
        }
        conversation
    }

    fn hoist(&mut self, message: &'a Message, crossing: &mut Crossing<'_>) {
        if !self.turns.is_empty() {
            crossing.losses.push(&message.pointer, "moved to the top: gemini has one system instruction");
        }
        lose_message_fields(message, crossing);
        let pieces = self.pieces(message, crossing);
        self.system.get_or_insert_with(|| Turn { role: "", head: message, pieces: Vec::new() }).pieces.extend(pieces);
    }

    fn push(&mut self, message: &'a Message, crossing: &mut Crossing<'_>) {
        let role = if message.role == Role::Assistant { "model" } else { "user" };
        let pieces = self.pieces(message, crossing);
        lose_message_fields(message, crossing);
        // Our own clients' empty messages are the API's to judge, unless it is we who leave something out.
        if pieces.is_empty() && !(crossing.native && message.parts.is_empty()) {
            crossing.losses.push(&message.pointer, "gemini refuses an empty message");
            return;
        }
        match self.turns.last_mut() {
            Some(last) if last.role == role && joins(last, message, crossing.native) => last.pieces.extend(pieces),
            _ => self.turns.push(Turn { role, head: message, pieces }),
        }
    }

    fn pieces(&self, message: &'a Message, crossing: &mut Crossing<'_>) -> Vec<Piece<'a>> {
        pieces_of(self.source, message).filter(|piece| self.crosses(*piece, crossing)).collect()
    }

    /// Can this part be said here? If not, the loss is noted; only nothing at all is lost in silence.
    fn crosses(&self, piece: Piece<'_>, crossing: &mut Crossing<'_>) -> bool {
        match &piece.part.kind {
            PartKind::Thinking { .. } | PartKind::Redacted { .. } if crossing.native => {}
            _ if crossing.native => return true,
            PartKind::Text(text) if text.is_empty() => return false,
            PartKind::Redacted { .. }
                if signed_call(piece.part).is_some_and(|id| self.signatures.contains_key(&id)) =>
            {
                // Written beside the call.
                return false;
            }
            _ => {}
        }
        let reason = obstacle(piece.part, crossing.native);
        if let Some(reason) = reason {
            crossing.losses.push(piece.place(), reason);
        }
        reason.is_none()
    }

    /// A conversation needs a turn.
    fn let_user_speak(&mut self, crossing: &mut Crossing<'_>) {
        if self.turns.is_empty()
            && let Some(system) = self.system.take()
        {
            crossing.losses.push(&system.head.pointer, "sent as the user's: gemini needs a user turn");
            self.turns.push(Turn { role: "user", ..system });
        }
    }

    /// Results first, as they must directly follow the calls, and in the order of these: without ids nothing else links them.
    fn order_results(&mut self) {
        for turn in self.turns.iter_mut().filter(|turn| turn.role == "user") {
            turn.pieces.sort_by_key(|piece| {
                let place = self.names.place_of(piece.part);
                (place.is_none(), place)
            });
        }
    }

    pub(super) fn write(&self, object: &mut Object<'_>, crossing: &mut Crossing<'_>) {
        if let Some(system) = &self.system {
            self.write_turn(system, object.key("systemInstruction"), crossing);
        }
        let mut array = Array::new(object.key("contents"));
        for turn in &self.turns {
            self.write_turn(turn, array.item(), crossing);
        }
        array.end();
    }

    fn write_turn(&self, turn: &Turn<'_>, out: &mut Vec<u8>, crossing: &mut Crossing<'_>) {
        let mut object = Object::new(out);
        turn.write_role(crossing.native, &mut object);
        if !turn.pieces.is_empty() || turn.head.content != ContentForm::Absent {
            let mut array = Array::new(object.key("parts"));
            for (at, piece) in turn.pieces.iter().enumerate() {
                self.write_piece(turn, at, *piece, &mut array, crossing);
            }
            array.end();
        }
        if crossing.native {
            object.extras(&turn.head.extras);
        }
        object.end();
    }

    fn write_piece(
        &self,
        turn: &Turn<'_>,
        at: usize,
        piece: Piece<'_>,
        array: &mut Array<'_>,
        crossing: &mut Crossing<'_>,
    ) {
        let context = Context { names: &self.names, media_in_results: self.family.is_third(), to_client: false };
        let place: Place<'_> = &|| piece.place();
        let unsigned = !crossing.native || piece.part.extras.recall(NOBODYS).is_some();
        let signature = if unsigned { self.signature(turn, at, piece, crossing) } else { None };
        if let Some(signature) = signature {
            let part = Part { signature: Some(signature), ..piece.part.clone() };
            part::encode(&part, &context, place, crossing, array.item());
        } else {
            part::encode(piece.part, &context, place, crossing, array.item());
        }
        if !crossing.native && !context.media_in_results {
            for media in media_behind(piece.part) {
                part::encode(media, &context, place, crossing, array.item());
            }
        }
    }

    /// The signature for a call that has none of its own. The first call of a step must be signed: third-generation models
    /// refuse a request over it, even where another model made the call.
    fn signature(&self, turn: &Turn<'_>, at: usize, piece: Piece<'_>, crossing: &mut Crossing<'_>) -> Option<Text> {
        let PartKind::ToolCall(call) = &piece.part.kind else { return None };
        if piece.part.signature.is_some() {
            return None;
        }
        if let Some(signature) = self.signatures.get(call.id.to_plain().as_ref()) {
            return Some((*signature).clone());
        }
        let is_call = |piece: &Piece<'_>| matches!(piece.part.kind, PartKind::ToolCall(_));
        let before = at.checked_sub(1).and_then(|before| turn.pieces.get(before));
        if before.is_some_and(is_call) || !self.family.is_third() {
            return None;
        }
        crossing.losses.push(piece.place(), "the call is not signed: the model is told not to ask for it");
        Some(UNSIGNED.into())
    }
}

impl Turn<'_> {
    fn write_role(&self, native: bool, object: &mut Object<'_>) {
        let spelt = self.head.extras.recall(ROLE).filter(|_| native);
        match spelt.map(RawValue::get) {
            Some("null") => {}
            Some(role) => {
                object.raw(ROLE, role);
            }
            None if self.role.is_empty() || (native && self.head.extras.find(ROLE).is_some()) => {}
            None => {
                object.str(ROLE, self.role);
            }
        }
    }
}

/// Does the API want this message in the turn before it? Our own clients' contents stay as they were; the results that the
/// gateway adds one by one still belong together, and so do the client's own results of the same turn.
fn joins(turn: &Turn<'_>, message: &Message, native: bool) -> bool {
    let answers =
        message.role == Role::Tool || message.parts.iter().any(|part| matches!(part.kind, PartKind::ToolResult(_)));
    !native || (turn.head.role == Role::Tool && answers)
}

/// Signatures over calls that the gateway's OpenAI surface carries as encrypted reasoning.
fn signatures(messages: &[Message]) -> HashMap<String, &Text> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts
        .filter_map(|part| match &part.kind {
            PartKind::Redacted { data } => Some((signed_call(part)?, data)),
            _ => None,
        })
        .collect()
}

/// The id of the call that this encrypted reasoning signs.
fn signed_call(part: &Part) -> Option<String> {
    let id = part.extras.find("id").and_then(Text::from_raw)?;
    id.to_plain().strip_prefix(SIGNS_CALL).map(str::to_owned)
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
