//! Canonical events to Converse's stream, in AWS's binary framing.
//!
//! A block of text or reasoning is announced by its first growth; any other has a start. Every event says whose it is, but blocks
//! never interleave: clients put one together at a time, as Amazon's own examples do
//! (<https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-examples.html>).

use serde_json::value::RawValue;

use super::block::{CITATIONS, CITED_WITHIN, SIGNATURE_OVER_REASONING_ONLY};
use super::reply::{Held, METRICS, MODEL_FIELDS, encode_finish, lose_end, metrics_of, stop_fields};
use super::wire::{Crossing, NO_COUNTERPART, OWN, fields_of, member, overlay, pointer_key};
use super::{error, usage};
use crate::chat::{Extras, SPELLING};
use crate::dialect::Problem;
use crate::dialect::ending;
use crate::dialect::raw::RAW_ARGUMENTS;
use crate::event::{Block, ChatEvent, Delta, Line, MESSAGE_FIELDS, PADDING, Start};
use crate::eventstream::{write_event, write_exception};
use crate::json::{Object, write_text};
use crate::reply::{Finish, Usage};
use crate::{Dialect, EventWriter, Losses, Text, seal};

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    source: Dialect,
    line: Line,
    /// The block that is open.
    live: Option<Open>,
    /// The index of the next block on the wire.
    next: u32,
    held: Held,
    /// Was it said why it stopped?
    ended: bool,
    /// Fields of the reply that a whole one brought at its beginning, and that are said at the end.
    late: Extras,
    /// Pads the next event.
    padding: Extras,
    losses: Losses,
}

/// A block that is open.
#[derive(Debug)]
struct Open {
    /// `None`: hidden, because it cannot be said.
    wire: Option<u32>,
    kind: Kind,
    /// Was anything said of it, so that its end must be?
    said: bool,
    /// Is it signed?
    signed: bool,
    /// Citations that a whole text brought: they follow it.
    citations: Extras,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Call,
    /// Free text, which becomes the one string of an object.
    CustomCall,
    Whole,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            source: OWN,
            line: Line::default(),
            live: None,
            next: 0,
            held: Held::default(),
            ended: false,
            late: Extras::default(),
            padding: Extras::default(),
            losses: Losses::default(),
        }
    }
}

impl EventWriter for Writer {
    fn write(&mut self, event: &ChatEvent, annex: Option<&str>, out: &mut Vec<u8>) {
        let mut line = std::mem::take(&mut self.line);
        if matches!(event, ChatEvent::End { choice: 0, .. } | ChatEvent::Stop { .. }) {
            line.end(|event| self.say(event, annex, out));
        }
        line.pass(event, |event| self.say(event, annex, out));
        self.line = line;
    }

    fn fail(&mut self, problem: &Problem, out: &mut Vec<u8>) {
        let (name, payload) = error::encode_exception(problem);
        write_exception(out, name, &payload);
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

impl Writer {
    fn say(&mut self, event: &ChatEvent, annex: Option<&str>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Delta { index, delta } => self.delta(*index, delta, out),
            ChatEvent::Start(start) => self.start(start, out),
            ChatEvent::Open { index, choice, block } => self.open(*index, *choice, block, out),
            ChatEvent::Close { .. } => self.close(out),
            ChatEvent::End { choice: 0, finish, extras } => self.end(finish, extras, out),
            ChatEvent::End { .. } => {}
            ChatEvent::Cited { choice, .. } => self.losses.push(format!("/choices/{choice}/citations"), CITED_WITHIN),
            ChatEvent::Foreign { source, event, data } => self.foreign(*source == OWN, event.as_ref(), data, out),
            ChatEvent::Stop { usage, extras } => self.stop(usage.as_ref(), extras, annex, out),
        }
    }

    fn is_native(&self) -> bool {
        self.source == OWN
    }

    fn crossing(&mut self) -> Crossing<'_> {
        Crossing::to_client(self.source, &mut self.losses)
    }

    /// One event, with the padding that is due.
    fn event(&mut self, name: &str, out: &mut Vec<u8>, fields: impl FnOnce(&mut Object<'_>)) {
        let mut payload = Vec::with_capacity(128);
        let mut object = Object::new(&mut payload);
        fields(&mut object);
        object.extras(&std::mem::take(&mut self.padding));
        object.end();
        write_event(out, name, &payload);
    }

    fn start(&mut self, start: &Start, out: &mut Vec<u8>) {
        self.source = start.source;
        let mut late = start.extras.clone();
        if self.is_native() {
            if let Some(padding) = late.find(SPELLING).and_then(|spelling| fields_of(spelling).remove("p")) {
                self.padding.push("p", padding);
            }
        } else {
            self.crossing().lose_extras(&late, &String::new);
            late = Extras::default();
        }
        self.late = late;
        self.event("messageStart", out, |event| {
            event.str("role", "assistant");
        });
    }

    // === Blocks ===

    fn open(&mut self, index: u32, choice: u32, block: &Block, out: &mut Vec<u8>) {
        let obstacle = match block {
            _ if choice != 0 => Some((format!("/choices/{choice}"), "bedrock_converse has one choice")),
            Block::Foreign { source, .. } if *source != OWN => Some((place(index), NO_COUNTERPART)),
            _ => None,
        };
        let mut open =
            Open { wire: None, kind: kind_of(block), said: false, signed: false, citations: Extras::default() };
        if let Some((place, reason)) = obstacle {
            self.losses.push(place, reason);
            self.live = Some(open);
            return;
        }
        let wire = self.next;
        self.next = wire.saturating_add(1);
        open.wire = Some(wire);
        self.held.call |= matches!(open.kind, Kind::Call | Kind::CustomCall);
        self.held.refusal |= matches!(block, Block::Refusal);
        open.said = self.begin(wire, index, block, &mut open.citations, out);
        self.live = Some(open);
    }

    /// Says what is known of a block from its beginning. True where that was anything.
    fn begin(&mut self, wire: u32, index: u32, block: &Block, citations: &mut Extras, out: &mut Vec<u8>) -> bool {
        match block {
            Block::Text { extras } | Block::Thinking { extras } => {
                if self.is_native() {
                    *citations = extras.clone();
                } else {
                    self.crossing().lose_extras(extras, &|| place(index));
                }
                false
            }
            Block::Refusal => false,
            Block::Redacted { data } => {
                let blob = seal::to_blob(data);
                self.growth(wire, out, |delta| {
                    let mut reasoning = Object::new(delta.key("reasoningContent"));
                    reasoning.text("redactedContent", &blob);
                    reasoning.end();
                });
                true
            }
            Block::ToolCall { id, name, custom, extras } => {
                self.begin_call(wire, (id, name), extras, &place(index), out);
                if *custom {
                    self.arguments(wire, &Text::from_plain(&format!("{{\"{RAW_ARGUMENTS}\":\"")), out);
                }
                true
            }
            Block::Foreign { raw, .. } => {
                self.whole(wire, raw, out);
                true
            }
        }
    }

    fn begin_call(&mut self, wire: u32, (id, name): (&Text, &Text), extras: &Extras, place: &str, out: &mut Vec<u8>) {
        if !self.is_native() {
            self.crossing().lose_extras(extras, &|| place.to_owned());
        }
        let own = if self.is_native() { extras.clone() } else { Extras::default() };
        self.beginning(wire, out, |start| {
            let mut call = Object::new(start.key("toolUse"));
            call.text("toolUseId", id).text("name", name).extras(&own);
            call.end();
        });
    }

    /// A block that came whole: its start has all but what grows.
    fn whole(&mut self, wire: u32, raw: &RawValue, out: &mut Vec<u8>) {
        let Some((name, value)) = member(raw) else { return };
        let mut fields = fields_of(value);
        match name {
            "toolUse" => {
                let input = fields.remove("input");
                self.beginning(wire, out, |start| write_member(start, name, &fields));
                if let Some(input) = input {
                    self.arguments(wire, &Text::from_plain(input.get()), out);
                }
            }
            "toolResult" => {
                let content = fields.remove("content");
                self.beginning(wire, out, |start| write_member(start, name, &fields));
                if let Some(content) = content {
                    self.growth(wire, out, |delta| {
                        delta.raw(name, content.get());
                    });
                }
            }
            "image" => {
                let mut head = Extras::default();
                if let Some(format) = fields.remove("format") {
                    head.push("format", format);
                }
                self.beginning(wire, out, |start| write_member(start, name, &head));
                self.growth(wire, out, |delta| write_member(delta, name, &fields));
            }
            _ => self.growth(wire, out, |delta| {
                delta.raw(name, value.get());
            }),
        }
    }

    fn beginning(&mut self, wire: u32, out: &mut Vec<u8>, start: impl FnOnce(&mut Object<'_>)) {
        self.event("contentBlockStart", out, |event| {
            let mut object = Object::new(event.key("start"));
            start(&mut object);
            object.end();
            event.number("contentBlockIndex", u64::from(wire));
        });
    }

    fn growth(&mut self, wire: u32, out: &mut Vec<u8>, delta: impl FnOnce(&mut Object<'_>)) {
        self.event("contentBlockDelta", out, |event| {
            let mut object = Object::new(event.key("delta"));
            delta(&mut object);
            object.end();
            event.number("contentBlockIndex", u64::from(wire));
        });
    }

    fn arguments(&mut self, wire: u32, json: &Text, out: &mut Vec<u8>) {
        self.growth(wire, out, |delta| {
            let mut call = Object::new(delta.key("toolUse"));
            call.text("input", json);
            call.end();
        });
    }

    fn reasoning(&mut self, wire: u32, key: &str, text: &Text, out: &mut Vec<u8>) {
        self.growth(wire, out, |delta| {
            let mut reasoning = Object::new(delta.key("reasoningContent"));
            write_text(reasoning.key(key), text);
            reasoning.end();
        });
    }

    fn delta(&mut self, index: u32, delta: &Delta, out: &mut Vec<u8>) {
        let Some(open) = &mut self.live else { return };
        let Some(wire) = open.wire else { return };
        let kind = open.kind;
        open.signed |= matches!(delta, Delta::Signature(_));
        open.said |= matches!(delta, Delta::Text(_) | Delta::Arguments(_) | Delta::Signature(_));
        match (delta, kind) {
            (Delta::Text(text), Kind::Thinking) => self.reasoning(wire, "text", text, out),
            (Delta::Text(text), _) => self.growth(wire, out, |delta| {
                delta.text("text", text);
            }),
            // The text is escaped for the string it becomes, and once more for the string that carries it.
            (Delta::Arguments(json), Kind::CustomCall) => {
                self.arguments(wire, &Text::from_plain(json.as_escaped()), out);
            }
            (Delta::Arguments(json), _) => self.arguments(wire, json, out),
            (Delta::Signature(signature), Kind::Thinking) => self.reasoning(wire, "signature", signature, out),
            (Delta::Signature(_), _) => self.losses.push(place(index), SIGNATURE_OVER_REASONING_ONLY),
            (Delta::Foreign { source: OWN, raw }, _) => self.cite(wire, &fields_of(raw), out),
            (Delta::Foreign { raw, .. }, _) => {
                self.crossing().lose_extras(&fields_of(raw), &|| place(index));
            }
            (Delta::Logprobs(_), _) => self.losses.push("/choices/0/logprobs", NO_COUNTERPART),
        }
    }

    /// One event for each citation: growth of a text is a list on the canonical side and an element on this one.
    fn cite(&mut self, wire: u32, fields: &Extras, out: &mut Vec<u8>) {
        let list = fields.find(CITATIONS).map(RawValue::get).unwrap_or_default();
        for citation in serde_json::from_str::<Vec<&RawValue>>(list).unwrap_or_default() {
            self.growth(wire, out, |delta| {
                delta.raw("citation", citation.get());
            });
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let Some(open) = self.live.take() else { return };
        let Some(wire) = open.wire else { return };
        if open.kind == Kind::CustomCall {
            self.arguments(wire, &Text::from_plain("\"}"), out);
        }
        if open.kind == Kind::Thinking && open.said && !open.signed && !self.is_native() {
            self.reasoning(wire, "signature", &seal::nobodys(), out);
        }
        self.cite(wire, &open.citations, out);
        if open.said {
            self.event("contentBlockStop", out, |event| {
                event.number("contentBlockIndex", u64::from(wire));
            });
        }
    }

    // === The message ===

    /// Events of this dialect go back as they were. Fields that another dialect's message has beside its parts are losses.
    fn foreign(&mut self, own: bool, name: Option<&Text>, data: &RawValue, out: &mut Vec<u8>) {
        let fields = fields_of(data);
        match name.map(Text::as_escaped) {
            Some(PADDING) if own => self.padding = fields,
            Some(PADDING) => {}
            Some(MESSAGE_FIELDS) => {
                let fields = fields.find("delta").map(fields_of).unwrap_or_default();
                self.crossing().lose_extras(&fields, &|| "/choices/0/message".to_owned());
            }
            Some(name) if own => write_event(out, name, data.get().as_bytes()),
            Some(name) => self.crossing().lose(format!("/{}", pointer_key(name))),
            None => self.crossing().lose_extras(&fields, &String::new),
        }
    }

    fn end(&mut self, finish: &Finish, extras: &Extras, out: &mut Vec<u8>) {
        let (held, native) = (self.held, self.is_native());
        let mut fields = Extras::default();
        if native {
            fields = extras.clone();
            // A whole reply has them among its own.
            if let Some(given) = self.late.remove(MODEL_FIELDS) {
                fields.push(MODEL_FIELDS, given);
            }
        } else {
            self.crossing().lose_extras(extras, &|| "/choices/0".to_owned());
            lose_end(finish, &mut self.losses);
            if let Some(given) = stop_fields(finish) {
                fields.push(MODEL_FIELDS, given);
            }
        }
        self.event("messageStop", out, |event| {
            encode_finish(finish, held, native, event);
            event.extras(&fields);
        });
        self.ended = true;
    }

    fn stop(&mut self, total: Option<&Usage>, extras: &Extras, annex: Option<&str>, out: &mut Vec<u8>) {
        if !self.ended {
            self.end(&Finish::default(), &Extras::default(), out);
        }
        let mut late = std::mem::take(&mut self.late);
        if self.is_native() {
            overlay(&mut late, extras);
        } else {
            self.crossing().lose_extras(extras, &String::new);
        }
        ending::lose_counts(OWN, total, &[ending::REASONING], &mut self.losses);
        self.event("metadata", out, |event| {
            usage::encode(total, event.key("usage"));
            if let Some(metrics) = metrics_of(&late).as_deref().map(RawValue::get).or(annex) {
                event.raw(METRICS, metrics);
            }
            event.extras_except(&late, &[SPELLING]);
        });
    }
}

fn write_member(object: &mut Object<'_>, name: &str, fields: &Extras) {
    let mut member = Object::new(object.key(name));
    member.extras(fields);
    member.end();
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

fn place(index: u32) -> String {
    format!("/choices/0/message/content/{index}")
}
