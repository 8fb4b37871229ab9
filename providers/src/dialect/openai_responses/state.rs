//! One item of a stream, from its beginning to its end.

use serde_json::value::RawValue;

use super::content::{self, LISTS, Side};
use super::item::{self, begin_message, in_content};
use super::reader::Emit;
use super::spelling::{self, MESSAGE, Mark, split};
use super::wire::{CallWire, EventWire, MessageWire, OWN, ReasoningItemWire, tag};
use crate::chat::{Extras, Part, PartKind, Raw};
use crate::event::{Block, Delta, unfold_parts};
use crate::json::{self, decode_at, fields, object};
use crate::{Malformed, Text};

/// An item that is not done yet.
#[derive(Debug)]
pub(super) struct Open {
    /// Its place in the output.
    pub(super) index: u32,
    pub(super) id: Option<Text>,
    pub(super) growth: Growth,
}

#[derive(Debug)]
pub(super) enum Growth {
    Prose(Prose),
    Call {
        block: u32,
        said: bool,
    },
    /// An item only this dialect knows, whose events are passed on as they are.
    Foreign {
        block: u32,
    },
}

/// A message or reasoning: some texts, of which the latest grows.
#[derive(Debug)]
pub(super) struct Prose {
    is_reasoning: bool,
    /// The item's own fields, until its first block takes them.
    head: Option<Extras>,
    texts: Vec<Growing>,
}

/// One text of an item.
#[derive(Debug)]
struct Growing {
    place: Place,
    block: u32,
    closed: bool,
    /// Did anything but its end say what it says, cites, and measures?
    said: bool,
    listed: [bool; 2],
    complete: bool,
}

/// Which list of its item a text stands in, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Summary(u32),
    Content(u32),
}

// === impl Open ===

impl Open {
    /// Takes a new item. Messages and reasoning open their blocks as their texts begin.
    pub(super) fn new(raw: &RawValue, index: u32, emit: &mut Emit<'_>) -> Result<Self, Malformed> {
        let pointer = "/item";
        let prose =
            |is_reasoning, head| Growth::Prose(Prose { is_reasoning, head: Some(begun(head)), texts: Vec::new() });
        let growth = match tag(raw).as_ref() {
            "message" => prose(false, decode_at::<MessageWire<'_>>(raw, pointer)?.extras),
            "reasoning" => prose(true, decode_at::<ReasoningItemWire<'_>>(raw, pointer)?.extras),
            kind @ ("function_call" | "custom_tool_call") => {
                let call: CallWire<'_> = decode_at(raw, pointer)?;
                let (quiet, mut extras) = split(&begun(call.extras));
                Mark::begin(&quiet).put(&mut extras);
                let (id, name) = (call.call_id.unwrap_or_default(), call.name.unwrap_or_default());
                let custom = kind == "custom_tool_call";
                Growth::Call { block: emit.open(Block::ToolCall { id, name, custom, extras }), said: false }
            }
            _ => Growth::Foreign { block: emit.open(Block::Foreign { source: OWN, raw: raw.to_owned() }) },
        };
        let id = fields(Some(raw)).find("id").and_then(Text::from_raw);
        Ok(Self { index, id, growth })
    }

    /// Is the event about this item? Some servers number items, some name them, most do both.
    pub(super) fn is_at(&self, event: &EventWire<'_>) -> bool {
        match (event.output_index, &event.item_id, &self.id) {
            (Some(index), ..) => self.index == index,
            (None, Some(id), Some(own)) => own.to_plain() == id.as_str(),
            _ => true,
        }
    }

    /// Takes an event about this item; `false` where it says nothing that the model can hold.
    pub(super) fn grow(&mut self, kind: &str, event: &EventWire<'_>, emit: &mut Emit<'_>) -> bool {
        let delta = event.delta.and_then(Text::from_raw);
        match (&mut self.growth, kind, delta) {
            (
                Growth::Call { block, said },
                "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta",
                Some(more),
            ) => {
                *said |= !more.is_empty();
                emit.delta(*block, Delta::Arguments(more));
                true
            }
            (Growth::Prose(prose), kind, delta) => prose.grow(kind, event, delta, emit),
            _ => false,
        }
    }

    /// The item is done: `raw` is all of it.
    pub(super) fn close(self, raw: &RawValue, emit: &mut Emit<'_>) -> Result<(), Malformed> {
        match self.growth {
            Growth::Foreign { block } => {
                emit.foreign(block, spelling::whole(raw));
                emit.close(block);
            }
            Growth::Call { block, said } => {
                let call: CallWire<'_> = decode_at(raw, "/item")?;
                let (quiet, telling) = split(&call.extras);
                if let Some(whole) = call.arguments.or(call.input).filter(|_| !said) {
                    emit.delta(block, Delta::Arguments(whole));
                }
                settle(block, &quiet, &telling, emit);
            }
            Growth::Prose(prose) => prose.close(raw, emit)?,
        }
        Ok(())
    }

    /// The stream is over and the item was never done.
    pub(super) fn abandon(self, emit: &mut Emit<'_>) {
        let mut cut = Extras::default();
        cut.push("status", json::raw("\"incomplete\"".into()));
        match self.growth {
            Growth::Foreign { block } => emit.close(block),
            Growth::Call { block, .. } => settle(block, &cut, &Extras::default(), emit),
            Growth::Prose(prose) => {
                for text in prose.texts.iter().filter(|text| !text.closed) {
                    settle(text.block, &cut, &Extras::default(), emit);
                }
            }
        }
    }
}

/// The fields of an item that begins, without the status that its end will say.
fn begun(mut head: Extras) -> Extras {
    head.remove("status");
    head
}

/// Ends a block with what its item became.
fn settle(block: u32, quiet: &Extras, telling: &Extras, emit: &mut Emit<'_>) {
    if telling.telling().next().is_some() {
        emit.foreign(block, object(telling));
    }
    emit.foreign(block, spelling::done(quiet));
    emit.close(block);
}

// === impl Prose ===

impl Prose {
    fn grow(&mut self, kind: &str, event: &EventWire<'_>, delta: Option<Text>, emit: &mut Emit<'_>) -> bool {
        let content = Place::Content(event.content_index.unwrap_or(0));
        let summary = Place::Summary(event.summary_index.unwrap_or(0));
        let (place, refusal) = match kind {
            "response.content_part.added" => match event.part.map(tag).as_deref() {
                Some("refusal") => (content, true),
                Some("output_text" | "reasoning_text") => (content, false),
                // A part of a kind not known comes whole with its item.
                _ => return true,
            },
            "response.output_text.delta" | "response.reasoning_text.delta" => (content, false),
            "response.refusal.delta" => (content, true),
            "response.reasoning_summary_part.added" | "response.reasoning_summary_text.delta" => (summary, false),
            "response.content_part.done" | "response.reasoning_summary_part.done" => {
                let place = if kind.starts_with("response.reasoning_summary") { summary } else { content };
                self.complete(place, event.part, emit);
                return true;
            }
            "response.output_text.annotation.added" => {
                self.list(content, 0, event.annotation, emit);
                return true;
            }
            _ => return false,
        };
        let at = self.text_at(place, refusal, emit);
        if let Some(measured) = event.logprobs.filter(|list| list.get() != "[]") {
            let list: Vec<&RawValue> = json::decode(measured.get().as_bytes()).unwrap_or_default();
            for one in list {
                self.list(place, 1, Some(one), emit);
            }
        }
        if let (Some(text), Some(more)) = (self.texts.get_mut(at), delta) {
            text.said |= !more.is_empty();
            emit.text(text.block, more);
        }
        true
    }

    /// A text is done: the part says what its events left out.
    fn complete(&mut self, place: Place, part: Option<&RawValue>, emit: &mut Emit<'_>) {
        let Some(text) = self.texts.iter_mut().find(|text| text.place == place) else { return };
        let thought = |raw: &RawValue| {
            let text = fields(Some(raw)).find("text").and_then(Text::from_raw)?;
            Some(PartKind::Thinking { text, signature: None }.into())
        };
        let part = if self.is_reasoning {
            part.and_then(thought)
        } else {
            part.and_then(|part| content::decode_part(part, Side::Model, "/part").ok())
        };
        if let Some(part) = part {
            text.complete(&part, emit);
        }
    }

    /// One more citation, or one more token's probabilities.
    fn list(&mut self, place: Place, which: usize, element: Option<&RawValue>, emit: &mut Emit<'_>) {
        let (Some(element), Some(key)) = (element, LISTS.get(which)) else { return };
        let Some(text) = self.texts.iter_mut().find(|text| text.place == place && !text.closed) else { return };
        if let Some(listed) = text.listed.get_mut(which) {
            *listed = true;
        }
        emit.foreign(text.block, json::raw(format!(r#"{{"{key}":[{}]}}"#, element.get())));
    }

    /// The text that stands there, begun where it had not.
    fn text_at(&mut self, place: Place, refusal: bool, emit: &mut Emit<'_>) -> usize {
        if let Some(at) = self.texts.iter().position(|text| text.place == place && !text.closed) {
            return at;
        }
        // One text after the other: a client is shown each as it comes.
        for text in self.texts.iter_mut().filter(|text| text.said && !text.closed) {
            text.closed = true;
            emit.close(text.block);
        }
        let block = emit.open(self.block(place, refusal));
        if let Some(mark) = Some(self.mark()).filter(|mark| !mark.is_empty()) {
            // The head of a refusal has no place for what its item says.
            emit.foreign(block, object(&mark));
        }
        self.texts.push(Growing { place, block, closed: false, said: false, listed: [false; 2], complete: false });
        self.texts.len().saturating_sub(1)
    }

    fn block(&mut self, place: Place, refusal: bool) -> Block {
        if refusal {
            return Block::Refusal;
        }
        let extras = self.mark();
        if !self.is_reasoning {
            return Block::Text { extras };
        }
        let mut part = Part { extras, ..Part::from(PartKind::Text(Text::default())) };
        if matches!(place, Place::Content(_)) {
            let mut mark = Mark::of(&part.extras);
            mark.join(&in_content());
            mark.put(&mut part.extras);
        }
        Block::Thinking { extras: part.extras }
    }

    /// What the first text says of its item; nothing for the others.
    fn mark(&mut self) -> Extras {
        let Some(head) = self.head.take() else { return Extras::default() };
        let mut part = Part::from(PartKind::Text(Text::default()));
        if self.is_reasoning {
            let (quiet, telling) = split(&head);
            part.extras = telling;
            Mark::begin(&quiet).put(&mut part.extras);
        } else {
            begin_message(&mut part, &head);
        }
        part.extras
    }

    /// Takes from the whole item what its events left out.
    fn close(mut self, raw: &RawValue, emit: &mut Emit<'_>) -> Result<(), Malformed> {
        let parts = item::decode(raw, "/item")?;
        if self.texts.is_empty() {
            unfold_parts(OWN, &parts, emit.next, emit.out);
            return Ok(());
        }
        let (mut summaries, mut contents) = (0_u32, 0_u32);
        let mut late = Extras::default();
        for part in &parts {
            let mark = Mark::of(&part.extras);
            spelling::overlay(&mut late, &mark.item());
            let place = if self.is_reasoning && mark.find(spelling::IN).is_none() {
                summaries += 1;
                Place::Summary(summaries - 1)
            } else {
                contents += 1;
                Place::Content(contents - 1)
            };
            match self.texts.iter_mut().find(|text| text.place == place) {
                Some(text) => text.complete(part, emit),
                None => unfold_parts(OWN, std::slice::from_ref(part), emit.next, emit.out),
            }
        }
        self.settle(&parts, &late, emit);
        Ok(())
    }

    /// The last open text ends with what the item became.
    fn settle(&mut self, parts: &[Part], late: &Extras, emit: &mut Emit<'_>) {
        let mut open: Vec<u32> = self.texts.iter().filter(|text| !text.closed).map(|text| text.block).collect();
        let Some(last) = open.pop() else { return };
        for block in open {
            emit.close(block);
        }
        let seal = parts.iter().rev().find_map(|part| match &part.kind {
            PartKind::Thinking { signature, .. } => signature.clone(),
            _ => None,
        });
        if let Some(seal) = seal {
            emit.delta(last, Delta::Signature(seal));
        }
        let telling = parts.first().map(|part| telling_of_item(part, self.is_reasoning)).unwrap_or_default();
        settle(last, late, &telling, emit);
    }
}

/// The item's own telling fields, by its first part.
fn telling_of_item(first: &Part, is_reasoning: bool) -> Extras {
    let mut telling = Extras::default();
    let own = |key: &str| if is_reasoning { key != crate::chat::SPELLING } else { key == MESSAGE };
    for (key, value) in first.extras.iter().filter(|(key, _)| own(key)) {
        telling.push(key, value.to_owned());
    }
    telling
}

// === impl Growing ===

impl Growing {
    /// Says what of the whole part was not said before.
    fn complete(&mut self, part: &Part, emit: &mut Emit<'_>) {
        if self.closed || std::mem::replace(&mut self.complete, true) {
            return;
        }
        if let (PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Thinking { text, .. }, false) =
            (&part.kind, self.said)
        {
            emit.text(self.block, text.clone());
        }
        let mut rest = Extras::default();
        for (key, value) in part.extras.iter() {
            let listed = LISTS.iter().zip(self.listed).any(|(list, listed)| *list == key && listed);
            if !listed && key != MESSAGE && key != crate::chat::SPELLING {
                rest.push(key, value.to_owned());
            }
        }
        let mark = Mark::of(&part.extras).of_part();
        mark.put(&mut rest);
        if matches!(part.kind, PartKind::Text(_)) && !rest.is_empty() {
            let growth: Raw = object(&rest);
            emit.foreign(self.block, growth);
        }
    }
}
