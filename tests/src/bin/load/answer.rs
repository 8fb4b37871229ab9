//! One HTTP/1.1 answer as it arrives: as much of the protocol as a benchmark meets, and nothing that would slow the callers down.
//!
//! What is not understood (a body without a length, trailers, bytes behind the end) is an error, never guessed at.

use anyhow::{Context as _, bail, ensure};
use memchr::{memchr, memmem};

/// An answer so far. Its body is kept without the framing: a proxy may cut it anywhere, also within the words of a [`Right`].
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// What has been read and not made sense of yet: a part of the head, or of a chunk.
    waiting: Vec<u8>,
    head: Option<Head>,
    body: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    /// May another request be sent on this connection?
    keeps: bool,
    framing: Framing,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    /// So many bytes.
    Length(usize),
    Chunked,
}

/// What the body of the right answer says: these words so many times, and this at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right {
    pub(crate) words: &'static str,
    pub(crate) times: usize,
    pub(crate) end: &'static str,
}

// === impl Answer ===

impl Answer {
    /// Forgets everything, for the next answer on the same connection.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.head = None;
        self.body.clear();
    }

    /// Adds what was read. `true` once the answer is complete; no bytes mean that the connection has ended.
    pub(crate) fn add(&mut self, read: &[u8]) -> anyhow::Result<bool> {
        ensure!(!read.is_empty(), "the connection ended in the middle of an answer: {}", self.text());
        self.waiting.extend_from_slice(read);
        if self.head.is_none() {
            self.take_head()?;
        }
        let Some(head) = self.head else { return Ok(false) };
        let complete = match head.framing {
            Framing::Length(length) => self.take_bytes(length),
            Framing::Chunked => self.take_chunks()?,
        };
        ensure!(!complete || self.waiting.is_empty(), "bytes behind the end of an answer: {}", self.text());
        Ok(complete)
    }

    /// May the connection be used again?
    pub(crate) fn keeps(&self) -> bool {
        self.head.is_some_and(|head| head.keeps)
    }

    /// Is it a success with the right body, all of it?
    pub(crate) fn check(&self, right: &Right) -> anyhow::Result<()> {
        let status = self.head.map_or(0, |head| head.status);
        ensure!(status == 200, "not a success: {}", self.text());
        let times = memmem::find_iter(&self.body, right.words).count();
        ensure!(times == right.times, "{:?} {times} times, not {}: {}", right.words, right.times, self.text());
        ensure!(self.body.ends_with(right.end.as_bytes()), "no {:?} at the end: {}", right.end, self.text());
        Ok(())
    }

    /// Status and both ends of the body, to be shown to a person.
    fn text(&self) -> String {
        const SHOWN: usize = 200;
        let status = self.head.map_or(0, |head| head.status);
        let first = self.body.get(..SHOWN).unwrap_or(&self.body);
        let last = self.body.get(self.body.len().saturating_sub(SHOWN).max(first.len())..).unwrap_or_default();
        let (first, last) = (String::from_utf8_lossy(first), String::from_utf8_lossy(last));
        format!("status {status}, {} bytes: {first} .. {last}", self.body.len())
    }

    /// Reads the head, once all of it is here.
    fn take_head(&mut self) -> anyhow::Result<()> {
        let Some(end) = memmem::find(&self.waiting, b"\r\n\r\n") else { return Ok(()) };
        let text = std::str::from_utf8(self.waiting.get(..end).unwrap_or_default())?.to_ascii_lowercase();
        let (first, fields) = text.split_once("\r\n").context("no headers")?;
        let status = first.strip_prefix("http/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.with_context(|| format!("not HTTP/1.1: {first}"))?.parse()?;
        let framing = match field(fields, "content-length") {
            Some(length) => Framing::Length(length.parse()?),
            None if field(fields, "transfer-encoding") == Some("chunked") => Framing::Chunked,
            None => bail!("no length: {text}"),
        };
        self.head = Some(Head { status, keeps: field(fields, "connection") != Some("close"), framing });
        self.waiting.drain(..end + b"\r\n\r\n".len());
        Ok(())
    }

    /// Takes what is here of a body of this length. `true` once it is complete.
    fn take_bytes(&mut self, length: usize) -> bool {
        let missing = length.saturating_sub(self.body.len());
        self.body.extend(self.waiting.drain(..missing.min(self.waiting.len())));
        self.body.len() == length
    }

    /// Takes the chunks that are here, whole ones only. `true` after the last, the empty one.
    fn take_chunks(&mut self) -> anyhow::Result<bool> {
        let (mut rest, mut complete) = (self.waiting.as_slice(), false);
        while !complete && let Some((chunk, behind)) = first_chunk(rest)? {
            self.body.extend_from_slice(chunk);
            complete = chunk.is_empty();
            rest = behind;
        }
        let taken = self.waiting.len() - rest.len();
        self.waiting.drain(..taken);
        Ok(complete)
    }
}

/// The first chunk without its framing, and what is behind it; nothing if not all of it is here.
fn first_chunk(bytes: &[u8]) -> anyhow::Result<Option<(&[u8], &[u8])>> {
    let Some(line) = memchr(b'\n', bytes) else { return Ok(None) };
    let (line, rest) = bytes.split_at(line + 1);
    let size = std::str::from_utf8(line)?.trim_end();
    let size = usize::from_str_radix(size, 16).with_context(|| format!("a chunk of {size:?} bytes"))?;
    let Some((chunk, rest)) = rest.split_at_checked(size) else { return Ok(None) };
    match rest {
        [b'\r', b'\n', behind @ ..] => Ok(Some((chunk, behind))),
        [] | [b'\r'] => Ok(None),
        _ => bail!("no end of line behind a chunk of {size} bytes"),
    }
}

fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    let fields = fields.lines().filter_map(|line| line.split_once(':'));
    fields.filter(|(found, _)| *found == name).map(|(_, value)| value.trim()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    const BODY: &str = "data: {}\n\ndata: [DONE]\n\n";

    /// The body of the one right answer of these tests.
    const RIGHT: Right = Right { words: "data:", times: 2, end: "data: [DONE]\n\n" };

    /// Feeds an answer in two pieces, split at each byte: it is complete with its last byte and not before, and it is right.
    fn check(answer: &str) {
        let mut read = Answer::default();
        for split in 1..answer.len() {
            let (first, second) = answer.as_bytes().split_at(split);
            read.clear();
            assert!(!read.add(first).unwrap(), "complete after {split} bytes of {answer:?}");
            assert!(read.add(second).unwrap(), "not complete: {answer:?} split at {split}");
            read.check(&RIGHT).unwrap();
        }
        read.clear();
        let (last, others) = answer.as_bytes().split_last().unwrap();
        assert!(others.iter().all(|byte| !read.add(&[*byte]).unwrap()), "complete before its last byte: {answer:?}");
        assert!(read.add(&[*last]).unwrap());
        read.check(&RIGHT).unwrap();
    }

    fn chunks(pieces: &[&str]) -> String {
        let pieces: Vec<_> = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
        format!("{CHUNKED}{}0\r\n\r\n", pieces.concat())
    }

    /// What one read of all of it comes to.
    fn read(answer: &str) -> (anyhow::Result<bool>, Answer) {
        let mut read = Answer::default();
        (read.add(answer.as_bytes()), read)
    }

    #[test]
    fn an_answer_ends_with_its_last_byte() {
        check(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nx: y\r\n\r\n{BODY}", BODY.len()));
        check(&chunks(&[BODY]));
    }

    /// nginx passes on what it read, up to 4 KB at a time, whatever the chunks were: `data: [DO` in one, `NE]` in the next.
    #[test]
    fn words_are_found_however_the_body_is_cut_into_chunks() {
        for cut in 1..BODY.len() {
            let (first, second) = BODY.split_at(cut);
            check(&chunks(&[first, second]));
        }
    }

    #[test]
    fn an_empty_body_is_an_answer_too() {
        for answer in ["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", &chunks(&[])] {
            let (complete, answer) = read(answer);
            assert!(complete.unwrap());
            assert!(answer.check(&RIGHT).is_err());
        }
    }

    #[test]
    fn only_the_right_answer_counts() {
        let whole =
            |status: &str, body: &str| format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let wrong = [
            (whole("503 Unavailable", BODY), "not a success"),
            (whole("200 OK", "data: [DONE]\n\n"), "1 times, not 2"),
            (whole("200 OK", "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n"), "3 times, not 2"),
            (whole("200 OK", "data: [DONE]\n\ndata: {}\n\n"), "at the end"),
        ];
        for (answer, reason) in wrong {
            let (complete, answer) = read(&answer);
            assert!(complete.unwrap());
            let error = answer.check(&RIGHT).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_connection_is_kept_unless_the_answer_says_otherwise() {
        let (_, kept) = read("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: keep-alive\r\n\r\n");
        assert!(kept.keeps());
        let (_, closed) = read("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: Close\r\n\r\n");
        assert!(!closed.keeps());
    }

    #[test]
    fn what_is_cut_short_or_not_understood_is_an_error() {
        let mut cut = Answer::default();
        assert!(!cut.add(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").unwrap());
        assert!(cut.add(b"").is_err());

        let strange = [
            "HTTP/1.1 200 OK\r\nx: y\r\n\r\nhello".to_owned(),
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello, world".to_owned(),
            format!("{CHUNKED}5\r\nhello, world\r\n0\r\n\r\n"),
            format!("{CHUNKED}hello\r\n"),
            format!("{CHUNKED}0\r\nx: y\r\n\r\n"),
            chunks(&["hello"]) + "0",
        ];
        for answer in strange {
            assert!(read(&answer).0.is_err(), "{answer:?}");
        }
    }
}
