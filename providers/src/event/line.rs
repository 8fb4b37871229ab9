//! Blocks one after another, for dialects whose clients put one together at a time: what a block says that opened behind another
//! waits until that one has closed. Nothing is lost of either.

use std::collections::VecDeque;

use super::ChatEvent;

/// Blocks that stand in line.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The block whose turn it is.
    live: Option<u32>,
    /// The others in the order of their opening, which is that of their indexes, with what they said so far.
    waiting: VecDeque<(u32, Vec<ChatEvent>)>,
}

impl Line {
    /// Says the event, and then what waited for it; or keeps it until its turn comes.
    pub(crate) fn pass(&mut self, event: &ChatEvent, mut say: impl FnMut(&ChatEvent)) {
        match event {
            ChatEvent::Open { index, .. } if self.live.is_some() => {
                self.waiting.push_back((*index, vec![event.clone()]));
            }
            ChatEvent::Open { index, .. } => {
                self.live = Some(*index);
                say(event);
            }
            ChatEvent::Delta { index, .. } | ChatEvent::Close { index } if self.live != Some(*index) => {
                let at = self.waiting.binary_search_by_key(index, |(waiting, _)| *waiting);
                if let Some((_, events)) = at.ok().and_then(|at| self.waiting.get_mut(at)) {
                    events.push(event.clone());
                }
            }
            ChatEvent::Close { .. } => {
                say(event);
                self.advance(say);
            }
            _ => say(event),
        }
    }

    /// Nothing grows any more: closes what is open, one after another.
    pub(crate) fn end(&mut self, mut say: impl FnMut(&ChatEvent)) {
        while let Some(index) = self.live {
            say(&ChatEvent::Close { index });
            self.advance(&mut say);
        }
    }

    /// Lets those follow that waited: closed ones whole, and the first that is not stays open.
    fn advance(&mut self, mut say: impl FnMut(&ChatEvent)) {
        self.live = None;
        while self.live.is_none()
            && let Some((index, events)) = self.waiting.pop_front()
        {
            events.iter().for_each(&mut say);
            self.live = Some(index).filter(|_| !matches!(events.last(), Some(ChatEvent::Close { .. })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Block, Delta};

    fn open(index: u32) -> ChatEvent {
        ChatEvent::Open { index, choice: 0, block: Block::Refusal }
    }

    fn grow(index: u32) -> ChatEvent {
        ChatEvent::Delta { index, delta: Delta::Text("x".into()) }
    }

    fn close(index: u32) -> ChatEvent {
        ChatEvent::Close { index }
    }

    /// What is said of these events, and then at their end: brackets around each block, and its index as often as it grew.
    fn said(events: &[ChatEvent]) -> String {
        let (mut line, mut said) = (Line::default(), String::new());
        let mut say = |event: &ChatEvent| match event {
            ChatEvent::Open { .. } => said.push('('),
            ChatEvent::Delta { index, .. } => said.push_str(&index.to_string()),
            ChatEvent::Close { .. } => said.push(')'),
            _ => said.push('?'),
        };
        for event in events {
            line.pass(event, &mut say);
        }
        line.end(&mut say);
        said
    }

    #[test]
    fn blocks_that_interleave_come_one_after_another() {
        let cases: [(&str, Vec<ChatEvent>); 5] = [
            ("(00)(11)", vec![open(0), grow(0), open(1), grow(1), grow(0), grow(1), close(0), close(1)]),
            ("(0)(1)(2)", vec![open(0), open(1), open(2), grow(2), close(2), grow(1), close(1), grow(0), close(0)]),
            ("(0)(11)(2)", vec![open(0), open(1), grow(1), grow(0), close(0), grow(1), open(2), grow(2)]),
            ("()(1)(2)", vec![open(0), open(1), open(2), grow(2), close(0), grow(1), close(1), close(2)]),
            ("()(1)", vec![open(0), open(1), grow(1), close(1)]),
        ];
        for (wanted, events) in cases {
            assert_eq!(said(&events), wanted, "{events:?}");
        }
    }
}
