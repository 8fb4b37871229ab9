//! Google's stream to canonical events: every event is a whole reply with what is new.
//!
//! Wire facts (recorded traffic, API reference): there are no blocks, so the reader supplies the boundaries; calls come whole;
//! a signature stands on a part of its own, which may be empty and come last; usage is cumulative, and the latest counts.
//! There is no end marker. First-generation models say `STOP` in every event, so the end is the end of the body.

use std::mem::take;

use serde_json::value::RawValue;

use super::part::Calls;
use super::reply::{Candidate, FEEDBACK, LOGPROBS, blocked, blocked_mark, calls_of, decode_content, decode_finish};
use super::wire::{OWN, ReplyWire, object_of};
use super::{error, grounding, logprobs, usage};
use crate::chat::{Extras, Part, PartKind, Raw};
use crate::dialect::Frame;
use crate::event::{Block, ChatEvent, Delta, MESSAGE_FIELDS, Start, unfold_part};
use crate::failure::{Failure, FailureKind};
use crate::json;
use crate::{EventReader, Malformed, Text};

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    done: bool,
    next: u32,
    calls: Option<Calls>,
    candidates: Vec<Progress>,
    /// Fields of the reply itself, as last seen: most repeat in every event.
    seen: Extras,
    feedback: Option<Raw>,
    usage: Option<Raw>,
}

/// How far one candidate has come.
#[derive(Debug, Default)]
struct Progress {
    choice: u32,
    /// The block that grows, and whether it is thinking.
    open: Option<(u32, bool)>,
    finish: Option<Text>,
    called: bool,
    extras: Extras,
    /// The text so far, which sources are said of at the end.
    answer: Text,
}

impl EventReader for Reader {
    fn read(&mut self, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let data = frame.data.trim_ascii();
        if self.done || data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        // Without `alt=sse` all of a stream is one array.
        if data.starts_with(b"[") {
            let events: Vec<&RawValue> = json::decode(data).map_err(|fault| unreadable(&fault))?;
            return events.into_iter().try_for_each(|event| self.event(event.get().as_bytes(), out));
        }
        self.event(data, out)
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        if self.done {
            return Ok(());
        }
        if self.candidates.is_empty() {
            self.refuse(out);
        }
        if self.candidates.is_empty() || self.candidates.iter().any(|candidate| candidate.finish.is_none()) {
            return Err(Box::new(Failure::new(FailureKind::Broken, "the stream ended before a finish reason")));
        }
        self.stop(out);
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Reader {
    fn event(&mut self, data: &[u8], out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let mut wire: ReplyWire<'_> = json::decode(data).map_err(|fault| unreadable(&fault))?;
        if wire.error.is_some() {
            return Err(Box::new(error::decode(http::StatusCode::OK, data)));
        }
        if let Some(feedback) = wire.feedback {
            self.feedback = Some(feedback.to_owned());
            wire.extras.push(FEEDBACK, feedback.to_owned());
        }
        let changed = self.changed(&wire.extras);
        if let Some(usage) = wire.usage {
            self.usage = Some(usage.to_owned());
        }
        if !self.started {
            self.started = true;
            self.calls = Some(calls_of(wire.id.as_ref()));
            let usage = wire.usage.and_then(usage::decode);
            let (id, model) = (wire.id.unwrap_or_default(), wire.model.unwrap_or_default());
            out.push(ChatEvent::Start(Start { source: OWN, id, model, created: None, usage, extras: changed }));
        } else if !changed.is_empty() {
            out.push(ChatEvent::Foreign { source: OWN, event: None, data: object_of(&changed) });
        }
        for (at, raw) in wire.candidates.into_iter().flatten().enumerate() {
            self.candidate(raw, at, out).map_err(|fault| unreadable(&fault))?;
        }
        Ok(())
    }

    /// What changed among the fields of the reply itself.
    fn changed(&mut self, extras: &Extras) -> Extras {
        let mut changed = Extras::default();
        for (key, value) in extras.iter() {
            if self.seen.find(key).is_none_or(|seen| seen.get() != value.get()) {
                self.seen.remove(key);
                self.seen.push(key, value.to_owned());
                changed.push(key, value.to_owned());
            }
        }
        changed
    }

    fn candidate(&mut self, raw: &RawValue, at: usize, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        let place = || format!("/candidates/{at}");
        let candidate = Candidate::of(raw, &place)?;
        let choice = candidate.index.unwrap_or_else(|| u32::try_from(at).unwrap_or(u32::MAX));
        let calls = self.calls.get_or_insert_with(|| calls_of(None));
        let (parts, message_extras) = match candidate.content {
            Some(content) => decode_content(content, calls, &|| format!("{}/content", place()))?,
            None => (Vec::new(), Extras::default()),
        };
        let at = self.candidates.iter().position(|progress| progress.choice == choice).unwrap_or_else(|| {
            self.candidates.push(Progress { choice, ..Progress::default() });
            self.candidates.len() - 1
        });
        let Some(progress) = self.candidates.get_mut(at) else { return Ok(()) };
        let mut emit = Emit { next: &mut self.next, out };
        progress.answer.push(&grounding::answer(&parts));
        for part in parts {
            progress.part(part, &mut emit);
        }
        if !message_extras.is_empty() {
            let data = format!(r#"{{"index":{choice},"delta":{}}}"#, object_of(&message_extras).get());
            emit.out.push(ChatEvent::Foreign {
                source: OWN,
                event: Some(MESSAGE_FIELDS.into()),
                data: json::raw(data),
            });
        }
        if let Some(measured) = candidate.logprobs {
            progress.measure(measured, &mut emit);
        }
        progress.finish = candidate.finish.or_else(|| progress.finish.take());
        for (key, value) in candidate.extras.iter() {
            progress.extras.remove(key);
            progress.extras.push(key, value.to_owned());
        }
        Ok(())
    }

    /// A prompt that was blocked has no candidate: the answer says so.
    fn refuse(&mut self, out: &mut Vec<ChatEvent>) {
        let Some((words, finish)) = self.feedback.as_deref().and_then(blocked) else { return };
        let mut emit = Emit { next: &mut self.next, out };
        let index = emit.open(0, Block::Refusal);
        emit.out.push(ChatEvent::Delta { index, delta: Delta::Text(words) });
        emit.out.push(ChatEvent::Close { index });
        self.candidates.push(Progress { finish: finish.raw, extras: blocked_mark(), ..Progress::default() });
    }

    fn stop(&mut self, out: &mut Vec<ChatEvent>) {
        for progress in &mut self.candidates {
            progress.close(out);
            let citations = grounding::citations(&progress.extras, &progress.answer);
            if !citations.is_empty() {
                out.push(ChatEvent::Cited { choice: progress.choice, citations });
            }
            let finish = if super::reply::is_blocked(&progress.extras) {
                self.feedback.as_deref().and_then(blocked).map(|(_, finish)| finish).unwrap_or_default()
            } else {
                decode_finish(progress.finish.take(), progress.called)
            };
            out.push(ChatEvent::End { choice: progress.choice, finish, extras: take(&mut progress.extras) });
        }
        let usage = self.usage.as_deref().and_then(usage::decode);
        out.push(ChatEvent::Stop { usage, extras: Extras::default() });
        self.done = true;
    }
}

/// Where events go, and what numbers their blocks.
#[derive(Debug)]
struct Emit<'a> {
    next: &'a mut u32,
    out: &'a mut Vec<ChatEvent>,
}

impl Emit<'_> {
    fn open(&mut self, choice: u32, block: Block) -> u32 {
        let index = *self.next;
        *self.next = index.saturating_add(1);
        self.out.push(ChatEvent::Open { index, choice, block });
        index
    }
}

impl Progress {
    fn part(&mut self, part: Part, emit: &mut Emit<'_>) {
        // What is signed, or has fields of its own, stands alone: it is to be replayed as it came.
        let plain = part.signature.is_none() && part.extras.telling().next().is_none();
        match part.kind {
            PartKind::Text(text) if plain => self.say(text, false, emit),
            PartKind::Thinking { text, signature: None } if plain => self.say(text, true, emit),
            _ => self.whole(&part, emit),
        }
    }

    /// Grows prose. Empty growth opens nothing.
    fn say(&mut self, text: Text, thought: bool, emit: &mut Emit<'_>) {
        if text.is_empty() {
            return;
        }
        let index = self.prose(thought, emit);
        emit.out.push(ChatEvent::Delta { index, delta: Delta::Text(text) });
    }

    fn prose(&mut self, thought: bool, emit: &mut Emit<'_>) -> u32 {
        if let Some((index, open)) = self.open
            && open == thought
        {
            return index;
        }
        self.close(emit.out);
        let extras = Extras::default();
        let block = if thought { Block::Thinking { extras } } else { Block::Text { extras } };
        let index = emit.open(self.choice, block);
        self.open = Some((index, thought));
        index
    }

    fn whole(&mut self, part: &Part, emit: &mut Emit<'_>) {
        self.close(emit.out);
        self.called |= matches!(part.kind, PartKind::ToolCall(_));
        let Some((block, deltas)) = unfold_part(OWN, part) else { return };
        let index = emit.open(self.choice, block);
        emit.out.extend(deltas.into_iter().map(|delta| ChatEvent::Delta { index, delta }));
        emit.out.push(ChatEvent::Close { index });
    }

    /// Log-probabilities belong to the text beside them.
    fn measure(&mut self, measured: &RawValue, emit: &mut Emit<'_>) {
        let Some((measured, rest)) = logprobs::decode(measured) else { return };
        let index = self.prose(false, emit);
        emit.out.push(ChatEvent::Delta { index, delta: Delta::Logprobs(measured) });
        if !rest.is_empty() {
            self.extras.remove(LOGPROBS);
            self.extras.push(LOGPROBS, object_of(&rest));
        }
    }

    fn close(&mut self, out: &mut Vec<ChatEvent>) {
        if let Some((index, _)) = self.open.take() {
            out.push(ChatEvent::Close { index });
        }
    }
}

fn unreadable(fault: &Malformed) -> Box<Failure> {
    Box::new(Failure::new(FailureKind::Unreadable, format!("unreadable event: {fault}")))
}
