//! How a stream is cut into events: as server-sent events or as AWS's binary messages. Whoever reads a stream asks its dialect
//! ([`crate::Dialect::framing`]) and is then the same code for both.

use bytes::Bytes;
use http::{HeaderMap, header};

use crate::dialect::Frame;
use crate::{eventstream, sse};

/// A way to cut a stream into events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
    #[default]
    Sse,
    /// One JSON array, an element at a time: what Gemini's clients get without `alt=sse`. No provider is asked for it.
    JsonArray,
    /// AWS's binary messages.
    EventStream,
}

/// One event as it stood in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The original bytes, blank line or checksums included. A slice of the pushed chunk where the event lies in one chunk.
    pub raw: Bytes,
    /// Its name and data: slices of `raw` wherever they stand in it in one piece.
    pub frame: Frame,
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unframed {
    /// Where the event ends is unknown, or too far away.
    #[error("a stream event is longer than {limit} bytes")]
    Overlong {
        /// In bytes.
        limit: usize,
    },
    /// The body ended within an event.
    #[error("the stream ended within an event")]
    Cut,
    #[error("the stream is damaged: {0}")]
    Damaged(&'static str),
}

/// Cuts a stream of chunks into events.
///
/// An iterator that resumes: `None` means that the next event is not complete yet. Push only when it said so.
#[derive(Debug)]
pub enum Splitter {
    Sse(sse::Splitter),
    EventStream(eventstream::Splitter),
}

// === impl Framing ===

impl Framing {
    /// The `content-type` of a stream.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::JsonArray => "application/json",
            Self::EventStream => "application/vnd.amazon.eventstream",
        }
    }

    /// May an answer with these headers be such a stream? Parameters (`; charset=utf-8`) do not matter, and some providers do not
    /// name the type at all.
    pub fn fits(self, headers: &HeaderMap) -> bool {
        let announced = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = announced.map(|value| value.split(';').next().unwrap_or_default().trim());
        essence.is_none_or(|essence| essence.eq_ignore_ascii_case(self.content_type()))
    }

    /// What may be sent in a silence without saying anything: nothing at all where the framing has no comments, because a
    /// message of an unknown name reaches the client's program.
    pub fn ping(self) -> Option<&'static [u8]> {
        match self {
            Self::Sse => Some(b": ping\n\n"),
            Self::JsonArray => Some(b"\n"),
            Self::EventStream => None,
        }
    }

    /// `max_event_bytes` bounds what is held back for one event.
    pub fn splitter(self, max_event_bytes: usize) -> Splitter {
        match self {
            Self::Sse | Self::JsonArray => Splitter::Sse(sse::Splitter::new(max_event_bytes)),
            Self::EventStream => Splitter::EventStream(eventstream::Splitter::new(max_event_bytes)),
        }
    }
}

// === impl Event ===

impl Event {
    /// Says nothing: only comments (keep-alive pings), blank lines, or fields that nobody reads.
    pub fn is_comment(&self) -> bool {
        self.frame.event.is_none() && self.frame.data.is_empty()
    }
}

// === impl Splitter ===

impl Splitter {
    /// Takes the next chunk of the stream, of any length.
    pub fn push(&mut self, chunk: Bytes) {
        match self {
            Self::Sse(splitter) => splitter.push(chunk),
            Self::EventStream(splitter) => splitter.push(chunk),
        }
    }

    /// The stream ended: what is left of it, once `next` has nothing more to give. A last server-sent event without its blank
    /// line is one; a message cut short is damage.
    pub fn finish(&mut self) -> Option<Result<Event, Unframed>> {
        match self {
            Self::Sse(splitter) => splitter.finish().map(Ok),
            Self::EventStream(splitter) => splitter.finish(),
        }
    }
}

impl Iterator for Splitter {
    type Item = Result<Event, Unframed>;

    /// The next complete event, or `None` until more is pushed. After an error there is nothing more.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Sse(splitter) => {
                Some(splitter.next()?.map_err(|overlong| Unframed::Overlong { limit: overlong.limit }))
            }
            Self::EventStream(splitter) => splitter.next(),
        }
    }
}
