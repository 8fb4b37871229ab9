//! Reads a stream of chunks as events.
//!
//! OpenAI's chunks have no blocks, so the reader supplies the boundaries: within a choice one block of prose (text, reasoning
//! or refusal) is open at a time, tool calls are open beside it until the choice finishes, and `End` is held back to the end
//! of the stream, because servers repeat the finish reason and send content after it.

use std::mem::take;

use serde_json::value::RawValue;

use super::calls::Calls;
use super::content::decode_part;
use super::error::decode_stream_error;
use super::message::{REASONING, decode_detail};
use super::reply::{COMPLETION, OBJECT, decode_usage, finish};
use super::wire::{self, object};
use crate::chat::{Extras, Part, PartKind, Raw};
use crate::dialect::Frame;
use crate::event::{Block, Delta, MESSAGE_FIELDS, PADDING, Start};
use crate::failure::FailureKind;
use crate::json::{self, decode};
use crate::reply::{Finish, FinishReason, Usage};
use crate::{ChatEvent, Dialect, EventReader, Failure, Text};

/// Fields of a chunk that only pad it against eavesdroppers who measure (OpenAI, Mistral).
const PADDING_FIELDS: [&str; 2] = ["obfuscation", "p"];

/// The reader. See the module.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    done: bool,
    /// What the chunks before the first choice said of the reply (Azure sends one with filter results only).
    head: Option<Start>,
    /// Fields of the chunks themselves, as last seen: most repeat in every chunk.
    seen: Extras,
    next: u32,
    /// The reply's id, from which calls without an id get theirs.
    id: Text,
    choices: Vec<Progress>,
    usage: Option<Usage>,
}

/// Where events go, and what numbers them.
#[derive(Debug)]
pub(super) struct Emit<'a> {
    next: &'a mut u32,
    out: &'a mut Vec<ChatEvent>,
    pub(super) reply_id: &'a Text,
}

/// How far one choice has come.
#[derive(Debug, Default)]
struct Progress {
    choice: u32,
    prose: Option<(Prose, u32)>,
    calls: Calls,
    finish: Option<Finish>,
    extras: Extras,
}

/// What kind of prose a block is of: growth of another kind needs another block.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Prose {
    Text,
    Refusal,
    /// By the type and index of a reasoning detail; empty for reasoning in a plain string.
    Thinking(String),
}

// === impl Emit ===

impl Emit<'_> {
    pub(super) fn open(&mut self, choice: u32, block: Block) -> u32 {
        let index = *self.next;
        *self.next = index.saturating_add(1);
        self.out.push(ChatEvent::Open { index, choice, block });
        index
    }

    pub(super) fn delta(&mut self, index: u32, delta: Delta) {
        self.out.push(ChatEvent::Delta { index, delta });
    }

    pub(super) fn close(&mut self, index: u32) {
        self.out.push(ChatEvent::Close { index });
    }
}

// === impl Reader ===

impl EventReader for Reader {
    fn read(&mut self, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let data = frame.data.trim_ascii();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            return self.complete(true, out);
        }
        let chunk: wire::Chunk<'_> = decode(data)
            .map_err(|fault| Box::new(Failure::new(FailureKind::Unreadable, format!("unreadable chunk: {fault}"))))?;
        if is_error(&chunk) {
            return Err(Box::new(decode_stream_error(data)));
        }
        self.chunk(chunk, out)
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        if self.done { Ok(()) } else { self.complete(false, out) }
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

/// `{"error":..}`, `{"object":"error",..}`, or `{"message":..}` without choices.
fn is_error(chunk: &wire::Chunk<'_>) -> bool {
    chunk.error.is_some()
        || chunk.object.as_ref().is_some_and(|object| object.as_str() == "error")
        || (chunk.choices.is_none() && chunk.extras.find("message").is_some())
}

impl Reader {
    fn chunk(&mut self, mut chunk: wire::Chunk<'_>, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let choices = chunk.choices.take().unwrap_or_default();
        let usage = chunk.usage.and_then(decode_usage);
        let last = usage.is_some() && choices.is_empty();
        self.usage = usage.or_else(|| self.usage.take());
        self.fields(&take(&mut chunk.extras), out);
        if !self.started {
            self.head(chunk);
            if choices.is_empty() {
                return Ok(());
            }
            self.start(out);
        }
        for choice in choices {
            self.choice(choice, out)?;
        }
        // OpenAI's usage chunk is the last one. Servers that leave out `[DONE]` may keep the connection open after it.
        if last && !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finish.is_some()) {
            return self.complete(true, out);
        }
        Ok(())
    }

    /// Gathers what is said of the reply before its first choice.
    fn head(&mut self, chunk: wire::Chunk<'_>) {
        let head = self.head.get_or_insert_with(|| Start {
            source: Dialect::OpenAiChat,
            id: Text::default(),
            model: Text::default(),
            created: None,
            usage: None,
            extras: Extras::default(),
        });
        head.id = chunk.id.filter(|id| !id.is_empty()).unwrap_or_else(|| take(&mut head.id));
        head.model = chunk.model.filter(|model| !model.is_empty()).unwrap_or_else(|| take(&mut head.model));
        head.created = chunk.created.or(head.created);
        if chunk.object.is_some() && head.extras.recall(OBJECT).is_none() {
            // What the chunks add up to.
            head.extras.remember(OBJECT, json::raw(COMPLETION.into()));
        }
    }

    fn start(&mut self, out: &mut Vec<ChatEvent>) {
        self.started = true;
        if let Some(mut head) = self.head.take() {
            self.id = head.id.clone();
            for (key, value) in self.seen.iter() {
                head.extras.push(key, value.to_owned());
            }
            out.push(ChatEvent::Start(head));
        }
    }

    /// Passes on what changed among the fields of the chunk itself. Before the start they are gathered.
    fn fields(&mut self, extras: &Extras, out: &mut Vec<ChatEvent>) {
        let mut changed = Extras::default();
        let mut padding = Extras::default();
        for (key, value) in extras.iter() {
            if value.get() == "null" || self.seen.find(key).is_some_and(|seen| seen.get() == value.get()) {
                continue;
            }
            if PADDING_FIELDS.contains(&key) {
                padding.push(key, value.to_owned());
                continue;
            }
            self.seen.remove(key);
            self.seen.push(key, value.to_owned());
            changed.push(key, value.to_owned());
        }
        if self.started {
            let mut pass = |event: Option<Text>, fields: &Extras| {
                if !fields.is_empty() {
                    out.push(ChatEvent::Foreign { source: Dialect::OpenAiChat, event, data: object(fields) });
                }
            };
            pass(None, &changed);
            pass(Some(PADDING.into()), &padding);
        }
    }

    fn choice(&mut self, choice: wire::ChunkChoice<'_>, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let index = choice.index.unwrap_or(0);
        let at = self.choices.iter().position(|progress| progress.choice == index).unwrap_or_else(|| {
            self.choices.push(Progress { choice: index, ..Progress::default() });
            self.choices.len() - 1
        });
        let mut emit = Emit { next: &mut self.next, out, reply_id: &self.id };
        match self.choices.get_mut(at) {
            Some(progress) => progress.advance(choice, &mut emit),
            None => Ok(()),
        }
    }

    /// The end. `clean`: the stream said so itself, which stands for a finish reason that never came.
    fn complete(&mut self, clean: bool, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let unfinished = self.choices.iter().any(|choice| choice.finish.is_none());
        if self.choices.is_empty() || (unfinished && !clean) {
            return Err(Box::new(Failure::new(FailureKind::Broken, "the stream ended before a finish reason")));
        }
        let mut emit = Emit { next: &mut self.next, out, reply_id: &self.id };
        for progress in &mut self.choices {
            progress.close(&mut emit);
            let finish = progress.finish.take().unwrap_or_else(|| progress.likely_finish());
            let extras = take(&mut progress.extras);
            emit.out.push(ChatEvent::End { choice: progress.choice, finish, extras });
        }
        out.push(ChatEvent::Stop { usage: self.usage.take(), extras: Extras::default() });
        self.done = true;
        Ok(())
    }
}

// === impl Progress ===

impl Progress {
    fn advance(&mut self, choice: wire::ChunkChoice<'_>, emit: &mut Emit<'_>) -> Result<(), Box<Failure>> {
        for (key, value) in choice.extras.iter().filter(|(_, value)| value.get() != "null") {
            self.extras.remove(key);
            self.extras.push(key, value.to_owned());
        }
        if let Some(mut delta) = choice.delta.or(choice.message) {
            self.reason(&mut delta, emit);
            self.content(delta.content, emit)?;
            if let Some(refusal) = delta.refusal {
                self.say(Prose::Refusal, refusal, || Block::Refusal, emit);
            }
            for raw in delta.tool_calls.into_iter().flatten() {
                self.end_prose(emit);
                self.calls.grow(self.choice, raw, emit).map_err(|fault| unreadable(&fault))?;
            }
            if let Some(call) = delta.function_call {
                self.end_prose(emit);
                self.calls.grow_legacy(self.choice, call, emit);
            }
            self.rest(&delta.extras, emit);
        }
        if let Some(logprobs) = choice.logprobs {
            self.measure(logprobs, emit);
        }
        if let Some(word) = choice.finish_reason.filter(|word| !word.is_empty()) {
            self.close(emit);
            self.finish = Some(finish(word));
        }
        Ok(())
    }

    /// Reasoning in its spellings: the details, where they carry text, else the string.
    fn reason(&mut self, delta: &mut wire::Message<'_>, emit: &mut Emit<'_>) {
        let strings = [delta.reasoning_content.take(), delta.reasoning.take().and_then(Text::from_raw)];
        let mut details: Vec<Part> = delta.reasoning_details.take().into_iter().flatten().map(decode_detail).collect();
        let spoken =
            details.iter_mut().find(|part| matches!(&part.kind, PartKind::Thinking { text, .. } if !text.is_empty()));
        let said = || REASONING.into_iter().zip(&strings).filter_map(|(key, said)| Some((key, said.as_ref()?)));
        if let Some(part) = spoken {
            for (key, _) in said() {
                part.extras.push(key, json::null());
            }
        } else if let Some((key, text)) = said().find(|(_, text)| !text.is_empty()) {
            self.say(Prose::Thinking(String::new()), text.clone(), || thinking_block(key), emit);
        }
        for part in details {
            self.detail(part, emit);
        }
    }

    fn detail(&mut self, part: Part, emit: &mut Emit<'_>) {
        let Part { kind, extras, .. } = part;
        match kind {
            PartKind::Thinking { text, signature } => {
                let open = matches!(self.prose, Some((Prose::Thinking(_), _)));
                let silent = text.is_empty();
                if !silent || (signature.is_some() && !open) {
                    let raw = |key| extras.find(key).map_or("", RawValue::get);
                    let key = format!("{}{}", raw("type"), raw("index"));
                    let index = self.prose(Prose::Thinking(key), || Block::Thinking { extras }, emit);
                    if !silent {
                        emit.delta(index, Delta::Text(text));
                    }
                }
                // A signature seals the block that is open.
                if let (Some(signature), Some((_, index))) = (signature, &self.prose) {
                    emit.delta(*index, Delta::Signature(signature));
                    self.end_prose(emit);
                }
            }
            PartKind::Redacted { data } => {
                let index = emit.open(self.choice, Block::Redacted { data });
                if !extras.is_empty() {
                    emit.delta(index, Delta::Foreign { source: Dialect::OpenAiChat, raw: object(&extras) });
                }
                emit.close(index);
            }
            PartKind::Foreign(_, raw) => self.whole(raw, &extras, emit),
            _ => {}
        }
    }

    /// Content is a string, or (Mistral) a list of chunks.
    fn content(&mut self, content: Option<&RawValue>, emit: &mut Emit<'_>) -> Result<(), Box<Failure>> {
        let Some(raw) = content else { return Ok(()) };
        if let Some(text) = Text::from_raw(raw) {
            self.say(Prose::Text, text, text_block, emit);
            return Ok(());
        }
        let elements: Vec<&RawValue> = decode(raw.get().as_bytes()).map_err(|fault| unreadable(&fault))?;
        for raw in elements {
            let part = decode_part(raw, "/choices").map_err(|fault| unreadable(&fault))?;
            match part.kind {
                PartKind::Text(text) => self.say(Prose::Text, text, text_block, emit),
                PartKind::Refusal(text) => self.say(Prose::Refusal, text, || Block::Refusal, emit),
                PartKind::Thinking { text, .. } => {
                    let mut extras = part.extras;
                    // The chunks of a whole message; here each fragment is one chunk.
                    extras.remove("thinking");
                    self.say(Prose::Thinking("content".into()), text, || Block::Thinking { extras }, emit);
                }
                _ => self.whole(raw.to_owned(), &Extras::default(), emit),
            }
        }
        Ok(())
    }

    /// A part that comes whole and only its own dialect knows.
    fn whole(&mut self, raw: Raw, extras: &Extras, emit: &mut Emit<'_>) {
        self.end_prose(emit);
        let index = emit.open(self.choice, Block::Foreign { source: Dialect::OpenAiChat, raw });
        if !extras.is_empty() {
            emit.delta(index, Delta::Foreign { source: Dialect::OpenAiChat, raw: object(extras) });
        }
        emit.close(index);
    }

    /// Grows prose. Empty growth opens nothing: providers begin with an empty string.
    fn say(&mut self, prose: Prose, text: Text, block: impl FnOnce() -> Block, emit: &mut Emit<'_>) {
        if !text.is_empty() {
            let index = self.prose(prose, block, emit);
            emit.delta(index, Delta::Text(text));
        }
    }

    /// The open block of this kind of prose, opened where another kind, or none, was open.
    fn prose(&mut self, prose: Prose, block: impl FnOnce() -> Block, emit: &mut Emit<'_>) -> u32 {
        if let Some((open, index)) = &self.prose
            && *open == prose
        {
            return *index;
        }
        self.end_prose(emit);
        let index = emit.open(self.choice, block());
        self.prose = Some((prose, index));
        index
    }

    /// Log-probabilities belong to the prose beside them.
    fn measure(&mut self, logprobs: Raw, emit: &mut Emit<'_>) {
        let index = match &self.prose {
            Some((_, index)) => *index,
            None => self.prose(Prose::Text, text_block, emit),
        };
        emit.delta(index, Delta::Logprobs(logprobs));
    }

    /// Unknown fields of the message (annotations, audio, images).
    fn rest(&self, extras: &Extras, emit: &mut Emit<'_>) {
        let mut kept = Extras::default();
        for (key, value) in extras.iter().filter(|(_, value)| value.get() != "null") {
            kept.push(key, value.to_owned());
        }
        if !kept.is_empty() {
            let data = json::raw(format!(r#"{{"index":{},"delta":{}}}"#, self.choice, object(&kept).get()));
            let event = Some(MESSAGE_FIELDS.into());
            emit.out.push(ChatEvent::Foreign { source: Dialect::OpenAiChat, event, data });
        }
    }

    fn end_prose(&mut self, emit: &mut Emit<'_>) {
        if let Some((_, index)) = self.prose.take() {
            emit.close(index);
        }
    }

    fn close(&mut self, emit: &mut Emit<'_>) {
        self.end_prose(emit);
        self.calls.close(self.choice, emit);
    }

    /// The finish of a choice whose stream ended well without naming one.
    fn likely_finish(&self) -> Finish {
        let reason = if self.calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        Finish { reason, ..Finish::default() }
    }
}

fn text_block() -> Block {
    Block::Text { extras: Extras::default() }
}

fn thinking_block(key: &str) -> Block {
    let mut extras = Extras::default();
    extras.push(key, json::null());
    Block::Thinking { extras }
}

fn unreadable(fault: &crate::Malformed) -> Box<Failure> {
    Box::new(Failure::new(FailureKind::Unreadable, format!("unreadable chunk: {fault}")))
}
