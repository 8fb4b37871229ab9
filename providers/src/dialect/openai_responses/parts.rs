//! The events of one item's parts, as the writer spells them.

use serde_json::value::RawValue;

use super::content::{LISTS, Side, encode_part};
use super::item::{CONTENT, Kind, SUMMARY, kind_of_thought};
use super::spelling::{IN, Mark};
use super::wire::Crossing;
use super::writer::Wire;
use crate::Text;
use crate::chat::{Part, PartKind, Raw};
use crate::event::{Block, Delta, Growing};
use crate::json::{Object, fields};

/// An item of the output.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) kind: Kind,
    pub(super) id: Option<Text>,
    /// The parts that are closed.
    pub(super) parts: Vec<Part>,
    /// How many parts are open.
    open: usize,
    /// The whole item, once it is done.
    pub(super) done: Option<Vec<u8>>,
    /// How many texts stand in its `summary` and its `content`.
    summaries: u64,
    contents: u64,
}

/// A block between its opening and its closing.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) part: Growing,
    /// Which item it is of, once that is known.
    pub(super) at: usize,
    pub(super) begun: bool,
    voice: Voice,
    /// Its number within its list, once its part was announced.
    number: Option<u64>,
    /// Log-probabilities for the next piece of text.
    measured: Option<Raw>,
}

/// How a block's growth is spelt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Voice {
    Text,
    Refusal,
    Summary,
    Thought,
    Arguments,
    Input,
    Silent,
}

impl Voice {
    fn of(part: &Part) -> Self {
        match &part.kind {
            PartKind::Text(_) => Self::Text,
            PartKind::Refusal(_) => Self::Refusal,
            PartKind::Thinking { .. } if Mark::of(&part.extras).find(IN).is_some() => Self::Thought,
            PartKind::Thinking { .. } => Self::Summary,
            PartKind::ToolCall(call) if call.custom => Self::Input,
            PartKind::ToolCall(_) => Self::Arguments,
            _ => Self::Silent,
        }
    }

    /// The names of its growth and of its end, and the field that says it whole.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Text => ("response.output_text.delta", "response.output_text.done", "text"),
            Self::Refusal => ("response.refusal.delta", "response.refusal.done", "refusal"),
            Self::Thought => ("response.reasoning_text.delta", "response.reasoning_text.done", "text"),
            Self::Arguments => {
                ("response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments")
            }
            Self::Input => ("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done", "input"),
            Self::Summary | Self::Silent => {
                ("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done", "text")
            }
        }
    }

    fn index_key(self) -> Option<&'static str> {
        match self {
            Self::Text | Self::Refusal | Self::Thought => Some("content_index"),
            Self::Summary => Some("summary_index"),
            Self::Arguments | Self::Input | Self::Silent => None,
        }
    }

    fn part_names(self) -> (&'static str, &'static str) {
        match self {
            Self::Summary => ("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"),
            _ => ("response.content_part.added", "response.content_part.done"),
        }
    }
}

impl Live {
    pub(super) fn new(part: Growing, head: &Part) -> Self {
        Self { part, at: 0, begun: false, voice: Voice::of(head), number: None, measured: None }
    }

    pub(super) fn is_text(&self) -> bool {
        self.voice == Voice::Text && self.begun
    }
}

impl Slot {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, id: None, parts: Vec::new(), open: 0, done: None, summaries: 0, contents: 0 }
    }

    /// May another part of this kind go on with this item?
    pub(super) fn takes(&self, kind: Kind) -> bool {
        self.kind == kind && self.done.is_none()
    }

    /// Does a part of it still grow?
    pub(super) fn is_busy(&self) -> bool {
        self.open > 0
    }

    /// Announces a part. Reasoning without words has none, so it waits for the first.
    pub(super) fn begin(&mut self, live: &mut Live, part: &Part, wire: &mut Wire, out: &mut Vec<u8>) {
        self.open = self.open.saturating_add(1);
        if matches!(live.voice, Voice::Text | Voice::Refusal) {
            self.announce(live, part, wire, out);
        }
    }

    fn announce(&mut self, live: &mut Live, part: &Part, wire: &mut Wire, out: &mut Vec<u8>) {
        let count = if live.voice == Voice::Summary { &mut self.summaries } else { &mut self.contents };
        live.number = Some(*count);
        *count = count.saturating_add(1);
        let empty = match live.voice {
            Voice::Text => r#"{"type":"output_text","text":"","annotations":[],"logprobs":[]}"#.to_owned(),
            Voice::Refusal => r#"{"type":"refusal","refusal":""}"#.to_owned(),
            _ => thought(part, &Text::default()),
        };
        wire.frame(out, live.voice.part_names().0, |event| {
            self.place(live, event);
            event.raw("part", &empty);
        });
    }

    /// Which item and which part of it an event is about.
    fn place(&self, live: &Live, event: &mut Object<'_>) {
        event.text("item_id", self.id.as_ref().unwrap_or(&Text::default())).number("output_index", live.at as u64);
        if let (Some(key), Some(number)) = (live.voice.index_key(), live.number) {
            event.number(key, number);
        }
    }

    pub(super) fn grow(&mut self, live: &mut Live, delta: &Delta, wire: &mut Wire, out: &mut Vec<u8>) {
        match delta {
            Delta::Text(text) | Delta::Arguments(text) if !text.is_empty() => self.say(live, text, wire, out),
            Delta::Foreign { raw, .. } if live.voice == Voice::Text => {
                let growth = fields(Some(raw));
                live.measured = growth.find("logprobs").map(ToOwned::to_owned).or_else(|| live.measured.take());
                if let Some(list) = growth.find("annotations") {
                    self.cite(live, list, wire, out);
                }
            }
            _ => {}
        }
    }

    fn say(&mut self, live: &mut Live, text: &Text, wire: &mut Wire, out: &mut Vec<u8>) {
        if matches!(live.voice, Voice::Summary | Voice::Thought) && live.number.is_none() {
            let part = live.part.clone().into_part();
            self.announce(live, &part, wire, out);
        }
        let measured = live.measured.take();
        wire.padded(out, live.voice.names().0, |event| {
            self.place(live, event);
            event.text("delta", text);
            if live.voice == Voice::Text {
                event.raw("logprobs", measured.as_deref().map_or("[]", |list| list.get()));
            }
        });
    }

    /// One event for each citation.
    fn cite(&self, live: &Live, list: &RawValue, wire: &mut Wire, out: &mut Vec<u8>) {
        let known = fields_count(&live.part, LISTS.first().copied().unwrap_or_default());
        let list: Vec<&RawValue> = serde_json::from_str(list.get()).unwrap_or_default();
        let before = known.saturating_sub(list.len());
        for (at, citation) in list.into_iter().enumerate() {
            wire.frame(out, "response.output_text.annotation.added", |event| {
                self.place(live, event);
                event.number("annotation_index", before.saturating_add(at) as u64).raw("annotation", citation.get());
            });
        }
    }

    /// Sources of the last text, which is closed; `false` where there is none.
    pub(super) fn cite_last(&mut self, at: usize, list: &Raw, wire: &mut Wire, out: &mut Vec<u8>) -> bool {
        let text = self.parts.iter_mut().enumerate().rfind(|(_, part)| matches!(part.kind, PartKind::Text(_)));
        let Some((number, part)) = text.filter(|(_, part)| part.extras.find("annotations").is_none()) else {
            return false;
        };
        part.extras.push("annotations", list.clone());
        let mut live = Live::new(Growing::open(0, 0, &Block::Refusal), part);
        (live.at, live.number) = (at, Some(number as u64));
        self.cite(&live, list, wire, out);
        true
    }

    /// Says once more, whole, what the deltas said.
    pub(super) fn close(
        &mut self,
        live: &Live,
        part: &Part,
        wire: &mut Wire,
        (crossing, out): (&mut Crossing<'_>, &mut Vec<u8>),
    ) {
        self.open = self.open.saturating_sub(1);
        let (_, done, key) = live.voice.names();
        let whole = match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) | PartKind::Thinking { text, .. } => text,
            PartKind::ToolCall(call) => &call.arguments,
            _ => return,
        };
        if live.voice.index_key().is_some() && live.number.is_none() {
            return;
        }
        // A call without arguments is an empty object, as its item will say.
        let empty = live.voice == Voice::Arguments && whole.is_empty() && !crossing.is_native();
        wire.frame(out, done, |event| {
            self.place(live, event);
            if empty {
                event.str(key, "{}");
            } else {
                event.text(key, whole);
            }
            if live.voice == Voice::Text {
                event.raw("logprobs", part.extras.find("logprobs").map_or("[]", |list| list.get()));
            }
        });
        let mut spelt = Vec::new();
        match live.voice {
            Voice::Text | Voice::Refusal => encode_part(&mut spelt, part, Side::Model, "", crossing),
            Voice::Summary | Voice::Thought => spelt.extend_from_slice(thought(part, whole).as_bytes()),
            _ => return,
        }
        wire.frame(out, live.voice.part_names().1, |event| {
            self.place(live, event);
            event.key("part").extend_from_slice(&spelt);
        });
    }
}

/// How many elements a list among a part's fields has.
fn fields_count(part: &Growing, key: &str) -> usize {
    let part = part.clone().into_part();
    let list = part.extras.find(key).map_or("[]", |list| list.get());
    serde_json::from_str::<Vec<&RawValue>>(list).map_or(0, |list| list.len())
}

/// A piece of reasoning, in the list it stands in.
fn thought(part: &Part, text: &Text) -> String {
    let place = if Mark::of(&part.extras).find(IN).is_some() { CONTENT } else { SUMMARY };
    format!(r#"{{"type":{},"text":"{}"}}"#, kind_of_thought(place), text.as_escaped())
}
