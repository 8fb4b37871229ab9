//! Anthropic's stream events to canonical events.
//!
//! Wire facts (API reference "Streaming messages", recorded traffic): blocks never interleave; `usage` is cumulative, and the
//! latest count wins; `input_json_delta` starts with `""`, and a tool without arguments has no other; `ping` may come any time.

use serde_json::value::RawValue;

use super::block::grown;
use super::reply::{Head, decode_finish};
use super::wire::{DeltaWire, EventWire, OWN, RawDelta, ReplyWire, Tag, object_of, read};
use super::{block, error, usage};
use crate::chat::{Extras, PartKind, Raw};
use crate::dialect::Frame;
use crate::event::{Block, ChatEvent, Delta, Start};
use crate::failure::{Failure, FailureKind};
use crate::json;
use crate::reply::Finish;
use crate::{EventReader, Malformed, Text};

/// Event types this reader knows: one that does not parse is an error, any other is passed on.
const KNOWN: &[&str] = &[
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
    "ping",
];

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    done: bool,
    /// The index of the next canonical block.
    next: u32,
    open: Vec<OpenBlock>,
    /// Events of unknown name that came before `message_start`.
    early: Vec<ChatEvent>,
    finish: Option<(Finish, Extras)>,
    usage: Option<Raw>,
    stop_extras: Extras,
}

/// A block between its start and its stop.
#[derive(Debug)]
struct OpenBlock {
    /// Its index on the wire, and in the canonical events.
    wire: u32,
    index: u32,
    growth: Growth,
}

/// How a block takes its deltas.
#[derive(Debug)]
enum Growth {
    Plain,
    /// A tool call, with the `input` its start had: it stands unless deltas bring another.
    Call {
        input: Text,
    },
    /// A block only this dialect knows. It is collected, and emitted whole when it closes.
    Foreign {
        head: Raw,
        deltas: Vec<Raw>,
    },
}

impl EventReader for Reader {
    fn read(&mut self, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        if self.done || frame.data.is_empty() || frame.data.as_ref() == b"[DONE]" {
            return Ok(());
        }
        match json::decode::<EventWire<'_>>(&frame.data) {
            Ok(mut event) => {
                let kind = event.kind.take().map(|kind| kind.0).or_else(|| name_of(frame)).unwrap_or_default();
                self.event(&kind, event, frame, out)
            }
            Err(fault) => self.unparsed(&fault, frame, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        if self.done {
            return Ok(());
        }
        if self.finish.is_none() {
            return Err(Box::new(Failure::new(FailureKind::Broken, "the stream ended before message_stop")));
        }
        self.stop(out);
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Reader {
    fn event(
        &mut self,
        kind: &str,
        event: EventWire<'_>,
        frame: &Frame,
        out: &mut Vec<ChatEvent>,
    ) -> Result<(), Box<Failure>> {
        match kind {
            "ping" => {}
            "error" => return Err(Box::new(error::decode(http::StatusCode::OK, &frame.data))),
            "message_start" => {
                let message = event.message.ok_or_else(|| unreadable("message_start without message"))?;
                self.start(message, out).map_err(|fault| unreadable(&fault.to_string()))?;
            }
            known if !self.started && KNOWN.contains(&known) => {
                return Err(unreadable(&format!("{known} before message_start")));
            }
            "content_block_delta" => return self.delta(event, frame, out),
            "content_block_start" => {
                let head =
                    event.content_block.ok_or_else(|| unreadable("content_block_start without content_block"))?;
                self.open(event.index.unwrap_or(0), head, out).map_err(|fault| unreadable(&fault.to_string()))?;
            }
            "content_block_stop" => self.close(event.index.unwrap_or(0), out),
            "message_delta" => self.message_delta(event),
            "message_stop" => self.stop(out),
            "" => return Err(unreadable("a stream event without a type")),
            _ => self.foreign(kind, frame, out),
        }
        Ok(())
    }

    /// An event whose fields have other types than ours is only an error where its name is one of ours.
    fn unparsed(&mut self, fault: &Malformed, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let tag = serde_json::from_slice::<Tag<'_>>(&frame.data).unwrap_or_default().kind;
        let kind = if tag.is_empty() { name_of(frame).unwrap_or_default() } else { tag };
        if kind == "error" {
            return Err(Box::new(error::decode(http::StatusCode::OK, &frame.data)));
        }
        let is_json = serde_json::from_slice::<&RawValue>(&frame.data).is_ok();
        if !is_json || kind.is_empty() || KNOWN.contains(&kind.as_ref()) {
            return Err(unreadable(&format!("stream event not understood: {fault}")));
        }
        self.foreign(&kind, frame, out);
        Ok(())
    }

    fn start(&mut self, message: &RawValue, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        if self.started {
            return Err(Malformed { pointer: "/type".into(), expected: "one message_start only".into() });
        }
        let place = || "/message".to_owned();
        let wire: ReplyWire<'_> = read(message, &place)?;
        let head = Head::of(wire, &place)?;
        self.started = true;
        self.usage = head.usage.map(RawValue::to_owned);
        out.push(ChatEvent::Start(Start {
            source: OWN,
            id: head.id,
            model: head.model,
            created: None,
            usage: head.usage.and_then(usage::decode),
            extras: head.extras,
        }));
        out.append(&mut self.early);
        Ok(())
    }

    // === Blocks ===

    fn open(&mut self, wire: u32, head: &RawValue, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        // Some imitations use an index again without closing it.
        self.close(wire, out);
        let place = || "/content_block".to_owned();
        let part = block::decode(head, &place)?;
        let mut late = Vec::new();
        let (block, growth) = match part.kind {
            PartKind::Text(text) => {
                late.push(Delta::Text(text));
                (Block::Text { extras: part.extras }, Growth::Plain)
            }
            PartKind::Thinking { text, signature } => {
                late.push(Delta::Text(text));
                late.extend(signature.filter(|signature| !signature.is_empty()).map(Delta::Signature));
                (Block::Thinking { extras: part.extras }, Growth::Plain)
            }
            PartKind::Redacted { data } => {
                if !part.extras.is_empty() {
                    late.push(Delta::Foreign { source: OWN, raw: object_of(&part.extras) });
                }
                (Block::Redacted { data }, Growth::Plain)
            }
            PartKind::ToolCall(call) => {
                let block = Block::ToolCall { id: call.id, name: call.name, custom: false, extras: part.extras };
                (block, Growth::Call { input: call.arguments })
            }
            _ => {
                let growth = Growth::Foreign { head: head.to_owned(), deltas: Vec::new() };
                self.open.push(OpenBlock { wire, index: 0, growth });
                return Ok(());
            }
        };
        let index = self.announce(block, out);
        late.retain(|delta| !matches!(delta, Delta::Text(text) if text.is_empty()));
        out.extend(late.into_iter().map(|delta| ChatEvent::Delta { index, delta }));
        self.open.push(OpenBlock { wire, index, growth });
        Ok(())
    }

    fn announce(&mut self, block: Block, out: &mut Vec<ChatEvent>) -> u32 {
        let index = self.next;
        self.next = index.saturating_add(1);
        out.push(ChatEvent::Open { index, choice: 0, block });
        index
    }

    fn delta(&mut self, event: EventWire<'_>, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let delta = event.delta.ok_or_else(|| unreadable("content_block_delta without delta"))?;
        let at = self.growing(event.index.unwrap_or(0), &delta, out)?;
        let Some(open) = self.open.get_mut(at) else { return Ok(()) };
        if let Growth::Foreign { deltas, .. } = &mut open.growth {
            deltas.extend(raw_delta(frame));
            return Ok(());
        }
        let index = open.index;
        match (delta.text, delta.thinking, delta.signature, delta.partial_json) {
            (Some(text), None, None, None) | (None, Some(text), None, None) => {
                out.push(ChatEvent::Delta { index, delta: Delta::Text(text) });
            }
            (None, None, Some(signature), None) => {
                out.push(ChatEvent::Delta { index, delta: Delta::Signature(signature) });
            }
            (None, None, None, Some(json)) => {
                if !json.is_empty() {
                    open.growth = Growth::Plain;
                    out.push(ChatEvent::Delta { index, delta: Delta::Arguments(json) });
                }
            }
            _ => self.odd_delta(index, &delta.extras, frame, out),
        }
        Ok(())
    }

    /// A citation grows the list of its text. Any other growth is passed on as the event it is.
    fn odd_delta(&mut self, index: u32, fields: &Extras, frame: &Frame, out: &mut Vec<ChatEvent>) {
        if let Some(citation) = fields.find("citation") {
            let raw = json::raw(format!(r#"{{"citations":[{}]}}"#, citation.get()));
            out.push(ChatEvent::Delta { index, delta: Delta::Foreign { source: OWN, raw } });
        } else {
            self.foreign("content_block_delta", frame, out);
        }
    }

    /// Where the block stands that a delta is for. Imitations leave out the start of a text.
    fn growing(&mut self, wire: u32, delta: &DeltaWire<'_>, out: &mut Vec<ChatEvent>) -> Result<usize, Box<Failure>> {
        if let Some(at) = self.open.iter().position(|open| open.wire == wire) {
            return Ok(at);
        }
        let extras = Extras::default();
        let block = match delta {
            DeltaWire { text: Some(_), .. } => Block::Text { extras },
            DeltaWire { thinking: Some(_), .. } => Block::Thinking { extras },
            _ => return Err(unreadable(&format!("a delta for block {wire}, which is not open"))),
        };
        let index = self.announce(block, out);
        self.open.push(OpenBlock { wire, index, growth: Growth::Plain });
        Ok(self.open.len().saturating_sub(1))
    }

    fn close(&mut self, wire: u32, out: &mut Vec<ChatEvent>) {
        let Some(at) = self.open.iter().position(|open| open.wire == wire) else { return };
        let open = self.open.remove(at);
        let index = match open.growth {
            Growth::Plain => open.index,
            Growth::Call { input } => {
                out.push(ChatEvent::Delta { index: open.index, delta: Delta::Arguments(input) });
                open.index
            }
            Growth::Foreign { head, deltas } => {
                let raw = if deltas.is_empty() { head } else { grown(&head, &deltas) };
                self.announce(Block::Foreign { source: OWN, raw }, out)
            }
        };
        out.push(ChatEvent::Close { index });
    }

    // === The message ===

    fn message_delta(&mut self, event: EventWire<'_>) {
        if let Some(usage) = event.usage {
            self.usage = Some(match &self.usage {
                Some(earlier) => usage::merge(earlier, usage),
                None => usage.to_owned(),
            });
        }
        if let Some(mut delta) = event.delta {
            delta.extras.remove("stop_reason");
            delta.extras.remove("stop_sequence");
            if delta.stop_reason.is_some() {
                let finish = decode_finish(delta.stop_reason, delta.stop_sequence);
                self.finish = Some((finish, delta.extras));
            }
        }
        self.stop_extras = event.extras;
    }

    fn stop(&mut self, out: &mut Vec<ChatEvent>) {
        while let Some(open) = self.open.first() {
            let wire = open.wire;
            self.close(wire, out);
        }
        let (finish, extras) = self.finish.take().unwrap_or_default();
        out.push(ChatEvent::End { choice: 0, finish, extras });
        let usage = self.usage.as_deref().and_then(usage::decode);
        out.push(ChatEvent::Stop { usage, extras: std::mem::take(&mut self.stop_extras) });
        self.done = true;
    }

    fn foreign(&mut self, kind: &str, frame: &Frame, out: &mut Vec<ChatEvent>) {
        let Ok(data) = serde_json::from_slice::<Raw>(&frame.data) else { return };
        let event = ChatEvent::Foreign { source: OWN, event: Some(Text::from_plain(kind)), data };
        if self.started { out.push(event) } else { self.early.push(event) }
    }
}

fn name_of(frame: &Frame) -> Option<std::borrow::Cow<'_, str>> {
    Some(String::from_utf8_lossy(frame.event.as_deref()?))
}

fn raw_delta(frame: &Frame) -> Option<Raw> {
    serde_json::from_slice::<RawDelta<'_>>(&frame.data).ok().map(|event| event.delta.to_owned())
}

fn unreadable(message: &str) -> Box<Failure> {
    Box::new(Failure::new(FailureKind::Unreadable, message))
}
