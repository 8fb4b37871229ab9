//! Cohere's stream events to canonical events.
//!
//! Wire facts (SDK, `V2ChatStreamResponse`; recorded traffic): contents, calls and citations each have indexes of their own;
//! the plan has none; a citation comes whole; `message-end` says finish and usage, and `[DONE]` follows it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::message::{CITATIONS, decode_call, plan_mark};
use super::reply::{decode_finish, is_failure};
use super::wire::{ContentWire, DeltaWire, EventWire, GrowthWire, OWN, object_of, read};
use super::{citation, error, logprobs, usage};
use crate::chat::{Extras, PartKind, Raw};
use crate::dialect::Frame;
use crate::event::{Block, ChatEvent, Delta, MESSAGE_FIELDS, Start};
use crate::failure::{Failure, FailureKind};
use crate::json;
use crate::{EventReader, Malformed, Text};

/// Event types this reader knows.
const START: &str = "message-start";
const KNOWN: &[&str] = &[
    START,
    "content-start",
    "content-delta",
    "content-end",
    "tool-plan-delta",
    "tool-call-start",
    "tool-call-delta",
    "tool-call-end",
    "citation-start",
    "citation-end",
    "message-end",
];

/// Reads one stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    started: bool,
    done: bool,
    /// The index of the next canonical block.
    next: u32,
    /// The blocks between their start and their end: by their index within their series on the wire, that in the canonical events.
    open: BTreeMap<(Series, u32), u32>,
    /// Events of unknown name that came before the first.
    early: Vec<ChatEvent>,
    /// The text so far, which sources are said of at the end.
    answer: Text,
    citations: Vec<Raw>,
}

/// Each is numbered on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Series {
    Content,
    Plan,
    Call,
}

impl EventReader for Reader {
    fn read(&mut self, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        if self.done || frame.data.is_empty() || frame.data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let mut event: EventWire<'_> = match json::decode(&frame.data) {
            Ok(event) => event,
            Err(fault) => return self.unparsed(&fault, frame, out),
        };
        let name = event.kind.take().map(|kind| kind.0).or_else(|| name_of(frame)).unwrap_or_default();
        if !KNOWN.contains(&name.as_ref()) {
            return self.unknown(&name, frame, out);
        }
        // A failure may be all there is.
        if let Some((word, error)) = failure_in(&event) {
            return Err(Box::new(error::ended_in(word, error)));
        }
        if !self.started && name != START {
            return Err(unreadable(&format!("{name} before {START}")));
        }
        self.event(&name, event, out)
    }

    fn finish(&mut self, _out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        if self.done {
            return Ok(());
        }
        Err(Box::new(Failure::new(FailureKind::Broken, "the stream ended before message-end")))
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Reader {
    fn event(&mut self, name: &str, event: EventWire<'_>, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let index = event.index.unwrap_or(0);
        let delta = event.delta.unwrap_or_default();
        let EventWire { id, extras, .. } = event;
        match name {
            START => self.start(id, delta, extras, out),
            "message-end" => {
                self.stop(delta, extras, out);
                Ok(())
            }
            "content-end" => {
                self.close(Series::Content, index, out);
                Ok(())
            }
            "tool-call-end" => {
                self.close(Series::Call, index, out);
                Ok(())
            }
            "citation-end" => Ok(()),
            _ => {
                let growth = delta.message.unwrap_or_default();
                self.grow(name, index, growth, event.logprobs, out).map_err(|fault| unreadable(&fault.to_string()))
            }
        }
    }

    fn grow(
        &mut self,
        name: &str,
        index: u32,
        growth: GrowthWire<'_>,
        measured: Option<&RawValue>,
        out: &mut Vec<ChatEvent>,
    ) -> Result<(), Malformed> {
        match (name, growth.content, growth.tool_calls, growth.citations) {
            ("content-start", Some(content), ..) => self.content_start(index, content, out),
            ("content-delta", Some(content), ..) => self.content_delta(index, content, measured, out),
            ("tool-plan-delta", ..) => {
                self.plan(growth.tool_plan, out);
                Ok(())
            }
            ("tool-call-start", _, Some(call), _) => self.call_start(index, call, out),
            ("tool-call-delta", _, Some(call), _) => self.call_delta(index, call, out),
            ("citation-start", .., Some(citation)) => {
                self.cite(citation, out);
                Ok(())
            }
            _ => Err(Malformed { pointer: "/delta/message".into(), expected: format!("what {name} brings") }),
        }
    }

    fn start(
        &mut self,
        id: Option<Text>,
        delta: DeltaWire<'_>,
        extras: Extras,
        out: &mut Vec<ChatEvent>,
    ) -> Result<(), Box<Failure>> {
        if std::mem::replace(&mut self.started, true) {
            return Err(unreadable("a second message-start"));
        }
        let (id, model) = (id.unwrap_or_default(), Text::default());
        out.push(ChatEvent::Start(Start { source: OWN, id, model, created: None, usage: None, extras }));
        let fields = delta.message.unwrap_or_default().extras;
        if fields.telling().next().is_some() {
            out.push(message_fields(&fields));
        }
        out.append(&mut self.early);
        Ok(())
    }

    // === Blocks ===

    fn content_start(&mut self, wire: u32, raw: &RawValue, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        self.close(Series::Content, wire, out);
        let content: ContentWire<'_> = read(raw, &|| "/delta/message/content".to_owned())?;
        let extras = content.extras;
        let (block, text) = match (content.kind.as_ref().map(json::Str::as_str), content.text, content.thinking) {
            (Some("text") | None, text, None) => (Block::Text { extras }, text),
            (Some("thinking") | None, None, thinking) => (Block::Thinking { extras }, thinking),
            _ => (Block::Foreign { source: OWN, raw: raw.to_owned() }, None),
        };
        let is_answer = matches!(block, Block::Text { .. });
        let index = self.open(Series::Content, wire, block, out);
        self.say(index, text, is_answer, out);
        Ok(())
    }

    fn content_delta(
        &mut self,
        wire: u32,
        raw: &RawValue,
        measured: Option<&RawValue>,
        out: &mut Vec<ChatEvent>,
    ) -> Result<(), Malformed> {
        let content: ContentWire<'_> = read(raw, &|| "/delta/message/content".to_owned())?;
        let index = match self.find(Series::Content, wire) {
            Some(index) => index,
            // Imitations leave out the start of a block.
            None if content.thinking.is_some() => {
                self.open(Series::Content, wire, Block::Thinking { extras: Extras::default() }, out)
            }
            None => self.open(Series::Content, wire, Block::Text { extras: Extras::default() }, out),
        };
        // First, so that a writer can say them together with their text.
        if let Some(measured) = measured.and_then(|item| logprobs::decode(&[item])) {
            out.push(ChatEvent::Delta { index, delta: Delta::Logprobs(measured) });
        }
        let is_answer = content.text.is_some();
        self.say(index, content.text.or(content.thinking), is_answer, out);
        if !content.extras.is_empty() {
            let delta = Delta::Foreign { source: OWN, raw: object_of(&content.extras) };
            out.push(ChatEvent::Delta { index, delta });
        }
        Ok(())
    }

    fn say(&mut self, index: u32, text: Option<Text>, is_answer: bool, out: &mut Vec<ChatEvent>) {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        if is_answer {
            self.answer.push(&text);
        }
        out.push(ChatEvent::Delta { index, delta: Delta::Text(text) });
    }

    /// The plan is reasoning before calls, and has neither start nor end of its own.
    fn plan(&mut self, text: Option<Text>, out: &mut Vec<ChatEvent>) {
        let index = self
            .find(Series::Plan, 0)
            .unwrap_or_else(|| self.open(Series::Plan, 0, Block::Thinking { extras: plan_mark() }, out));
        self.say(index, text, false, out);
    }

    fn call_start(&mut self, wire: u32, raw: &RawValue, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        self.close(Series::Plan, 0, out);
        self.close(Series::Call, wire, out);
        let part = decode_call(raw, &|| "/delta/message/tool_calls".to_owned())?;
        let PartKind::ToolCall(call) = part.kind else {
            let expected = "a function".into();
            return Err(Malformed { pointer: "/delta/message/tool_calls".into(), expected });
        };
        let block = Block::ToolCall { id: call.id, name: call.name, custom: false, extras: part.extras };
        let index = self.open(Series::Call, wire, block, out);
        if !call.arguments.is_empty() {
            out.push(ChatEvent::Delta { index, delta: Delta::Arguments(call.arguments) });
        }
        Ok(())
    }

    fn call_delta(&mut self, wire: u32, raw: &RawValue, out: &mut Vec<ChatEvent>) -> Result<(), Malformed> {
        let call: super::wire::CallWire<'_> = read(raw, &|| "/delta/message/tool_calls".to_owned())?;
        let Some(index) = self.find(Series::Call, wire) else {
            return Err(Malformed { pointer: "/index".into(), expected: "the index of an open call".into() });
        };
        let arguments = call.function.and_then(|function| function.arguments).filter(|more| !more.is_empty());
        out.extend(arguments.map(|more| ChatEvent::Delta { index, delta: Delta::Arguments(more) }));
        Ok(())
    }

    fn cite(&mut self, citation: &RawValue, out: &mut Vec<ChatEvent>) {
        let mut fields = Extras::default();
        fields.push(CITATIONS, super::message::list(&[citation]));
        out.push(message_fields(&fields));
        self.citations.push(citation.to_owned());
    }

    fn open(&mut self, series: Series, wire: u32, block: Block, out: &mut Vec<ChatEvent>) -> u32 {
        let index = self.next;
        self.next = index.saturating_add(1);
        out.push(ChatEvent::Open { index, choice: 0, block });
        self.open.insert((series, wire), index);
        index
    }

    fn find(&self, series: Series, wire: u32) -> Option<u32> {
        self.open.get(&(series, wire)).copied()
    }

    fn close(&mut self, series: Series, wire: u32, out: &mut Vec<ChatEvent>) {
        if let Some(index) = self.open.remove(&(series, wire)) {
            out.push(ChatEvent::Close { index });
        }
    }

    // === The message ===

    fn stop(&mut self, delta: DeltaWire<'_>, extras: Extras, out: &mut Vec<ChatEvent>) {
        let mut left: Vec<u32> = std::mem::take(&mut self.open).into_values().collect();
        left.sort_unstable();
        out.extend(left.into_iter().map(|index| ChatEvent::Close { index }));
        let citations = citation::decode(self.citations.iter().map(|raw| &**raw), &self.answer);
        if !citations.is_empty() {
            out.push(ChatEvent::Cited { choice: 0, citations });
        }
        let mut rest = delta.extras;
        rest.remove("error");
        out.push(ChatEvent::End { choice: 0, finish: decode_finish(delta.finish_reason), extras: rest });
        out.push(ChatEvent::Stop { usage: delta.usage.and_then(usage::decode), extras });
        self.done = true;
    }

    /// An event whose fields have other types than ours is only an error where its name is one of ours.
    fn unparsed(&mut self, fault: &Malformed, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let raw = json::decode::<&RawValue>(&frame.data).map_err(|fault| unreadable(&fault.to_string()))?;
        let tag = super::wire::tag(raw);
        let name = if tag.is_empty() { name_of(frame).unwrap_or_default() } else { tag };
        if KNOWN.contains(&name.as_ref()) {
            return Err(unreadable(&fault.to_string()));
        }
        self.unknown(&name, frame, out)
    }

    /// An event this dialect may yet get is passed on. One without any name is an error object, or nothing of ours.
    fn unknown(&mut self, name: &str, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        if name.is_empty() || name == "error" {
            return Err(Box::new(error::decode(http::StatusCode::OK, &frame.data)));
        }
        let data: &RawValue = json::decode(&frame.data).map_err(|fault| unreadable(&fault.to_string()))?;
        let event = ChatEvent::Foreign { source: OWN, event: Some(Text::from_plain(name)), data: data.to_owned() };
        if self.started {
            out.push(event);
        } else {
            self.early.push(event);
        }
        Ok(())
    }
}

/// What an answer that ends in an error says of it. Nobody must take it for a whole one.
fn failure_in<'a>(event: &'a EventWire<'_>) -> Option<(&'a Text, Option<&'a Text>)> {
    let delta = event.delta.as_ref()?;
    let word = delta.finish_reason.as_ref().filter(|word| is_failure(word))?;
    Some((word, delta.error.as_ref()))
}

/// Fields of the message itself.
fn message_fields(fields: &Extras) -> ChatEvent {
    let data = json::raw(format!(r#"{{"index":0,"delta":{}}}"#, object_of(fields).get()));
    ChatEvent::Foreign { source: OWN, event: Some(MESSAGE_FIELDS.into()), data }
}

fn name_of(frame: &Frame) -> Option<std::borrow::Cow<'_, str>> {
    Some(String::from_utf8_lossy(frame.event.as_deref()?))
}

fn unreadable(message: &str) -> Box<Failure> {
    Box::new(Failure::new(FailureKind::Unreadable, format!("unreadable event: {message}")))
}
