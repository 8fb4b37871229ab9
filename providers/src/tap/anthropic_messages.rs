//! Anthropic Messages.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Facts, Seen, failure, has_substance, object, raw_object, strange, text};
use crate::dialect::anthropic_messages::usage;
use crate::dialect::{Dialect, Frame};
use crate::failure::Failure;

/// The data of any event that is read.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// A message: whole, at the start of a stream, or (as `delta`) at its end.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Fields of a block or delta that every one of them has, and so are no content. Citations of an empty block are `[]`.
const HEADS: &[&str] = &["type"];

/// Blocks that begin empty. A tool call has its name from the start, and any other block its content.
const EMPTY_AT_FIRST: &[&str] = &[r#""text""#, r#""thinking""#];

pub(super) fn event(frame: &Frame, content: bool, facts: &mut Facts) -> Seen {
    match frame.event.as_deref() {
        Some(b"content_block_delta") if content => return Seen::Content,
        Some(b"ping" | b"content_block_stop") => return Seen::Preamble,
        _ => {}
    }
    let Some(data) = object::<Data<'_>>(&frame.data) else {
        return strange(Dialect::AnthropicMessages, frame, content);
    };
    // The name is said twice, and each of the two is left out by somebody.
    let name = match &frame.event {
        Some(name) => name.as_ref(),
        None => data.kind.map_or("", RawValue::get).trim_matches('"').as_bytes(),
    };
    match name {
        b"ping" | b"content_block_stop" => Seen::Preamble,
        b"message_start" => {
            if let Some(message) = raw_object::<Message<'_>>(data.message) {
                message.note(facts);
            }
            Seen::Preamble
        }
        b"content_block_start" => content_if(begins_with_content(data.content_block)),
        b"content_block_delta" => content_if(has_substance(data.delta, HEADS)),
        b"message_delta" => message_delta(&data, facts),
        b"message_stop" => Seen::Terminal,
        _ if name == b"error" || data.error.is_some() => Seen::Error(failure(Dialect::AnthropicMessages, &frame.data)),
        _ => Seen::Content,
    }
}

/// `None` where the body is no reply and no error: no JSON object, or one without a list of content.
pub(super) fn whole(body: &[u8]) -> Option<(Facts, Option<Box<Failure>>)> {
    let message = object::<Message<'_>>(body)?;
    let mut facts = Facts::default();
    message.note(&mut facts);
    facts.finish = text(message.stop_reason);
    let is_error = message.error.is_some() || message.kind.is_some_and(|kind| kind.get() == r#""error""#);
    let error = is_error.then(|| failure(Dialect::AnthropicMessages, body));
    let has_content = message.content.is_some_and(|content| content.get().starts_with('['));
    (error.is_some() || has_content).then_some((facts, error))
}

fn message_delta(data: &Data<'_>, facts: &mut Facts) -> Seen {
    facts.report(data.usage);
    facts.is_usage_final |= data.usage.is_some();
    match raw_object::<Message<'_>>(data.delta).and_then(|delta| text(delta.stop_reason)) {
        Some(reason) => {
            facts.finish = Some(reason);
            Seen::Finish
        }
        None => Seen::Preamble,
    }
}

fn begins_with_content(block: Option<&RawValue>) -> bool {
    let kind = raw_object::<Message<'_>>(block).and_then(|block| block.kind);
    !kind.is_some_and(|kind| EMPTY_AT_FIRST.contains(&kind.get())) || has_substance(block, HEADS)
}

fn content_if(condition: bool) -> Seen {
    if condition { Seen::Content } else { Seen::Preamble }
}

impl Message<'_> {
    fn note(&self, facts: &mut Facts) {
        facts.model = text(self.model);
        facts.report(self.usage);
    }
}

impl Facts {
    /// `message_start` and `message_delta` both report, each some of the counts.
    fn report(&mut self, usage: Option<&RawValue>) {
        let Some(usage) = usage else { return };
        self.usage = Some(match &self.usage {
            Some(earlier) => usage::merge(earlier, usage),
            None => usage.to_owned(),
        });
    }
}
