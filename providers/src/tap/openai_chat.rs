//! OpenAI chat completions, and what its many imitators send in their place.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Facts, Seen, failure, has_substance, object, strange, text};
use crate::dialect::{Dialect, Frame};
use crate::failure::Failure;

/// A chunk or a whole reply.
#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    /// `error` where Mistral sends a flat error object.
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    /// A flat error's message; no reply has one at this level.
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    detail: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
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
    let Some(chunk) = object::<Reply<'_>>(data) else {
        return strange(Dialect::OpenAiChat, frame, content);
    };
    chunk.note(facts);
    if chunk.is_error() {
        return Seen::Error(failure(Dialect::OpenAiChat, data));
    }
    let Some(choices) = chunk.choices() else {
        return strange(Dialect::OpenAiChat, frame, content);
    };
    let finish = choices.iter().find_map(|choice| text(choice.finish_reason));
    if finish.is_some() {
        facts.finish = finish;
        Seen::Finish
    } else if choices.is_empty() && chunk.usage.is_some() {
        Seen::Usage
    } else if choices.iter().any(|choice| has_substance(choice.delta, &["role"])) {
        Seen::Content
    } else {
        Seen::Preamble
    }
}

/// `None` where the body is no reply and no error: no JSON object, without choices, or with some that are none.
pub(super) fn whole(body: &[u8]) -> Option<(Facts, Option<Box<Failure>>)> {
    let reply = object::<Reply<'_>>(body)?;
    let mut facts = Facts::default();
    reply.note(&mut facts);
    facts.finish = reply.choices()?.first().and_then(|choice| text(choice.finish_reason));
    let error = reply.is_error().then(|| failure(Dialect::OpenAiChat, body));
    (error.is_some() || reply.choices.is_some()).then_some((facts, error))
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
    fn note(&self, facts: &mut Facts) {
        if facts.model.is_none() {
            facts.model = text(self.model);
        }
        if let Some(usage) = self.usage {
            // Each report is cumulative and replaces the one before.
            facts.usage = Some(usage.to_owned());
            facts.is_usage_final = true;
        }
    }

    /// An `error` beside or in place of choices (OpenRouter does either), or a flat error object.
    fn is_error(&self) -> bool {
        let is_flat = || {
            self.object.is_some_and(|object| object.get() == r#""error""#)
                || self.choices.is_none() && text(self.message.or(self.detail)).is_some()
        };
        self.error.is_some_and(|error| !matches!(error.get(), "false" | "\"\"" | "{}")) || is_flat()
    }

    fn choices(&self) -> Option<Vec<Choice<'a>>> {
        self.choices.map_or(Some(Vec::new()), |choices| serde_json::from_str(choices.get()).ok())
    }
}
