//! Remembers turns that mixed the gateway's tools with the caller's, until the caller comes back.
//!
//! A mixed turn is answered with the pending calls only. When the caller sends their results, the whole stretch of the
//! conversation that it never saw (executed calls, their results, signed thinking) is put back by call id, so that an
//! unmodified SDK loses nothing.
//!
//! A second journal has the items of Responses that clients refer to by their ids ([`put_back`]).

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bifrost_policies::affinity;
use bifrost_providers::chat::{ContentForm, Message, Part, PartKind, Role, ToolCall};
use bifrost_providers::dialect::openai_responses::{mcp, reference};
use bifrost_providers::{Dialect, Text};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde_json::Value;

/// The messages that the caller's one assistant message stands for, in order.
pub type Stretch = Arc<Vec<Message>>;

/// Where stretches are kept. `place` keeps the call ids of one caller and conversation apart from those of others: see
/// [`place`].
pub trait Journal: Send + Sync + Debug {
    fn keep(&self, place: &str, call_ids: &[String], stretch: Stretch);
    fn find(&self, place: &str, call_id: &str) -> Option<Stretch>;
    /// Has nothing been kept, so that no request needs to be read for what it may lack? Asked for every request.
    fn is_empty(&self) -> bool;
}

/// May this body list tool calls? Answered from its bytes, by its dialect's words for them, without building anything.
pub fn has_calls(dialect: Dialect, body: &[u8]) -> bool {
    let words: &[&str] = match dialect {
        Dialect::OpenAiChat | Dialect::CohereChat => &[r#""tool_calls""#],
        Dialect::OpenAiResponses => &[r#""function_call""#, r#""custom_tool_call""#],
        Dialect::AnthropicMessages => &[r#""tool_use""#],
        Dialect::BedrockConverse => &[r#""toolUse""#],
        // Google reads either spelling of a field.
        Dialect::Gemini => &[r#""functionCall""#, r#""function_call""#],
        Dialect::Predictions => &[],
    };
    words.iter().any(|word| memchr::memmem::find(body, word.as_bytes()).is_some())
}

/// Where a conversation stands: whose it is, and what was said last. Not every provider's call ids are unique (Kimi's are
/// `functions.<name>:<number>`), and nobody must be given another conversation's results.
pub fn place(owner: &str, last: Option<&Message>) -> String {
    let mut said = String::new();
    last.into_iter().flat_map(|message| &message.parts).for_each(|part| spell(part, &mut said));
    format!("{owner}\n{:016x}", affinity(said.as_bytes()))
}

/// Puts the stretches back into a conversation that its caller never saw. True where there were any.
///
/// The caller has the last word on what it does see: a call that it left out stays out, and arguments that it changed stay
/// changed.
pub fn restore(journal: &dyn Journal, owner: &str, messages: &mut Vec<Message>) -> bool {
    let listed: Vec<ToolCall> = messages.iter().flat_map(calls).cloned().collect();
    let mut restored: Vec<Message> = Vec::with_capacity(messages.len());
    let mut put_back: HashSet<String> = HashSet::new();
    let mut here = place(owner, None);
    for message in std::mem::take(messages) {
        // A turn stands where the caller's last words stand; in OpenAI's Responses it is several messages, an item each.
        let next = match message.role {
            Role::Assistant => here.clone(),
            _ => place(owner, Some(&message)),
        };
        if calls(&message).next().is_some() && calls(&message).all(|call| put_back.contains(&*call.id.to_plain())) {
            // A caller that spreads one turn over several messages: the first of them brought all of it back.
        } else if let Some(stretch) = calls(&message).find_map(|call| found(journal, &here, call)) {
            while restored.last().is_some_and(is_item_of_a_turn) {
                restored.pop();
            }
            for kept in stretch.iter() {
                put_back.extend(calls(kept).map(|call| call.id.to_plain().into_owned()));
                restored.push(as_listed(kept, &stretch, &listed));
            }
        } else {
            restored.push(message);
        }
        here = next;
    }
    *messages = restored;
    !put_back.is_empty()
}

/// Puts items in place of their ids, and requests in front of a client's word on them, for callers that take for granted that replies
/// are kept. True where there were any.
pub fn put_back(items: &dyn Journal, owner: &str, messages: &mut Vec<Message>) -> bool {
    let find = |id: String| items.find(owner, &id).and_then(|kept| kept.first().cloned());
    let asked: Vec<String> = messages.iter().filter_map(mcp::is_request).collect();
    let (mut any, mut whole) = (false, Vec::with_capacity(messages.len()));
    for message in messages.drain(..) {
        // Losses are told with the place where the caller said it.
        let here = |item: Message| Message { pointer: message.pointer.clone(), ..item };
        if let Some(item) = reference(&message).and_then(find) {
            whole.push(here(item));
            any = true;
            continue;
        }
        let unasked = mcp::answers_request(&message).filter(|id| !asked.contains(id));
        if let Some(request) = unasked.and_then(find) {
            whole.push(here(request));
            any = true;
        }
        whole.push(message);
    }
    *messages = whole;
    any
}

/// Part of a turn that its caller lists item by item, and that comes back whole.
fn is_item_of_a_turn(message: &Message) -> bool {
    message.role == Role::Assistant && message.content == ContentForm::Item
}

fn found(journal: &dyn Journal, place: &str, call: &ToolCall) -> Option<Stretch> {
    let stretch = journal.find(place, &call.id.to_plain())?;
    let same =
        |kept: &ToolCall| kept.id.to_plain() == call.id.to_plain() && kept.name.to_plain() == call.name.to_plain();
    let holds = stretch.iter().flat_map(calls).any(same);
    holds.then_some(stretch)
}

/// A kept message, less the pending calls that the caller left out, and with its arguments in those that it did not.
fn as_listed(kept: &Message, stretch: &[Message], listed: &[ToolCall]) -> Message {
    let mut message = kept.clone();
    message.parts.retain_mut(|part| {
        let PartKind::ToolCall(call) = &mut part.kind else { return true };
        if stretch.iter().any(|message| answers(message, call)) {
            return true;
        }
        let Some(theirs) = listed.iter().find(|theirs| theirs.id.to_plain() == call.id.to_plain()) else {
            return false;
        };
        if !same_json(&theirs.arguments, &call.arguments) {
            call.arguments = theirs.arguments.clone();
        }
        true
    });
    message
}

fn answers(message: &Message, call: &ToolCall) -> bool {
    message.parts.iter().any(|part| matches!(&part.kind, PartKind::ToolResult(result) if result.call_id == call.id))
}

/// Another spelling of the same arguments is no change: the model's own bytes keep its prompt cache warm.
fn same_json(a: &Text, b: &Text) -> bool {
    let read = |text: &Text| serde_json::from_str::<Value>(&text.to_plain()).ok();
    a == b || read(a).is_some_and(|value| Some(value) == read(b))
}

fn calls(message: &Message) -> impl Iterator<Item = &ToolCall> {
    message.parts.iter().filter_map(|part| match &part.kind {
        PartKind::ToolCall(call) => Some(call),
        _ => None,
    })
}

/// What a part says in words.
fn spell(part: &Part, said: &mut String) {
    match &part.kind {
        PartKind::Text(text) => said.push_str(&text.to_plain()),
        PartKind::ToolResult(result) => {
            said.push_str(&result.call_id.to_plain());
            result.parts.iter().for_each(|part| spell(part, said));
        }
        _ => {}
    }
}

/// How long a caller may take to run its own tools: an hour, as generous as provider-side conversation state.
const LIFETIME: Duration = Duration::from_hours(1);
/// Bound on what is kept, in bytes of message text.
const CAPACITY_BYTES: u64 = 64 << 20;

/// In the memory of this process.
#[derive(Debug)]
pub struct MemoryJournal {
    stretches: Cache<(String, String), Stretch>,
    /// Whether there ever was one: the cache counts its entries late.
    used: AtomicBool,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(CAPACITY_BYTES)
            .weigher(|_key, stretch: &Stretch| u32::try_from(weight(stretch)).unwrap_or(u32::MAX))
            // From the last use: a conversation that goes on needs all of its past.
            .time_to_idle(LIFETIME)
            // The default policy may turn away what is new, which here is what will be asked for.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { stretches: cache, used: AtomicBool::new(false) }
    }
}

impl Journal for MemoryJournal {
    fn keep(&self, place: &str, call_ids: &[String], stretch: Stretch) {
        for id in call_ids {
            self.stretches.insert((place.to_owned(), id.clone()), stretch.clone());
        }
        self.used.store(true, Ordering::Release);
    }

    fn find(&self, place: &str, call_id: &str) -> Option<Stretch> {
        self.stretches.get(&(place.to_owned(), call_id.to_owned()))
    }

    fn is_empty(&self) -> bool {
        !self.used.load(Ordering::Acquire)
    }
}

/// In bytes of message text, about.
pub fn weight(stretch: &[Message]) -> usize {
    fn of(kind: &PartKind) -> usize {
        match kind {
            PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Redacted { data: text } => text.len(),
            PartKind::Thinking { text, signature } => text.len() + signature.as_ref().map_or(0, Text::len),
            PartKind::ToolCall(call) => call.arguments.len() + call.name.len(),
            PartKind::ToolResult(result) => result.parts.iter().map(|part| of(&part.kind)).sum(),
            PartKind::Foreign(_, raw) => raw.get().len(),
            PartKind::Image(media) | PartKind::Audio(media) | PartKind::File(media) => media_weight(media),
        }
    }
    stretch.iter().flat_map(|message| &message.parts).map(|part| of(&part.kind) + 64).sum::<usize>() + 256
}

fn media_weight(media: &bifrost_providers::chat::Media) -> usize {
    use bifrost_providers::chat::MediaSource;
    match &media.source {
        MediaSource::Base64(text) | MediaSource::Url(text) | MediaSource::FileId(text) | MediaSource::Plain(text) => {
            text.len()
        }
        MediaSource::Absent => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_found_by_each_of_its_calls_and_only_in_its_place() {
        let journal = MemoryJournal::default();
        journal.keep("vk-a", &["c1".into(), "c2".into()], Arc::new(Vec::new()));
        assert!(journal.find("vk-a", "c1").is_some());
        assert!(journal.find("vk-a", "c2").is_some());
        assert!(journal.find("vk-b", "c1").is_none());
        assert!(journal.find("vk-a", "c3").is_none());
    }

    /// Messages as OpenAI's callers write them.
    fn messages(json: &str) -> Vec<Message> {
        let body = format!(r#"{{"model":"m","messages":[{json}]}}"#);
        Dialect::OpenAiChat.codec().decode_request(body.as_bytes()).unwrap().messages
    }

    fn call(id: &str, name: &str, arguments: &str) -> String {
        let arguments = Value::String(arguments.to_owned());
        format!(r#"{{"id":"{id}","type":"function","function":{{"name":"{name}","arguments":{arguments}}}}}"#)
    }

    fn turn(calls: &[String]) -> String {
        format!(r#"{{"role":"assistant","content":null,"tool_calls":[{}]}}"#, calls.join(","))
    }

    fn result(id: &str, text: &str) -> String {
        format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"{text}"}}"#)
    }

    const USER: &str = r#"{"role":"user","content":"go"}"#;

    /// The gateway ran `o`; the caller is to answer `p` and `q`.
    fn kept(owner: &str) -> MemoryJournal {
        let hidden = [call("o", "ours", "{}"), call("p", "mine", r#"{"a":1}"#), call("q", "mine", "{}")];
        let stretch = messages(&[turn(&hidden), result("o", "ran")].join(","));
        let journal = MemoryJournal::default();
        let place = place(owner, messages(USER).last());
        journal.keep(&place, &["p".into(), "q".into()], Arc::new(stretch));
        journal
    }

    /// What is restored, in short: the ids of calls, results and texts.
    fn shape(owner: &str, conversation: &[String]) -> String {
        let mut restored = messages(&conversation.join(","));
        let changed = restore(&kept(owner), owner, &mut restored);
        let parts = restored.iter().map(|message| {
            let parts = message.parts.iter().map(|part| match &part.kind {
                PartKind::ToolCall(call) => format!("{}{}", call.id.to_plain(), call.arguments.to_plain()),
                PartKind::ToolResult(result) => format!("={}", result.call_id.to_plain()),
                PartKind::Text(text) => text.to_plain().into_owned(),
                _ => "?".to_owned(),
            });
            parts.collect::<Vec<_>>().join("+")
        });
        let shape = parts.collect::<Vec<_>>().join(" ");
        assert_eq!(changed, shape.contains("=o"), "whether anything came back is told: {shape}");
        shape
    }

    #[test]
    fn the_caller_has_the_last_word_on_what_it_sees() {
        let (p, q) = (call("p", "mine", r#"{"a":1}"#), call("q", "mine", "{}"));
        let user = || USER.to_owned();
        let whole = "go o{}+p{\"a\":1}+q{} =o =p =q";
        let cases: [(&str, Vec<String>, &str); 6] = [
            ("as it was", vec![user(), turn(&[p.clone(), q.clone()]), result("p", "1"), result("q", "2")], whole),
            (
                "another spelling",
                vec![
                    user(),
                    turn(&[call("p", "mine", r#"{ "a": 1 }"#), q.clone()]),
                    result("p", "1"),
                    result("q", "2"),
                ],
                whole,
            ),
            (
                "arguments changed",
                vec![user(), turn(&[call("p", "mine", r#"{"a":2}"#), q.clone()]), result("p", "1"), result("q", "2")],
                "go o{}+p{\"a\":2}+q{} =o =p =q",
            ),
            (
                "a call left out",
                vec![user(), turn(std::slice::from_ref(&p)), result("p", "1")],
                "go o{}+p{\"a\":1} =o =p",
            ),
            (
                "one turn in two messages",
                vec![
                    user(),
                    turn(std::slice::from_ref(&p)),
                    result("p", "1"),
                    turn(std::slice::from_ref(&q)),
                    result("q", "2"),
                ],
                whole,
            ),
            (
                "the id of another tool's call",
                vec![user(), turn(&[call("p", "other", "{}")]), result("p", "1")],
                "go p{} =p",
            ),
        ];
        for (what, conversation, wanted) in cases {
            assert_eq!(shape("vk", &conversation), wanted, "{what}");
        }
    }

    #[test]
    fn the_same_ids_in_another_conversation_are_not_the_same_calls() {
        let other = r#"{"role":"user","content":"something else"}"#.to_owned();
        let pending = turn(&[call("p", "mine", r#"{"a":1}"#)]);
        assert_eq!(shape("", &[other, pending, result("p", "1")]), "something else p{\"a\":1} =p");
    }
}
