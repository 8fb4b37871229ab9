//! Canonical events to Google's stream, as server-sent events or as one JSON array.
//!
//! Every event is a whole reply with what is new. Calls are said whole, so their arguments are gathered; finish reasons and
//! usage stand together in the last event, so they are held back until `Stop`.

use std::collections::{BTreeMap, VecDeque};

use serde_json::value::RawValue;

use super::part::{self, Context, Names};
use super::reply::{encode_finish, encode_measures, is_blocked};
use super::wire::{Crossing, NO_COUNTERPART, OWN, fields_of, pointer_key};
use super::{error, reply, usage};
use crate::chat::{Extras, Part, PartKind, ToolCall};
use crate::dialect::ending;
use crate::dialect::{Problem, WriterOptions};
use crate::event::{Block, ChatEvent, Delta, MESSAGE_FIELDS, Start};
use crate::framing::Framing;
use crate::json::{Array, Object};
use crate::reply::{Finish, Usage};
use crate::{EventWriter, Losses, Text};

/// Writes one stream.
#[derive(Debug)]
pub(super) struct Writer {
    envelope: Envelope,
    /// The reply comes from this dialect, so its extras go back.
    native: bool,
    id: Text,
    model: Text,
    blocks: BTreeMap<u32, Growing>,
    /// The calls of each choice that were not said yet, in the order in which they began: results without ids are told apart by it.
    calls: BTreeMap<u32, VecDeque<u32>>,
    ends: Vec<(u32, Finish, Extras)>,
    /// Choices that held a refusal.
    refused: Vec<u32>,
    /// Fields of the reply for the next event.
    pending: Extras,
    losses: Losses,
}

/// How events are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Envelope {
    Sse,
    /// One array. `begun`: its first element was written.
    Array {
        begun: bool,
    },
}

/// A block that is open.
#[derive(Debug)]
struct Growing {
    choice: u32,
    /// What is still to be said of it; the text of prose is said as it comes. `None` where it cannot be said at all.
    part: Option<Part>,
    /// It is complete, and waits for calls that began before it.
    closed: bool,
}

impl EventWriter for Writer {
    fn write(&mut self, event: &ChatEvent, _annex: Option<&str>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start(start) => self.start(start),
            ChatEvent::Open { index, choice, block } => self.open(*index, *choice, block, out),
            ChatEvent::Delta { index, delta } => self.grow(*index, delta, out),
            ChatEvent::Close { index } => self.close(*index, out),
            // Its own dialect says them among a candidate's fields.
            ChatEvent::Cited { .. } if self.native => {}
            ChatEvent::Cited { choice, .. } => self.crossing().lose(format!("/choices/{choice}/citations")),
            ChatEvent::End { choice, finish, extras } => self.ends.push((*choice, finish.clone(), extras.clone())),
            ChatEvent::Foreign { event, data, .. } => self.foreign(event.as_ref(), data, out),
            ChatEvent::Stop { usage, extras } => self.stop(usage.as_ref(), extras, out),
        }
    }

    fn fail(&mut self, problem: &Problem, out: &mut Vec<u8>) {
        self.frame(&error::encode(problem), out);
        self.end(out);
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

impl Writer {
    pub(super) fn new(options: WriterOptions) -> Self {
        Self {
            envelope: match options.framing {
                Framing::JsonArray => Envelope::Array { begun: false },
                Framing::Sse | Framing::EventStream => Envelope::Sse,
            },
            native: false,
            id: Text::default(),
            model: Text::default(),
            blocks: BTreeMap::new(),
            calls: BTreeMap::new(),
            ends: Vec::new(),
            refused: Vec::new(),
            pending: Extras::default(),
            losses: Losses::default(),
        }
    }

    fn start(&mut self, start: &Start) {
        self.native = start.source == OWN;
        self.id.clone_from(&start.id);
        self.model.clone_from(&start.model);
        self.fields(&start.extras, "");
    }

    /// Fields of the reply: said in the next event, or lost.
    fn fields(&mut self, fields: &Extras, place: &str) {
        if self.native {
            fields.iter().for_each(|(key, value)| self.pending.push(key, value.to_owned()));
        } else {
            self.crossing().lose_extras(fields, &|| place.to_owned());
        }
    }

    fn crossing(&mut self) -> Crossing<'_> {
        Crossing { native: self.native, losses: &mut self.losses }
    }

    // === Blocks ===

    fn open(&mut self, index: u32, choice: u32, block: &Block, out: &mut Vec<u8>) {
        let with = |kind: PartKind, extras: &Extras| Some(Part { extras: extras.clone(), ..Part::from(kind) });
        let part = match block {
            Block::Text { extras } => with(PartKind::Text(Text::default()), extras),
            Block::Thinking { extras } => with(PartKind::Thinking { text: Text::default(), signature: None }, extras),
            // A blocked prompt, which this dialect says without any candidate.
            Block::Refusal if self.native => None,
            Block::Refusal => {
                self.refused.push(choice);
                Some(PartKind::Refusal(Text::default()).into())
            }
            Block::ToolCall { id, name, custom, extras } => {
                let call = ToolCall { id: id.clone(), name: name.clone(), arguments: Text::default(), custom: *custom };
                with(PartKind::ToolCall(call), extras)
            }
            Block::Foreign { source: OWN, raw } => {
                self.event(choice, &[raw.get().as_bytes()], out);
                None
            }
            Block::Redacted { data } => Some(PartKind::Redacted { data: data.clone() }.into()),
            Block::Foreign { .. } => {
                self.losses.push(place(choice, index), NO_COUNTERPART);
                None
            }
        };
        if matches!(block, Block::ToolCall { .. }) {
            self.calls.entry(choice).or_default().push_back(index);
        }
        self.blocks.insert(index, Growing { choice, part, closed: false });
    }

    fn grow(&mut self, index: u32, delta: &Delta, out: &mut Vec<u8>) {
        let Some(Growing { choice, part: Some(part), .. }) = self.blocks.get_mut(&index) else { return };
        let choice = *choice;
        match (delta, &mut part.kind) {
            (Delta::Text(more), PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Thinking { text, .. }) => {
                // Said now, with what is known of the part by now; the rest of that is said when it closes.
                *text = more.clone();
                let said = part.clone();
                let silent = Part::from(silenced(&said.kind));
                *part = silent;
                self.say(choice, index, &said, out);
            }
            (Delta::Arguments(more), PartKind::ToolCall(call)) => call.arguments.push(more),
            (Delta::Signature(whole), PartKind::Thinking { signature, .. }) => *signature = Some(whole.clone()),
            (Delta::Signature(whole), _) => part.signature = Some(whole.clone()),
            (Delta::Logprobs(raw), _) => self.measure(choice, raw, out),
            (Delta::Foreign { raw, .. }, _) if !self.native => {
                self.crossing().lose_extras(&fields_of(raw), &|| place(choice, index));
            }
            (Delta::Foreign { raw, .. }, _) => {
                for (key, value) in fields_of(raw).iter() {
                    part.extras.push(key, value.to_owned());
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, index: u32, out: &mut Vec<u8>) {
        let Some(block) = self.blocks.get_mut(&index) else { return };
        block.closed = true;
        let choice = block.choice;
        if !matches!(&block.part, Some(Part { kind: PartKind::ToolCall(_), .. })) {
            return self.finish(index, out);
        }
        while let Some(first) = self.next_call(choice) {
            self.finish(first, out);
        }
    }

    /// The first call of a choice that was not said yet, if it is complete. It is said now.
    fn next_call(&mut self, choice: u32) -> Option<u32> {
        let calls = self.calls.get_mut(&choice)?;
        self.blocks.get(calls.front()?).filter(|first| first.closed)?;
        calls.pop_front()
    }

    /// Says what is unsaid of a block.
    fn finish(&mut self, index: u32, out: &mut Vec<u8>) {
        let Some(Growing { choice, part: Some(part), .. }) = self.blocks.remove(&index) else { return };
        let signed =
            matches!(&part.kind, PartKind::Thinking { signature: Some(signature), .. } if !signature.is_empty());
        let unsaid = signed || part.signature.is_some() || part.extras.telling().next().is_some();
        if unsaid || matches!(part.kind, PartKind::ToolCall(_) | PartKind::Redacted { .. }) {
            self.say(choice, index, &part, out);
        }
    }

    fn say(&mut self, choice: u32, index: u32, part: &Part, out: &mut Vec<u8>) {
        let names = Names::default();
        let context = Context { names: &names, media_in_results: true, to_client: true };
        let mut written = Vec::new();
        part::encode(part, &context, &|| place(choice, index), &mut self.crossing(), &mut written);
        self.event(choice, &[&written], out);
    }

    fn measure(&mut self, choice: u32, logprobs: &RawValue, out: &mut Vec<u8>) {
        let mut candidate = Vec::new();
        let mut object = Object::new(&mut candidate);
        object.number("index", choice.into());
        encode_measures(Some(logprobs), &Extras::default(), &self.crossing(), &mut object);
        object.end();
        self.reply(&[candidate], None, out);
    }

    // === Events ===

    /// One event with these parts of one candidate.
    fn event(&mut self, choice: u32, parts: &[&[u8]], out: &mut Vec<u8>) {
        let mut candidate = Vec::new();
        let mut object = Object::new(&mut candidate);
        let mut content = Object::new(object.key("content"));
        let mut array = Array::new(content.key("parts"));
        for part in parts {
            array.item().extend_from_slice(part);
        }
        array.end();
        content.str("role", "model");
        content.end();
        object.number("index", choice.into());
        object.end();
        self.reply(&[candidate], None, out);
    }

    fn reply(&mut self, candidates: &[Vec<u8>], usage: Option<&Usage>, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let mut object = Object::new(&mut body);
        if !candidates.is_empty() {
            let mut array = Array::new(object.key("candidates"));
            for candidate in candidates {
                array.item().extend_from_slice(candidate);
            }
            array.end();
        }
        ending::lose_counts(OWN, usage, &[ending::CACHE_WRITES], &mut self.losses);
        if let Some(usage) = usage {
            usage::encode(usage, object.key("usageMetadata"));
        }
        for (key, text) in [("modelVersion", &self.model), ("responseId", &self.id)] {
            if !text.is_empty() {
                object.text(key, text);
            }
        }
        object.extras(&std::mem::take(&mut self.pending));
        object.end();
        self.frame(&body, out);
    }

    fn frame(&mut self, body: &[u8], out: &mut Vec<u8>) {
        let (before, after): (&[u8], &[u8]) = match &mut self.envelope {
            Envelope::Sse => (b"data: ", b"\r\n\r\n"),
            Envelope::Array { begun } => (if std::mem::replace(begun, true) { b",\r\n" } else { b"[" }, b""),
        };
        out.extend_from_slice(before);
        out.extend_from_slice(body);
        out.extend_from_slice(after);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if matches!(self.envelope, Envelope::Array { .. }) {
            out.extend_from_slice(b"]\r\n");
        }
    }

    // === The reply ===

    /// Fields of the reply, or of one candidate's content, that only this dialect knows.
    fn foreign(&mut self, name: Option<&Text>, data: &RawValue, out: &mut Vec<u8>) {
        match name.map(Text::as_escaped) {
            None => self.fields(&fields_of(data), ""),
            Some(MESSAGE_FIELDS) if self.native => {
                let mut fields = fields_of(data);
                let choice = fields.remove("index").and_then(|index| index.get().parse().ok()).unwrap_or(0_u32);
                let content = fields.remove("delta").map_or_else(|| "{}".to_owned(), |delta| delta.get().to_owned());
                let candidate = format!(r#"{{"content":{content},"index":{choice}}}"#);
                self.reply(&[candidate.into_bytes()], None, out);
            }
            Some(MESSAGE_FIELDS) => {
                let fields = fields_of(data).remove("delta").map(|delta| fields_of(&delta)).unwrap_or_default();
                self.crossing().lose_extras(&fields, &|| "/choices/0/message".to_owned());
            }
            Some(_) if self.native => {}
            Some(name) => {
                let pointer = format!("/{}", pointer_key(name));
                self.crossing().lose(pointer);
            }
        }
    }

    fn stop(&mut self, total: Option<&Usage>, extras: &Extras, out: &mut Vec<u8>) {
        let mut candidates = Vec::new();
        for (choice, finish, extras) in std::mem::take(&mut self.ends) {
            if self.native && is_blocked(&extras) {
                continue;
            }
            let mut candidate = Vec::new();
            let mut object = Object::new(&mut candidate);
            if !self.native {
                // As Google's own streams end. A chat of the JavaScript SDK forgets a turn in which any event is without content.
                object.raw("content", r#"{"parts":[{"text":""}],"role":"model"}"#);
            }
            let mut crossing = Crossing { native: self.native, losses: &mut self.losses };
            encode_finish(&finish, self.refused.contains(&choice), &mut crossing, &mut object);
            object.number("index", choice.into());
            encode_measures(None, &extras, &crossing, &mut object);
            if crossing.native {
                object.extras_except(&extras, &[reply::LOGPROBS]);
            } else {
                crossing.lose_extras(&extras, &|| format!("/choices/{choice}"));
            }
            object.end();
            candidates.push(candidate);
        }
        self.fields(extras, "");
        self.reply(&candidates, total, out);
        self.end(out);
    }
}

/// The part without its text, which was said.
fn silenced(kind: &PartKind) -> PartKind {
    match kind {
        PartKind::Thinking { .. } => PartKind::Thinking { text: Text::default(), signature: None },
        PartKind::Refusal(_) => PartKind::Refusal(Text::default()),
        _ => PartKind::Text(Text::default()),
    }
}

fn place(choice: u32, index: u32) -> String {
    format!("/choices/{choice}/message/content/{index}")
}
