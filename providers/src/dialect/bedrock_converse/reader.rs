//! Converse's stream events to canonical events.
//!
//! Wire facts (service model, recorded traffic): a block of text or reasoning begins with its first growth, only other blocks have
//! a start; `messageStop` says why it stopped, and `metadata`, which comes last, what it cost; every event is padded (`p`).

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::answer::{self, is_answer};
use super::block::CITATIONS;
use super::reply::{MODEL_FIELDS, decode_finish, remember};
use super::wire::{
    EventWire, InputWire, OWN, ReasoningWire, ToolUseWire, fields_of, member, object_of, overlay, read, written,
};
use super::{error, usage};
use crate::chat::{Extras, Raw, SPELLING};
use crate::dialect::Frame;
use crate::event::{Block, ChatEvent, Delta, PADDING, Start};
use crate::eventstream::EXCEPTION;
use crate::failure::{Failure, FailureKind};
use crate::json::{self, Array, Object};
use crate::reply::Usage;
use crate::{EventReader, Malformed, Text, seal};

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    done: bool,
    /// The index of the next canonical block.
    next: u32,
    /// By their indexes on the wire.
    open: BTreeMap<u32, OpenBlock>,
    /// Was there a call that the caller is to answer?
    asks: bool,
    /// `messageStop` was there.
    ended: bool,
    usage: Option<Usage>,
    stop_extras: Extras,
    was_metadata: bool,
}

/// A block between its beginning and its stop.
#[derive(Debug)]
struct OpenBlock {
    /// Its index in the canonical events.
    index: u32,
    kind: Kind,
}

/// What a block is, which decides what it may grow by.
#[derive(Debug)]
enum Kind {
    Text,
    Thinking,
    Redacted,
    Call,
    /// The call that is the answer: its arguments are text.
    Answer,
    /// A block only this dialect knows. It is collected, and emitted whole when it closes.
    Foreign(Foreign),
}

/// A foreign block in the making: the one member of its union, as far as it has come.
#[derive(Debug)]
struct Foreign {
    name: String,
    fields: Extras,
    /// JSON text of a call's input.
    input: Text,
    /// Pieces of a result.
    pieces: Vec<Raw>,
}

type Read<T> = Result<T, Box<Failure>>;

impl EventReader for Reader {
    fn read(&mut self, frame: &Frame, out: &mut Vec<ChatEvent>) -> Read<()> {
        let name = frame.event.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        if self.done {
            return Ok(());
        }
        if let Some(kind) = name.strip_prefix(EXCEPTION) {
            return Err(Box::new(error::decode_exception(kind, &frame.data)));
        }
        let wire = json::decode::<EventWire<'_>>(&frame.data);
        match name.as_ref() {
            "messageStart" => self.start(understood(wire)?, out),
            "contentBlockStart" => self.block_start(understood(wire)?, out),
            "contentBlockDelta" => self.block_delta(understood(wire)?, out),
            "contentBlockStop" => self.block_stop(understood(wire)?, out),
            "messageStop" => self.message_stop(understood(wire)?, out),
            "metadata" => self.metadata(understood(wire)?, out),
            "" => Err(unreadable("a stream event without a type")),
            _ => self.foreign(&name, &frame.data, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Read<()> {
        if self.done {
            return Ok(());
        }
        if !self.ended {
            return Err(Box::new(Failure::new(FailureKind::Broken, "the stream ended before messageStop")));
        }
        self.stop(out);
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Reader {
    fn start(&mut self, event: EventWire<'_>, out: &mut Vec<ChatEvent>) -> Read<()> {
        if self.started {
            return Err(unreadable("a second messageStart"));
        }
        self.begin(event.extras, event.padding, out);
        Ok(())
    }

    fn begin(&mut self, mut extras: Extras, padding: Option<Raw>, out: &mut Vec<ChatEvent>) {
        self.started = true;
        if let Some(padding) = padding {
            let mut spelling = Extras::default();
            spelling.push("p", padding);
            extras.push(SPELLING, object_of(&spelling));
        }
        let (id, model) = (Text::default(), Text::default());
        out.push(ChatEvent::Start(Start { source: OWN, id, model, created: None, usage: None, extras }));
    }

    /// What every event but the first has in common: there was a first one, and its padding goes before it.
    fn enter(&mut self, event: &mut EventWire<'_>, out: &mut Vec<ChatEvent>) -> Read<()> {
        if !self.started {
            return Err(unreadable("a stream that does not begin with messageStart"));
        }
        if let Some(padding) = event.padding.take() {
            let mut fields = Extras::default();
            fields.push("p", padding);
            let data = object_of(&fields);
            out.push(ChatEvent::Foreign { source: OWN, event: Some(PADDING.into()), data });
        }
        Ok(())
    }

    // === Blocks ===

    fn enter_block(&mut self, event: &mut EventWire<'_>, out: &mut Vec<ChatEvent>) -> Read<u32> {
        if self.ended {
            return Err(unreadable("more of a message after messageStop"));
        }
        self.enter(event, out)?;
        Ok(event.index.unwrap_or(0))
    }

    fn block_start(&mut self, mut event: EventWire<'_>, out: &mut Vec<ChatEvent>) -> Read<()> {
        let wire = self.enter_block(&mut event, out)?;
        // The index of a text that nobody closed is used again for the call behind it.
        self.close(wire, out);
        let start = event.start.ok_or_else(|| unreadable("contentBlockStart without start"))?;
        let Some((name, head)) = member(start) else { return Ok(()) };
        if name == "toolUse" {
            let head: ToolUseWire<'_> =
                read(head, &|| "/start/toolUse".to_owned()).map_err(|fault| not_understood(&fault))?;
            if head.kind.is_none() {
                self.open_call(wire, head, out);
                return Ok(());
            }
        }
        let kind = Kind::Foreign(Foreign::new(name, fields_of(head)));
        self.open.insert(wire, OpenBlock { index: 0, kind });
        Ok(())
    }

    fn open_call(&mut self, wire: u32, head: ToolUseWire<'_>, out: &mut Vec<ChatEvent>) {
        let name = head.name.unwrap_or_default();
        let (block, kind) = if is_answer(&name) {
            (Block::Text { extras: Extras::default() }, Kind::Answer)
        } else {
            self.asks = true;
            let id = head.id.unwrap_or_default();
            (Block::ToolCall { id, name, custom: false, extras: head.extras }, Kind::Call)
        };
        self.announce(wire, block, kind, out);
    }

    fn announce(&mut self, wire: u32, block: Block, kind: Kind, out: &mut Vec<ChatEvent>) -> u32 {
        let index = self.next;
        self.next = index.saturating_add(1);
        out.push(ChatEvent::Open { index, choice: 0, block });
        self.open.insert(wire, OpenBlock { index, kind });
        index
    }

    fn block_delta(&mut self, mut event: EventWire<'_>, out: &mut Vec<ChatEvent>) -> Read<()> {
        let wire = self.enter_block(&mut event, out)?;
        let delta = event.delta.ok_or_else(|| unreadable("contentBlockDelta without delta"))?;
        let Some((name, growth)) = member(delta) else { return Ok(()) };
        match name {
            "text" => {
                let text = Text::from_raw(growth).ok_or_else(|| unreadable("a delta of text that is no string"))?;
                self.grow(wire, |kind| matches!(kind, Kind::Text), (plain_text, Kind::Text), Delta::Text(text), out);
            }
            "toolUse" => self.arguments(wire, growth, out)?,
            "reasoningContent" => self.reason(wire, growth, out)?,
            "citation" => {
                let raw = json::raw(format!(r#"{{"{CITATIONS}":[{}]}}"#, growth.get()));
                let cited = Delta::Foreign { source: OWN, raw };
                self.grow(wire, |kind| matches!(kind, Kind::Text), (plain_text, Kind::Text), cited, out);
            }
            _ => self.collect(wire, name, growth, out),
        }
        Ok(())
    }

    /// Growth of a block that has no start: where it is not open, or is something else, it begins here.
    fn grow(
        &mut self,
        wire: u32,
        fits: fn(&Kind) -> bool,
        (block, kind): (fn() -> Block, Kind),
        delta: Delta,
        out: &mut Vec<ChatEvent>,
    ) {
        let index = if let Some(open) = self.open.get(&wire).filter(|open| fits(&open.kind)) {
            open.index
        } else {
            self.close(wire, out);
            self.announce(wire, block(), kind, out)
        };
        out.push(ChatEvent::Delta { index, delta });
    }

    fn arguments(&mut self, wire: u32, growth: &RawValue, out: &mut Vec<ChatEvent>) -> Read<()> {
        let input: InputWire<'_> =
            read(growth, &|| "/delta/toolUse".to_owned()).map_err(|fault| not_understood(&fault))?;
        let input = input.input.unwrap_or_default();
        let Some(open) = self.open.get_mut(&wire) else {
            return Err(unreadable(&format!("arguments of call {wire}, which has not begun")));
        };
        let index = open.index;
        match &mut open.kind {
            Kind::Call => out.push(ChatEvent::Delta { index, delta: Delta::Arguments(input) }),
            Kind::Answer => {
                // A piece of JSON text is what the text of the answer grows by.
                out.push(ChatEvent::Delta { index, delta: Delta::Text(input) });
            }
            Kind::Foreign(foreign) => foreign.input.push(&input),
            Kind::Text | Kind::Thinking | Kind::Redacted => {
                return Err(unreadable(&format!("arguments of block {wire}, which is no call")));
            }
        }
        Ok(())
    }

    fn reason(&mut self, wire: u32, growth: &RawValue, out: &mut Vec<ChatEvent>) -> Read<()> {
        let place = || "/delta/reasoningContent".to_owned();
        let growth: ReasoningWire<'_> = read(growth, &place).map_err(|fault| not_understood(&fault))?;
        let fits = |kind: &Kind| matches!(kind, Kind::Thinking);
        if let Some(blob) = growth.redacted {
            self.close(wire, out);
            self.announce(wire, Block::Redacted { data: seal::from_blob(blob) }, Kind::Redacted, out);
        }
        for delta in growth.text.map(Delta::Text).into_iter().chain(growth.signature.map(Delta::Signature)) {
            self.grow(wire, fits, (thinking, Kind::Thinking), delta, out);
        }
        Ok(())
    }

    fn collect(&mut self, wire: u32, name: &str, growth: &RawValue, out: &mut Vec<ChatEvent>) {
        let known = self.open.get(&wire).is_some_and(|open| matches!(open.kind, Kind::Foreign(_)));
        if !known {
            self.close(wire, out);
            let kind = Kind::Foreign(Foreign::new(name, Extras::default()));
            self.open.insert(wire, OpenBlock { index: 0, kind });
        }
        if let Some(OpenBlock { kind: Kind::Foreign(foreign), .. }) = self.open.get_mut(&wire) {
            foreign.grow(growth);
        }
    }

    fn block_stop(&mut self, mut event: EventWire<'_>, out: &mut Vec<ChatEvent>) -> Read<()> {
        self.enter(&mut event, out)?;
        self.close(event.index.unwrap_or(0), out);
        Ok(())
    }

    fn close(&mut self, wire: u32, out: &mut Vec<ChatEvent>) {
        let Some(OpenBlock { index, kind }) = self.open.remove(&wire) else { return };
        let index = match kind {
            Kind::Foreign(foreign) => {
                let index = self.next;
                self.next = index.saturating_add(1);
                let block = Block::Foreign { source: OWN, raw: foreign.whole() };
                out.push(ChatEvent::Open { index, choice: 0, block });
                index
            }
            _ => index,
        };
        out.push(ChatEvent::Close { index });
    }

    // === The message ===

    fn message_stop(&mut self, mut event: EventWire<'_>, out: &mut Vec<ChatEvent>) -> Read<()> {
        self.enter(&mut event, out)?;
        if self.ended {
            return Err(unreadable("a second messageStop"));
        }
        while let Some((wire, _)) = self.open.first_key_value() {
            self.close(*wire, out);
        }
        let mut finish = decode_finish(event.stop_reason, event.extras.find(MODEL_FIELDS));
        answer::settle(&mut finish, self.asks || self.next == 0);
        self.ended = true;
        out.push(ChatEvent::End { choice: 0, finish, extras: event.extras });
        if self.was_metadata {
            self.stop(out);
        }
        Ok(())
    }

    fn metadata(&mut self, mut event: EventWire<'_>, out: &mut Vec<ChatEvent>) -> Read<()> {
        self.enter(&mut event, out)?;
        self.was_metadata = true;
        self.usage = event.usage.and_then(usage::decode);
        self.stop_extras = event.extras;
        remember(&mut self.stop_extras, event.metrics);
        if self.ended {
            self.stop(out);
        }
        Ok(())
    }

    fn stop(&mut self, out: &mut Vec<ChatEvent>) {
        out.push(ChatEvent::Stop { usage: self.usage.take(), extras: std::mem::take(&mut self.stop_extras) });
        self.done = true;
    }

    /// An event that this crate does not know is passed on, if it is JSON.
    fn foreign(&mut self, name: &str, data: &[u8], out: &mut Vec<ChatEvent>) -> Read<()> {
        let data = serde_json::from_slice::<Raw>(data).map_err(|_| unreadable(&format!("{name} is not JSON")))?;
        if !self.started {
            self.begin(Extras::default(), None, out);
        }
        out.push(ChatEvent::Foreign { source: OWN, event: Some(Text::from_plain(name)), data });
        Ok(())
    }
}

// === impl Foreign ===

impl Foreign {
    fn new(name: &str, fields: Extras) -> Self {
        Self { name: name.to_owned(), fields, input: Text::default(), pieces: Vec::new() }
    }

    /// Lists are pieces of a content, objects are fields.
    fn grow(&mut self, growth: &RawValue) {
        match json::decode::<Vec<&RawValue>>(growth.get().as_bytes()) {
            Ok(pieces) => self.pieces.extend(pieces.into_iter().map(RawValue::to_owned)),
            Err(_) => overlay(&mut self.fields, &fields_of(growth)),
        }
    }

    /// The block as it stands in a whole reply.
    fn whole(mut self) -> Raw {
        if let Ok(input) = serde_json::from_str::<&RawValue>(&self.input.to_plain()) {
            self.fields.push("input", input.to_owned());
        }
        if !self.pieces.is_empty() {
            let mut content = Vec::new();
            let mut array = Array::new(&mut content);
            self.pieces.iter().for_each(|piece| {
                array.raw(piece.get());
            });
            array.end();
            self.fields.push("content", written(content));
        }
        let mut out = Vec::new();
        let mut union = Object::new(&mut out);
        union.raw(&self.name, object_of(&self.fields).get());
        union.end();
        written(out)
    }
}

fn plain_text() -> Block {
    Block::Text { extras: Extras::default() }
}

fn thinking() -> Block {
    Block::Thinking { extras: Extras::default() }
}

fn understood(wire: Result<EventWire<'_>, Malformed>) -> Read<EventWire<'_>> {
    wire.map_err(|fault| not_understood(&fault))
}

fn not_understood(fault: &Malformed) -> Box<Failure> {
    unreadable(&format!("stream event not understood: {fault}"))
}

fn unreadable(message: &str) -> Box<Failure> {
    Box::new(Failure::new(FailureKind::Unreadable, message))
}
