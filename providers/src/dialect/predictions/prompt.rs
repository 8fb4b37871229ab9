//! A conversation as one prompt, what stands before it, and the pictures that belong to it.

use crate::chat::{Media, MediaSource, Message, PartKind, Role, ToolCall, ToolResult};
use crate::dialect::piece::{Piece, pieces_of};
use crate::{ChatRequest, Dialect, Losses, Text};

pub(super) const NO_COUNTERPART: &str = "predictions has no counterpart";

/// Why the turns of a conversation are a loss although all of their words are there.
const WRITTEN_OUT: &str = "predictions takes one prompt: the turns are written out in it";

/// What a conversation comes to.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    pub(super) system: String,
    pub(super) text: String,
    /// URLs, or `data:` URLs, and where each stands in the caller's body.
    pub(super) images: Vec<(String, String)>,
}

/// Reads a conversation out.
struct Narrator<'a> {
    source: Dialect,
    images: Vec<(String, String)>,
    losses: &'a mut Losses,
}

impl Prompt {
    /// One question is the prompt itself. Of several turns each is written out under the name of who speaks, and the model is left to
    /// go on where its own turn begins.
    pub(super) fn of(request: &ChatRequest, losses: &mut Losses) -> Self {
        let mut narrator = Narrator { source: request.source, images: Vec::new(), losses };
        let is_system = |message: &&Message| matches!(message.role, Role::System | Role::Developer);
        let system: Vec<String> = request.messages.iter().filter(is_system).map(|turn| narrator.said(turn)).collect();
        let turns: Vec<&Message> = request.messages.iter().filter(|message| !is_system(message)).collect();
        let text = match turns.as_slice() {
            [only] if only.role == Role::User => narrator.said(only),
            [] => String::new(),
            [first, ..] => {
                narrator.losses.push(first.pointer.clone(), WRITTEN_OUT);
                narrator.conversation(&turns)
            }
        };
        Self { system: joined(&system), text, images: narrator.images }
    }
}

impl Narrator<'_> {
    fn conversation(&mut self, turns: &[&Message]) -> String {
        let mut told: Vec<String> = Vec::with_capacity(turns.len() + 1);
        for turn in turns {
            told.push(format!("{}: {}", speaker(turn.role), self.said(turn)));
        }
        if turns.last().is_some_and(|last| last.role != Role::Assistant) {
            told.push(format!("{}:", speaker(Role::Assistant)));
        }
        joined(&told)
    }

    fn said(&mut self, message: &Message) -> String {
        self.losses.fields(&message.extras, &message.pointer, NO_COUNTERPART);
        if message.name.is_some() {
            self.losses.push(format!("{}/name", message.pointer), NO_COUNTERPART);
        }
        let said: Vec<String> = pieces_of(self.source, message).filter_map(|piece| self.part(&piece)).collect();
        joined(&said)
    }

    fn part(&mut self, piece: &Piece<'_>) -> Option<String> {
        let (part, place) = (piece.part, piece.place());
        if !is_known(&part.kind) {
            self.losses.push(place, NO_COUNTERPART);
            return None;
        }
        self.losses.fields(&part.extras, &place, NO_COUNTERPART);
        if part.cache.is_some() {
            self.losses.push(format!("{place}/cache_control"), NO_COUNTERPART);
        }
        self.kind(&part.kind, &place)
    }

    fn kind(&mut self, kind: &PartKind, place: &str) -> Option<String> {
        match kind {
            PartKind::Text(text)
            | PartKind::Refusal(text)
            | PartKind::File(Media { source: MediaSource::Plain(text), .. }) => Some(text.to_plain().into_owned()),
            PartKind::ToolCall(call) => Some(called(call)),
            PartKind::ToolResult(result) => Some(self.answered(result, place)),
            PartKind::Image(media) => {
                self.images.extend(address(media).map(|url| (url, place.to_owned())));
                None
            }
            _ => None,
        }
    }

    fn answered(&mut self, result: &ToolResult, place: &str) -> String {
        if result.parts.iter().any(|part| !is_known(&part.kind)) {
            self.losses.push(place, "some of the result has no counterpart in predictions");
        }
        let parts: Vec<String> = result.parts.iter().filter_map(|part| self.kind(&part.kind, place)).collect();
        let outcome = if result.is_error == Some(true) { "failed" } else { "answered" };
        format!("[{} {outcome}] {}", result.call_id.to_plain(), joined(&parts))
    }
}

/// Has it a place in a prompt, or beside it?
fn is_known(kind: &PartKind) -> bool {
    match kind {
        PartKind::Text(_) | PartKind::Refusal(_) | PartKind::ToolCall(_) | PartKind::ToolResult(_) => true,
        PartKind::File(media) => matches!(media.source, MediaSource::Plain(_)),
        PartKind::Image(media) => address(media).is_some(),
        PartKind::Thinking { .. } | PartKind::Redacted { .. } | PartKind::Audio(_) | PartKind::Foreign(..) => false,
    }
}

fn speaker(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "System",
        Role::User => "User",
        Role::Assistant => "Assistant",
        Role::Tool => "Tool",
    }
}

fn called(call: &ToolCall) -> String {
    format!("[{} calls {}] {}", call.id.to_plain(), call.name.to_plain(), call.arguments.to_plain())
}

/// Inputs that are files are URLs, or `data:` URLs of at most 256 kB.
fn address(media: &Media) -> Option<String> {
    match &media.source {
        MediaSource::Url(url) => Some(url.to_plain().into_owned()),
        MediaSource::Base64(data) => {
            let mime = media.mime.as_ref().map_or("image/png".into(), Text::to_plain);
            Some(format!("data:{mime};base64,{}", data.to_plain()))
        }
        MediaSource::FileId(_) | MediaSource::Plain(_) | MediaSource::Absent => None,
    }
}

fn joined(texts: &[String]) -> String {
    texts.join("\n\n")
}
