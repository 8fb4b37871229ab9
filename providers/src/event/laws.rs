//! Checks the grammar of stream events.
//!
//! Every reader is wrapped by [`lawful`], so that a debug build refuses a reply out of order where it was made, not where it
//! was misunderstood. Release builds do not pay for it.

use std::collections::BTreeMap;

use crate::dialect::Frame;
use crate::failure::FailureKind;
use crate::{ChatEvent, EventReader, Failure};

/// Where a reply stands in the grammar.
#[derive(Clone, Debug, Default)]
pub struct Laws {
    stage: Stage,
    /// Indexes of the blocks that are open, with their choice.
    open: BTreeMap<u32, u32>,
    /// Every index that was ever opened lies below.
    next: u32,
    /// Choices that have ended.
    ended: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Before,
    Within,
    After,
}

/// In debug builds a reader whose every event is checked: a breach is a `Failure` of kind `Unreadable`. In release builds the
/// reader itself.
pub fn lawful(reader: Box<dyn EventReader>) -> Box<dyn EventReader> {
    if cfg!(debug_assertions) { Box::new(Lawful { reader, laws: Laws::default() }) } else { reader }
}

struct Lawful {
    reader: Box<dyn EventReader>,
    laws: Laws,
}

// === impl Laws ===

impl Laws {
    /// Takes the next event. The error says, for a developer, which law it breaks.
    pub fn check(&mut self, event: &ChatEvent) -> Result<(), String> {
        match (self.stage, event) {
            (Stage::Before, ChatEvent::Start(_)) => self.stage = Stage::Within,
            (Stage::Before, other) => return Err(format!("{other:?} before Start")),
            (Stage::After, other) => return Err(format!("{other:?} after Stop")),
            (Stage::Within, ChatEvent::Start(_)) => return Err("a second Start".into()),
            (Stage::Within, event) => return self.within(event),
        }
        Ok(())
    }

    fn within(&mut self, event: &ChatEvent) -> Result<(), String> {
        match event {
            ChatEvent::Open { index, choice, .. } => self.open(*index, *choice),
            ChatEvent::Delta { index, .. } => match self.open.get(index) {
                None => Err(format!("Delta for block {index}, which is not open")),
                Some(choice) if self.ended.contains(choice) => Err(format!("Delta for choice {choice}, which ended")),
                Some(_) => Ok(()),
            },
            ChatEvent::Close { index } => match self.open.remove(index) {
                None => Err(format!("Close of block {index}, which is not open")),
                Some(_) => Ok(()),
            },
            ChatEvent::End { choice, .. } if self.ended.contains(choice) => Err(format!("choice {choice} ends twice")),
            ChatEvent::End { choice, .. } => {
                self.ended.push(*choice);
                Ok(())
            }
            ChatEvent::Stop { .. } if !self.open.is_empty() => Err(format!("Stop with open blocks {:?}", self.open)),
            ChatEvent::Stop { .. } => {
                self.stage = Stage::After;
                Ok(())
            }
            ChatEvent::Foreign { .. } | ChatEvent::Cited { .. } | ChatEvent::Start(_) => Ok(()),
        }
    }

    fn open(&mut self, index: u32, choice: u32) -> Result<(), String> {
        if index < self.next {
            return Err(format!("Open of block {index} out of order"));
        }
        if self.ended.contains(&choice) {
            return Err(format!("Open in choice {choice}, which ended"));
        }
        self.next = index.saturating_add(1);
        self.open.insert(index, choice);
        Ok(())
    }
}

// === impl Lawful ===

impl Lawful {
    fn check(&mut self, events: &[ChatEvent]) -> Result<(), Box<Failure>> {
        for event in events {
            self.laws.check(event).map_err(|breach| {
                Box::new(Failure::new(FailureKind::Unreadable, format!("events out of order: {breach}")))
            })?;
        }
        Ok(())
    }
}

impl EventReader for Lawful {
    fn read(&mut self, frame: &Frame, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let before = out.len();
        let result = self.reader.read(frame, out);
        self.check(out.get(before..).unwrap_or_default())?;
        result
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> Result<(), Box<Failure>> {
        let before = out.len();
        let result = self.reader.finish(out);
        self.check(out.get(before..).unwrap_or_default())?;
        result
    }

    fn is_done(&self) -> bool {
        self.reader.is_done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dialect;
    use crate::chat::Extras;
    use crate::event::{Block, Delta, Start};

    fn start() -> ChatEvent {
        ChatEvent::Start(Start {
            source: Dialect::OpenAiChat,
            id: "1".into(),
            model: "m".into(),
            created: None,
            usage: None,
            extras: Extras::default(),
        })
    }
    fn open(index: u32) -> ChatEvent {
        ChatEvent::Open { index, choice: 0, block: Block::Refusal }
    }
    fn delta(index: u32) -> ChatEvent {
        ChatEvent::Delta { index, delta: Delta::Text("x".into()) }
    }
    fn close(index: u32) -> ChatEvent {
        ChatEvent::Close { index }
    }
    fn end() -> ChatEvent {
        ChatEvent::End { choice: 0, finish: crate::reply::Finish::default(), extras: Extras::default() }
    }
    fn stop() -> ChatEvent {
        ChatEvent::Stop { usage: None, extras: Extras::default() }
    }

    /// The number of the event that breaks a law, if one does.
    fn breach(events: &[ChatEvent]) -> Option<usize> {
        let mut laws = Laws::default();
        events.iter().position(|event| laws.check(event).is_err())
    }

    #[test]
    fn blocks_may_interleave_and_end_may_come_before_close() {
        let events = [start(), open(0), open(1), delta(0), delta(1), close(1), delta(0), end(), close(0), stop()];
        assert_eq!(breach(&events), None);
    }

    #[test]
    fn every_breach_is_seen() {
        for (events, at) in [
            (vec![open(0)], 0),
            (vec![start(), start()], 1),
            (vec![start(), delta(0)], 1),
            (vec![start(), close(0)], 1),
            (vec![start(), open(0), close(0), open(0)], 3),
            (vec![start(), open(0), close(0), delta(0)], 3),
            (vec![start(), open(0), end(), delta(0)], 3),
            (vec![start(), end(), open(0)], 2),
            (vec![start(), end(), end()], 2),
            (vec![start(), open(0), stop()], 2),
            (vec![start(), stop(), stop()], 2),
        ] {
            assert_eq!(breach(&events), Some(at), "{events:?}");
        }
    }
}
