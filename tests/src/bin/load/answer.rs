//! One HTTP/1.1 answer as it arrives: as much of the protocol as a benchmark meets, and nothing that would slow the callers down.

use anyhow::{Context as _, ensure};

/// The bytes of an answer so far, and what is known of them.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    head: Option<Head>,
    /// Where the body goes on that has not been looked at.
    at: usize,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    ok: bool,
    body: Framing,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    /// So many bytes.
    Length(usize),
    Chunked,
}

// === impl Answer ===

impl Answer {
    /// Forgets everything, for the next answer on the same connection.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.head = None;
        self.at = 0;
    }

    /// Adds what was read. `true` once the answer is complete; no bytes mean that the connection has ended.
    pub(crate) fn add(&mut self, read: &[u8]) -> anyhow::Result<bool> {
        ensure!(!read.is_empty(), "the connection ended in the middle of an answer");
        self.bytes.extend_from_slice(read);
        if self.head.is_none() {
            self.take_head()?;
        }
        let Some(head) = self.head else { return Ok(false) };
        match head.body {
            Framing::Length(length) => Ok(self.rest().len() >= length),
            Framing::Chunked => self.last_chunk(),
        }
    }

    /// Is it a success whose body says this?
    pub(crate) fn says(&self, words: &[u8]) -> bool {
        // From the end: that is where a stream says `[DONE]`.
        self.head.is_some_and(|head| head.ok) && self.bytes.windows(words.len()).rev().any(|window| window == words)
    }

    /// The answer, to be shown to a person.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).chars().take(300).collect()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Reads the head, once all of it is here.
    fn take_head(&mut self) -> anyhow::Result<()> {
        let Some(end) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(()) };
        let text = std::str::from_utf8(self.bytes.get(..end).unwrap_or_default())?.to_ascii_lowercase();
        let (status, fields) = text.split_once("\r\n").context("no headers")?;
        let length = field(fields, "content-length").map(str::parse).transpose()?;
        let body = match length {
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        ensure!(length.is_some() || field(fields, "transfer-encoding") == Some("chunked"), "no length: {text}");
        self.head = Some(Head { ok: status.starts_with("http/1.1 200"), body });
        self.at = end + 4;
        Ok(())
    }

    /// Steps over the chunks that are here. `true` after the last one, the empty one.
    fn last_chunk(&mut self) -> anyhow::Result<bool> {
        loop {
            let rest = self.rest();
            let Some(line) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(false) };
            let size = std::str::from_utf8(rest.get(..line).unwrap_or_default())?.trim();
            let size = usize::from_str_radix(size, 16).with_context(|| format!("a chunk of {size:?} bytes"))?;
            let whole = line + 1 + size + b"\r\n".len();
            if rest.len() < whole {
                return Ok(false);
            }
            self.at += whole;
            if size == 0 {
                return Ok(true);
            }
        }
    }
}

fn field<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    let fields = fields.lines().filter_map(|line| line.split_once(':'));
    fields.filter(|(found, _)| *found == name).map(|(_, value)| value.trim()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds an answer in two pieces, split at each byte: it is complete with its last byte and not before.
    fn check(answer: &str, body: &str) {
        for split in 1..answer.len() {
            let (first, second) = answer.as_bytes().split_at(split);
            let mut read = Answer::default();
            assert!(!read.add(first).unwrap(), "complete after {split} bytes of {answer:?}");
            assert!(read.add(second).unwrap(), "not complete: {answer:?} split at {split}");
            assert!(read.says(body.as_bytes()));
            assert!(!read.says(b"something else"));
        }
    }

    #[test]
    fn an_answer_ends_with_its_last_byte() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx: y\r\n\r\nhello", "hello");
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\nD\r\nlo\n\ndata: {}\n\r\n0\r\n\r\n",
            "data: {}",
        );
    }

    #[test]
    fn only_a_success_counts() {
        let mut read = Answer::default();
        assert!(read.add(b"HTTP/1.1 503 Unavailable\r\ncontent-length: 5\r\n\r\nhello").unwrap());
        assert!(!read.says(b"hello"));
    }

    #[test]
    fn an_answer_cut_short_is_an_error() {
        let mut read = Answer::default();
        assert!(!read.add(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").unwrap());
        assert!(read.add(b"").is_err());
    }
}
