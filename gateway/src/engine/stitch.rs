//! Joins the turns of a conversation with tools into one well-formed reply on the wire.
//!
//! Blocks are renumbered, inner beginnings and ends dropped, the gateway's own tool calls hidden, usage summed by the caller.
//! A client sees one reply, whatever happened behind it.

use std::collections::HashMap;

use bifrost_providers::chat::{Extras, Part, PartKind};
use bifrost_providers::dialect::{EventWriter, Problem};
use bifrost_providers::event::{Block, Delta};
use bifrost_providers::reply::{Finish, Usage};
use bifrost_providers::{ChatEvent, Dialect, Losses, Text};
use bytes::Bytes;

use super::items::Item;
use crate::record::unix_ms;

/// Whether a block reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    Shown,
    Hidden,
}

/// One reply being written, over one or more turns.
pub struct Stitch {
    writer: Box<dyn EventWriter>,
    client: Dialect,
    /// What the provider speaks.
    source: Dialect,
    out: Vec<u8>,
    started: bool,
    /// Blocks shown so far, which is the next block's index.
    shown: u32,
    /// This turn's block indexes to the client's; hidden blocks have none.
    places: HashMap<u32, Option<u32>>,
    /// The turn that showed text last: the text of a later one must not run into it.
    text_in: Option<usize>,
    turn: usize,
    /// How the choices of the current turn ended, until it is known whether that is the end of the reply.
    ends: Vec<(u32, Finish, Extras)>,
    tail: Extras,
    /// What is shown as soon as the reply has begun.
    opening: Vec<Item>,
}

impl Stitch {
    pub fn new(client: Dialect, writer: Box<dyn EventWriter>) -> Self {
        Self {
            writer,
            client,
            source: client,
            out: Vec::new(),
            started: false,
            shown: 0,
            places: HashMap::new(),
            text_in: None,
            turn: 0,
            ends: Vec::new(),
            tail: Extras::default(),
            opening: Vec::new(),
        }
    }

    /// Shows these items in front of everything else.
    pub fn open_with(&mut self, items: Vec<Item>) {
        self.opening = items;
    }

    /// Shows an item of the gateway's own, as a block of its own.
    pub fn item(&mut self, item: &Item) {
        let place = self.next_place();
        for event in item.events(place) {
            self.write(&event);
        }
    }

    pub fn begin_turn(&mut self) {
        self.turn += 1;
        self.places.clear();
        self.ends.clear();
    }

    /// Takes one event of the current turn. `sight` decides about each tool call by its name.
    pub fn event(&mut self, event: ChatEvent, sight: impl Fn(&str) -> Sight) {
        match event {
            ChatEvent::Start(mut start) => {
                self.source = start.source;
                if !std::mem::replace(&mut self.started, true) {
                    start.created.get_or_insert_with(|| unix_ms() / 1000);
                    self.write(&ChatEvent::Start(start));
                    for item in std::mem::take(&mut self.opening) {
                        self.item(&item);
                    }
                }
            }
            ChatEvent::Open { index, choice, block } => self.open(index, choice, block, sight),
            ChatEvent::Delta { index, delta } => {
                if let Some(Some(place)) = self.places.get(&index).copied() {
                    self.write(&ChatEvent::Delta { index: place, delta });
                }
            }
            ChatEvent::Close { index } => {
                if let Some(Some(place)) = self.places.get(&index).copied() {
                    self.write(&ChatEvent::Close { index: place });
                }
            }
            ChatEvent::End { choice, finish, extras } => self.ends.push((choice, finish, extras)),
            ChatEvent::Stop { extras, .. } => self.tail = extras,
            other @ (ChatEvent::Foreign { .. } | ChatEvent::Cited { .. }) => self.write(&other),
        }
    }

    fn open(&mut self, index: u32, choice: u32, block: Block, sight: impl Fn(&str) -> Sight) {
        if let Block::ToolCall { name, .. } = &block
            && sight(&name.to_plain()) == Sight::Hidden
        {
            self.places.insert(index, None);
            return;
        }
        let place = self.next_place();
        self.places.insert(index, Some(place));
        let is_text = matches!(block, Block::Text { .. });
        self.write(&ChatEvent::Open { index: place, choice, block });
        if is_text {
            self.separate(place);
        }
    }

    /// Dialects with blocks keep the turns' texts apart; OpenAI's one string needs a blank line.
    fn separate(&mut self, place: u32) {
        let earlier = self.text_in.replace(self.turn);
        if self.client == Dialect::OpenAiChat && earlier.is_some_and(|turn| turn < self.turn) {
            let blank = Text::from_plain("\n\n");
            self.write(&ChatEvent::Delta { index: place, delta: Delta::Text(blank) });
        }
    }

    /// Writes a finished part as a block of its own: a call that a limit left unanswered, or the gateway's own words.
    pub fn show(&mut self, part: &Part) {
        let (block, delta) = match &part.kind {
            PartKind::Text(text) => (Block::Text { extras: Extras::default() }, Delta::Text(text.clone())),
            PartKind::ToolCall(call) => {
                let (id, name, custom) = (call.id.clone(), call.name.clone(), call.custom);
                let block = Block::ToolCall { id, name, custom, extras: Extras::default() };
                (block, Delta::Arguments(call.arguments.clone()))
            }
            // Nothing else is ever held back.
            _ => return,
        };
        let index = self.next_place();
        let is_text = matches!(block, Block::Text { .. });
        self.write(&ChatEvent::Open { index, choice: 0, block });
        if is_text {
            // The gateway's own words do not run into the model's, of whatever turn.
            self.turn += 1;
            self.separate(index);
        }
        self.write(&ChatEvent::Delta { index, delta });
        self.write(&ChatEvent::Close { index });
    }

    /// The reply is complete. `finish` replaces what the last turn said, where given.
    pub fn end(&mut self, finish: Option<Finish>, usage: Option<Usage>, annex: &str) {
        let mut ends = std::mem::take(&mut self.ends);
        if let Some(finish) = finish {
            let extras = ends.pop().map(|(_, _, extras)| extras).unwrap_or_default();
            ends = vec![(0, finish, extras)];
        }
        for (choice, finish, extras) in ends {
            self.write(&ChatEvent::End { choice, finish, extras });
        }
        let extras = std::mem::take(&mut self.tail);
        self.writer.write(&ChatEvent::Stop { usage, extras }, Some(annex), &mut self.out);
    }

    pub fn fail(&mut self, problem: &Problem) {
        self.writer.fail(problem, &mut self.out);
    }

    pub fn losses(&self) -> Losses {
        self.writer.losses().clone().in_a_body_of(self.source)
    }

    /// What has been written since the last call: whole events only.
    pub fn take(&mut self) -> Bytes {
        if self.out.is_empty() {
            return Bytes::new();
        }
        // The next event is about as long: room that is made once need not grow.
        let room = Vec::with_capacity(self.out.len() + self.out.len() / 4);
        Bytes::from(std::mem::replace(&mut self.out, room))
    }

    fn next_place(&mut self) -> u32 {
        let place = self.shown;
        self.shown = self.shown.saturating_add(1);
        place
    }

    fn write(&mut self, event: &ChatEvent) {
        self.writer.write(event, None, &mut self.out);
    }
}

impl std::fmt::Debug for Stitch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stitch").field("turn", &self.turn).field("shown", &self.shown).finish_non_exhaustive()
    }
}
