//! Server-sent events, framing only: chunks of bytes in, events out.
//!
//! An [`Event`] keeps its original bytes beside what they say, so that a relayed stream is passed on byte for byte: the `raw`
//! of all events, joined, *is* the stream. Line ends may be LF, CRLF or CR, and a chunk may end anywhere. What the data means
//! is the business of a dialect; `id`, `retry` and unknown fields are read over.
//!
//! Rules: <https://html.spec.whatwg.org/multipage/server-sent-events.html>, with one exception: an event that the end of the
//! stream cuts short before its blank line is still an event, because providers omit that line.

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

use crate::dialect::Frame;
pub use crate::framing::Event;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Cuts a stream of chunks into events.
///
/// An iterator that resumes: `None` means that the next event is not complete yet. Push only when it said so.
#[derive(Debug)]
pub struct Splitter {
    max_event_bytes: usize,
    /// What was pushed and not yet looked at.
    chunk: Bytes,
    /// The beginning of an event whose end has not come.
    partial: BytesMut,
    line: Line,
    /// Does the event under way have a line that is not blank? Blank lines in front of an event end nothing.
    begun: bool,
    started: bool,
    overlong: bool,
}

/// An event longer than the limit. The stream cannot be read on, because where the event ends is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stream event is longer than {limit} bytes")]
pub struct Overlong {
    /// The limit, in bytes.
    pub limit: usize,
}

/// Where in a line the bytes read so far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Start,
    /// At the start too, but an LF would still belong to the line before.
    AfterCr,
    Inside,
}

// === impl Splitter ===

impl Splitter {
    /// `max_event_bytes` bounds what is held back for one event.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            chunk: Bytes::new(),
            partial: BytesMut::new(),
            line: Line::Start,
            begun: false,
            started: false,
            overlong: false,
        }
    }

    /// Takes the next chunk of the stream, of any length.
    pub fn push(&mut self, chunk: Bytes) {
        if self.overlong {
            return;
        }
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            joined.extend_from_slice(&self.chunk);
            joined.extend_from_slice(&chunk);
            self.chunk = joined.freeze();
        }
    }

    /// The stream ended: what is left of it, once `next` has nothing more to give.
    pub fn finish(&mut self) -> Option<Event> {
        self.partial.extend_from_slice(&std::mem::take(&mut self.chunk));
        (!self.partial.is_empty()).then(|| self.take(Bytes::new()))
    }

    /// Moves to the end of the event within the chunk: the offset behind its blank line.
    fn end(&mut self) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = self.chunk.get(at..).filter(|rest| !rest.is_empty()) {
            let Some(length) = memchr2(b'\n', b'\r', rest) else {
                self.line = Line::Inside;
                self.begun = true;
                return None;
            };
            let (line, tail) = rest.split_at(length);
            let before = self.line;
            let line_end = match tail {
                [b'\r', b'\n', ..] => 2,
                _ => 1,
            };
            self.line = if matches!(tail, [b'\r']) { Line::AfterCr } else { Line::Start };
            at += length + line_end;
            if before == Line::Inside || !line.is_empty() {
                self.begun = true;
            } else if self.begun && !(before == Line::AfterCr && tail.starts_with(b"\n")) {
                return Some(at);
            }
        }
        None
    }

    /// The event that ends with `last`, and a fresh start for the one after it.
    fn take(&mut self, last: Bytes) -> Event {
        let raw = if self.partial.is_empty() {
            last
        } else {
            self.partial.extend_from_slice(&last);
            std::mem::take(&mut self.partial).freeze()
        };
        let text = if std::mem::replace(&mut self.started, true) {
            raw.as_ref()
        } else {
            raw.strip_prefix(BOM).unwrap_or(&raw)
        };
        self.line = Line::Start;
        self.begun = false;
        Event { frame: frame(&raw, text), raw }
    }

    fn refuse(&mut self) -> Overlong {
        self.overlong = true;
        self.chunk = Bytes::new();
        self.partial = BytesMut::new();
        Overlong { limit: self.max_event_bytes }
    }
}

impl Iterator for Splitter {
    type Item = Result<Event, Overlong>;

    /// The next complete event, or `None` until more is pushed. After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.chunk.is_empty() {
            return None;
        }
        let end = self.end();
        if self.partial.len() + end.unwrap_or(self.chunk.len()) > self.max_event_bytes {
            return Some(Err(self.refuse()));
        }
        if let Some(end) = end {
            let last = self.chunk.split_to(end);
            return Some(Ok(self.take(last)));
        }
        self.partial.extend_from_slice(&std::mem::take(&mut self.chunk));
        None
    }
}

/// Reads the fields of one event. `text` is `raw` without a byte order mark.
fn frame(raw: &Bytes, text: &[u8]) -> Frame {
    let mut event = None;
    let mut data: Option<&[u8]> = None;
    let mut joined: Option<BytesMut> = None;
    let mut rest = text;
    while !rest.is_empty() {
        let line = take_line(&mut rest);
        if let Some(value) = value(line, b"data") {
            match (data, &mut joined) {
                (None, _) => data = Some(value),
                (Some(_), Some(lines)) => append_line(lines, value),
                (Some(first), None) => append_line(joined.insert(BytesMut::from(first)), value),
            }
        } else if let Some(value) = value(line, b"event") {
            event = (!value.is_empty()).then(|| raw.slice_ref(value));
        }
    }
    let data = match joined {
        Some(lines) => lines.freeze(),
        None => data.map_or_else(Bytes::new, |line| raw.slice_ref(line)),
    };
    Frame { event, data }
}

fn append_line(lines: &mut BytesMut, line: &[u8]) {
    lines.extend_from_slice(b"\n");
    lines.extend_from_slice(line);
}

/// Cuts the first line off `rest`, and its line end away.
fn take_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (line, tail) = rest.split_at(memchr2(b'\n', b'\r', rest).unwrap_or(rest.len()));
    *rest = match tail {
        [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
        [] => tail,
    };
    line
}

/// The value of the line's field, if that is its name: behind a colon and one optional space, or empty without a colon.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        bare @ [] => Some(bare),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt, stream};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    /// All events of a stream that comes in these chunks, the unfinished one at its end included.
    fn split(chunks: &[&[u8]]) -> Vec<Event> {
        let mut splitter = Splitter::new(LIMIT);
        let mut events = Vec::new();
        for chunk in chunks {
            splitter.push(Bytes::copy_from_slice(chunk));
            events.extend(splitter.by_ref().map(Result::unwrap));
        }
        events.extend(splitter.finish());
        events
    }

    fn said(events: &[Event]) -> Vec<(String, String)> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        events
            .iter()
            .filter(|event| !event.is_comment())
            .map(|event| (event.frame.event.as_ref().map(text).unwrap_or_default(), text(&event.frame.data)))
            .collect()
    }

    fn check(stream: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect();
        let bytes = stream.as_bytes();
        assert_eq!(said(&split(&[bytes])), expected, "whole: {stream:?}");
        for at in 0..=bytes.len() {
            let events = split(&[&bytes[..at], &bytes[at..]]);
            assert_eq!(said(&events), expected, "{stream:?} split at {at}");
            let joined: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
            assert_eq!(joined, bytes, "{stream:?} split at {at} lost bytes");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(said(&split(&single)), expected, "byte by byte: {stream:?}");
    }

    #[test]
    fn every_line_end_and_every_split_point_give_the_same_events() {
        for line_end in ["\n", "\r\n", "\r"] {
            let stream = ": hello\n\nevent: ping\ndata: {}\n\ndata: a\ndata:b\ndata\ndata:  c\n\nid: 7\nretry: 5\nfoo: x\n\n\n\ndata: [DONE]\n\n"
                .replace('\n', line_end);
            check(&stream, &[("ping", "{}"), ("", "a\nb\n\n c"), ("", "[DONE]")]);
        }
    }

    #[test]
    fn oddities_are_read_as_the_standard_says() {
        check("\u{feff}data: 1\n\n", &[("", "1")]);
        check("data: 1\n\n\u{feff}data: 2\n\ndata: 3\n\n", &[("", "1"), ("", "3")]);
        check("\n\n\ndata: 1\n\n", &[("", "1")]);
        check("database: x\ndata : y\ndata: 1\n\n", &[("", "1")]);
        check("event: a\nevent: b\ndata: 1\n\nevent:\ndata: 2\n\n", &[("b", "1"), ("", "2")]);
        check("data: 1\r\ndata: 2\r\r\n\ndata: 3\n\r", &[("", "1\n2"), ("", "3")]);
        check("data: é😀\n\n", &[("", "é😀")]);
        check("", &[]);
    }

    #[test]
    fn data_without_a_blank_line_at_the_end_is_still_an_event() {
        check("data: 1\n\ndata: [DONE]", &[("", "1"), ("", "[DONE]")]);
        check("data: 1\n\ndata: [DONE]\n", &[("", "1"), ("", "[DONE]")]);
    }

    #[test]
    fn comments_are_events_that_say_nothing() {
        let events = split(&[b": ping\n\ndata: 1\n\n:\n\n"]);
        assert_eq!(events.iter().map(Event::is_comment).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(events[0].raw, ": ping\n\n");
    }

    #[test]
    fn events_within_a_chunk_are_slices_of_it() {
        let chunk = Bytes::from_static(b"data: one\n\nevent: e\ndata: two\n\n");
        let range = chunk.as_ptr_range();
        let mut splitter = Splitter::new(LIMIT);
        splitter.push(chunk.clone());
        let mut count = 0;
        for event in splitter.map(Result::unwrap) {
            count += 1;
            assert!(range.contains(&event.raw.as_ptr()) && range.contains(&event.frame.data.as_ptr()));
        }
        assert_eq!(count, 2);
    }

    #[test]
    fn an_overlong_event_ends_the_stream() {
        let mut splitter = Splitter::new(16);
        splitter.push(Bytes::from_static(b"data: 1\n\ndata: 0123"));
        assert_eq!(splitter.next().unwrap().unwrap().frame.data, "1");
        assert_eq!(splitter.next(), None);
        splitter.push(Bytes::from_static(b"4567890"));
        assert_eq!(splitter.next(), Some(Err(Overlong { limit: 16 })));
        splitter.push(Bytes::from_static(b"\n\ndata: 2\n\n"));
        assert_eq!((splitter.next(), splitter.finish()), (None, None));
        let mut splitter = Splitter::new(16);
        splitter.push(Bytes::from_static(b"data: 0123456789\n\n"));
        assert_eq!(splitter.next(), Some(Err(Overlong { limit: 16 })));
    }

    #[test]
    fn chunks_pushed_too_early_are_not_lost() {
        let mut splitter = Splitter::new(LIMIT);
        splitter.push(Bytes::from_static(b"data: 1\n"));
        splitter.push(Bytes::from_static(b"\ndata: 2\n\n"));
        assert_eq!(splitter.filter_map(Result::ok).count(), 2);
    }

    #[test]
    fn an_event_of_eight_megabytes_arrives_in_small_chunks() {
        let mut splitter = Splitter::new(9 << 20);
        let mut document = b"data: ".to_vec();
        document.resize(8 << 20, b'x');
        document.extend_from_slice(b"\n\n");
        let mut events = Vec::new();
        for chunk in document.chunks(4096) {
            splitter.push(Bytes::copy_from_slice(chunk));
            events.extend(splitter.by_ref().map(Result::unwrap));
        }
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].raw.len(), document.len());
    }

    /// What an independent parser reads. It drops an unfinished event at the end, which the documents below do not have.
    fn reference(chunks: &[Vec<u8>]) -> Vec<(String, String)> {
        let input: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk))).collect();
        sse_stream::SseByteStream::new(stream::iter(input))
            .collect::<Vec<_>>()
            .now_or_never()
            .unwrap()
            .into_iter()
            .map(Result::unwrap)
            .map(|event| (event.event.unwrap_or_default(), event.data.unwrap_or_default()))
            .filter(|(name, data)| !(name.is_empty() && data.is_empty()))
            .collect()
    }

    /// One line, without its end.
    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "data(: ?[a-zé{}\": ]{0,12})?",
            2 => "event(: ?[a-z_ ]{0,5})?",
            1 => ":[a-z ]{0,4}",
            1 => "(id|retry|x|datas|eventual)(: ?[a-z0-9]{0,3})?",
            3 => Just(String::new()),
        ]
    }

    proptest! {
        #[test]
        fn any_document_in_any_chunks_reads_as_the_reference_does(
            lines in prop::collection::vec((line(), prop::sample::select(vec!["\n", "\r\n", "\r"])), 0..24),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
            bom in any::<bool>(),
        ) {
            let mut document = if bom { String::from("\u{feff}") } else { String::new() };
            for (line, line_end) in &lines {
                document.push_str(line);
                document.push_str(line_end);
            }
            document.push_str("\n\n\n");
            let bytes = document.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<Vec<u8>> = at.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect();
            let slices: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let events = split(&slices);
            prop_assert_eq!(said(&events), reference(&chunks));
            let joined: Vec<u8> = events.iter().flat_map(|event| event.raw.to_vec()).collect();
            prop_assert_eq!(joined, bytes);
        }
    }
}
