//! A parser of Amazon's binary event streams that shares nothing with the gateway's.
//!
//! A frame is: its length, the length of its headers and a checksum of both; the headers; a payload; a checksum of all before.
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>

use crate::OrFail as _;
use crate::answer::Event;

/// What a frame has besides headers and payload, in bytes: the prelude, with its checksum, and the checksum of all.
const PRELUDE: usize = 12;
const CHECKSUM: usize = 4;

/// The only type of a header's value that this service uses.
const STRING: u8 = 7;

/// The events of a stream, each under the name of its type or of its exception. Whatever is not a frame fails the test.
pub(crate) fn events(mut body: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !body.is_empty() {
        let (frame, rest) = body.split_at_checked(number(body)).or_fail("the stream ends inside a frame");
        events.push(event(frame));
        body = rest;
    }
    events
}

fn event(frame: &[u8]) -> Event {
    let (prelude, rest) = frame.split_at_checked(PRELUDE).or_fail("a prelude");
    checked(prelude);
    checked(frame);
    let lengths = prelude.get(4..).or_fail("the length of the headers");
    let (mut headers, rest) = rest.split_at_checked(number(lengths)).or_fail("headers");
    let payload = rest.len().checked_sub(CHECKSUM).and_then(|end| rest.get(..end)).or_fail("a payload");
    let (mut name, mut message) = (None, None);
    while let Some((length, rest)) = headers.split_first() {
        let (header, rest) = rest.split_at_checked(usize::from(*length)).or_fail("the name of a header");
        let (kind, rest) = rest.split_first().or_fail("the type of a header");
        assert_eq!(*kind, STRING, "a header is a string");
        let (length, rest) = rest.split_first_chunk().or_fail("the length of a header");
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).or_fail("a header");
        let value = String::from_utf8(value.to_vec()).or_fail("a header's text");
        match header {
            b":event-type" | b":exception-type" => name = Some(value),
            b":message-type" => message = Some(value),
            b":content-type" => assert_eq!(value, "application/json"),
            other => assert_eq!(String::from_utf8_lossy(other), "a known header"),
        }
        headers = rest;
    }
    let is_exception = name.as_deref().is_some_and(|name| name.ends_with("Exception"));
    assert_eq!(message.as_deref(), Some(if is_exception { "exception" } else { "event" }), "{name:?}");
    Event { name, data: String::from_utf8(payload.to_vec()).or_fail("a payload's text") }
}

/// Fails the test unless the bytes end with the checksum of those before.
fn checked(bytes: &[u8]) {
    let (summed, sum) = bytes.split_last_chunk::<CHECKSUM>().or_fail("a checksum");
    assert_eq!(u32::from_be_bytes(*sum), crc32fast::hash(summed), "the checksum of a frame");
}

/// The number that the bytes begin with.
fn number(bytes: &[u8]) -> usize {
    let first = bytes.first_chunk().or_fail("a number");
    usize::try_from(u32::from_be_bytes(*first)).or_fail("a length")
}
