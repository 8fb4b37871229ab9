//! Content that is here already travels together.
//!
//! A write to the client costs more than everything else that a chunk needs. So before content is sent, the provider's connection
//! gets one turn to hand over what it has read already. Where that brings nothing, because the provider is slower than the
//! gateway, the next few chunks do not wait.

use bytes::Bytes;

use crate::engine::gather::Gather;

/// Bytes that are sent without waiting for more: about what one read from a provider brings.
const ENOUGH: usize = 16 << 10;
/// Polls that make a turn: the server polls a body that is not ready twice before it lets other tasks run.
const TURN: u8 = 2;
/// Sends that go straight on after one that waited in vain.
const STRAIGHT: u8 = 7;

/// What is to be sent with the next write.
#[derive(Debug)]
pub struct Batch {
    gather: Gather,
    /// Polls since content came last.
    polls: u8,
    /// Has waiting brought anything?
    grew: bool,
    /// Sends that will not wait.
    straight: u8,
}

/// What to do when there is no more content for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is nothing to send: wait for content.
    Idle,
    /// Ask to be polled again soon.
    Again,
    Send,
}

impl Default for Batch {
    /// The first content goes straight on, with the head of the answer.
    fn default() -> Self {
        Self { gather: Gather::default(), polls: 0, grew: false, straight: 1 }
    }
}

impl Batch {
    pub fn push(&mut self, content: Bytes) {
        self.grew |= self.polls > 0;
        self.polls = 0;
        self.gather.push(content);
    }

    pub fn is_full(&self) -> bool {
        self.gather.len() >= ENOUGH
    }

    /// In the middle of a turn that others are to have: there is nothing to look for yet.
    pub fn is_waiting(&mut self) -> bool {
        let waiting = (1..TURN).contains(&self.polls);
        self.polls += u8::from(waiting);
        waiting
    }

    /// There is no more content for now.
    pub fn at_rest(&mut self) -> Next {
        if self.gather.is_empty() {
            return Next::Idle;
        }
        if self.straight > 0 || self.polls >= TURN {
            return Next::Send;
        }
        self.polls = 1;
        Next::Again
    }

    pub fn take(&mut self) -> Option<Bytes> {
        let in_vain = self.polls >= TURN && !self.grew;
        self.straight = if in_vain { STRAIGHT } else { self.straight.saturating_sub(1) };
        (self.polls, self.grew) = (0, false);
        self.gather.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: Bytes = Bytes::from_static(b"data: 1\n\n");

    /// How many chunks the next write holds, where `more` of them come with each turn.
    fn write(batch: &mut Batch, mut more: usize) -> usize {
        batch.push(CHUNK);
        while batch.at_rest() == Next::Again {
            assert!(batch.is_waiting(), "the rest of the turn");
            assert!(!batch.is_waiting());
            if more > 0 {
                batch.push(CHUNK);
                more -= 1;
            }
        }
        batch.take().unwrap().len() / CHUNK.len()
    }

    #[test]
    fn bursts_travel_together_but_for_the_first_content() {
        let mut batch = Batch::default();
        assert_eq!(batch.at_rest(), Next::Idle);
        assert_eq!(write(&mut batch, 5), 1);
        assert_eq!(write(&mut batch, 5), 6);
        assert_eq!(write(&mut batch, 2), 3);
    }

    #[test]
    fn a_slow_provider_is_waited_for_now_and_then() {
        let mut batch = Batch::default();
        write(&mut batch, 0);
        let mut waits = 0;
        for _ in 0..80 {
            batch.push(CHUNK);
            waits += usize::from(batch.at_rest() == Next::Again);
            while batch.is_waiting() {}
            assert_eq!(batch.at_rest(), Next::Send);
            assert_eq!(batch.take().unwrap(), CHUNK);
        }
        assert_eq!(waits, 10);
    }

    #[test]
    fn what_is_large_does_not_wait() {
        let mut batch = Batch::default();
        batch.push(Bytes::from(vec![b'x'; ENOUGH]));
        assert!(batch.is_full());
    }
}
