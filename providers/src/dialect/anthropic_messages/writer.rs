//! Canonical events to Anthropic's stream events.
//!
//! The full lifecycle, as official clients' accumulators want it: `message_start`, then for each block `content_block_start`,
//! `_delta`s and `content_block_stop` with indexes that count up, `message_delta`, `message_stop`. Blocks may interleave in
//! the canonical events and must not on this wire: a block that opens while another is open waits, and nothing of it is lost.

use std::collections::VecDeque;

use serde_json::value::RawValue;

use super::block::{CITED_WITHIN, SIGNATURE_OVER_THINKING_ONLY};
use super::reply::{Held, encode_finish, write_head};
use super::wire::{Crossing, NO_COUNTERPART, OWN, fields_of, pointer_key};
use super::{error, usage};
use crate::chat::Extras;
use crate::dialect::Problem;
use crate::event::{Block, ChatEvent, Delta, MESSAGE_FIELDS, PADDING, Start};
use crate::json::Object;
use crate::reply::{Finish, Usage};
use crate::{EventWriter, Losses, Text};

/// Writes one stream.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// The reply comes from this dialect, so its extras go back.
    native: bool,
    /// Index of the next block on the wire.
    next: u32,
    /// The block that is open on the wire.
    live: Option<Live>,
    /// Blocks that opened behind it, in the order of their opening, which is that of their indexes.
    waiting: VecDeque<Waiting>,
    /// Blocks that cannot be said here.
    hidden: Vec<u32>,
    held: Held,
    end: Option<(Finish, Extras)>,
    losses: Losses,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    index: u32,
    wire: u32,
    kind: Kind,
}

/// What decides how a block's deltas are spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call,
    /// Free text, which becomes the one string of an object.
    CustomCall,
    Whole,
}

#[derive(Debug)]
struct Waiting {
    index: u32,
    block: Block,
    deltas: Vec<Delta>,
    closed: bool,
}

impl EventWriter for Writer {
    fn write(&mut self, event: &ChatEvent, _annex: Option<&str>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Delta { index, delta } => self.delta(*index, delta, out),
            ChatEvent::Start(start) => self.start(start, out),
            ChatEvent::Open { index, choice, block } => self.open(*index, *choice, block, out),
            ChatEvent::Close { index } => self.close(*index, out),
            ChatEvent::End { choice: 0, finish, extras } => self.end = Some((finish.clone(), extras.clone())),
            ChatEvent::End { .. } => {}
            ChatEvent::Cited { choice, .. } => self.losses.push(format!("/choices/{choice}/citations"), CITED_WITHIN),
            ChatEvent::Foreign { source, event, data } => self.foreign(*source == OWN, event.as_ref(), data, out),
            ChatEvent::Stop { usage, extras } => self.stop(usage.as_ref(), extras, out),
        }
    }

    fn fail(&mut self, problem: &Problem, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: error\ndata: ");
        out.extend_from_slice(&error::encode(problem));
        out.extend_from_slice(b"\n\n");
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

impl Writer {
    fn start(&mut self, start: &Start, out: &mut Vec<u8>) {
        self.native = start.source == OWN;
        frame(out, "message_start", |event| {
            let mut message = Object::new(event.key("message"));
            write_head(&mut message, &start.id, &start.model);
            message.raw("content", "[]").null("stop_reason").null("stop_sequence");
            usage::encode(start.usage.as_ref(), message.key("usage"));
            self.crossing().extras(&mut message, &start.extras, &String::new);
            message.end();
        });
    }

    fn crossing(&mut self) -> Crossing<'_> {
        Crossing { native: self.native, losses: &mut self.losses }
    }

    // === Blocks ===

    fn open(&mut self, index: u32, choice: u32, block: &Block, out: &mut Vec<u8>) {
        if choice != 0 {
            self.losses.push(format!("/choices/{choice}"), "anthropic_messages has one choice");
            self.hidden.push(index);
        } else if matches!(block, Block::Foreign { source, .. } if *source != OWN) {
            self.losses.push(format!("/choices/{choice}/message/content/{index}"), NO_COUNTERPART);
            self.hidden.push(index);
        } else if self.live.is_some() {
            self.waiting.push_back(Waiting { index, block: block.clone(), deltas: Vec::new(), closed: false });
        } else {
            self.begin(index, block, out);
        }
    }

    fn begin(&mut self, index: u32, block: &Block, out: &mut Vec<u8>) {
        let wire = self.next;
        self.next = wire.saturating_add(1);
        let kind = kind_of(block);
        self.held.call |= matches!(kind, Kind::Call | Kind::CustomCall);
        self.held.refusal |= matches!(block, Block::Refusal);
        self.live = Some(Live { index, wire, kind });
        let mut crossing = Crossing { native: self.native, losses: &mut self.losses };
        frame(out, "content_block_start", |event| {
            event.number("index", u64::from(wire));
            write_block(block, index, &mut crossing, event.key("content_block"));
        });
        if kind == Kind::CustomCall {
            delta_frame(out, wire, "input_json_delta", "partial_json", r#"{\"_raw_arguments\":\""#);
        }
    }

    fn delta(&mut self, index: u32, delta: &Delta, out: &mut Vec<u8>) {
        match self.live {
            Some(live) if live.index == index => self.grow(live, delta, out),
            _ => {
                if let Some(block) = self.waiting_at(index) {
                    block.deltas.push(delta.clone());
                }
            }
        }
    }

    fn waiting_at(&mut self, index: u32) -> Option<&mut Waiting> {
        let at = self.waiting.binary_search_by_key(&index, |block| block.index).ok()?;
        self.waiting.get_mut(at)
    }

    fn grow(&mut self, live: Live, delta: &Delta, out: &mut Vec<u8>) {
        match (delta, live.kind) {
            (Delta::Text(text), Kind::Thinking) => {
                delta_frame(out, live.wire, "thinking_delta", "thinking", text.as_escaped());
            }
            (Delta::Text(text), _) => delta_frame(out, live.wire, "text_delta", "text", text.as_escaped()),
            (Delta::Arguments(json), Kind::CustomCall) => {
                // The text is escaped for the string it becomes, and once more for the string that carries it.
                let twice = Text::from_plain(json.as_escaped());
                delta_frame(out, live.wire, "input_json_delta", "partial_json", twice.as_escaped());
            }
            (Delta::Arguments(json), _) => {
                delta_frame(out, live.wire, "input_json_delta", "partial_json", json.as_escaped());
            }
            (Delta::Signature(signature), Kind::Thinking) => {
                delta_frame(out, live.wire, "signature_delta", "signature", signature.as_escaped());
            }
            (Delta::Signature(_), _) => {
                let place = format!("/choices/0/message/content/{}", live.index);
                self.losses.push(place, SIGNATURE_OVER_THINKING_ONLY);
            }
            (Delta::Foreign { source: OWN, raw }, _) => citations(live.wire, raw, out),
            (Delta::Foreign { raw, .. }, _) => {
                let place = format!("/choices/0/message/content/{}", live.index);
                self.crossing().lose_extras(&fields_of(raw), &|| place.clone());
            }
            (Delta::Logprobs(_), _) => self.losses.push("/choices/0/logprobs", NO_COUNTERPART),
        }
    }

    fn close(&mut self, index: u32, out: &mut Vec<u8>) {
        match self.live {
            Some(live) if live.index == index => self.end_live(live, out),
            _ => {
                if let Some(block) = self.waiting_at(index) {
                    block.closed = true;
                }
            }
        }
    }

    /// Ends the open block, and lets those that waited follow: whole ones whole, the first unfinished one stays open.
    fn end_live(&mut self, live: Live, out: &mut Vec<u8>) {
        let mut ending = Some(live);
        while let Some(live) = ending.take() {
            if live.kind == Kind::CustomCall {
                delta_frame(out, live.wire, "input_json_delta", "partial_json", r#"\"}"#);
            }
            frame(out, "content_block_stop", |event| {
                event.number("index", u64::from(live.wire));
            });
            self.live = None;
            let Some(block) = self.waiting.pop_front() else { return };
            self.begin(block.index, &block.block, out);
            for delta in &block.deltas {
                self.delta(block.index, delta, out);
            }
            ending = self.live.filter(|_| block.closed);
        }
    }

    // === The message ===

    /// Events of this dialect go back as they were. Fields that another dialect's message has beside its parts are losses.
    fn foreign(&mut self, own: bool, name: Option<&Text>, data: &RawValue, out: &mut Vec<u8>) {
        let of_message = name.is_some_and(|name| name.as_escaped() == MESSAGE_FIELDS);
        match name.filter(|_| !of_message) {
            Some(name) if own => {
                out.extend_from_slice(b"event: ");
                out.extend_from_slice(name.to_plain().as_bytes());
                out.extend_from_slice(b"\ndata: ");
                out.extend_from_slice(data.get().as_bytes());
                out.extend_from_slice(b"\n\n");
            }
            Some(name) if name.as_escaped() == PADDING => {}
            Some(name) => self.crossing().lose(format!("/{}", pointer_key(&name.to_plain()))),
            None if of_message => {
                let fields = fields_of(data).remove("delta").map(|delta| fields_of(&delta)).unwrap_or_default();
                self.crossing().lose_extras(&fields, &|| "/choices/0/message".to_owned());
            }
            None => self.crossing().lose_extras(&fields_of(data), &String::new),
        }
    }

    fn stop(&mut self, total: Option<&Usage>, extras: &Extras, out: &mut Vec<u8>) {
        while let Some(live) = self.live {
            self.end_live(live, out);
        }
        let (finish, end_extras) = self.end.take().unwrap_or_default();
        let held = self.held;
        let mut crossing = Crossing { native: self.native, losses: &mut self.losses };
        frame(out, "message_delta", |event| {
            let mut delta = Object::new(event.key("delta"));
            encode_finish(&finish, held, &mut crossing, &mut delta);
            crossing.extras(&mut delta, &end_extras, &|| "/choices/0".to_owned());
            delta.end();
            usage::encode(total, event.key("usage"));
            crossing.extras(event, extras, &String::new);
        });
        frame(out, "message_stop", |_| {});
    }
}

fn kind_of(block: &Block) -> Kind {
    match block {
        Block::Text { .. } | Block::Refusal => Kind::Text,
        Block::Thinking { .. } => Kind::Thinking,
        Block::ToolCall { custom: true, .. } => Kind::CustomCall,
        Block::ToolCall { .. } => Kind::Call,
        Block::Redacted { .. } | Block::Foreign { .. } => Kind::Whole,
    }
}

fn write_block(block: &Block, index: u32, crossing: &mut Crossing<'_>, out: &mut Vec<u8>) {
    if let Block::Foreign { raw, .. } = block {
        return out.extend_from_slice(raw.get().as_bytes());
    }
    let place = || format!("/choices/0/message/content/{index}");
    let mut object = Object::new(out);
    match block {
        Block::Text { extras } => {
            object.str("type", "text").str("text", "");
            crossing.extras(&mut object, extras, &place);
        }
        Block::Thinking { extras } => {
            object.str("type", "thinking").str("thinking", "").str("signature", "");
            crossing.extras(&mut object, extras, &place);
        }
        Block::Redacted { data } => {
            object.str("type", "redacted_thinking").text("data", data);
        }
        Block::ToolCall { id, name, extras, .. } => {
            object.str("type", "tool_use").text("id", id).text("name", name).raw("input", "{}");
            crossing.extras(&mut object, extras, &place);
        }
        Block::Refusal | Block::Foreign { .. } => {
            object.str("type", "text").str("text", "");
        }
    }
    object.end();
}

/// One event for each citation: growth of a text is a list on the canonical side and an element on this one.
fn citations(wire: u32, growth: &RawValue, out: &mut Vec<u8>) {
    let fields = fields_of(growth);
    let list = fields.find("citations").map(RawValue::get).unwrap_or_default();
    for citation in serde_json::from_str::<Vec<&RawValue>>(list).unwrap_or_default() {
        frame(out, "content_block_delta", |event| {
            event.number("index", u64::from(wire));
            let mut delta = Object::new(event.key("delta"));
            delta.str("type", "citations_delta").raw("citation", citation.get());
            delta.end();
        });
    }
}

/// One event: its name on the `event:` line and, as `type`, in the data.
fn frame(out: &mut Vec<u8>, name: &str, fields: impl FnOnce(&mut Object<'_>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let mut event = Object::new(out);
    event.str("type", name);
    fields(&mut event);
    event.end();
    out.extend_from_slice(b"\n\n");
}

/// The hot path: one growth of a block, its text already in escapes.
fn delta_frame(out: &mut Vec<u8>, wire: u32, kind: &str, key: &str, escaped: &str) {
    let mut digits = itoa::Buffer::new();
    for piece in [
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":",
        digits.format(wire),
        ",\"delta\":{\"type\":\"",
        kind,
        "\",\"",
        key,
        "\":\"",
        escaped,
        "\"}}\n\n",
    ] {
        out.extend_from_slice(piece.as_bytes());
    }
}
