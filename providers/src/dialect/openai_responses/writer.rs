//! Canonical events to stream events of this dialect.
//!
//! The full lifecycle, as official clients' accumulators want it: `response.created` and `in_progress`; each item `added`,
//! grown part by part and `done`; then the whole response once more. Sequence numbers, output indexes and the final output are
//! made here, whatever the events came from. An item that is several parts is done when its last part says so, or when
//! something else follows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::error::encode_event;
use super::item::{self, Goal, Item, Kind, is_sealed};
use super::parts::{Live, Slot};
use super::reply::{Ending, Outline, id_of, terminal};
use super::sibling;
use super::spelling::Mark;
use super::wire::{Crossing, OWN};
use crate::chat::{Extras, Part, PartKind, Raw, SPELLING};
use crate::dialect::Problem;
use crate::event::{Block, ChatEvent, Delta, Growing, MESSAGE_FIELDS, PADDING, Start};
use crate::json::{Array, Object, count, fields, pick, utf8};
use crate::reply::{Citation, Finish, Usage};
use crate::{Dialect, EventWriter, Losses, Text};

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    head: Start,
    pub(super) wire: Wire,
    /// The items of the output, in the order of their beginning.
    slots: Vec<Slot>,
    /// The message or reasoning that may be given more parts.
    current: Option<usize>,
    blocks: BTreeMap<u32, Live>,
    finish: Finish,
    losses: Losses,
}

/// Where events go: their numbers, and what pads the next of them.
#[derive(Debug, Default)]
pub(super) struct Wire {
    sequence: u64,
    padding: Extras,
}

impl Default for Writer {
    fn default() -> Self {
        let head = Start {
            source: OWN,
            id: Text::default(),
            model: Text::default(),
            created: None,
            usage: None,
            extras: Extras::default(),
        };
        Self {
            head,
            wire: Wire::default(),
            slots: Vec::new(),
            current: None,
            blocks: BTreeMap::new(),
            finish: Finish::default(),
            losses: Losses::default(),
        }
    }
}

impl EventWriter for Writer {
    fn write(&mut self, event: &ChatEvent, annex: Option<&str>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Delta { index, delta } => self.grow(*index, delta, out),
            ChatEvent::Start(start) => self.start(start, out),
            ChatEvent::Open { index, choice: 0, block } => self.open(*index, block, out),
            ChatEvent::Open { choice, .. } => {
                self.losses.push(format!("/choices/{choice}"), "openai_responses has one choice");
            }
            ChatEvent::Close { index } => self.close(*index, out),
            ChatEvent::Cited { choice: 0, citations } => self.cited(citations, out),
            ChatEvent::End { choice: 0, finish, extras } => {
                self.finish = finish.clone();
                self.crossing().lose_extras(extras, "/choices/0");
            }
            ChatEvent::End { .. } | ChatEvent::Cited { .. } => {}
            ChatEvent::Foreign { source, event, data } => self.foreign(*source, event.as_ref(), data, out),
            ChatEvent::Stop { usage, extras } => self.stop(usage.as_ref(), extras, annex, out),
        }
    }

    fn fail(&mut self, problem: &Problem, out: &mut Vec<u8>) {
        out.extend_from_slice(b"event: error\ndata: ");
        encode_event(out, problem, self.wire.sequence);
        out.extend_from_slice(b"\n\n");
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

impl Writer {
    /// Goes on behind an event of somebody else's. Without a number in it, its stream has none to go on with.
    pub(super) fn behind(latest: &[u8]) -> Self {
        let said = utf8(latest).and_then(|latest| pick(latest, ["sequence_number"]));
        let number = said.and_then(|[number]| count(number?));
        let sequence = number.map_or(0, |number| number.saturating_add(1));
        Self { wire: Wire { sequence, ..Wire::default() }, ..Self::default() }
    }

    fn crossing(&mut self) -> Crossing<'_> {
        Crossing { source: self.head.source, losses: &mut self.losses }
    }

    fn is_native(&self) -> bool {
        self.head.source == OWN
    }

    // === The response ===

    fn start(&mut self, start: &Start, out: &mut Vec<u8>) {
        self.head = Start { id: id_of(&start.id), ..start.clone() };
        for name in ["response.created", "response.in_progress"] {
            let mut response = Vec::new();
            let mut crossing = Crossing { source: self.head.source, losses: &mut self.losses };
            outline(&self.head, &self.head.extras).encode(&mut response, b"[]", None, &mut crossing);
            self.wire.frame(out, name, |event| event.key("response").extend_from_slice(&response));
        }
    }

    fn stop(&mut self, usage: Option<&Usage>, extras: &Extras, annex: Option<&str>, out: &mut Vec<u8>) {
        while let Some((index, _)) = self.blocks.first_key_value() {
            self.close(*index, out);
        }
        self.end_current(out);
        // The last word on the response is the provider's own; a reply in one piece has said it at the beginning.
        let extras = if extras.find(SPELLING).is_some() { extras } else { &self.merged(extras) };
        let mut output = Vec::new();
        let mut array = Array::new(&mut output);
        for done in self.slots.iter().filter_map(|slot| slot.done.as_ref()) {
            array.item().extend_from_slice(done);
        }
        array.end();
        let mut response = Vec::new();
        let ending = Ending { finish: &self.finish, usage, annex };
        let mut crossing = Crossing { source: self.head.source, losses: &mut self.losses };
        outline(&self.head, extras).encode(&mut response, &output, Some(ending), &mut crossing);
        let echo = fields(extras.find(SPELLING));
        let name = terminal(&self.finish, echo.find("status"));
        self.wire.frame(out, name, |event| event.key("response").extend_from_slice(&response));
    }

    fn merged(&self, later: &Extras) -> Extras {
        let mut all = self.head.extras.clone();
        super::spelling::overlay(&mut all, later);
        all
    }

    // === Blocks ===

    fn open(&mut self, index: u32, block: &Block, out: &mut Vec<u8>) {
        if let Block::Foreign { source, .. } = block
            && *source != OWN
        {
            return self.crossing().lose(format!("/choices/0/message/content/{index}"));
        }
        let block = self.own(index, block);
        let part = Growing::open(index, 0, &block).into_part();
        let mut live = Live::new(Growing::open(index, 0, &block), &part);
        // A refusal and a seal hear only later what item they are of.
        if !matches!(block, Block::Refusal | Block::Redacted { .. }) {
            self.begin(&mut live, &part, out);
        }
        self.blocks.insert(index, live);
    }

    /// The block without what only its own dialect can say of it, which is noted.
    fn own(&mut self, index: u32, block: &Block) -> Block {
        let mut block = block.clone();
        if let Block::Text { extras } | Block::Thinking { extras } | Block::ToolCall { extras, .. } = &mut block
            && !self.is_native()
        {
            let lost = std::mem::take(extras);
            self.crossing().lose_extras(&lost, &format!("/choices/0/message/content/{index}"));
        }
        block
    }

    /// Puts the block into an item: the one under way, where the block goes on with it, or a new one.
    fn begin(&mut self, live: &mut Live, part: &Part, out: &mut Vec<u8>) {
        let kind = Kind::of(part);
        let goes_on = self.current.filter(|at| {
            !Mark::of(&part.extras).begins_item() && self.slots.get(*at).is_some_and(|slot| slot.takes(kind))
        });
        let at = goes_on.unwrap_or_else(|| {
            self.end_current(out);
            self.slots.push(Slot::new(kind));
            self.slots.len().saturating_sub(1)
        });
        live.at = at;
        live.begun = true;
        if goes_on.is_none() {
            self.add_item(at, part, out);
        }
        if matches!(kind, Kind::Message | Kind::Reasoning) {
            self.current = Some(at);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            slot.begin(live, part, &mut self.wire, out);
        }
    }

    fn add_item(&mut self, at: usize, part: &Part, out: &mut Vec<u8>) {
        let goal = Goal::Client { reply: &self.head.id, at };
        let mut head = Vec::new();
        match &part.kind {
            PartKind::Foreign(_, raw) if !item::is_content(raw, goal) => head.extend_from_slice(raw.get().as_bytes()),
            _ => item::encode_head(&mut head, part, goal),
        }
        if let Some(slot) = self.slots.get_mut(at) {
            slot.id = id_in(&head);
        }
        self.wire.frame(out, "response.output_item.added", |event| {
            event.number("output_index", at as u64).key("item").extend_from_slice(&head);
        });
    }

    fn grow(&mut self, index: u32, delta: &Delta, out: &mut Vec<u8>) {
        if !self.blocks.contains_key(&index) {
            return;
        }
        let Some(delta) = self.sayable(index, delta) else { return };
        let Some(mut live) = self.blocks.remove(&index) else { return };
        if !live.begun && !matches!(*delta, Delta::Foreign { .. }) {
            let part = live.part.clone().into_part();
            self.begin(&mut live, &part, out);
        }
        live.part.grow(&delta);
        if let Some(slot) = self.slots.get_mut(live.at).filter(|_| live.begun) {
            slot.grow(&mut live, &delta, &mut self.wire, out);
        }
        self.blocks.insert(index, live);
    }

    /// The growth as this dialect has it, or `None`, with a note, where it has not.
    fn sayable<'d>(&mut self, index: u32, delta: &'d Delta) -> Option<Cow<'d, Delta>> {
        let place = || format!("/choices/0/message/content/{index}");
        match delta {
            Delta::Logprobs(raw) => {
                let measured = fields(Some(raw)).remove("content").filter(|list| list.get() != "null")?;
                let mut growth = Extras::default();
                growth.push("logprobs", measured);
                Some(Cow::Owned(Delta::Foreign { source: OWN, raw: crate::json::object(&growth) }))
            }
            Delta::Foreign { source, raw } if *source != OWN => {
                self.crossing().lose_extras(&fields(Some(raw)), &place());
                None
            }
            delta => Some(Cow::Borrowed(delta)),
        }
    }

    fn close(&mut self, index: u32, out: &mut Vec<u8>) {
        let Some(mut live) = self.blocks.remove(&index) else { return };
        if !live.begun {
            let part = live.part.clone().into_part();
            self.begin(&mut live, &part, out);
        }
        let at = live.at;
        let part = live.part.clone().into_part();
        let over = Mark::of(&part.extras).is_done() || is_sealed(&part.kind);
        let mut crossing = Crossing { source: self.head.source, losses: &mut self.losses };
        if let Some(slot) = self.slots.get_mut(at) {
            slot.close(&live, &part, &mut self.wire, (&mut crossing, out));
            slot.parts.push(part);
        }
        let is_prose = self.slots.get(at).is_some_and(|slot| matches!(slot.kind, Kind::Message | Kind::Reasoning));
        if !self.is_busy(at) && (over || !is_prose || self.current != Some(at)) {
            self.end_item(at, out);
        }
    }

    /// The item under way is given no more parts.
    fn end_current(&mut self, out: &mut Vec<u8>) {
        let Some(at) = self.current.take() else { return };
        if !self.is_busy(at) {
            self.end_item(at, out);
        }
    }

    /// Does a part of this item still grow?
    fn is_busy(&self, at: usize) -> bool {
        self.slots.get(at).is_some_and(Slot::is_busy)
    }

    fn end_item(&mut self, at: usize, out: &mut Vec<u8>) {
        if self.current == Some(at) {
            self.current = None;
        }
        let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.done.is_none()) else { return };
        let whole = Item { kind: slot.kind, parts: slot.parts.iter().collect() };
        let goal = Goal::Client { reply: &self.head.id, at };
        let mut crossing = Crossing { source: self.head.source, losses: &mut self.losses };
        let mut done = Vec::new();
        let pointer = format!("/choices/0/message/content/{at}");
        item::encode(&mut done, &whole, goal, &pointer, &mut crossing);
        self.wire.frame(out, "response.output_item.done", |event| {
            event.number("output_index", at as u64).key("item").extend_from_slice(&done);
        });
        slot.done = Some(done);
    }

    // === What stands beside the blocks ===

    fn foreign(&mut self, source: Dialect, name: Option<&Text>, data: &RawValue, out: &mut Vec<u8>) {
        match name.map(Text::as_escaped) {
            Some(PADDING) => {
                if source == OWN {
                    self.wire.padding = fields(Some(data));
                }
            }
            Some(MESSAGE_FIELDS) => self.message_fields(data, out),
            Some(name) if source == OWN => self.pass_on(name, data, out),
            Some("ping") => {}
            Some(name) => self.losses.push(format!("/{name}"), super::wire::NO_COUNTERPART),
            None => self.crossing().lose_extras(&fields(Some(data)), ""),
        }
    }

    /// An event that only this dialect knows, with its numbers as they are in this stream.
    fn pass_on(&mut self, name: &str, data: &RawValue, out: &mut Vec<u8>) {
        let mut data = fields(Some(data));
        let item = data.find("item_id").and_then(Text::from_raw);
        let at = self.slots.iter().position(|slot| item.is_some() && slot.id == item);
        data.remove("type");
        data.remove("sequence_number");
        if let Some(at) = at {
            data.remove("output_index");
            data.push("output_index", crate::json::raw(at.to_string()));
        }
        self.wire.frame(out, name, |event| _ = event.extras(&data));
    }

    /// Fields beside another dialect's message. Citations of chat's belong to the text that is being said.
    fn message_fields(&mut self, data: &RawValue, out: &mut Vec<u8>) {
        let mut message = fields(Some(data)).remove("delta").map(|delta| fields(Some(&delta))).unwrap_or_default();
        message.remove("content");
        let text = self.text_under_way();
        if let (Some(index), Some(list)) = (text, message.find("annotations")) {
            let (spelt, left) = sibling::annotations_from_chat(list);
            message.remove("annotations");
            if left {
                self.crossing().lose("/choices/0/message/annotations");
            }
            if let Some(list) = spelt {
                self.cite(index, &list, out);
            }
        }
        self.crossing().lose_extras(&message, "/choices/0/message");
    }

    /// Sources that another dialect says when its text is complete: of the text that is being said, or was said last.
    fn cited(&mut self, citations: &[Citation], out: &mut Vec<u8>) {
        let list = sibling::annotations(citations);
        let text = self.text_under_way();
        if let Some(index) = text {
            return self.cite(index, &list, out);
        }
        let spoken = self.current.and_then(|at| Some((at, self.slots.get_mut(at)?)));
        let said = spoken.is_some_and(|(at, slot)| slot.cite_last(at, &list, &mut self.wire, out));
        if !said {
            self.crossing().lose("/choices/0/citations");
        }
    }

    /// The newest text that still grows.
    fn text_under_way(&self) -> Option<u32> {
        self.blocks.iter().rev().find(|(_, live)| live.is_text()).map(|(index, _)| *index)
    }

    fn cite(&mut self, index: u32, list: &Raw, out: &mut Vec<u8>) {
        let Some(live) = self.blocks.get_mut(&index) else { return };
        let mut growth = Extras::default();
        growth.push("annotations", list.clone());
        let delta = Delta::Foreign { source: OWN, raw: crate::json::object(&growth) };
        live.part.grow(&delta);
        if let Some(slot) = self.slots.get_mut(live.at) {
            slot.grow(live, &delta, &mut self.wire, out);
        }
    }
}

fn outline<'a>(head: &'a Start, extras: &'a Extras) -> Outline<'a> {
    Outline { id: &head.id, model: &head.model, created: head.created, extras }
}

/// The id in an item's JSON.
fn id_in(item: &[u8]) -> Option<Text> {
    let item: &RawValue = serde_json::from_slice(item).ok()?;
    fields(Some(item)).find("id").and_then(Text::from_raw)
}

// === impl Wire ===

impl Wire {
    /// One event: its name on the `event:` line and, as `type`, in the data.
    pub(super) fn frame(&mut self, out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        let mut event = Object::new(out);
        event.str("type", name).number("sequence_number", self.sequence);
        write(&mut event);
        event.end();
        out.extend_from_slice(b"\n\n");
        self.sequence = self.sequence.saturating_add(1);
    }

    /// As [`Self::frame`], padded as the provider padded it.
    pub(super) fn padded(&mut self, out: &mut Vec<u8>, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        let padding = std::mem::take(&mut self.padding);
        self.frame(out, name, |event| {
            write(event);
            event.extras(&padding);
        });
    }
}
