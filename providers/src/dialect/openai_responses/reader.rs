//! Stream events of this dialect to canonical events.
//!
//! Wire facts (SDK `types/responses/response_*_event.py`, recorded traffic): items come one after another, each `added`, grown
//! and `done`; what is `done` says once more, whole, what the deltas said, and has the last word on status and seal. Servers
//! leave out deltas, parts or whole items, and say them at the end only: whatever no delta brought is taken from there.

use serde_json::value::RawValue;

use super::error::decode_stream_error;
use super::item;
use super::reply::Head;
use super::state::{Growth, Open};
use super::wire::{EventWire, OWN, ReplyWire, tag};
use crate::chat::Extras;
use crate::dialect::Frame;
use crate::event::{ChatEvent, Delta, PADDING, Start, unfold_parts};
use crate::failure::{Failure, FailureKind};
use crate::json::{self, decode};
use crate::reply::Finish;
use crate::{EventReader, Malformed, Text};

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    done: bool,
    calls: bool,
    /// The index of the next canonical block.
    next: u32,
    /// Items between their beginning and their end.
    open: Vec<Open>,
    /// Indexes of the items that are complete.
    complete: Vec<u32>,
}

/// Where events go, and what numbers their blocks.
#[derive(Debug)]
pub(super) struct Emit<'a> {
    pub(super) next: &'a mut u32,
    pub(super) out: &'a mut Vec<ChatEvent>,
}

impl EventReader for Reader {
    fn read(&mut self, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let data = frame.data.trim_ascii();
        if self.done || data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        let mut event: EventWire<'_> = decode(data).map_err(|fault| unreadable(&fault))?;
        let kind = event.kind.take().map(|kind| kind.0).or_else(|| name_of(frame)).unwrap_or_default();
        self.event(&kind, &event, frame, out)
    }

    fn finish(&mut self, _out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        if self.done {
            return Ok(());
        }
        Err(Box::new(Failure::new(FailureKind::Broken, "the stream ended before response.completed")))
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Reader {
    fn event(
        &mut self,
        kind: &str,
        event: &EventWire<'_>,
        frame: &Frame,
        out: &mut Vec<ChatEvent>,
    ) -> Result<(), Box<Failure>> {
        match kind {
            "error" => return Err(Box::new(decode_stream_error(&frame.data))),
            "response.failed" => {
                let response = event.response.map_or(frame.data.as_ref(), |response| response.get().as_bytes());
                return Err(Box::new(decode_stream_error(response)));
            }
            "response.created" | "response.queued" | "response.in_progress" => {
                self.start(event.response, out).map_err(|fault| unreadable(&fault))?;
            }
            "response.completed" | "response.incomplete" | "response.cancelled" => {
                self.stop(event, out).map_err(|fault| unreadable(&fault))?;
            }
            "" => return Err(unreadable(&Malformed { pointer: "/type".into(), expected: "an event's name".into() })),
            _ if !self.started => {
                let expected = format!("response.created before {kind}");
                return Err(unreadable(&Malformed { pointer: "/type".into(), expected }));
            }
            _ => self.grow(kind, event, frame, out).map_err(|fault| unreadable(&fault))?,
        }
        Ok(())
    }

    fn start(&mut self, response: Option<&RawValue>, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        let Some(response) = response.filter(|_| !self.started) else { return Ok(()) };
        let head = Head::of(decode::<ReplyWire<'_>>(response.get().as_bytes())?);
        self.started = true;
        out.push(ChatEvent::Start(Start {
            source: OWN,
            id: head.id,
            model: head.model,
            created: head.created,
            usage: None,
            extras: head.extras,
        }));
        Ok(())
    }

    fn grow(
        &mut self,
        kind: &str,
        event: &EventWire<'_>,
        frame: &Frame,
        out: &mut Vec<ChatEvent>,
    ) -> Result<(), Malformed> {
        match kind {
            "response.output_item.added" => self.open_item(event, out),
            "response.output_item.done" => self.close_item(event, out),
            _ => {
                if let Some(padding) = event.obfuscation {
                    let data = json::raw(format!(r#"{{"obfuscation":{}}}"#, padding.get()));
                    out.push(ChatEvent::Foreign { source: OWN, event: Some(PADDING.into()), data });
                }
                let mut emit = Emit { next: &mut self.next, out };
                let open = self.open.iter_mut().find(|open| open.is_at(event));
                if !open.is_some_and(|open| open.grow(kind, event, &mut emit)) {
                    foreign(kind, frame, out);
                }
                Ok(())
            }
        }
    }

    fn open_item(&mut self, event: &EventWire<'_>, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        let Some(item) = event.item else { return Ok(()) };
        let index = event.output_index.unwrap_or_else(|| self.position());
        let mut emit = Emit { next: &mut self.next, out };
        let open = Open::new(item, index, &mut emit)?;
        self.calls |= matches!(open.growth, Growth::Call { .. });
        self.open.push(open);
        Ok(())
    }

    /// Where the next item stands, for servers that do not number them.
    fn position(&self) -> u32 {
        u32::try_from(self.open.len().saturating_add(self.complete.len())).unwrap_or(u32::MAX)
    }

    fn close_item(&mut self, event: &EventWire<'_>, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        let Some(item) = event.item else { return Ok(()) };
        let id = json::fields(Some(item)).find("id").and_then(Text::from_raw);
        let at = self.open.iter().position(|open| match event.output_index {
            Some(index) => open.index == index,
            None => open.id == id,
        });
        match at.map(|at| self.open.remove(at)) {
            Some(open) => {
                self.complete.push(open.index);
                let mut emit = Emit { next: &mut self.next, out };
                open.close(item, &mut emit)
            }
            None => self.whole_item(item, event.output_index.unwrap_or_else(|| self.position()), out),
        }
    }

    /// An item of which nothing was said before.
    fn whole_item(&mut self, item: &RawValue, index: u32, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        if self.complete.contains(&index) {
            return Ok(());
        }
        self.complete.push(index);
        let parts = item::decode(item, &format!("/output/{index}"))?;
        self.calls |= matches!(tag(item).as_ref(), "function_call" | "custom_tool_call");
        unfold_parts(OWN, &parts, &mut self.next, out);
        Ok(())
    }

    fn stop(&mut self, event: &EventWire<'_>, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        let Some(response) = event.response else {
            return Err(Malformed { pointer: "/response".into(), expected: "the response".into() });
        };
        self.start(Some(response), out)?;
        let mut wire: ReplyWire<'_> = decode(response.get().as_bytes())?;
        let output = wire.output.take().unwrap_or_default();
        for (at, item) in (0..).zip(output) {
            let open = self.open.iter().position(|open| open.index == at).map(|open| self.open.remove(open));
            match open {
                Some(open) => {
                    self.complete.push(at);
                    open.close(item, &mut Emit { next: &mut self.next, out })?;
                }
                None => self.whole_item(item, at, out)?,
            }
        }
        for open in self.open.drain(..) {
            open.abandon(&mut Emit { next: &mut self.next, out });
        }
        let head = Head::of(wire);
        let finish: Finish = head.finish(self.calls);
        out.push(ChatEvent::End { choice: 0, finish, extras: Extras::default() });
        let usage = head.usage.and_then(super::usage::decode_usage);
        let mut extras = head.extras;
        // What a provider says beside the response (Copilot: what it cost) belongs to the reply too.
        for (key, value) in event.extras.iter().filter(|(_, value)| value.get() != "null") {
            extras.remove(key);
            extras.push(key, value.to_owned());
        }
        out.push(ChatEvent::Stop { usage, extras });
        self.done = true;
        Ok(())
    }
}

/// An event that only this dialect knows, or that says again what was said.
fn foreign(kind: &str, frame: &Frame, out: &mut Vec<ChatEvent>) {
    /// Events that repeat whole what deltas said in pieces.
    const REPEATS: [&str; 8] = [
        "response.output_text.done",
        "response.refusal.done",
        "response.content_part.done",
        "response.reasoning_text.done",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.function_call_arguments.done",
        "response.custom_tool_call_input.done",
    ];
    if REPEATS.contains(&kind) {
        return;
    }
    if let Ok(data) = serde_json::from_slice(&frame.data) {
        out.push(ChatEvent::Foreign { source: OWN, event: Some(Text::from_plain(kind)), data });
    }
}

fn name_of(frame: &Frame) -> Option<std::borrow::Cow<'_, str>> {
    Some(String::from_utf8_lossy(frame.event.as_deref()?))
}

fn unreadable(fault: &Malformed) -> Box<Failure> {
    Box::new(Failure::new(FailureKind::Unreadable, format!("stream event not understood: {fault}")))
}

// === impl Emit ===

impl Emit<'_> {
    pub(super) fn open(&mut self, block: crate::event::Block) -> u32 {
        let index = *self.next;
        *self.next = index.saturating_add(1);
        self.out.push(ChatEvent::Open { index, choice: 0, block });
        index
    }

    pub(super) fn delta(&mut self, index: u32, delta: Delta) {
        self.out.push(ChatEvent::Delta { index, delta });
    }

    pub(super) fn text(&mut self, index: u32, text: Text) {
        if !text.is_empty() {
            self.delta(index, Delta::Text(text));
        }
    }

    pub(super) fn foreign(&mut self, index: u32, raw: crate::chat::Raw) {
        self.delta(index, Delta::Foreign { source: OWN, raw });
    }

    pub(super) fn close(&mut self, index: u32) {
        self.out.push(ChatEvent::Close { index });
    }
}
