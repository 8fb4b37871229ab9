//! Canonical events to Cohere's stream events, in the order in which they come: every event says which block it belongs to.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::content;
use super::message::{CITATIONS, is_plan};
use super::reply::{Held, ONE_CHOICE, encode_finish, write_id};
use super::wire::{Crossing, NO_COUNTERPART, OWN, fields_of, pointer_key};
use super::{citation, error, logprobs, usage};
use crate::chat::{Extras, Raw};
use crate::dialect::Problem;
use crate::dialect::ending;
use crate::dialect::raw::RAW_ARGUMENTS;
use crate::event::{Block, ChatEvent, Delta, MESSAGE_FIELDS, PADDING, Start};
use crate::json::{self, Sheet};
use crate::reply::{Citation, Finish, Usage};
use crate::{EventWriter, Losses, Text};

/// What SDKs wait for behind the last event.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Writes one stream.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// The reply comes from this dialect, so its extras go back.
    native: bool,
    blocks: BTreeMap<u32, Kind>,
    contents: u32,
    calls: u32,
    citations: u32,
    refused: bool,
    /// The text so far, of which sources quote.
    answer: Text,
    /// Log-probabilities that wait for their text.
    measured: Vec<Raw>,
    end: Option<(Finish, Extras)>,
    losses: Losses,
}

/// What decides how a block's deltas are spelt. Numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text(u32),
    Thinking(u32),
    /// A content only this dialect knows.
    Whole(u32),
    Plan,
    Call(u32),
    /// Free text, which becomes the one string of an object.
    CustomCall(u32),
    Hidden,
}

impl EventWriter for Writer {
    fn write(&mut self, event: &ChatEvent, _annex: Option<&str>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Delta { index, delta } => self.grow(*index, delta, out),
            ChatEvent::Start(start) => self.start(start, out),
            ChatEvent::Open { index, choice, block } => {
                let kind = self.open(*index, *choice, block, out);
                self.blocks.insert(*index, kind);
            }
            ChatEvent::Close { index } => self.close(*index, out),
            // Its own dialect says them as they come.
            ChatEvent::Cited { .. } if self.native => {}
            ChatEvent::Cited { citations, .. } => self.cite(citations, out),
            ChatEvent::End { choice: 0, finish, extras } => self.end = Some((finish.clone(), extras.clone())),
            ChatEvent::End { .. } => {}
            ChatEvent::Foreign { event, data, .. } => self.foreign(event.as_ref(), data, out),
            ChatEvent::Stop { usage, extras } => self.stop(usage.as_ref(), extras, out),
        }
    }

    /// The last event says that the answer failed, and `[DONE]` does not follow it.
    fn fail(&mut self, problem: &Problem, out: &mut Vec<u8>) {
        frame(out, "message-end", |event| {
            let mut delta = Sheet::new(event.key("delta"));
            delta.str("finish_reason", error::finish_of(problem)).str("error", &error::message(problem));
            delta.end();
        });
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

impl Writer {
    fn start(&mut self, start: &Start, out: &mut Vec<u8>) {
        self.native = start.source == OWN;
        let mut crossing = Crossing { native: self.native, losses: &mut self.losses };
        frame(out, "message-start", |event| {
            write_id(&start.id, crossing.native, event);
            let mut delta = Sheet::new(event.key("delta"));
            let mut message = Sheet::new(delta.key("message"));
            message.str("role", "assistant").raw("content", "[]").str("tool_plan", "");
            message.raw("tool_calls", "[]").raw(CITATIONS, "[]");
            message.end();
            delta.end();
            crossing.extras(event, &start.extras, &String::new);
        });
    }

    fn crossing(&mut self) -> Crossing<'_> {
        Crossing { native: self.native, losses: &mut self.losses }
    }

    // === Blocks ===

    fn open(&mut self, index: u32, choice: u32, block: &Block, out: &mut Vec<u8>) -> Kind {
        if choice != 0 {
            self.losses.push(format!("/choices/{choice}"), ONE_CHOICE);
            return Kind::Hidden;
        }
        match block {
            Block::Text { extras } => {
                let wire = self.begin("text", extras, index, out);
                Kind::Text(wire)
            }
            Block::Refusal => {
                self.refused = true;
                self.losses.push(place(index), content::NO_REFUSALS);
                let wire = self.begin("text", &Extras::default(), index, out);
                Kind::Text(wire)
            }
            Block::Thinking { extras } if is_plan(extras) => Kind::Plan,
            Block::Thinking { extras } => {
                // Beside reasoning, other dialects only keep how an entry was spelt.
                let nothing = Extras::default();
                let wire = self.begin("thinking", if self.native { extras } else { &nothing }, index, out);
                Kind::Thinking(wire)
            }
            Block::ToolCall { id, name, custom, extras } => self.call(index, (id, name, *custom), extras, out),
            Block::Foreign { source: OWN, raw } => {
                let wire = self.next_content();
                content_frame(out, "content-start", wire, |object| object.extend_from_slice(raw.get().as_bytes()));
                Kind::Whole(wire)
            }
            Block::Redacted { .. } | Block::Foreign { .. } => {
                self.losses.push(place(index), NO_COUNTERPART);
                Kind::Hidden
            }
        }
    }

    fn next_content(&mut self) -> u32 {
        let wire = self.contents;
        self.contents = wire.saturating_add(1);
        wire
    }

    fn begin(&mut self, kind: &str, extras: &Extras, index: u32, out: &mut Vec<u8>) -> u32 {
        let wire = self.next_content();
        let mut crossing = self.crossing();
        content_frame(out, "content-start", wire, |content| {
            let mut content = Sheet::new(content);
            content.str("type", kind);
            // `text` or `thinking`, which are also the names of their fields.
            if kind == "text" {
                content.str("text", "")
            } else {
                content.str("thinking", "")
            };
            crossing.extras(&mut content, extras, &|| place(index));
            content.end();
        });
        wire
    }

    fn call(
        &mut self,
        index: u32,
        (id, name, custom): (&Text, &Text, bool),
        extras: &Extras,
        out: &mut Vec<u8>,
    ) -> Kind {
        let wire = self.calls;
        self.calls = wire.saturating_add(1);
        let mut crossing = self.crossing();
        call_frame(out, "tool-call-start", wire, |call| {
            call.text("id", id).str("type", "function");
            let mut function = Sheet::new(call.key("function"));
            function.text("name", name).str("arguments", "");
            if let Some(inner) = extras.find("function").filter(|_| crossing.native) {
                function.extras(&fields_of(inner));
            }
            function.end();
            crossing.extras(call, extras, &|| place(index));
        });
        if !custom {
            return Kind::Call(wire);
        }
        self.losses.push(place(index), "the arguments are not a JSON object; they stand in `_raw_arguments`");
        arguments_frame(out, wire, &Text::from_plain(&format!("{{\"{RAW_ARGUMENTS}\":\"")));
        Kind::CustomCall(wire)
    }

    fn grow(&mut self, index: u32, delta: &Delta, out: &mut Vec<u8>) {
        let Some(kind) = self.blocks.get(&index) else { return };
        match (delta, *kind) {
            (_, Kind::Hidden) => {}
            (Delta::Text(text), Kind::Text(wire)) => {
                self.answer.push(text);
                self.say(wire, text, out);
            }
            (Delta::Text(text), Kind::Thinking(wire)) => {
                content_frame(out, "content-delta", wire, |content| one_text(content, "thinking", text));
            }
            (Delta::Text(text), Kind::Plan) => frame(out, "tool-plan-delta", |event| {
                growth(event, "tool_plan", |plan| json::write_text(plan, text));
            }),
            (Delta::Arguments(more), Kind::Call(wire)) => arguments_frame(out, wire, more),
            // The text is escaped for the string it becomes, and once more for the string that carries it.
            (Delta::Arguments(more), Kind::CustomCall(wire)) => {
                arguments_frame(out, wire, &Text::from_plain(more.as_escaped()));
            }
            (Delta::Signature(_), Kind::Thinking(_) | Kind::Plan) => {
                self.losses.push(place(index), content::UNSIGNED);
            }
            (Delta::Signature(_), _) => self.losses.push(place(index), content::NO_SIGNATURES),
            (Delta::Logprobs(raw), _) => {
                let items = logprobs::encode(raw, &mut self.crossing());
                self.measured.extend(items);
            }
            (Delta::Foreign { source: OWN, raw }, Kind::Text(wire) | Kind::Thinking(wire) | Kind::Whole(wire)) => {
                content_frame(out, "content-delta", wire, |content| content.extend_from_slice(raw.get().as_bytes()));
            }
            (Delta::Foreign { raw, .. }, _) => self.crossing().lose_extras(&fields_of(raw), &|| place(index)),
            (Delta::Text(_) | Delta::Arguments(_), _) => {}
        }
    }

    /// Text, with the log-probabilities that waited for it.
    fn say(&mut self, wire: u32, text: &Text, out: &mut Vec<u8>) {
        if self.measured.is_empty() {
            content_frame(out, "content-delta", wire, |content| one_text(content, "text", text));
            return;
        }
        let measured = logprobs::joined(&std::mem::take(&mut self.measured));
        frame(out, "content-delta", |event| {
            event.number("index", wire.into());
            growth(event, "content", |content| one_text(content, "text", text));
            event.raw("logprobs", measured.get());
        });
    }

    fn close(&mut self, index: u32, out: &mut Vec<u8>) {
        let Some(kind) = self.blocks.remove(&index) else { return };
        match kind {
            Kind::Text(wire) => {
                if !self.measured.is_empty() {
                    self.say(wire, &Text::default(), out);
                }
                end_frame(out, "content-end", wire);
            }
            Kind::Thinking(wire) | Kind::Whole(wire) => end_frame(out, "content-end", wire),
            Kind::Call(wire) => end_frame(out, "tool-call-end", wire),
            Kind::CustomCall(wire) => {
                arguments_frame(out, wire, &Text::from_plain("\"}"));
                end_frame(out, "tool-call-end", wire);
            }
            Kind::Plan | Kind::Hidden => {}
        }
    }

    // === The message ===

    fn cite(&mut self, citations: &[Citation], out: &mut Vec<u8>) {
        for citation in citation::encode(citations, &self.answer) {
            self.citation(&citation, out);
        }
    }

    fn citation(&mut self, citation: &[u8], out: &mut Vec<u8>) {
        let wire = self.citations;
        self.citations = wire.saturating_add(1);
        frame(out, "citation-start", |event| {
            event.number("index", wire.into());
            growth(event, CITATIONS, |place| place.extend_from_slice(citation));
        });
        end_frame(out, "citation-end", wire);
    }

    fn foreign(&mut self, name: Option<&Text>, data: &RawValue, out: &mut Vec<u8>) {
        match name.map(Text::as_escaped) {
            Some(PADDING) => {}
            Some(MESSAGE_FIELDS) => {
                let fields = fields_of(data).remove("delta").map(|delta| fields_of(&delta)).unwrap_or_default();
                self.message_fields(fields, out);
            }
            Some(name) if self.native => {
                let name = name.to_owned();
                frame_of(out, &name, |body| body.extend_from_slice(data.get().as_bytes()));
            }
            Some(name) => {
                let pointer = format!("/{}", pointer_key(name));
                self.crossing().lose(pointer);
            }
            None => self.crossing().lose_extras(&fields_of(data), &String::new),
        }
    }

    /// Citations are events of their own; there is no event for other fields of a message.
    fn message_fields(&mut self, mut fields: Extras, out: &mut Vec<u8>) {
        if self.native
            && let Some(citations) = fields.remove(CITATIONS)
        {
            let citations: Vec<&RawValue> = json::decode_at(&citations, "").unwrap_or_default();
            for citation in citations {
                self.citation(citation.get().as_bytes(), out);
            }
        }
        self.crossing().lose_extras(&fields, &|| "/choices/0/message".to_owned());
    }

    fn stop(&mut self, total: Option<&Usage>, extras: &Extras, out: &mut Vec<u8>) {
        let (finish, end_extras) = self.end.take().unwrap_or_default();
        let held = Held { call: self.calls > 0, refusal: self.refused };
        let mut crossing = Crossing { native: self.native, losses: &mut self.losses };
        ending::lose_counts(OWN, total, &[ending::CACHE_WRITES], crossing.losses);
        frame(out, "message-end", |event| {
            let mut delta = Sheet::new(event.key("delta"));
            encode_finish(&finish, held, &mut crossing, &mut delta);
            if let Some(usage) = total {
                usage::encode(usage, delta.key("usage"));
            }
            crossing.extras(&mut delta, &end_extras, &|| "/choices/0".to_owned());
            delta.end();
            crossing.extras(event, extras, &String::new);
        });
        out.extend_from_slice(DONE);
    }
}

fn place(index: u32) -> String {
    format!("/choices/0/message/content/{index}")
}

// === Frames ===

/// One event: its name on the `event:` line and, as `type`, in the data.
fn frame(out: &mut Vec<u8>, name: &str, fields: impl FnOnce(&mut Sheet<'_>)) {
    frame_of(out, name, |body| {
        let mut event = Sheet::new(body);
        event.str("type", name);
        fields(&mut event);
        event.end();
    });
}

fn frame_of(out: &mut Vec<u8>, name: &str, body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    body(out);
    out.extend_from_slice(b"\n\n");
}

/// `"delta":{"message":{<key>:<value>}}`
fn growth(event: &mut Sheet<'_>, key: &'static str, value: impl FnOnce(&mut Vec<u8>)) {
    let mut delta = Sheet::new(event.key("delta"));
    let mut message = Sheet::new(delta.key("message"));
    value(message.key(key));
    message.end();
    delta.end();
}

fn content_frame(out: &mut Vec<u8>, name: &str, wire: u32, content: impl FnOnce(&mut Vec<u8>)) {
    frame(out, name, |event| {
        event.number("index", wire.into());
        growth(event, "content", content);
    });
}

fn call_frame(out: &mut Vec<u8>, name: &str, wire: u32, call: impl FnOnce(&mut Sheet<'_>)) {
    frame(out, name, |event| {
        event.number("index", wire.into());
        growth(event, "tool_calls", |place| {
            let mut sheet = Sheet::new(place);
            call(&mut sheet);
            sheet.end();
        });
    });
}

fn arguments_frame(out: &mut Vec<u8>, wire: u32, more: &Text) {
    call_frame(out, "tool-call-delta", wire, |call| {
        let mut function = Sheet::new(call.key("function"));
        function.text("arguments", more);
        function.end();
    });
}

fn end_frame(out: &mut Vec<u8>, name: &str, wire: u32) {
    frame(out, name, |event| _ = event.number("index", wire.into()));
}

/// `{"text":".."}`
fn one_text(out: &mut Vec<u8>, key: &'static str, text: &Text) {
    let mut content = Sheet::new(out);
    content.text(key, text);
    content.end();
}
