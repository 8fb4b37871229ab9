//! Writes events as chunks.
//!
//! The bytes that every chunk begins with are made once. The finish chunk is held back until `Stop`, because the last chunk
//! carries the gateway's own facts, and which one is the last depends on whether the client asked for usage.

use std::collections::BTreeMap;

use super::content::IN_CONTENT;
use super::crossing::{SIGNATURE_OVER_CALLS_ONLY, lose_end};
use super::error::encode_error;
use super::message::{EXTRA_CONTENT, LEGACY, REASONING, encode_detail, encode_thought_signature};
use super::reply::{ANNOTATIONS, encode_citations, encode_finish, encode_usage};
use super::wire::{self, Sheet, fields};
use crate::chat::{Extras, Part, PartKind};
use crate::dialect::openai_responses::sibling;
use crate::dialect::{EventWriter, Problem, WriterOptions};
use crate::event::{Block, Delta, MESSAGE_FIELDS, PADDING, Start};
use crate::json::{Object, decode, write_text};
use crate::reply::{Finish, Usage};
use crate::{ChatEvent, Dialect, Losses, Text};

/// Fields that OpenAI and OpenRouter repeat in every chunk.
const REPEATED: [&str; 3] = ["system_fingerprint", "service_tier", "provider"];

/// Fields of a choice that its finish chunk already has.
const CHOICE_FIELDS: [&str; 4] = ["index", "delta", "message", "finish_reason"];

const NO_COUNTERPART: &str = "openai_chat has no counterpart";

/// The writer. See the module.
#[derive(Debug)]
pub(super) struct Writer {
    options: WriterOptions,
    /// Is the reply of this dialect, so that its extras may be written?
    own: bool,
    /// `data: {` and the fields that every chunk has.
    prefix: Vec<u8>,
    /// Fields for the next chunk.
    pending: Extras,
    blocks: BTreeMap<u32, Growing>,
    choices: Vec<Voice>,
    /// A finish chunk without its closing brace.
    held: Option<Vec<u8>>,
    losses: Losses,
    /// Room for the next delta: every chunk has one.
    scratch: Vec<u8>,
}

/// An open block.
#[derive(Debug)]
struct Growing {
    choice: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text,
    Refusal,
    /// Reasoning, with the marks of its spelling.
    Thinking(Extras),
    /// Written when it closes, with its extras.
    Redacted(Text, Extras),
    Call {
        position: u32,
        custom: bool,
        legacy: bool,
    },
    Silent,
}

/// What a choice has said so far.
#[derive(Debug)]
struct Voice {
    choice: u32,
    calls: u32,
    /// Elements of `reasoning_details` of the gateway's spelling: clients put details of one index together.
    details: usize,
    begun: bool,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(options: WriterOptions) -> Self {
        Self {
            options,
            own: false,
            prefix: Vec::new(),
            pending: Extras::default(),
            blocks: BTreeMap::new(),
            choices: Vec::new(),
            held: None,
            losses: Losses::default(),
            scratch: Vec::new(),
        }
    }

    fn start(&mut self, start: &Start) {
        self.own = start.source == Dialect::OpenAiChat;
        self.prefix.extend_from_slice(b"data: ");
        // The object is never ended: each chunk goes on from here.
        let mut object = Object::new(&mut self.prefix);
        object.text("id", &start.id).str("object", "chat.completion.chunk");
        object.number("created", start.created.unwrap_or(0)).text("model", &start.model);
        for key in REPEATED {
            if let Some(value) = start.extras.find(key).filter(|_| self.own) {
                object.raw(key, value.get());
            }
        }
        for (key, value) in start.extras.iter().filter(|(key, _)| !REPEATED.contains(key)) {
            if self.own {
                self.pending.push(key, value.to_owned());
            }
        }
        if !self.own {
            self.lose(&start.extras);
        }
    }

    fn open(&mut self, index: u32, choice: u32, block: &Block, out: &mut Vec<u8>) {
        let kind = match block {
            Block::Text { extras } => {
                self.lose_foreign(extras);
                Kind::Text
            }
            Block::Refusal => Kind::Refusal,
            Block::Thinking { extras } => {
                self.lose_foreign(extras);
                Kind::Thinking(if self.own { extras.clone() } else { Extras::default() })
            }
            Block::Redacted { data } => Kind::Redacted(data.clone(), Extras::default()),
            Block::ToolCall { id, name, custom, extras } => {
                self.lose_foreign(extras);
                let legacy = self.own && extras.find(LEGACY).is_some();
                let voice = self.voice(choice);
                let position = voice.calls;
                voice.calls += 1;
                let extras = if self.own { extras } else { &Extras::default() };
                let call = Head { id, name, custom: *custom, extras };
                let body = if legacy { call.legacy() } else { call.encode(position) };
                self.chunk(choice, &body, out);
                Kind::Call { position, custom: *custom, legacy }
            }
            Block::Foreign { source, raw } => {
                if self.own && *source == Dialect::OpenAiChat {
                    self.chunk(choice, format!("\"content\":[{}]", raw.get()).as_bytes(), out);
                } else {
                    self.losses.push(place(choice, index), NO_COUNTERPART);
                }
                Kind::Silent
            }
        };
        self.blocks.insert(index, Growing { choice, kind });
    }

    fn grow(&mut self, index: u32, delta: &Delta, out: &mut Vec<u8>) {
        let Some(Growing { choice, kind }) = self.blocks.get_mut(&index) else { return };
        let choice = *choice;
        let mut body = std::mem::take(&mut self.scratch);
        body.clear();
        match (delta, kind) {
            (Delta::Text(text), Kind::Text) => field(&mut body, "content", text),
            (Delta::Text(text), Kind::Refusal) => field(&mut body, "refusal", text),
            (Delta::Text(text), Kind::Thinking(extras)) => thinking(&mut body, text, extras),
            (Delta::Signature(signature), Kind::Thinking(extras)) => {
                let sealed = sealed(signature, extras);
                body.extend_from_slice(&details(&sealed, self.next_detail(choice)));
            }
            (Delta::Signature(signature), Kind::Call { position, legacy: false, custom }) => {
                sign(&mut body, *position, *custom, signature);
            }
            (Delta::Signature(_), _) => return self.losses.push(place(choice, index), SIGNATURE_OVER_CALLS_ONLY),
            (Delta::Arguments(text), Kind::Call { legacy: true, .. }) => {
                body.extend_from_slice(b"\"function_call\":{");
                field(&mut body, "arguments", text);
                body.push(b'}');
            }
            (Delta::Arguments(text), Kind::Call { position, custom, .. }) => {
                arguments(&mut body, *position, *custom, text);
            }
            (Delta::Logprobs(raw), _) => return self.logprobs(choice, raw.get(), out),
            (Delta::Foreign { raw, .. }, Kind::Redacted(_, extras)) if self.own => {
                *extras = fields(Some(raw));
                return;
            }
            (Delta::Foreign { raw, .. }, Kind::Call { position, .. }) if self.own => {
                let inner = raw.get().strip_prefix('{').and_then(|raw| raw.strip_suffix('}')).unwrap_or_default();
                body.extend_from_slice(format!("\"tool_calls\":[{{\"index\":{position},{inner}}}]").as_bytes());
            }
            (Delta::Foreign { source: Dialect::OpenAiResponses, raw }, Kind::Text) => {
                let (beside, rest) = sibling::beside_text(raw);
                self.lose(&rest);
                if let Some(logprobs) = beside.logprobs {
                    self.logprobs(choice, logprobs.get(), out);
                }
                let Some(annotations) = beside.annotations else { return };
                body.extend_from_slice(b"\"annotations\":");
                body.extend_from_slice(annotations.get().as_bytes());
            }
            (Delta::Foreign { raw, .. }, _) if !self.own => return self.lose(&fields(Some(raw))),
            _ => return,
        }
        self.chunk(choice, &body, out);
        self.scratch = body;
    }

    fn close(&mut self, index: u32, out: &mut Vec<u8>) {
        let Some(block) = self.blocks.remove(&index) else { return };
        if let Kind::Redacted(data, extras) = block.kind {
            let part = Part { extras, ..Part::from(PartKind::Redacted { data }) };
            let at = self.next_detail(block.choice);
            self.chunk(block.choice, &details(&part, at), out);
        }
    }

    fn foreign(&mut self, event: Option<&Text>, data: &serde_json::value::RawValue, out: &mut Vec<u8>) {
        let name = event.map(Text::as_escaped);
        if !self.own {
            if !matches!(name, Some("ping" | PADDING)) {
                self.losses.push(format!("/{}", name.unwrap_or_default()), NO_COUNTERPART);
            }
            return;
        }
        match name {
            None | Some(PADDING) => {
                for (key, value) in fields(Some(data)).iter() {
                    self.pending.remove(key);
                    self.pending.push(key, value.to_owned());
                }
            }
            Some(MESSAGE_FIELDS) => {
                let Ok(choice) = decode::<wire::MessageFields<'_>>(data.get().as_bytes()) else { return };
                // The form of a whole reply's content is no growth.
                let mut body = Vec::new();
                let mut object = Object::new(&mut body);
                object.extras_except(&fields(choice.delta), &["content"]);
                if body.len() > 1 {
                    self.chunk(choice.index.unwrap_or(0), body.get(1..).unwrap_or_default(), out);
                }
            }
            Some(_) => {}
        }
    }

    fn end(&mut self, choice: u32, finish: &Finish, extras: &Extras, out: &mut Vec<u8>) {
        self.flush(out);
        self.lose_foreign(extras);
        if !self.own {
            lose_end(finish, &mut self.losses);
        }
        let mut held = Vec::with_capacity(self.prefix.len() + 64);
        self.begin(choice, b"", &mut held);
        let mut rest = Vec::new();
        let mut tail = Object::new(&mut rest);
        encode_finish(tail.key("finish_reason"), finish, self.own);
        if self.own {
            tail.extras_except(extras, &CHOICE_FIELDS);
        }
        tail.end();
        // `tail` continues the choice's object: its own braces are the choice's.
        held.push(b',');
        held.extend_from_slice(rest.get(1..).unwrap_or_default());
        held.push(b']');
        self.held = Some(held);
    }

    fn stop(&mut self, usage: Option<&Usage>, extras: &Extras, annex: Option<&str>, out: &mut Vec<u8>) {
        if self.own {
            for (key, value) in extras.iter() {
                self.pending.push(key, value.to_owned());
            }
        } else {
            self.lose(extras);
        }
        let usage = usage.filter(|_| self.options.include_usage);
        if usage.is_some() || self.held.is_none() {
            self.flush(out);
            out.extend_from_slice(&self.prefix);
            out.extend_from_slice(b",\"choices\":[]");
        } else if let Some(held) = self.held.take() {
            out.extend_from_slice(&held);
        }
        if let Some(usage) = usage {
            out.extend_from_slice(b",\"usage\":");
            encode_usage(out, usage);
        }
        self.pending(out);
        if let Some(annex) = annex {
            out.extend_from_slice(b",\"extra_fields\":");
            out.extend_from_slice(annex.as_bytes());
        }
        out.extend_from_slice(b"}\n\ndata: [DONE]\n\n");
    }

    // === pieces ===

    /// One chunk with the fields `body` of the delta.
    fn chunk(&mut self, choice: u32, body: &[u8], out: &mut Vec<u8>) {
        self.flush(out);
        self.begin(choice, body, out);
        out.extend_from_slice(b",\"finish_reason\":null}]}\n\n");
    }

    fn logprobs(&mut self, choice: u32, raw: &str, out: &mut Vec<u8>) {
        self.flush(out);
        self.begin(choice, b"", out);
        out.extend_from_slice(b",\"logprobs\":");
        out.extend_from_slice(raw.as_bytes());
        out.extend_from_slice(b",\"finish_reason\":null}]}\n\n");
    }

    /// A chunk up to and with its delta. A choice's first delta says who speaks: strict clients demand it.
    fn begin(&mut self, choice: u32, body: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        self.pending(out);
        self.pending = Extras::default();
        out.extend_from_slice(b",\"choices\":[{\"index\":");
        out.extend_from_slice(itoa::Buffer::new().format(choice).as_bytes());
        out.extend_from_slice(b",\"delta\":{");
        if !std::mem::replace(&mut self.voice(choice).begun, true) {
            out.extend_from_slice(b"\"role\":\"assistant\"");
            if !body.starts_with(b"\"content\"") {
                out.extend_from_slice(if body.is_empty() { b",\"content\":\"\"" } else { b",\"content\":null" });
            }
            if !body.is_empty() {
                out.push(b',');
            }
        }
        out.extend_from_slice(body);
        out.push(b'}');
    }

    /// The fields that wait for a chunk, each with the comma before it.
    fn pending(&self, out: &mut Vec<u8>) {
        for (key, value) in self.pending.iter() {
            out.push(b',');
            crate::json::write_str(out, key);
            out.push(b':');
            out.extend_from_slice(value.get().as_bytes());
        }
    }

    /// Writes a finish chunk that turned out not to be the last.
    fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(held) = self.held.take() {
            out.extend_from_slice(&held);
            out.extend_from_slice(b"}\n\n");
        }
    }

    fn next_detail(&mut self, choice: u32) -> usize {
        let voice = self.voice(choice);
        let at = voice.details;
        voice.details = at.saturating_add(1);
        at
    }

    fn voice(&mut self, choice: u32) -> &mut Voice {
        let at = self.choices.iter().position(|voice| voice.choice == choice).unwrap_or_else(|| {
            self.choices.push(Voice { choice, calls: 0, details: 0, begun: false });
            self.choices.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the position was just found, or just filled")]
        &mut self.choices[at]
    }

    fn lose_foreign(&mut self, extras: &Extras) {
        if !self.own {
            self.lose(extras);
        }
    }

    fn lose(&mut self, extras: &Extras) {
        extras.telling().for_each(|key| self.losses.push(format!("/{key}"), NO_COUNTERPART));
    }
}

impl EventWriter for Writer {
    fn write(&mut self, event: &ChatEvent, annex: Option<&str>, out: &mut Vec<u8>) {
        match event {
            ChatEvent::Start(start) => self.start(start),
            ChatEvent::Open { index, choice, block } => self.open(*index, *choice, block, out),
            ChatEvent::Delta { index, delta } => self.grow(*index, delta, out),
            ChatEvent::Close { index } => self.close(*index, out),
            ChatEvent::Cited { choice, citations } => {
                let mut body = format!("\"{ANNOTATIONS}\":").into_bytes();
                encode_citations(&mut body, citations);
                self.chunk(*choice, &body, out);
            }
            ChatEvent::End { choice, finish, extras } => self.end(*choice, finish, extras, out),
            ChatEvent::Foreign { event, data, .. } => self.foreign(event.as_ref(), data, out),
            ChatEvent::Stop { usage, extras } => self.stop(usage.as_ref(), extras, annex, out),
        }
    }

    /// The finish chunk that is held back is not sent: the reply did not end well.
    fn fail(&mut self, problem: &Problem, out: &mut Vec<u8>) {
        self.held = None;
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&encode_error(problem));
        out.extend_from_slice(b"\n\n");
    }

    fn losses(&self) -> &Losses {
        &self.losses
    }
}

// === bodies of deltas ===

/// The head of a tool call.
#[derive(Debug)]
struct Head<'a> {
    id: &'a Text,
    name: &'a Text,
    custom: bool,
    extras: &'a Extras,
}

impl Head<'_> {
    fn encode(&self, position: u32) -> Vec<u8> {
        let mut body = b"\"tool_calls\":[".to_vec();
        let mut call = Sheet::new(&mut body);
        call.number("index", position.into()).text("id", self.id);
        let (kind, growing) = if self.custom { ("custom", "input") } else { ("function", "arguments") };
        call.str("type", kind);
        let mut inner = Sheet::new(call.key(kind));
        inner.text("name", self.name).raw(growing, "\"\"").extras(&fields(self.extras.find(kind)));
        inner.end();
        call.extras(self.extras);
        call.end();
        body.push(b']');
        body
    }

    fn legacy(&self) -> Vec<u8> {
        let mut body = b"\"function_call\":{".to_vec();
        field(&mut body, "name", self.name);
        body.extend_from_slice(b",\"arguments\":\"\"}");
        body
    }
}

fn field(out: &mut Vec<u8>, key: &str, text: &Text) {
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    write_text(out, text);
}

/// Reasoning as its own dialect spelt it, or as `reasoning_content`.
fn thinking(out: &mut Vec<u8>, text: &Text, marks: &Extras) {
    if marks.find(IN_CONTENT).is_some() {
        out.extend_from_slice(b"\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",");
        field(out, "text", text);
        out.extend_from_slice(b"}]}]");
        return;
    }
    let detailed = marks.find("type").is_some();
    let unmarked = !detailed && REASONING.iter().all(|key| marks.find(key).is_none());
    for key in REASONING {
        if marks.find(key).is_some() || (unmarked && key == "reasoning_content") {
            if !out.is_empty() {
                out.push(b',');
            }
            field(out, key, text);
        }
    }
    if detailed {
        if !out.is_empty() {
            out.push(b',');
        }
        let kind = PartKind::Thinking { text: text.clone(), signature: None };
        // Its index, if it has one, stands among its marks.
        out.extend_from_slice(&details(&Part { extras: marks.clone(), ..Part::from(kind) }, 0));
    }
}

fn sealed(signature: &Text, marks: &Extras) -> Part {
    let kind = PartKind::Thinking { text: Text::default(), signature: Some(signature.clone()) };
    let mut extras = marks.clone();
    extras.remove(IN_CONTENT);
    Part { extras, ..Part::from(kind) }
}

/// Beside nothing new to say in the call, because readers take it for granted that each piece has some of the call (langchain's
/// fails where one has none).
fn sign(out: &mut Vec<u8>, position: u32, custom: bool, signature: &Text) {
    out.extend_from_slice(b"\"tool_calls\":[");
    let mut call = Sheet::new(out);
    call.number("index", position.into());
    let (kind, nothing) = if custom { ("custom", r#"{"input":""}"#) } else { ("function", r#"{"arguments":""}"#) };
    call.raw(kind, nothing);
    encode_thought_signature(call.key(EXTRA_CONTENT), signature);
    call.end();
    out.push(b']');
}

/// The list with one element, which stands at `at` in the list of the whole reply.
fn details(part: &Part, at: usize) -> Vec<u8> {
    let mut body = b"\"reasoning_details\":[".to_vec();
    encode_detail(&mut body, part, at);
    body.push(b']');
    body
}

fn arguments(out: &mut Vec<u8>, position: u32, custom: bool, text: &Text) {
    out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
    out.extend_from_slice(itoa::Buffer::new().format(position).as_bytes());
    out.extend_from_slice(if custom { b",\"custom\":{" } else { b",\"function\":{" });
    field(out, if custom { "input" } else { "arguments" }, text);
    out.extend_from_slice(b"}}]");
}

/// Where a block would stand in the whole reply.
fn place(choice: u32, index: u32) -> String {
    format!("/choices/{choice}/message/content/{index}")
}
