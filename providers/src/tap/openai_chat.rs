//! OpenAI chat completions, and what its many imitators send in their place.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::{Facts, Seen, Whole, failure, has_substance, strange, text};
use crate::dialect::openai_chat::reply::count_usage;
use crate::dialect::{Dialect, Frame};
use crate::json::{Fault, Reader, utf8};
use crate::reply::Usage;

/// What is looked for in a chunk or a whole reply.
#[derive(Default)]
struct Reply<'a> {
    model: Option<&'a str>,
    choices: Choices<'a>,
    usage: Option<Usage>,
    error: Option<&'a str>,
    /// `error` where Mistral sends a flat error object.
    object: Option<&'a str>,
    /// A flat error's message; no reply has one at this level.
    message: Option<&'a str>,
    detail: Option<&'a str>,
}

#[derive(Default)]
enum Choices<'a> {
    #[default]
    Absent,
    List(Vec<Choice<'a>>),
    /// No list, or one of something else than objects.
    Strange,
}

#[derive(Default)]
struct Choice<'a> {
    finish_reason: Option<&'a str>,
    has_content: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    Absent,
    Null,
    Given,
}

/// Keys whose presence makes a chunk worth parsing. A quote in JSON text is escaped, so a match is (almost) always a key.
struct Keys {
    delta: Finder<'static>,
    usage: Finder<'static>,
    finish_reason: Finder<'static>,
    error: Finder<'static>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    delta: Finder::new(b"\"delta\""),
    usage: Finder::new(b"\"usage\""),
    finish_reason: Finder::new(b"\"finish_reason\""),
    error: Finder::new(b"\"error\""),
});

pub(super) fn event(frame: &Frame, content: bool, facts: &mut Facts) -> Seen {
    let data = frame.data.as_ref();
    if content && is_plain_delta(data) {
        return Seen::Content;
    }
    let Some(chunk) = utf8(data).and_then(Reply::read) else {
        return strange(Dialect::OpenAiChat, frame, content);
    };
    let has_usage = chunk.usage.is_some();
    let is_error = chunk.is_error();
    let choices = chunk.choices.list();
    facts.model = facts.model.take().or_else(|| text(chunk.model));
    if has_usage {
        // Each report is cumulative and replaces the one before.
        facts.usage = chunk.usage;
        facts.is_usage_final = true;
    }
    if is_error {
        return Seen::Error(failure(Dialect::OpenAiChat, data));
    }
    let Some(choices) = choices else {
        return strange(Dialect::OpenAiChat, frame, content);
    };
    let finish = choices.iter().find_map(|choice| text(choice.finish_reason));
    if finish.is_some() {
        facts.finish = finish;
        Seen::Finish
    } else if choices.is_empty() && has_usage {
        Seen::Usage
    } else if choices.iter().any(|choice| choice.has_content) {
        Seen::Content
    } else {
        Seen::Preamble
    }
}

/// `None` where the body is no reply and no error: no JSON object, without choices, or with some that are none.
pub(super) fn whole(body: &str) -> Option<Whole> {
    let reply = Reply::read(body)?;
    let error = reply.is_error().then(|| failure(Dialect::OpenAiChat, body.as_bytes()));
    if error.is_none() && matches!(reply.choices, Choices::Absent) {
        return None;
    }
    let finish = reply.choices.list()?.first().and_then(|choice| text(choice.finish_reason));
    Some(Whole { usage: reply.usage, finish, model: text(reply.model), kept: None, error })
}

/// Is this a delta with neither usage, nor a finish, nor an error?
fn is_plain_delta(data: &[u8]) -> bool {
    let keys = &*KEYS;
    // A null finish proves a choice; where that key is left out, the delta itself has to.
    let is_open = match value(&keys.finish_reason, data) {
        Value::Null => true,
        Value::Absent => keys.delta.find(data).is_some(),
        Value::Given => false,
    };
    is_open && [&keys.usage, &keys.error].into_iter().all(|key| value(key, data) != Value::Given)
}

/// What all occurrences of a key have for a value: one that is given counts for more than any null. The key's words as a
/// string value look as if they were given, which costs a parse and nothing else.
fn value(key: &Finder<'_>, data: &[u8]) -> Value {
    let mut found = Value::Absent;
    for at in key.find_iter(data) {
        let rest = data.get(at + key.needle().len()..).unwrap_or_default().trim_ascii_start();
        match rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start) {
            Some(value) if value.starts_with(b"null") => found = Value::Null,
            _ => return Value::Given,
        }
    }
    found
}

// === impl Reply ===

impl<'a> Reply<'a> {
    /// `None` where the text is no JSON object.
    fn read(text: &'a str) -> Option<Self> {
        let mut reply = Self::default();
        let read = Reader::new(text).by(|reader| reader.object(|reader, key| reply.take(key, reader)));
        read.is_ok_and(|is_object| is_object).then_some(reply)
    }

    fn take(&mut self, key: &str, reader: &mut Reader<'a>) -> Result<(), Fault> {
        let field = match key {
            "choices" => {
                self.choices = Choices::take(reader)?;
                return Ok(());
            }
            "usage" => {
                self.usage = count_usage(reader)?;
                return Ok(());
            }
            "model" => &mut self.model,
            "error" => &mut self.error,
            "object" => &mut self.object,
            "message" => &mut self.message,
            "detail" => &mut self.detail,
            _ => return reader.raw().map(|_| ()),
        };
        *field = reader.given()?;
        Ok(())
    }

    /// An `error` beside or in place of choices (OpenRouter does either), or a flat error object.
    fn is_error(&self) -> bool {
        let is_flat = || {
            self.object == Some(r#""error""#)
                || matches!(self.choices, Choices::Absent) && text(self.message.or(self.detail)).is_some()
        };
        self.error.is_some_and(|error| !matches!(error, "false" | "\"\"" | "{}")) || is_flat()
    }
}

// === impl Choices ===

impl<'a> Choices<'a> {
    fn take(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        if reader.is_null() {
            return reader.raw().map(|_| Self::Absent);
        }
        let mut choices = Vec::new();
        let mut are_objects = true;
        let is_array = reader.array(|reader| {
            let mut choice = Choice::default();
            are_objects &= reader.object(|reader, key| choice.take(key, reader))?;
            choices.push(choice);
            Ok(())
        })?;
        Ok(if is_array && are_objects { Self::List(choices) } else { Self::Strange })
    }

    /// No choices are an empty list; strange ones are none.
    fn list(self) -> Option<Vec<Choice<'a>>> {
        match self {
            Self::Absent => Some(Vec::new()),
            Self::List(choices) => Some(choices),
            Self::Strange => None,
        }
    }
}

impl<'a> Choice<'a> {
    fn take(&mut self, key: &str, reader: &mut Reader<'a>) -> Result<(), Fault> {
        match key {
            "finish_reason" => self.finish_reason = reader.given()?,
            "delta" => self.has_content = has_substance(reader, &["role"])?,
            _ => _ = reader.raw()?,
        }
        Ok(())
    }
}
