//! Events to a whole reply, and a whole reply to events: streaming and not streaming share every rule.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::chat::{Extras, Part, PartKind, Raw, SPELLING, ToolCall};
use crate::event::{Block, ChatEvent, Delta, MESSAGE_FIELDS, Start};
use crate::json::{self, Array, fields, object, wire, written};
use crate::reply::{Choice, Citation, Finish, FinishReason, Usage};
use crate::{ChatReply, Dialect, Text};

/// Grows a reply out of events, one at a time.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    start: Option<Start>,
    /// In the order in which they were opened, which is that of their indexes.
    blocks: Vec<Growing>,
    choices: Vec<Growth>,
    usage: Option<Usage>,
    /// Fields of the reply that came after `Start`, as objects.
    fields: Vec<Raw>,
    stop: Extras,
}

/// A block that grows into a part.
#[derive(Clone, Debug)]
pub(crate) struct Growing {
    index: u32,
    choice: u32,
    part: Part,
    /// What [`Delta::Foreign`] brought, joined into the part's extras at the end.
    fields: Vec<Raw>,
}

/// What is known of a choice beside its parts.
#[derive(Clone, Debug)]
struct Growth {
    index: u32,
    finish: Finish,
    extras: Extras,
    logprobs: Vec<Raw>,
    citations: Vec<Citation>,
    /// Fields of the message, as objects.
    fields: Vec<Raw>,
}

wire! {
    /// The data of a [`MESSAGE_FIELDS`] event.
    struct MessageFields<'a> {
        "index" => index: u32,
        "delta" => delta: &'a RawValue,
    }
}

// === impl Fold ===

impl Fold {
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next event. Events of an unlawful reply (see [`super::Laws`]) are ignored.
    pub fn push(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Start(start) => self.start = Some(start.clone()),
            ChatEvent::Open { index, choice, block } => {
                self.choice(*choice);
                self.blocks.push(Growing::open(*index, *choice, block));
            }
            ChatEvent::Delta { index, delta } => self.grow(*index, delta),
            ChatEvent::Close { .. } => {}
            ChatEvent::Cited { choice, citations } => self.choice(*choice).citations.clone_from(citations),
            ChatEvent::End { choice, finish, extras } => {
                let choice = self.choice(*choice);
                choice.finish = finish.clone();
                choice.extras = extras.clone();
            }
            ChatEvent::Foreign { event: None, data, .. } => self.fields.push(data.clone()),
            ChatEvent::Foreign { event: Some(name), data, .. } => self.message_fields(name, data),
            ChatEvent::Stop { usage, extras } => {
                self.usage.clone_from(usage);
                self.stop = extras.clone();
            }
        }
    }

    /// The reply as far as it has come.
    pub fn finish(self) -> ChatReply {
        let start = self.start.unwrap_or_else(nothing);
        let mut parts: HashMap<u32, Vec<Part>> = HashMap::new();
        for block in self.blocks {
            let choice = block.choice;
            let part = block.into_part();
            if !is_void(&part) {
                parts.entry(choice).or_default().push(part);
            }
        }
        let mut choices: Vec<Choice> = self
            .choices
            .into_iter()
            .map(|growth| {
                let parts = parts.remove(&growth.index).unwrap_or_default();
                growth.into_choice(parts)
            })
            .collect();
        choices.sort_by_key(|choice| choice.index);
        let mut extras = start.extras;
        join(&mut extras, &self.fields);
        for (key, value) in self.stop.iter() {
            extras.remove(key);
            extras.push(key, value.to_owned());
        }
        let usage = self.usage.or(start.usage);
        ChatReply {
            source: start.source,
            id: start.id,
            model: start.model,
            created: start.created,
            choices,
            usage,
            extras,
        }
    }

    fn choice(&mut self, index: u32) -> &mut Growth {
        let at = self.choices.iter().position(|growth| growth.index == index).unwrap_or_else(|| {
            self.choices.push(Growth::new(index));
            self.choices.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the position was just found, or just filled")]
        &mut self.choices[at]
    }

    fn grow(&mut self, index: u32, delta: &Delta) {
        let Ok(at) = self.blocks.binary_search_by_key(&index, |block| block.index) else { return };
        let Some(block) = self.blocks.get_mut(at) else { return };
        match delta {
            Delta::Logprobs(raw) => {
                let choice = block.choice;
                self.choice(choice).logprobs.push(raw.clone());
            }
            delta => block.grow(delta),
        }
    }

    fn message_fields(&mut self, name: &Text, data: &RawValue) {
        if name.as_escaped() != MESSAGE_FIELDS {
            return;
        }
        if let Ok(MessageFields { index, delta: Some(delta), .. }) = json::decode(data.get().as_bytes()) {
            self.choice(index.unwrap_or(0)).fields.push(delta.to_owned());
        }
    }
}

impl Growing {
    pub(crate) fn open(index: u32, choice: u32, block: &Block) -> Self {
        Self { index, choice, part: opened(block), fields: Vec::new() }
    }

    /// Takes growth of the part itself. Log-probabilities belong to its choice.
    pub(crate) fn grow(&mut self, delta: &Delta) {
        match (delta, &mut self.part.kind) {
            (Delta::Text(more), PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Thinking { text, .. })
            | (Delta::Arguments(more), PartKind::ToolCall(ToolCall { arguments: text, .. })) => text.push(more),
            (Delta::Signature(whole), PartKind::Thinking { signature, .. }) => *signature = Some(whole.clone()),
            (Delta::Signature(whole), _) => self.part.signature = Some(whole.clone()),
            (Delta::Foreign { raw, .. }, _) => self.fields.push(raw.clone()),
            _ => {}
        }
    }

    pub(crate) fn into_part(self) -> Part {
        let mut part = self.part;
        join(&mut part.extras, &self.fields);
        part
    }
}

impl Growth {
    fn new(index: u32) -> Self {
        let finish = Finish { reason: FinishReason::Other, ..Finish::default() };
        let extras = Extras::default();
        Self { index, finish, extras, logprobs: Vec::new(), citations: Vec::new(), fields: Vec::new() }
    }

    fn into_choice(self, parts: Vec<Part>) -> Choice {
        let mut message_extras = Extras::default();
        join(&mut message_extras, &self.fields);
        let logprobs = (!self.logprobs.is_empty()).then(|| {
            let mut joined = Extras::default();
            join(&mut joined, &self.logprobs);
            object(&joined)
        });
        let Self { index, finish, citations, extras, .. } = self;
        Choice { index, parts, finish, logprobs, citations, extras, message_extras }
    }
}

/// What a stream that never started is a reply of.
fn nothing() -> Start {
    let (source, extras) = (Dialect::OpenAiChat, Extras::default());
    Start { source, id: Text::default(), model: Text::default(), created: None, usage: None, extras }
}

fn opened(block: &Block) -> Part {
    let with = |kind: PartKind, extras: &Extras| Part { extras: extras.clone(), ..Part::from(kind) };
    match block {
        Block::Text { extras } => with(PartKind::Text(Text::default()), extras),
        Block::Thinking { extras } => with(PartKind::Thinking { text: Text::default(), signature: None }, extras),
        Block::Redacted { data } => PartKind::Redacted { data: data.clone() }.into(),
        Block::Refusal => PartKind::Refusal(Text::default()).into(),
        Block::ToolCall { id, name, custom, extras } => {
            let call = ToolCall { id: id.clone(), name: name.clone(), arguments: Text::default(), custom: *custom };
            with(PartKind::ToolCall(call), extras)
        }
        Block::Foreign { source, raw } => PartKind::Foreign(*source, raw.clone()).into(),
    }
}

/// A block that brought nothing is no part: providers open with an empty text, and say no more. Where its dialect spells even
/// an empty one, it stays.
fn is_void(part: &Part) -> bool {
    let empty = match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Thinking { text, signature: None } => {
            text.is_empty()
        }
        _ => false,
    };
    empty && part.signature.is_none() && part.extras.telling().next().is_none() && part.extras.find(SPELLING).is_none()
}

// === joining fields ===

/// Joins objects into `extras`, in order: lists and objects grow, `null` changes nothing, of anything else the latest wins.
fn join(extras: &mut Extras, objects: &[Raw]) {
    let mut grown: Vec<(Box<str>, Vec<Raw>)> = Vec::new();
    for object in objects {
        for (key, value) in fields(Some(object)).iter() {
            match grown.iter_mut().find(|(name, _)| name.as_ref() == key) {
                Some((_, values)) => values.push(value.to_owned()),
                None => grown.push((key.into(), extras.remove(key).into_iter().chain([value.to_owned()]).collect())),
            }
        }
    }
    for (key, values) in grown {
        let value = joined(&key, values);
        extras.push(key, value);
    }
}

/// Strings that grow like text, of OpenAI's `audio` object. All other strings are said whole each time.
const GROWING: [&str; 2] = ["data", "transcript"];

fn joined(key: &str, values: Vec<Raw>) -> Raw {
    let mut values: Vec<Raw> = values.into_iter().filter(|value| value.get() != "null").collect();
    match values.last().map(|last| last.get().as_bytes().first()) {
        None => json::null(),
        Some(Some(b'[')) => list(&values),
        Some(Some(b'{')) => {
            let mut extras = Extras::default();
            join(&mut extras, &values);
            object(&extras)
        }
        Some(Some(b'"')) if GROWING.contains(&key) => {
            let mut text = Text::default();
            values.iter().filter_map(|value| Text::from_raw(value)).for_each(|more| text.push(&more));
            json::raw(format!("\"{}\"", text.as_escaped()))
        }
        Some(_) => values.pop().unwrap_or_else(json::null),
    }
}

/// One list of the elements of every list.
fn list(values: &[Raw]) -> Raw {
    let mut out = Vec::new();
    let mut array = Array::new(&mut out);
    for value in values {
        let elements: Vec<&RawValue> = json::decode(value.get().as_bytes()).unwrap_or_default();
        for element in elements {
            array.raw(element.get());
        }
    }
    array.end();
    written(out)
}

// === unfold ===

/// The events that fold to this reply. Parts that no stream carries (media of the caller, tool results) do not occur in a
/// reply.
pub fn unfold(reply: &ChatReply) -> Vec<ChatEvent> {
    let mut events = vec![ChatEvent::Start(Start {
        source: reply.source,
        id: reply.id.clone(),
        model: reply.model.clone(),
        created: reply.created,
        usage: None,
        extras: reply.extras.clone(),
    })];
    let mut index = 0;
    for choice in &reply.choices {
        unfold_choice(reply.source, choice, &mut index, &mut events);
    }
    events.push(ChatEvent::Stop { usage: reply.usage.clone(), extras: Extras::default() });
    events
}

/// The blocks of parts that came in one piece, numbered from `index` on.
pub(crate) fn unfold_parts(source: Dialect, parts: &[Part], index: &mut u32, events: &mut Vec<ChatEvent>) {
    for (block, deltas) in parts.iter().filter_map(|part| unfold_part(source, part)) {
        push_block(events, index, 0, block, deltas);
    }
}

fn unfold_choice(source: Dialect, choice: &Choice, index: &mut u32, events: &mut Vec<ChatEvent>) {
    let mut logprobs = choice.logprobs.clone();
    for part in &choice.parts {
        let Some((block, deltas)) = unfold_part(source, part) else { continue };
        // Probabilities belong to text; they travel with the first text there is.
        let measured = if matches!(block, Block::Text { .. } | Block::Refusal) { logprobs.take() } else { None };
        push_block(events, index, choice.index, block, deltas.into_iter().chain(measured.map(Delta::Logprobs)));
    }
    if let Some(raw) = logprobs {
        let block = Block::Text { extras: Extras::default() };
        push_block(events, index, choice.index, block, [Delta::Logprobs(raw)]);
    }
    if !choice.message_extras.is_empty() {
        let fields = object(&choice.message_extras);
        let data = json::raw(format!(r#"{{"index":{},"delta":{}}}"#, choice.index, fields.get()));
        events.push(ChatEvent::Foreign { source, event: Some(MESSAGE_FIELDS.into()), data });
    }
    if !choice.citations.is_empty() {
        events.push(ChatEvent::Cited { choice: choice.index, citations: choice.citations.clone() });
    }
    events.push(ChatEvent::End { choice: choice.index, finish: choice.finish.clone(), extras: choice.extras.clone() });
}

fn push_block(
    events: &mut Vec<ChatEvent>,
    index: &mut u32,
    choice: u32,
    block: Block,
    deltas: impl IntoIterator<Item = Delta>,
) {
    let at = *index;
    *index = at.saturating_add(1);
    events.push(ChatEvent::Open { index: at, choice, block });
    events.extend(deltas.into_iter().map(|delta| ChatEvent::Delta { index: at, delta }));
    events.push(ChatEvent::Close { index: at });
}

/// A finished part as a block and its growth; `None` for parts that no stream carries.
pub(crate) fn unfold_part(source: Dialect, part: &Part) -> Option<(Block, Vec<Delta>)> {
    let extras = part.extras.clone();
    // The heads without a place for extras get them as growth.
    let late = || (!part.extras.is_empty()).then(|| Delta::Foreign { source, raw: object(&part.extras) });
    let block = match &part.kind {
        PartKind::Text(text) => (Block::Text { extras }, vec![Delta::Text(text.clone())]),
        PartKind::Thinking { text, signature } => {
            let signature = signature.clone().map(Delta::Signature);
            (Block::Thinking { extras }, [Delta::Text(text.clone())].into_iter().chain(signature).collect())
        }
        PartKind::Redacted { data } => (Block::Redacted { data: data.clone() }, late().into_iter().collect()),
        PartKind::Refusal(text) => (Block::Refusal, [Delta::Text(text.clone())].into_iter().chain(late()).collect()),
        PartKind::ToolCall(ToolCall { id, name, arguments, custom }) => {
            let block = Block::ToolCall { id: id.clone(), name: name.clone(), custom: *custom, extras };
            (block, vec![Delta::Arguments(arguments.clone())])
        }
        PartKind::Foreign(source, raw) => {
            (Block::Foreign { source: *source, raw: raw.clone() }, late().into_iter().collect())
        }
        PartKind::Image(_) | PartKind::Audio(_) | PartKind::File(_) | PartKind::ToolResult(_) => return None,
    };
    let (head, mut deltas) = block;
    // First, so that a writer can say it together with what it signs.
    deltas.splice(..0, part.signature.clone().map(Delta::Signature));
    Some((head, deltas))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Raw {
        json::raw(json.to_owned())
    }

    #[test]
    fn lists_and_growing_strings_join_and_the_latest_wins_else() {
        let mut extras = Extras::default();
        extras.push("a", raw("[1]"));
        let objects = [
            raw(r#"{"a":[2],"b":"x","audio":{"id":"i","data":"QU"}}"#),
            raw(r#"{"a":null,"b":"y","audio":{"data":"JD","expires_at":1}}"#),
        ];
        join(&mut extras, &objects);
        assert_eq!(object(&extras).get(), r#"{"a":[1,2],"b":"y","audio":{"id":"i","data":"QUJD","expires_at":1}}"#);
    }

    #[test]
    fn unfolding_and_folding_is_the_identity() {
        let call = ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into(), custom: false };
        let thinking = PartKind::Thinking { text: "hm".into(), signature: Some("s".into()) };
        let mut message_extras = Extras::default();
        message_extras.push("annotations", raw(r#"[{"type":"url_citation"}]"#));
        let choice = Choice {
            index: 1,
            parts: vec![thinking.into(), PartKind::Text("a".into()).into(), PartKind::ToolCall(call).into()],
            logprobs: Some(raw(r#"{"content":[{"token":"a"}]}"#)),
            message_extras,
            ..Choice::default()
        };
        let reply = ChatReply { choices: vec![choice], ..Fold::new().finish() };
        let events = unfold(&reply);
        let mut laws = crate::event::Laws::default();
        let mut fold = Fold::new();
        for event in &events {
            laws.check(event).unwrap();
            fold.push(event);
        }
        assert_eq!(format!("{:?}", fold.finish()), format!("{reply:?}"));
    }
}
