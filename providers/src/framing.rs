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

    /// The stream ended: what is left of it, once `next` has nothing more to give. A last server-sent event that lacks its blank
    /// line and nothing else is given it; one that was cut short is none, and a message cut short is damage.
    pub fn finish(&mut self) -> Option<Result<Event, Unframed>> {
        match self {
            Self::Sse(splitter) => splitter.finish().and_then(ended).map(Ok),
            Self::EventStream(splitter) => splitter.finish(),
        }
    }
}

/// What the end of the stream left without a blank line, as an event that others may follow. The specification drops it; but
/// there are providers that forget the line, and their last event is the one that says the usage. Whether it is all there is
/// told by its data, which every dialect has in JSON.
fn ended(event: Event) -> Option<Event> {
    let data = &event.frame.data;
    let is_whole = data.trim_ascii() == b"[DONE]" || serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok();
    if is_whole {
        let missing: &[u8] = if event.raw.ends_with(b"\n") { b"\n" } else { b"\n\n" };
        return Some(Event { raw: [&event.raw, missing].concat().into(), frame: event.frame });
    }
    // In front may stand the rest of a line end whose first half ended the event before.
    let blank = event.raw.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    (blank > 0).then(|| Event { raw: event.raw.slice(..blank), frame: Frame::default() })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a stream that ends here.
    fn left_of(stream: &str) -> Option<(String, String)> {
        let mut splitter = Framing::Sse.splitter(1 << 20);
        splitter.push(Bytes::copy_from_slice(stream.as_bytes()));
        assert_eq!(splitter.next(), None, "{stream:?} has no whole event");
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        splitter.finish().map(|event| event.unwrap()).map(|event| (text(&event.raw), text(&event.frame.data)))
    }

    #[test]
    fn a_last_event_that_lacks_only_its_blank_line_is_given_it() {
        for (stream, data) in
            [("data: {\"a\":1}", "{\"a\":1}"), ("data: [DONE]\n", "[DONE]"), ("event: x\rdata: {}\r", "{}")]
        {
            let (raw, said) = left_of(stream).unwrap();
            assert_eq!(said, data);
            let mut again = Framing::Sse.splitter(1 << 20);
            again.push(Bytes::from(raw + "data: next\n\n"));
            assert_eq!(again.filter_map(Result::ok).count(), 2, "{stream:?} runs into what follows it");
        }
    }

    #[test]
    fn a_line_end_that_came_in_halves_stays_whole() {
        for cut_short in ["", "data: {"] {
            let mut splitter = Framing::Sse.splitter(1 << 20);
            let mut raw = Vec::new();
            for byte in format!("data: {{}}\r\n\r\n{cut_short}").bytes() {
                splitter.push(Bytes::copy_from_slice(&[byte]));
                raw.extend(splitter.by_ref().flat_map(|event| event.unwrap().raw));
            }
            raw.extend(splitter.finish().into_iter().flat_map(|event| event.unwrap().raw));
            assert_eq!(raw, b"data: {}\r\n\r\n", "and then {cut_short:?}");
        }
    }

    #[test]
    fn an_event_that_was_cut_short_is_none() {
        for stream in ["d", "data", "data: {\"a\":", "data: [DO", "event: message_stop", ": pi", ""] {
            assert_eq!(left_of(stream), None, "{stream:?}");
        }
    }
}
