//! Cohere's chat, version 2.

use super::{Facts, Seen, Whole, failure, has_substance, strange, text};
use crate::Text;
use crate::dialect::cohere_chat::usage::count_usage;
use crate::dialect::cohere_chat::{ended_in, is_failure};
use crate::dialect::{Dialect, Frame};
use crate::failure::Failure;
use crate::json::{Reader, pick};

/// Events that bring nothing of an answer.
const EMPTY: &[&[u8]] = &[b"message-start", b"content-end", b"tool-call-end", b"citation-end", b"debug"];

/// A field that every content has, and so is none itself.
const HEADS: &[&str] = &["type"];

/// Fields of a message that say something.
const SAID: [&str; 3] = ["content", "tool_plan", "tool_calls"];

pub(super) fn event(frame: &Frame, content: bool, facts: &mut Facts) -> Seen {
    match frame.event.as_deref() {
        Some(b"content-delta" | b"tool-plan-delta" | b"tool-call-delta") if content => return Seen::Content,
        Some(name) if EMPTY.contains(&name) => return Seen::Preamble,
        _ => {}
    }
    let data = str::from_utf8(&frame.data).ok().and_then(|data| pick(data, ["type", "delta", "message"]));
    let Some([kind, delta, message]) = data else {
        return strange(Dialect::CohereChat, frame, content);
    };
    // The name is said twice, and imitations leave out one of the two.
    let name = match &frame.event {
        Some(name) => name.as_ref(),
        None => kind.unwrap_or_default().trim_matches('"').as_bytes(),
    };
    match name {
        b"message-end" => message_end(delta, facts),
        b"content-start" | b"content-delta" if !holds_something(delta) => Seen::Preamble,
        _ if EMPTY.contains(&name) => Seen::Preamble,
        b"error" | b"" if message.is_some() => Seen::Error(failure(Dialect::CohereChat, &frame.data)),
        b"" => strange(Dialect::CohereChat, frame, content),
        _ => Seen::Content,
    }
}

/// `None` where the body is no reply and no error: no JSON object, or one without a message.
pub(super) fn whole(body: &str) -> Option<Whole> {
    let [message, finish, usage] = pick(body, ["message", "finish_reason", "usage"])?;
    let message = message?;
    let finish = text(finish);
    let has_failed = finish.as_ref().is_some_and(is_failure) && !says_something(message);
    let error = if message.starts_with('"') {
        Some(failure(Dialect::CohereChat, body.as_bytes()))
    } else {
        finish.as_ref().filter(|_| has_failed).map(|word| ended(word, None))
    };
    (error.is_some() || message.starts_with('{')).then(|| Whole {
        kept: None,
        usage: usage.and_then(count_usage),
        finish,
        model: None,
        error,
    })
}

/// Finish and usage; or that the answer failed, whatever it had said by then.
fn message_end(delta: Option<&str>, facts: &mut Facts) -> Seen {
    let fields = delta.and_then(|delta| pick(delta, ["finish_reason", "usage", "error"]));
    let [finish, usage, error] = fields.unwrap_or_default();
    if let Some(usage) = usage.and_then(count_usage) {
        facts.usage = Some(usage);
    }
    facts.is_usage_final = true;
    facts.finish = text(finish);
    match facts.finish.as_ref().filter(|word| is_failure(word)) {
        Some(word) => Seen::Error(ended(word, text(error).as_ref())),
        None => Seen::Finish,
    }
}

fn ended(word: &Text, error: Option<&Text>) -> Box<Failure> {
    Box::new(ended_in(word, error))
}

fn says_something(message: &str) -> bool {
    pick(message, SAID).is_some_and(|said| said.into_iter().flatten().any(|value| !matches!(value, "[]" | "\"\"")))
}

fn holds_something(delta: Option<&str>) -> bool {
    let message = delta.and_then(|delta| pick(delta, ["message"])).and_then(|[message]| message);
    let content = message.and_then(|message| pick(message, ["content"])).and_then(|[content]| content);
    content.is_some_and(|content| Reader::new(content).by(|reader| has_substance(reader, HEADS)).unwrap_or(true))
}
