//! AWS's binary framing of streams, `application/vnd.amazon.eventstream`: chunks of bytes in, messages out, and back.
//!
//! ```text
//! message := prelude headers payload crc32(all before)      prelude := u32 total, u32 headers, crc32(those eight bytes)
//! header  := u8 length, name, u8 type, value                 big endian throughout
//! ```
//!
//! A message becomes an [`Event`] that keeps its original bytes, so that a relayed stream is passed on byte for byte. Its name
//! is what `:event-type` says; an exception's is what `:exception-type` says, behind [`EXCEPTION`]. What the payload means is
//! the business of a dialect.
//!
//! Rules: <https://smithy.io/2.0/aws/amazon-eventstream.html>.

use bytes::{Bytes, BytesMut};

use crate::dialect::Frame;
use crate::framing::{Event, Unframed};
use crate::json::Object;

/// Stands before the name of an event that is an exception (`throttlingException`) or an error without a model
/// (`:message-type` `error`). No event of a service is named like that.
pub const EXCEPTION: &str = "exception/";

/// Total length, length of the headers, and the checksum over both.
const PRELUDE_BYTES: usize = 12;
/// Prelude and the checksum at the end: no message is shorter.
const LEAST_BYTES: usize = PRELUDE_BYTES + 4;
/// The most that headers may take ("Header and payload limits").
const MAX_HEADER_BYTES: usize = 128 << 10;

/// One header's value. Numbers are signed, times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    Byte(i8),
    Short(i16),
    Int(i32),
    Long(i64),
    /// At most 65535 bytes.
    Bytes(Bytes),
    /// UTF-8, at most 65535 bytes.
    String(Bytes),
    Timestamp(i64),
    Uuid([u8; 16]),
}

/// One message: its headers in their order, and what it carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Names are UTF-8, of 1 to 255 bytes.
    pub headers: Vec<(Bytes, Value)>,
    pub payload: Bytes,
}

/// Cuts a stream of chunks into messages. As [`crate::sse::Splitter`], an iterator that resumes.
#[derive(Debug)]
pub struct Splitter {
    max_message_bytes: usize,
    chunk: Bytes,
    /// The beginning of a message whose end has not come.
    partial: BytesMut,
    broken: bool,
}

// === impl Splitter ===

impl Splitter {
    /// `max_message_bytes` bounds what is held back for one message.
    pub fn new(max_message_bytes: usize) -> Self {
        Self { max_message_bytes, chunk: Bytes::new(), partial: BytesMut::new(), broken: false }
    }

    /// Takes the next chunk of the stream, of any length.
    pub fn push(&mut self, chunk: Bytes) {
        if self.broken {
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

    /// The stream ended, once `next` has nothing more to give: well, or within a message.
    pub fn finish(&mut self) -> Option<Result<Event, Unframed>> {
        let left = self.partial.len() + self.chunk.len();
        (left > 0).then(|| Err(self.refuse(Unframed::Cut)))
    }

    /// The length of the message at the front, once its prelude is there.
    fn length(&mut self) -> Option<Result<usize, Unframed>> {
        self.gather(PRELUDE_BYTES)?;
        let front: &[u8] = if self.partial.is_empty() { &self.chunk } else { self.partial.as_ref() };
        let prelude = front.get(..PRELUDE_BYTES)?;
        Some(checked_length(prelude, self.max_message_bytes))
    }

    /// Are there so many bytes at the front? If not, all there are wait for the next chunk. Bytes are only moved where a message
    /// lies in several chunks.
    fn gather(&mut self, wanted: usize) -> Option<()> {
        if self.partial.is_empty() && self.chunk.len() >= wanted {
            return Some(());
        }
        let missing = wanted.saturating_sub(self.partial.len()).min(self.chunk.len());
        self.partial.extend_from_slice(&self.chunk.split_to(missing));
        (self.partial.len() >= wanted).then_some(())
    }

    /// The first `length` bytes, which are there.
    fn take(&mut self, length: usize) -> Bytes {
        if self.partial.is_empty() { self.chunk.split_to(length) } else { std::mem::take(&mut self.partial).freeze() }
    }

    fn refuse(&mut self, why: Unframed) -> Unframed {
        self.broken = true;
        self.chunk = Bytes::new();
        self.partial = BytesMut::new();
        why
    }
}

impl Iterator for Splitter {
    type Item = Result<Event, Unframed>;

    /// The next complete message, or `None` until more is pushed. After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        let length = match self.length()? {
            Ok(length) => length,
            Err(why) => return Some(Err(self.refuse(why))),
        };
        self.gather(length)?;
        let raw = self.take(length);
        match Message::read(&raw) {
            Ok(message) => Some(Ok(Event { frame: message.into_frame(), raw })),
            Err(why) => Some(Err(self.refuse(why))),
        }
    }
}

/// The total length that a prelude states, if it is sound.
fn checked_length(prelude: &[u8], limit: usize) -> Result<usize, Unframed> {
    let mut reader = Reader(prelude);
    let (Some(total), Some(headers), Some(crc)) = (reader.u32(), reader.u32(), reader.u32()) else {
        return Err(Unframed::Damaged("the prelude of a message is short"));
    };
    let stated = prelude.get(..8).unwrap_or_default();
    let (total, headers) =
        (usize::try_from(total).unwrap_or(usize::MAX), usize::try_from(headers).unwrap_or(usize::MAX));
    if crc32fast::hash(stated) != crc {
        return Err(Unframed::Damaged("the checksum of a message's prelude is wrong"));
    }
    if total > limit {
        return Err(Unframed::Overlong { limit });
    }
    if headers > MAX_HEADER_BYTES || headers.saturating_add(LEAST_BYTES) > total {
        return Err(Unframed::Damaged("the headers of a message are longer than it can hold"));
    }
    Ok(total)
}

// === impl Message ===

impl Message {
    /// Reads one whole message, checksums included.
    pub fn read(raw: &Bytes) -> Result<Self, Unframed> {
        let prelude = raw.get(..PRELUDE_BYTES).ok_or(Unframed::Damaged("the prelude of a message is short"))?;
        if checked_length(prelude, raw.len())? != raw.len() {
            return Err(Unframed::Damaged("a message is not as long as it says"));
        }
        let (body, crc) = raw.split_at(raw.len().saturating_sub(4));
        if Reader(crc).u32() != Some(crc32fast::hash(body)) {
            return Err(Unframed::Damaged("the checksum of a message is wrong"));
        }
        let header_bytes = Reader(prelude.get(4..).unwrap_or_default()).u32().unwrap_or_default();
        let end = PRELUDE_BYTES.saturating_add(usize::try_from(header_bytes).unwrap_or(usize::MAX));
        let mut reader = Reader(body.get(PRELUDE_BYTES..end).unwrap_or_default());
        let mut headers = Vec::new();
        while !reader.0.is_empty() {
            headers.push(reader.header(raw).ok_or(Unframed::Damaged("a header of a message cannot be read"))?);
        }
        Ok(Self { headers, payload: raw.slice_ref(body.get(end..).unwrap_or_default()) })
    }

    /// Writes the message behind what is in `out`. Headers that are too long to be written are left out: names of more than
    /// 255 bytes, values of more than 65535.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_message(
            out,
            |out| self.headers.iter().for_each(|(name, value)| write_header(out, name, value)),
            &self.payload,
        );
    }

    /// The text of a header.
    pub fn text(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find_map(|(of, value)| match value {
            Value::String(text) if of == name.as_bytes() => Some(text),
            _ => None,
        })
    }

    fn into_frame(self) -> Frame {
        let exception = |kind: &Bytes| Some(Bytes::from([EXCEPTION.as_bytes(), kind].concat()));
        match self.text(":message-type").map(Bytes::as_ref) {
            Some(b"exception") => {
                let unnamed = Bytes::new();
                Frame { event: exception(self.text(":exception-type").unwrap_or(&unnamed)), data: self.payload }
            }
            Some(b"error") => {
                let unnamed = Bytes::new();
                let event = exception(self.text(":error-code").unwrap_or(&unnamed));
                Frame { event, data: self.error_body() }
            }
            _ => Frame { event: self.text(":event-type").cloned(), data: self.payload },
        }
    }

    /// An error without a model says what it has to say in a header.
    fn error_body(&self) -> Bytes {
        let message = self.text(":error-message").map(|text| String::from_utf8_lossy(text)).unwrap_or_default();
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        object.str("message", &message);
        object.end();
        Bytes::from(out)
    }
}

// === Writing ===

/// Writes one event of JSON, as AWS services do.
pub fn write_event(out: &mut Vec<u8>, name: &str, payload: &[u8]) {
    write_json(out, (":event-type", name), "event", payload);
}

/// Writes one exception: it ends a stream.
pub fn write_exception(out: &mut Vec<u8>, kind: &str, payload: &[u8]) {
    write_json(out, (":exception-type", kind), "exception", payload);
}

fn write_json(out: &mut Vec<u8>, (key, name): (&str, &str), message_type: &str, payload: &[u8]) {
    let headers = [(key, name), (":content-type", "application/json"), (":message-type", message_type)];
    write_message(out, |out| headers.iter().for_each(|(name, text)| write_text_header(out, name, text)), payload);
}

fn write_message(out: &mut Vec<u8>, headers: impl FnOnce(&mut Vec<u8>), payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; PRELUDE_BYTES]);
    headers(out);
    let header_bytes = out.len() - start - PRELUDE_BYTES;
    out.extend_from_slice(payload);
    let total = out.len() - start + 4;
    // Sizes are bounded far below 4 GiB by whoever gives the payload; one that is not makes a message nobody accepts.
    let stated = [total, header_bytes].map(|size| u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes()).concat();
    let prelude = [&stated[..], &crc32fast::hash(&stated).to_be_bytes()].concat();
    if let Some(place) = out.get_mut(start..start + PRELUDE_BYTES) {
        place.copy_from_slice(&prelude);
    }
    let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_be_bytes());
}

fn write_text_header(out: &mut Vec<u8>, name: &str, text: &str) {
    write_header(out, name.as_bytes(), &Value::String(Bytes::copy_from_slice(text.as_bytes())));
}

fn write_header(out: &mut Vec<u8>, name: &[u8], value: &Value) {
    let Ok(length) = u8::try_from(name.len()) else { return };
    let start = out.len();
    out.push(length);
    out.extend_from_slice(name);
    if !write_value(out, value) {
        out.truncate(start);
    }
}

/// False where the value is too long.
fn write_value(out: &mut Vec<u8>, value: &Value) -> bool {
    let (kind, fixed): (u8, Vec<u8>) = match value {
        Value::Bool(true) => (0, Vec::new()),
        Value::Bool(false) => (1, Vec::new()),
        Value::Byte(number) => (2, number.to_be_bytes().into()),
        Value::Short(number) => (3, number.to_be_bytes().into()),
        Value::Int(number) => (4, number.to_be_bytes().into()),
        Value::Long(number) => (5, number.to_be_bytes().into()),
        Value::Timestamp(number) => (8, number.to_be_bytes().into()),
        Value::Uuid(bytes) => (9, bytes.to_vec()),
        Value::Bytes(bytes) | Value::String(bytes) => {
            let Ok(length) = u16::try_from(bytes.len()) else { return false };
            out.push(if matches!(value, Value::Bytes(_)) { 6 } else { 7 });
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes);
            return true;
        }
    };
    out.push(kind);
    out.extend_from_slice(&fixed);
    true
}

// === Reading ===

/// Reads numbers and pieces off the front; `None` where there is too little left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (piece, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(piece)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next header, its texts as slices of `raw`.
    fn header(&mut self, raw: &Bytes) -> Option<(Bytes, Value)> {
        let [length] = self.array()?;
        let name = self.take(usize::from(length)).filter(|name| !name.is_empty())?;
        let [kind] = self.array()?;
        let value = match kind {
            0 | 1 => Value::Bool(kind == 0),
            2 => Value::Byte(i8::from_be_bytes(self.array()?)),
            3 => Value::Short(i16::from_be_bytes(self.array()?)),
            4 => Value::Int(i32::from_be_bytes(self.array()?)),
            5 => Value::Long(i64::from_be_bytes(self.array()?)),
            6 => Value::Bytes(self.sized(raw)?),
            7 => Value::String(self.sized(raw).filter(|text| str::from_utf8(text).is_ok())?),
            8 => Value::Timestamp(i64::from_be_bytes(self.array()?)),
            9 => Value::Uuid(self.array()?),
            _ => return None,
        };
        str::from_utf8(name).ok()?;
        Some((raw.slice_ref(name), value))
    }

    fn sized(&mut self, raw: &Bytes) -> Option<Bytes> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(usize::from(length)).map(|piece| raw.slice_ref(piece))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn split(chunks: &[&[u8]]) -> Vec<Result<Event, Unframed>> {
        let mut splitter = Splitter::new(LIMIT);
        let mut events = Vec::new();
        for chunk in chunks {
            splitter.push(Bytes::copy_from_slice(chunk));
            events.extend(splitter.by_ref());
        }
        events.extend(splitter.finish());
        events
    }

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        write_event(&mut out, "messageStart", br#"{"role":"assistant"}"#);
        write_event(&mut out, "empty", b"");
        write_exception(&mut out, "throttlingException", br#"{"message":"slower"}"#);
        out
    }

    /// The published test vectors of the protocol: <https://github.com/awslabs/aws-c-event-stream>, `tests/event_stream_*`.
    #[test]
    fn published_messages_are_read_and_written_to_the_byte() {
        let empty = [0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff];
        let payload: &[u8] = &[
            0x00, 0x00, 0x00, 0x1d, 0x00, 0x00, 0x00, 0x00, 0xfd, 0x52, 0x8c, 0x5a, 0x7b, 0x27, 0x66, 0x6f, 0x6f, 0x27,
            0x3a, 0x27, 0x62, 0x61, 0x72, 0x27, 0x7d, 0xc3, 0x65, 0x39, 0x36,
        ];
        let header: &[u8] = &[
            0x00, 0x00, 0x00, 0x3d, 0x00, 0x00, 0x00, 0x20, 0x07, 0xfd, 0x83, 0x96, 0x0c, b'c', b'o', b'n', b't', b'e',
            b'n', b't', b'-', b't', b'y', b'p', b'e', 0x07, 0x00, 0x10, b'a', b'p', b'p', b'l', b'i', b'c', b'a', b't',
            b'i', b'o', b'n', b'/', b'j', b's', b'o', b'n', 0x7b, 0x27, 0x66, 0x6f, 0x6f, 0x27, 0x3a, 0x27, 0x62, 0x61,
            0x72, 0x27, 0x7d, 0x8d, 0x9c, 0x08, 0xb1,
        ];
        for (bytes, headers, body) in [(&empty[..], 0, ""), (payload, 0, "{'foo':'bar'}"), (header, 1, "{'foo':'bar'}")]
        {
            let message = Message::read(&Bytes::copy_from_slice(bytes)).unwrap();
            assert_eq!((message.headers.len(), message.payload.as_ref()), (headers, body.as_bytes()));
            assert_eq!(message.text("content-type").is_some(), headers == 1);
            let mut out = Vec::new();
            message.write(&mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn bdk_eventstream_crc_and_split_frames() {
        let stream = sample();
        let whole = split(&[&stream]);
        let names: Vec<_> = whole.iter().map(|event| event.clone().unwrap().frame.event.unwrap()).collect();
        assert_eq!(names, ["messageStart", "empty", "exception/throttlingException"]);
        let raw: Vec<u8> = whole.iter().flat_map(|event| event.clone().unwrap().raw).collect();
        assert_eq!(raw, stream, "the raw of all events is the stream");
        for at in 0..stream.len() {
            assert_eq!(split(&[&stream[..at], &stream[at..]]), whole, "cut at {at}");
            // Every byte is covered by a checksum.
            let mut damaged = stream.clone();
            damaged[at] ^= 0x10;
            assert!(split(&[&damaged]).iter().any(Result::is_err), "byte {at} is damaged, and nobody sees it");
            if at > 0 {
                let cut = split(&[&stream[..at]]);
                let at_boundary = raw_ends(&whole).contains(&at);
                assert_eq!(cut.iter().any(Result::is_err), !at_boundary, "the stream ends at {at}");
            }
        }
        let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(split(&bytewise), whole);
    }

    fn raw_ends(events: &[Result<Event, Unframed>]) -> Vec<usize> {
        let mut end = 0;
        let lengths = events.iter().map(|event| event.as_ref().map_or(0, |event| event.raw.len()));
        lengths
            .map(|length| {
                end += length;
                end
            })
            .collect()
    }

    #[test]
    fn an_error_without_a_model_says_its_message() {
        let text = |text: &'static str| Value::String(Bytes::from_static(text.as_bytes()));
        let headers =
            [(":message-type", "error"), (":error-code", "InternalError"), (":error-message", "broke \"down\"")];
        let headers = headers.map(|(name, said)| (Bytes::from_static(name.as_bytes()), text(said))).to_vec();
        let mut out = Vec::new();
        Message { headers, payload: Bytes::new() }.write(&mut out);
        let event = split(&[&out]).remove(0).unwrap();
        assert_eq!(event.frame.event.unwrap(), "exception/InternalError");
        assert_eq!(event.frame.data, r#"{"message":"broke \"down\""}"#);
    }

    #[test]
    fn a_message_over_the_limit_is_refused_before_it_is_held() {
        let mut stream = Vec::new();
        write_event(&mut stream, "big", &vec![b' '; LIMIT]);
        assert_eq!(split(&[&stream[..PRELUDE_BYTES]]).remove(0), Err(Unframed::Overlong { limit: LIMIT }));
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i8>().prop_map(Value::Byte),
            any::<i16>().prop_map(Value::Short),
            any::<i32>().prop_map(Value::Int),
            any::<i64>().prop_map(Value::Long),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Bytes(bytes.into())),
            ".{0,40}".prop_map(|text| Value::String(text.into())),
            any::<i64>().prop_map(Value::Timestamp),
            any::<[u8; 16]>().prop_map(Value::Uuid),
        ]
    }

    proptest! {
        #[test]
        fn every_message_is_read_as_it_was_written(
            headers in prop::collection::vec(("[a-z:-]{1,30}".prop_map(Bytes::from), value()), 0..12),
            payload in prop::collection::vec(any::<u8>(), 0..600).prop_map(Bytes::from),
        ) {
            let message = Message { headers, payload };
            let mut out = Vec::new();
            message.write(&mut out);
            prop_assert_eq!(Message::read(&out.into()).unwrap(), message);
        }

        #[test]
        fn any_bytes_are_refused_or_read_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::read(&bytes.clone().into());
            prop_assert!(split(&[&bytes]).len() <= bytes.len() + 1);
        }
    }
}
